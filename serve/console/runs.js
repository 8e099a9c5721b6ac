// Runs: what is in the lake, how its runs went, and what stands in quarantine.
import { useMemo, useState } from "preact/hooks";
import { getJson } from "./api.js";
import { html } from "./html.js";
import { Chart, NoLake, Problem, Table, Tiles, hasLake, useRequest } from "./parts.js";
import { Pages } from "./video.js";
import { bytes, clock, duration, fileName, moment, percent, whole } from "./words.js";

const GOOD = new Set(["finished"]);
const BAD = new Set(["failed", "killed"]);
const STAGES = { plan: "plan", decode: "decode", embed: "model", commit: "write" };
const A_PAGE = 50;

export function Runs() {
  return html`<h1>Runs</h1>${hasLake ? html`<${Report} />` : html`<${NoLake} />`}`;
}

function Report() {
  const { value, error } = useRequest((signal) => getJson("v1/report", { signal }), []);
  return html`
    <${Problem} error=${error} />
    ${value || error ? null : html`<p class="quiet">Looking…</p>`}
    ${value ? value.datasets.map((dataset) => html`<${Dataset} key=${dataset.uri} dataset=${dataset} />`) : null}
    ${value ? html`<${Quarantine} />` : null}`;
}

function Dataset({ dataset }) {
  const { status, runs } = dataset;
  const counts = Object.entries(status.videos).filter(([, num]) => num).map(([word, num]) => [`videos ${word}`, whole(num)]);
  return html`<section>
    <p class="path quiet">${dataset.uri}</p>
    <${Tiles} facts=${[
      ...counts,
      ["samples", whole(status.num_samples)],
      ["hours of video", status.hours.toFixed(2)],
      ["segments to do", `${whole(status.num_pending)} of ${whole(status.num_segments)}`],
      ["of features", bytes(dataset.stored_bytes)],
    ]} />
    ${dataset.coverage.map((stream) => html`<${Coverage} key=${stream.stream} stream=${stream} />`)}
    ${runs.map((run) => html`<${Run} key=${run.name} run=${run} />`)}
    ${runs.length ? null : html`<p>No run has left a report.</p>`}
  </section>`;
}

function Coverage({ stream }) {
  const given = useMemo(() => ({
    xs: stream.with_rows.map((_, at) => at * stream.stretch_s),
    series: [["with rows", "with_rows"], ["nothing moved", "gated"], ["missing", "missing"]]
      .map(([label, name]) => ({ label, values: stream[name] })),
    xLabel: "since the first frame",
    range: () => [0, 1],
  }), [stream]);
  return html`<article class="card">
    <h2>${stream.stream}, ${moment(stream.captured_from)} to ${moment(stream.captured_to)}</h2>
    <${Chart} given=${given} label=${`The share of the samples of ${stream.stream} that is there, over time`} />
  </article>`;
}

function Run({ run }) {
  const kind = GOOD.has(run.state) ? "good" : BAD.has(run.state) ? "bad" : "warn";
  const given = useMemo(() => run.rates.length < 2 ? null : ({
    xs: run.rates.map((rate) => rate.at_s),
    series: [["decoded/s", "decode"], ["model/s", "embed"], ["written/s", "commit"]]
      .map(([label, name]) => ({ label, values: run.rates.map((rate) => rate[name]) })),
    xLabel: "since the command",
  }), [run]);
  const facts = [
    ["in all", duration(run.seconds)],
    ["samples", whole(run.num_samples)],
    ["written", bytes(run.num_bytes)],
    ...(run.samples_per_s == null ? [] : [["samples/s while at work", run.samples_per_s.toFixed(1)]]),
    ...(run.share_of_ceiling == null ? [] : [["of what the model could do", percent(run.share_of_ceiling)]]),
  ];
  return html`<article class="card">
    <h2>${run.command}, ${moment(run.began)} <span class=${`state ${kind}`}>${run.state}</span></h2>
    ${run.error ? html`<p class="problem">${run.error}</p>` : null}
    ${run.bottleneck ? html`<p>The bottleneck was <b>${run.bottleneck === "model" ? "the model" : "decoding"}</b>.</p>` : null}
    <${Tiles} facts=${facts} />
    ${run.stages.length ? html`<${Table} caption="What each stage did" heads=${["Stage", "Workers", "Busy", "Samples", "Private memory"]}
      rows=${run.stages.map((stage) => [
        STAGES[stage.name], stage.num_workers,
        stage.utilisation == null ? "" : html`<span class="share"><meter value=${stage.utilisation} min="0" max="1" aria-label=${`${STAGES[stage.name]} busy`}></meter> ${percent(stage.utilisation)}</span>`,
        stage.num_samples, stage.private_bytes ? bytes(stage.private_bytes) : "",
      ])} />` : null}
    ${given ? html`<${Chart} given=${given} label=${`Samples a second of each stage over the ${duration(run.seconds)} of the run`} />` : null}
  </article>`;
}

function Quarantine() {
  const [reason, setReason] = useState("");
  const [offset, setOffset] = useState(0);
  const path = `v1/quarantine?limit=${A_PAGE}&offset=${offset}${reason ? `&reason=${encodeURIComponent(reason)}` : ""}`;
  const { value, error } = useRequest((signal) => getJson(path, { signal }), [path]);
  if (error) return html`<${Problem} error=${error} />`;
  if (!value) return null;
  const reasons = Object.entries(value.reasons);
  if (!reasons.length) return html`<h2>Quarantine</h2><p>Nothing failed.</p>`;
  const choose = (event) => { setReason(event.currentTarget.value); setOffset(0); };
  return html`<h2>Quarantine</h2>
    <p><label for="reason">Reason</label>${" "}
      <select id="reason" value=${reason} onChange=${choose}>
        <option value="">all</option>
        ${reasons.map(([name, num]) => html`<option key=${name} value=${name}>${name} (${whole(num)})</option>`)}
      </select></p>
    <${Table} caption=${`${whole(value.num_rows)} failures`} heads=${["Video", "Reason", "What of it", "Why", "Tries"]}
      rows=${value.rows.map((row) => [
        html`<a href=${`#/video/${row.video_id}`} title=${row.uri}>${fileName(row.uri)}</a>`,
        row.reason,
        row.segment == null ? "whole video" : `segment ${row.segment}, ${clock(row.start_s)} to ${clock(row.end_s)}`,
        row.detail ?? "", row.attempts,
      ])} />
    <${Pages} offset=${offset} num=${value.num_rows} move=${setOffset} step=${A_PAGE} />`;
}
