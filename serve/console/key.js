// The API key: asked for once, kept in this tab, sent as a header and never in an address.
const NAME = "vidlake.key";

let listeners = [];

export const key = {
  get: () => sessionStorage.getItem(NAME) ?? "",
  set(value) {
    sessionStorage.setItem(NAME, value.trim());
    listeners.forEach((listener) => listener());
  },
  forget() {
    sessionStorage.removeItem(NAME);
    listeners.forEach((listener) => listener());
  },
  /** Whether this server answers nothing else without one. */
  isNeeded: document.querySelector('meta[name="needs-key"]')?.content === "yes",
  onChange(listener) {
    listeners = [...listeners, listener];
    return () => { listeners = listeners.filter((each) => each !== listener); };
  },
};
