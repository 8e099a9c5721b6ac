// One video: its facts, its samples side by side, how alike they are to what is looked for, and what is missing.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { curve, getJson, samplePath } from "./api.js";
import { html } from "./html.js";
import { Chart, NoLake, Problem, Table, Thumbnail, hasLake, useRequest } from "./parts.js";
import { Strip } from "./strip.js";
import { clock, duration, fileName, moment, whole } from "./words.js";

const A_PAGE = 50;
const MOST_SHADED = 2000;

export function Video({ here, query }) {
  if (!hasLake) return html`<h1>Videos</h1><${NoLake} />`;
  return here.rest
    ? html`<${OneVideo} key=${here.rest} videoId=${here.rest} at=${Number(here.parameters.at ?? 0)} query=${query} />`
    : html`<${Videos} />`;
}

function Videos() {
  const [text, setText] = useState("");
  const [offset, setOffset] = useState(0);
  const path = `v1/videos?limit=${A_PAGE}&offset=${offset}&q=${encodeURIComponent(text)}`;
  const { value, error } = useRequest((signal) => getJson(path, { signal }), [path]);
  const find = (event) => { setText(event.currentTarget.value); setOffset(0); };
  const rows = value?.rows ?? [];
  return html`
    <h1>Videos</h1>
    <p><label for="name">Name contains</label> <input id="name" type="search" value=${text} onInput=${find} /></p>
    <${Problem} error=${error} />
    ${value ? html`
      <${Table} caption=${`${whole(value.num_rows)} videos`} heads=${["Video", "Length", "Samples", "State"]}
        rows=${rows.map((row) => [
          html`<a href=${`#/video/${row.video_id}`} title=${row.uri}>${fileName(row.uri)}</a>`,
          duration(row.duration_s), row.num_samples, row.status,
        ])} />
      <${Pages} offset=${offset} num=${value.num_rows} move=${setOffset} />` : null}`;
}

export function Pages({ offset, num, move, step = A_PAGE }) {
  if (num <= step) return null;
  return html`<p class="pages">
    <button type="button" disabled=${offset === 0} onClick=${() => move(Math.max(0, offset - step))}>Earlier</button>
    <span>${whole(offset + 1)} to ${whole(Math.min(num, offset + step))} of ${whole(num)}</span>
    <button type="button" disabled=${offset + step >= num} onClick=${() => move(offset + step)}>Later</button>
  </p>`;
}

/** The sample that is nearest to a time. */
export function nearest(times, at) {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] < at) low = middle + 1;
    else high = middle;
  }
  if (low === 0) return 0;
  return low === times.length || at - times[low - 1] <= times[low] - at ? low - 1 : low;
}

/** The columns of lines over the same times, with nothing where a line has no value; times that are given go together. */
function merged(lines) {
  const xs = [...new Set(lines.flatMap((line) => line.times))].sort((a, b) => a - b);
  return {
    xs,
    series: lines.map(({ label, times, values }) => {
      const known = new Map(times.map((time, place) => [time, values[place]]));
      return { label, values: xs.map((time) => known.get(time) ?? null) };
    }),
  };
}

function useCurve(query, videoId) {
  const [found, setFound] = useState(null);
  useEffect(() => {
    setFound(null);
    if (!query) return undefined;
    const control = new AbortController();
    curve(query, videoId, { signal: control.signal }).then(
      (value) => !control.signal.aborted && setFound(value),
      () => {}, // the page shows the video without it
    );
    return () => control.abort();
  }, [query, videoId]);
  return found;
}

function OneVideo({ videoId, at, query }) {
  const { value, error } = useRequest((signal) => getJson(`v1/videos/${encodeURIComponent(videoId)}`, { signal }), [videoId]);
  const similar = useCurve(query, videoId);
  if (error) return html`<h1>Video</h1><${Problem} error=${error} />`;
  if (!value) return html`<h1>Video</h1><p class="quiet">Looking…</p>`;
  const label = query?.words ? `“${query.words}”` : "similarity";
  return html`<${Timeline} found=${value} at=${at} similar=${similar} label=${label} />`;
}

function Timeline({ found, at, similar, label }) {
  const { video, samples, missing, heads } = found;
  const times = samples.time_s;
  const [place, setPlace] = useState(() => nearest(times, at));
  useEffect(() => setPlace(nearest(times, at)), [at]);
  const pick = (seconds) => setPlace(nearest(times, seconds));
  const given = useMemo(() => {
    const lines = [
      ...(similar ? [{ label, times: similar.time_s, values: similar.score }] : []),
      ...heads.flatMap((head) => head.labels.map((name, row) => ({ label: name, times: head.time_s, values: head.probabilities[row] }))),
    ];
    if (!lines.length) return null;
    const shaded = missing.map((each) => ({ from: each.start_s, to: each.end_s, kind: each.kind }));
    return { ...merged(lines), shaded, onPick: pick, range: (_, least) => [Math.min(0, least), 1] };
  }, [similar, heads, missing]);
  const end = Math.max(video.duration_s ?? 0, times.at(-1) ?? 0, 0.001);
  return html`
    <p><a href="#/video">All videos</a></p>
    <h1>${fileName(video.uri)}</h1>
    <p class="path quiet">${video.uri}</p>
    ${times.length
      ? html`<${Sample} video=${video} samples=${samples} place=${place} />
        <${Coverage} end=${end} missing=${missing} at=${times[place]} onPick=${pick} />
        <${Strip} samples=${samples} videoId=${video.video_id} place=${place} setPlace=${setPlace} />`
      : html`<p>There are no samples of it.</p>`}
    ${given ? html`<h2>Over time</h2><${Chart} given=${given} at=${times[place]}
      label=${`${given.series.map((each) => each.label).join(", ")} over the ${duration(end)} of the video`} />` : null}
    <${WhatIsMissing} missing=${missing} />
    <h2>Facts</h2>
    <${Facts} video=${video} />`;
}

function Sample({ video, samples, place }) {
  const time = samples.time_s[place];
  const started = video.creation_time ? Date.parse(video.creation_time) : NaN;
  const captured = Number.isNaN(started) ? "" : moment(new Date(started + 1000 * time).toISOString());
  const link = `#/search?at=${encodeURIComponent(`${video.uri}@${time}`)}`;
  return html`<section class="sample" aria-label="The chosen sample">
    <${Thumbnail} isLazy=${false} path=${samplePath(video.video_id, samples.epoch[place], samples.pts[place], 640)}
      alt=${`${fileName(video.uri)} at ${clock(time, 2)}`} />
    <div>
      <p class="now">${clock(time, 2)}</p>
      <p class="quiet">sample ${whole(place + 1)} of ${whole(samples.time_s.length)}${captured ? html`<br />${captured}` : null}</p>
      <p><a class="button" href=${link}>Search from here</a></p>
    </div>
  </section>`;
}

/** The whole video as a bar: what is missing is shaded, and the chosen sample is marked. */
function Coverage({ end, missing, at, onPick }) {
  const bar = useRef(null);
  const x = (seconds) => Math.max(0, Math.min(1000, (1000 * seconds) / end));
  const click = (event) => {
    const { left, width } = bar.current.getBoundingClientRect();
    onPick((end * (event.clientX - left)) / width);
  };
  const what = missing.length ? `; ${missing.length} stretches are missing` : "; nothing is missing";
  return html`<div class="coverage">
    <svg viewBox="0 0 1000 28" preserveAspectRatio="none" ref=${bar} role="img" onClick=${click}
      aria-label=${`The ${duration(end)} of the video, at ${clock(at, 1)}${what}`}>
      <rect class="there" width="1000" height="28" />
      ${missing.slice(0, MOST_SHADED).map((each, key) => html`<rect key=${key} class=${each.kind} x=${x(each.start_s)} height="28"
        width=${Math.max(2, x(each.end_s) - x(each.start_s))}><title>${each.reason}</title></rect>`)}
      <rect class="marker" x=${x(at) - 1.5} width="3" height="28" />
    </svg>
    <span>${clock(0)}</span><span>${clock(end)}</span>
  </div>`;
}

function WhatIsMissing({ missing }) {
  if (!missing.length) return null;
  const most = missing.slice(0, 200);
  return html`<h2>What is missing</h2>
    <${Table} caption=${`${whole(missing.length)} stretches without samples`} heads=${["From", "To", "Why", "Detail"]}
      rows=${most.map((each) => [clock(each.start_s, 1), clock(each.end_s, 1), each.reason, each.detail ?? ""])} />`;
}

function Facts({ video }) {
  const known = Object.entries(video).filter(([, value]) => value != null && value !== "");
  return html`<dl class="facts">${known.map(([name, value]) => html`<div key=${name}>
    <dt>${name.replaceAll("_", " ").replace(/ s$/, " (s)")}</dt>
    <dd>${typeof value === "number" ? String(Number(value.toFixed(6))) : String(value)}</dd>
  </div>`)}</dl>`;
}
