// The page: four views, chosen by the part of the address behind "#", so that back, forward and bookmarks work.
import { render } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { tryKey } from "./api.js";
import { html } from "./html.js";
import { key } from "./key.js";
import { Problem } from "./parts.js";
import { Runs } from "./runs.js";
import { Search } from "./search.js";
import { Streams } from "./streams.js";
import { Video } from "./video.js";

const VIEWS = [["search", "Search", Search], ["video", "Video", Video], ["streams", "Streams", Streams], ["runs", "Runs", Runs]];

/** `#/video/ID?at=3` is `{view: "video", rest: "ID", parameters: {at: "3"}}`. */
function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [view, ...rest] = path.split("/").map(decodeURIComponent);
  const isKnown = VIEWS.some(([name]) => name === view);
  return { view: isKnown ? view : "search", rest: rest.join("/"), parameters: Object.fromEntries(new URLSearchParams(query)) };
}

function KeyForm() {
  const field = useRef(null);
  const [error, setError] = useState(null);
  useEffect(() => field.current.focus(), []);
  const keep = async (event) => {
    event.preventDefault();
    const given = field.current.value.trim();
    try {
      await tryKey(given);
      key.set(given);
    } catch (refused) {
      setError(refused);
      field.current.select();
    }
  };
  return html`<main class="key">
    <h1>This server asks for a key</h1>
    <form onSubmit=${keep}>
      <label for="key">API key</label>
      <input id="key" type="password" autocomplete="off" required ref=${field} />
      <button type="submit">Open</button>
    </form>
    <${Problem} error=${error} />
    <p class="quiet">It is kept in this tab until the tab is closed, and sent to this server alone.</p>
  </main>`;
}

function App() {
  const [here, setHere] = useState(place());
  const [hasKey, setHasKey] = useState(Boolean(key.get()));
  const [isAsked, setIsAsked] = useState(key.isNeeded);
  // What is looked for goes along from view to view: the curve of a video shows how alike its samples are to it.
  const [query, setQuery] = useState(null);
  useEffect(() => {
    const move = () => setHere(place());
    addEventListener("hashchange", move);
    return () => removeEventListener("hashchange", move);
  }, []);
  useEffect(() => key.onChange(() => {
    setHasKey(Boolean(key.get()));
    setIsAsked(true); // it was given, or refused
  }), []);
  useEffect(() => {
    document.title = `${VIEWS.find(([name]) => name === here.view)[1]} · vidlake`;
  }, [here.view]);
  if (isAsked && !hasKey) return html`<${KeyForm} />`;
  const View = VIEWS.find(([name]) => name === here.view)[2];
  return html`
    <header class="top">
      <span class="brand" aria-hidden="true">vidlake</span>
      <nav aria-label="Views">
        ${VIEWS.map(([name, title]) => html`<a key=${name} href=${`#/${name}`} aria-current=${name === here.view ? "page" : null}>${title}</a>`)}
      </nav>
      ${hasKey ? html`<button type="button" class="plain" onClick=${() => key.forget()}>Forget key</button>` : null}
    </header>
    <main><${View} here=${here} query=${query} setQuery=${setQuery} /></main>`;
}

const root = document.getElementById("app");
root.replaceChildren();
render(html`<${App} />`, root);
