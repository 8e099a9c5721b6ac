// Requests to the server that sent this page.
import { key } from "./key.js";

/** Why a request was refused, in the server's words. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function request(path, { method = "GET", body, headers = {}, signal } = {}) {
  const sent = { ...headers };
  if (key.get() && !sent.Authorization) sent.Authorization = `Bearer ${key.get()}`;
  let answer;
  try {
    answer = await fetch(path, { method, body, headers: sent, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The server does not answer.");
  }
  if (answer.ok) return answer;
  if (answer.status === 401) key.forget();
  const told = await answer.json().catch(() => null);
  throw new Refused(answer.status, told?.error?.message ?? `The server answered ${answer.status}.`);
}

/** Asks something small with a key; throws where it is not known. */
export const tryKey = (value) => request("v1/models", { headers: { Authorization: `Bearer ${value}` } });

export const getJson = async (path, options) => (await request(path, options)).json();

/** The body and headers that carry a query: a picture as it is, anything else as JSON. */
function carried(query, further) {
  if (query.picture) {
    const parameters = new URLSearchParams(Object.entries(further).filter(([, value]) => value != null && value !== ""));
    return { suffix: `?${parameters}`, body: query.picture, headers: { "Content-Type": query.picture.type || "image/png" } };
  }
  const { words, at } = query;
  const document = Object.fromEntries(Object.entries({ words, at, ...further }).filter(([, value]) => value != null && value !== ""));
  return { suffix: "", body: JSON.stringify(document), headers: { "Content-Type": "application/json" } };
}

/** The model has no label for some words; `near` are those that are most like them. */
export class UnknownWords extends Error {
  constructor(words, near) {
    super(`The model has no word “${words}”.`);
    this.near = near;
  }
}

/** Moments like a query: `{picture}`, `{words}` or `{at}`. */
export async function search(query, further, options) {
  if (query.words) {
    const { labels, near } = await getJson(`v1/labels?words=${encodeURIComponent(query.words)}`, options);
    if (!labels.length) throw new UnknownWords(query.words, near);
  }
  const { suffix, body, headers } = carried(query, further);
  return (await request(`v1/search${suffix}`, { method: "POST", body, headers, ...options })).json();
}

/** How alike each sample of a video is to a query. */
export async function curve(query, videoId, options) {
  const { body, headers } = carried(query, {});
  const path = `v1/videos/${encodeURIComponent(videoId)}/curve`;
  return (await request(path, { method: "POST", body, headers, ...options })).json();
}

// -- pictures: fetched with the key, for an <img> cannot send one; a few at a time, and the last ones are kept.

const MOST_AT_ONCE = 4;
const MOST_KEPT = 400;
const kept = new Map();
const waiting = [];
let atWork = 0;

function next() {
  while (atWork < MOST_AT_ONCE && waiting.length) {
    const { path, signal, resolve, reject } = waiting.shift();
    if (signal?.aborted) {
      reject(new DOMException("", "AbortError"));
      continue;
    }
    atWork += 1;
    request(path, { signal })
      .then((answer) => (answer.status === 204 ? null : answer.blob()))
      .then(resolve, reject)
      .finally(() => { atWork -= 1; next(); });
  }
}

function keep(path, url) {
  kept.set(path, url);
  if (kept.size > MOST_KEPT) {
    const [oldest, oldUrl] = kept.entries().next().value;
    kept.delete(oldest);
    if (oldUrl) setTimeout(() => URL.revokeObjectURL(oldUrl), 30_000); // it may still be shown
  }
}

/** The address of a picture in this tab; null: there is none to show. */
export async function picture(path, { signal } = {}) {
  if (kept.has(path)) {
    const url = kept.get(path);
    kept.delete(path);
    kept.set(path, url);
    return url;
  }
  const blob = await new Promise((resolve, reject) => {
    waiting.push({ path, signal, resolve, reject });
    next();
  });
  const url = blob ? URL.createObjectURL(blob) : null;
  keep(path, url);
  return url;
}

export const samplePath = (videoId, epoch, pts, size = 320) =>
  `v1/videos/${encodeURIComponent(videoId)}/picture?epoch=${epoch}&pts=${pts}&size=${size}`;

/** A picture that changes: not kept. */
export async function freshPicture(path, { signal } = {}) {
  const answer = await request(path, { signal });
  return answer.status === 204 ? null : URL.createObjectURL(await answer.blob());
}

/** Events as the server sends them, each as its document; ends when the server or `signal` ends it. */
export async function* events(path, { signal, lastEventId } = {}) {
  const headers = { Accept: "text/event-stream", ...(lastEventId ? { "Last-Event-ID": lastEventId } : {}) };
  const answer = await request(path, { signal, headers });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text = (text + value).replaceAll("\r\n", "\n");
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
      const id = block.split("\n").find((line) => line.startsWith("id:"))?.slice(3).trim();
      if (data.length) yield { id, ...JSON.parse(data.join("\n")) };
    }
  }
}
