// Pieces that several views show.
import { useEffect, useRef, useState } from "preact/hooks";
import { picture } from "./api.js";
import { html } from "./html.js";
import { lineChart } from "./plotting/charts.js";

/** What a request brings: `{value, error, isWaiting}`; asked anew when `depends` changes, and then the old one is dropped. */
export function useRequest(ask, depends) {
  const [state, setState] = useState({ value: null, error: null, isWaiting: true });
  useEffect(() => {
    const control = new AbortController();
    setState((before) => ({ ...before, isWaiting: true }));
    ask(control.signal).then(
      (value) => !control.signal.aborted && setState({ value, error: null, isWaiting: false }),
      (error) => !control.signal.aborted && setState({ value: null, error, isWaiting: false }),
    );
    return () => control.abort();
  }, depends);
  return state;
}

/** Whether this server shows a lake at all. */
export const hasLake = document.querySelector('meta[name="has-lake"]')?.content === "yes";

export const NoLake = () => html`<p>This server has no lake to look into: <code>vidlake serve --lake LAKE</code> has one.</p>`;

export function Problem({ error }) {
  return error ? html`<p class="problem" role="alert">${error.message}</p>` : null;
}

/** The picture of a sample, once it has been in sight for a moment. */
export function Thumbnail({ path, alt = "", isLazy = true }) {
  const [url, setUrl] = useState(undefined);
  const place = useRef(null);
  useEffect(() => {
    const control = new AbortController();
    let timer;
    const load = () => picture(path, { signal: control.signal }).then(
      (found) => !control.signal.aborted && setUrl(found),
      () => !control.signal.aborted && setUrl(null),
    );
    setUrl(undefined);
    const seen = new IntersectionObserver((entries) => {
      clearTimeout(timer);
      if (entries.some((entry) => entry.isIntersecting)) {
        seen.disconnect();
        timer = setTimeout(load, isLazy ? 80 : 0); // what is scrolled past is not fetched
      }
    });
    seen.observe(place.current);
    return () => {
      seen.disconnect();
      clearTimeout(timer);
      control.abort();
    };
  }, [path]);
  return html`<span class="thumbnail" ref=${place}>
    ${url ? html`<img src=${url} alt=${alt} decoding="async" draggable=${false} />` : null}
    ${url === null ? html`<span class="quiet">no picture</span>` : null}
  </span>`;
}

/** Lines over time; `given` is that of charts.js, and `at` the moment whose values are told. */
export function Chart({ label, given, at = null }) {
  const place = useRef(null);
  const chart = useRef(null);
  useEffect(() => {
    chart.current = lineChart(place.current, given);
    return () => chart.current.remove();
  }, [given]);
  useEffect(() => { if (at != null) chart.current.pointAt(at); }, [given, at]);
  return html`<div class="chart" role="img" aria-label=${label} ref=${place}></div>`;
}

export const Tiles = ({ facts }) => html`<ul class="tiles">
  ${facts.map(([name, value]) => html`<li key=${name}><b>${value}</b><span>${name}</span></li>`)}
</ul>`;

export function Table({ caption, heads, rows }) {
  const isNumber = heads.map((_, place) => rows.length > 0 && rows.every((row) => typeof row[place] === "number"));
  return html`<div class="wide" role="region" tabindex="0" aria-label=${caption}>
    <table>
      <caption>${caption}</caption>
      <thead><tr>${heads.map((head, place) => html`<th scope="col" key=${head} class=${isNumber[place] ? "number" : null}>${head}</th>`)}</tr></thead>
      <tbody>${rows.map((row, at) => html`<tr key=${at}>
        ${row.map((cell, place) => html`<td key=${place} class=${isNumber[place] ? "number" : null}>
          ${typeof cell === "number" ? cell.toLocaleString("en-US") : cell}
        </td>`)}
      </tr>`)}</tbody>
    </table>
  </div>`;
}
