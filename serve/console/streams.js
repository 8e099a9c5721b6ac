// Streams: what each is doing, its newest picture with lines and zones, and events as they come.
import { useEffect, useState } from "preact/hooks";
import { events, freshPicture, getJson } from "./api.js";
import { html } from "./html.js";
import { Problem } from "./parts.js";
import { moment, whole } from "./words.js";

const EVERY_MS = 2000;
const MOST_EVENTS = 200;
const COLOURS = { playing: "good", connecting: "warn", reconnecting: "warn", stalled: "bad", stopped: "bad" };

/** Asks again and again while the view is shown and the tab is looked at. */
function useOften(ask, depends) {
  const [state, setState] = useState({ value: null, error: null });
  useEffect(() => {
    const control = new AbortController();
    let timer;
    const again = async () => {
      if (!document.hidden) {
        try {
          const value = await ask(control.signal);
          if (!control.signal.aborted) setState({ value, error: null });
        } catch (error) {
          if (!control.signal.aborted) setState((before) => ({ ...before, error }));
        }
      }
      if (!control.signal.aborted) timer = setTimeout(again, EVERY_MS);
    };
    again();
    return () => { control.abort(); clearTimeout(timer); };
  }, depends);
  return state;
}

/** `NAME:x,y,x,y` as a name and points in shares of the picture. */
export function shape(text) {
  const [name, numbers] = text.split(/:(?=[^:]*$)/);
  const values = numbers.split(",").map(Number);
  return { name, points: values.filter((_, at) => at % 2 === 0).map((x, at) => [100 * x, 100 * values[2 * at + 1]]) };
}

const drawn = (points) => points.map((point) => point.join(",")).join(" ");

function Overlay({ lines, zones }) {
  const named = [...lines, ...zones].map(shape);
  return html`
    <svg class="overlay" viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">
      ${zones.map(shape).map(({ name, points }) => html`<polygon key=${name} points=${drawn(points)} />`)}
      ${lines.map(shape).map(({ name, points }) => html`<polyline key=${name} points=${drawn(points)} />`)}
    </svg>
    ${named.map(({ name, points }) => html`<span key=${name} class="label" aria-hidden="true"
      style=${{ left: `${Math.min(80, points[0][0])}%`, top: `${Math.min(90, points[0][1])}%` }}>${name}</span>`)}`;
}

function NewestPicture({ stream, isPlaying }) {
  const [url, setUrl] = useState(null);
  useEffect(() => {
    if (!isPlaying) return undefined;
    const control = new AbortController();
    let timer;
    const again = async () => {
      if (!document.hidden) {
        const made = await freshPicture(`v1/streams/${encodeURIComponent(stream.name)}/picture?boxes=1`, { signal: control.signal }).catch(() => null);
        if (control.signal.aborted) { if (made) URL.revokeObjectURL(made); return; }
        if (made) setUrl((before) => { if (before) URL.revokeObjectURL(before); return made; });
      }
      timer = setTimeout(again, EVERY_MS);
    };
    again();
    return () => { control.abort(); clearTimeout(timer); };
  }, [stream.name, isPlaying]);
  const what = [...stream.lines.map((each) => `line ${shape(each).name}`), ...stream.zones.map((each) => `zone ${shape(each).name}`)];
  return html`<div class="newest">
    ${url
      ? html`<img src=${url} alt=${`The newest picture of ${stream.name}${what.length ? `, with ${what.join(", ")}` : ""}`} />
        <${Overlay} lines=${stream.lines} zones=${stream.zones} />`
      : html`<span class="quiet">no picture yet</span>`}
  </div>`;
}

function Stream({ stream }) {
  const { counters } = stream;
  return html`<article class="card">
    <h2>${stream.name} <span class=${`state ${COLOURS[stream.state] ?? "warn"}`}>${stream.state}</span></h2>
    <${NewestPicture} stream=${stream} isPlaying=${counters.pictures > 0} />
    <p class="quiet path">${stream.source}</p>
    <p>since ${moment(stream.since)}${stream.reason ? `: ${stream.reason}` : ""}</p>
    ${stream.last_error ? html`<p class="problem">${stream.last_error}</p>` : null}
    <p class="quiet">${whole(counters.samples)} samples, ${whole(counters.gaps)} gaps (${whole(counters.gated)} gated,
      ${" "}${whole(counters.dropped)} dropped), ${whole(counters.events)} events, ${whole(counters.sessions)} sessions,
      ${" "}${counters.lag_s.toFixed(1)} s behind</p>
    ${stream.session ? html`<p><a href=${`#/video/${stream.session}`}>This session as a video</a></p>` : null}
  </article>`;
}

/** Events since the view was opened, the newest first. */
function useEvents(isThere) {
  const [listed, setListed] = useState([]);
  useEffect(() => {
    if (!isThere) return undefined;
    const control = new AbortController();
    const follow = async () => {
      let lastEventId;
      while (!control.signal.aborted) {
        try {
          for await (const event of events("v1/events", { signal: control.signal, lastEventId })) {
            lastEventId = event.id ?? lastEventId;
            setListed((before) => [event, ...before].slice(0, MOST_EVENTS));
          }
        } catch {
          // the server ended it, or cannot be reached: again in a moment
        }
        if (!control.signal.aborted) await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
      }
    };
    follow();
    return () => control.abort();
  }, [isThere]);
  return listed;
}

const told = (event) => [
  event.type.replaceAll("_", " "),
  event.name ? `at ${event.name}` : "",
  event.label ?? "",
  event.direction ? event.direction.replaceAll("_", " ") : "",
  event.confidence != null ? event.confidence.toFixed(2) : "",
].filter(Boolean).join(" · ");

export function Streams() {
  const { value, error } = useOften((signal) => getJson("v1/streams", { signal }), []);
  const streams = value?.streams ?? [];
  const listed = useEvents(streams.length > 0);
  return html`
    <h1>Streams</h1>
    <${Problem} error=${error} />
    ${value && !streams.length ? html`<p>This server watches no streams. <code>vidlake serve --streams FILE --out LAKE</code> begins with some.</p>` : null}
    <div class="streams">${streams.map((stream) => html`<${Stream} key=${stream.name} stream=${stream} />`)}</div>
    ${streams.length ? html`<h2 id="events">Events</h2>
      <div class="events" role="log" aria-labelledby="events" tabindex="0"><ol>
        ${listed.map((event) => html`<li key=${event.event_id}>
          <time>${moment(event.captured_at)}</time> <b>${event.stream}</b> ${told(event)}
        </li>`)}
        ${listed.length ? null : html`<li class="quiet">Nothing has happened since this page was opened.</li>`}
      </ol></div>` : null}`;
}
