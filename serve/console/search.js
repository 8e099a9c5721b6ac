// Search: a picture that is dropped, pasted or chosen, or words, become moments.
import { useEffect, useRef, useState } from "preact/hooks";
import { samplePath, search } from "./api.js";
import { html } from "./html.js";
import { NoLake, Problem, Thumbnail, hasLake } from "./parts.js";
import { clock, fileName, moment, whole } from "./words.js";

const TOP = 24;

const pictureIn = (files) => [...(files ?? [])].find((file) => file.type.startsWith("image/"));

function useQueryPicture(query) {
  const [url, setUrl] = useState(null);
  useEffect(() => {
    if (!query?.picture) return setUrl(null);
    const made = URL.createObjectURL(query.picture);
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [query?.picture]);
  return url;
}

function Moment({ found, isByWords }) {
  const name = fileName(found.uri);
  const long = found.end_s - found.start_s;
  const digits = long < 10 ? 1 : 0;
  const times = long > 0 ? `${clock(found.start_s, digits)} to ${clock(found.end_s, digits)}` : clock(found.best_s, 1);
  const score = isByWords ? `${(100 * found.score).toFixed(1)}%` : `score ${found.score.toFixed(3)}`;
  return html`<li>
    <a class="moment" href=${`#/video/${found.video_id}?at=${found.best_s}`} title=${found.uri}>
      <${Thumbnail} path=${samplePath(found.video_id, found.epoch ?? 0, found.pts)} />
      <span class="name">${name}</span>
      <span>${times}</span>
      <span class="quiet">
        ${found.same_picture ? "the same picture" : score}
        ${found.captured_at ? html`<br />${moment(found.captured_at)}` : null}
      </span>
    </a>
  </li>`;
}

function Found({ answer, what }) {
  const moments = answer.moments ?? [];
  const looked = (answer.indexed ?? 0) + (answer.scanned ?? 0);
  const labels = answer.labels?.length ? ` as ${answer.labels.join(", ")}` : "";
  const absent = answer.absent ? `; ${whole(answer.absent)} samples are absent by quarantine or gaps` : "";
  return html`
    <h2>${moments.length ? `Moments like ${what}` : `Nothing like ${what}`}</h2>
    <p class="quiet">${whole(looked)} samples looked at${labels}${absent}.</p>
    <ol class="moments">${moments.map((each) => html`<${Moment} key=${`${each.video_id} ${each.best_s}`}
      found=${each} isByWords=${Boolean(answer.labels)} />`)}</ol>`;
}

const described = (query) => (query.words ? `“${query.words}”` : query.at ? fileName(query.at).replace("@", " at ") + " s" : "this picture");

const EMPTY = { answer: null, error: null, isWaiting: false, query: null };

export const Search = (given) => (hasLake ? html`<${Asking} ...${given} />` : html`<h1>Search</h1><${NoLake} />`);

function Asking({ here, query, setQuery }) {
  const [words, setWords] = useState(here.parameters.words ?? query?.words ?? "");
  const [state, setState] = useState(EMPTY);
  const [isOver, setIsOver] = useState(false);
  const field = useRef(null);
  const shown = useQueryPicture(query);

  const look = (picture) => {
    if (picture) {
      setWords("");
      if (location.hash.includes("?")) history.replaceState(null, "", "#/search");
      setQuery({ picture });
    } else {
      setState({ ...EMPTY, error: new Error("That is no picture.") });
    }
  };

  // Words and moments stand in the address; a picture cannot.
  const { words: linked, at } = here.parameters;
  useEffect(() => {
    if (linked && linked !== query?.words) { setWords(linked); setQuery({ words: linked }); }
    else if (at && at !== query?.at) { setWords(""); setQuery({ at }); }
  }, [linked, at]);

  useEffect(() => {
    if (!query) return undefined;
    const control = new AbortController();
    setState((before) => ({ ...before, isWaiting: true, error: null }));
    search(query, { top: TOP }, { signal: control.signal }).then(
      (answer) => !control.signal.aborted && setState({ answer, error: null, isWaiting: false, query }),
      (error) => !control.signal.aborted && setState({ answer: null, error, isWaiting: false, query }),
    );
    return () => control.abort();
  }, [query]);

  useEffect(() => {
    const pasted = (event) => {
      const file = pictureIn(event.clipboardData?.files);
      if (file) { event.preventDefault(); look(file); }
    };
    const dropped = (event) => {
      event.preventDefault();
      setIsOver(false);
      if (event.type === "drop") look(pictureIn(event.dataTransfer?.files));
    };
    const over = (event) => { event.preventDefault(); setIsOver(true); };
    const listeners = [["paste", pasted], ["dragenter", over], ["dragover", over], ["drop", dropped], ["dragleave", dropped]];
    listeners.forEach(([name, listener]) => addEventListener(name, listener));
    return () => listeners.forEach(([name, listener]) => removeEventListener(name, listener));
  }, []);

  const byWords = (event) => {
    event.preventDefault();
    const wanted = words.trim();
    if (!wanted) return;
    history.replaceState(null, "", `#/search?words=${encodeURIComponent(wanted)}`);
    setQuery({ words: wanted });
  };

  return html`
    <h1 class="unseen">Search</h1>
    <div class=${`ask ${isOver ? "over" : ""}`}>
      <form role="search" onSubmit=${byWords}>
        <label for="words">Words that the model knows</label>
        <span class="row">
          <input id="words" type="search" placeholder="espresso" autocomplete="off" spellcheck=${false}
            value=${words} onInput=${(event) => setWords(event.currentTarget.value)} />
          <button type="submit">Find</button>
        </span>
      </form>
      <div class="pick">
        <label for="picture">or a picture: drop it here, paste it, or choose a file</label>
        <input id="picture" type="file" accept="image/*" ref=${field}
          onChange=${(event) => look(pictureIn(event.currentTarget.files))} />
      </div>
      ${shown ? html`<img class="asked" src=${shown} alt="The picture that is looked for" />` : null}
    </div>
    <div aria-live="polite">
      ${state.isWaiting ? html`<p class="quiet">Looking…</p>` : null}
      <${Problem} error=${state.error} />
      ${state.error?.near?.length ? html`<p>Near it are ${state.error.near.map((word, at) => html`${at ? ", " : ""}
        <a key=${word} href=${`#/search?words=${encodeURIComponent(word)}`}>${word}</a>`)}.</p>` : null}
      ${state.answer ? html`<${Found} answer=${state.answer} what=${described(state.query)} />` : null}
    </div>`;
}
