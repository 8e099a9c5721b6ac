// Samples side by side: of a hundred thousand only those in sight are in the document, so that it scrolls smoothly.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { samplePath } from "./api.js";
import { html } from "./html.js";
import { Thumbnail } from "./parts.js";
import { clock, whole } from "./words.js";

const CELL_PX = 132;
const BEYOND = 4; // cells on both sides that are kept ready
const MOVES = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 };

/** The cells in sight of a strip that is scrolled so far. */
export function inSight(scrolledPx, widthPx, num) {
  const first = Math.max(0, Math.floor(scrolledPx / CELL_PX) - BEYOND);
  return { first, last: Math.min(num, Math.ceil((scrolledPx + widthPx) / CELL_PX) + BEYOND) };
}

export function Strip({ samples, videoId, place, setPlace }) {
  const num = samples.time_s.length;
  const box = useRef(null);
  const [sight, setSight] = useState({ first: 0, last: 20 });
  const look = () => {
    const { scrollLeft, clientWidth } = box.current;
    const now = inSight(scrollLeft, clientWidth, num);
    setSight((before) => (before.first === now.first && before.last === now.last ? before : now));
  };
  useLayoutEffect(() => {
    const resized = new ResizeObserver(look);
    resized.observe(box.current);
    return () => resized.disconnect();
  }, [num]);
  useEffect(() => {
    const { scrollLeft, clientWidth } = box.current;
    const left = place * CELL_PX;
    if (left < scrollLeft || left + CELL_PX > scrollLeft + clientWidth) {
      box.current.scrollLeft = left - (clientWidth - CELL_PX) / 2;
    }
    look();
  }, [place, num]);
  const move = (event) => {
    const wanted = event.key === "Home" ? 0 : event.key === "End" ? num - 1 : place + (MOVES[event.key] ?? NaN);
    if (Number.isNaN(wanted)) return;
    event.preventDefault();
    setPlace(Math.max(0, Math.min(num - 1, wanted)));
  };
  const cells = [];
  for (let at = sight.first; at < Math.min(sight.last, num); at += 1) {
    cells.push(html`<button type="button" key=${at} tabindex="-1" class="cell" style=${{ left: `${at * CELL_PX}px` }}
      aria-pressed=${at === place} onClick=${() => setPlace(at)}>
      <${Thumbnail} path=${samplePath(videoId, samples.epoch[at], samples.pts[at])} />
      <span>${clock(samples.time_s[at], 1)}</span>
    </button>`);
  }
  return html`<div class="strip" ref=${box} tabindex="0" role="group" onScroll=${look} onKeyDown=${move}
    aria-label=${`${whole(num)} samples; the arrow keys choose one`}>
    <div class="cells" style=${{ width: `${num * CELL_PX}px` }}>${cells}</div>
  </div>`;
}
