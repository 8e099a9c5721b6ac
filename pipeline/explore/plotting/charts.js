// Lines over time, drawn by uPlot in the colours of theme.css. The report holds this file inline; the page loads it.

const PARTS = ["--text", "--grid", "--series-1", "--series-2", "--series-3", "--series-4", "--gap", "--failed"];

function colours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(PARTS.map((name) => [name, style.getPropertyValue(name).trim()]));
}

/** Seconds as a person says them: 5.25 s, 3:07, 2:03:07. */
export function clock(seconds, digits = 0) {
  if (seconds == null) return "–";
  const sign = seconds < 0 ? "-" : "";
  const total = Math.abs(seconds);
  const whole = digits ? Math.floor(total) : Math.round(total);
  const two = (number) => String(number).padStart(2, "0");
  const rest = digits ? (total - whole).toFixed(digits).slice(1) : "";
  const minutes = Math.floor(whole / 60);
  return minutes < 60
    ? `${sign}${minutes}:${two(whole % 60)}${rest}`
    : `${sign}${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}${rest}`;
}

// Round times are multiples of these, in seconds.
const ROUND_S = [0.01, 0.1, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400, 864000];

function shading(stretches, colour) {
  return (plot) => {
    const { ctx, bbox } = plot;
    ctx.save();
    for (const { from, to, kind } of stretches) {
      const left = Math.max(bbox.left, plot.valToPos(from, "x", true));
      const right = Math.min(bbox.left + bbox.width, plot.valToPos(to, "x", true));
      if (right < left) continue;
      ctx.fillStyle = colour[kind === "failed" ? "--failed" : "--gap"];
      ctx.fillRect(left, bbox.top, Math.max(1, right - left), bbox.height);
    }
    ctx.restore();
  };
}

function options(given, width, colour) {
  const axis = { stroke: colour["--text"], grid: { stroke: colour["--grid"] }, ticks: { stroke: colour["--grid"] } };
  const times = { ...axis, incrs: ROUND_S, space: 60, values: (_, ticks) => ticks.map((tick) => clock(tick, tick % 1 ? 1 : 0)) };
  const value = (_, number) => (number == null ? "–" : Number(number.toPrecision(4)).toString());
  return {
    width,
    height: given.height ?? 220,
    cursor: { drag: { x: given.canZoom ?? true, y: false } },
    scales: { x: { time: false }, y: { range: given.range ?? ((_, least, most) => [Math.min(0, least), most || 1]) } },
    axes: [times, { ...axis, size: 56 }],
    series: [
      { label: given.xLabel ?? "time", value: (_, at) => clock(at, 1) },
      ...given.series.map(({ label, points }, place) => ({
        label,
        stroke: colour[`--series-${(place % 4) + 1}`],
        width: 2,
        dash: [[], [6, 3], [2, 3], [8, 3, 2, 3]][place % 4], // lines are told apart without colours too
        points: points === undefined ? undefined : { show: points },
        spanGaps: false,
        value,
      })),
    ],
    hooks: {
      drawClear: [shading(given.shaded ?? [], colour)],
      ready: given.onPick
        ? [(plot) => plot.over.addEventListener("click", () => {
            const at = plot.cursor.left >= 0 ? plot.posToVal(plot.cursor.left, "x") : null;
            if (at != null) given.onPick(at);
          })]
        : [],
    },
  };
}

/**
 * Draw lines into an element, as wide as it is; drawn again when it or the colours change.
 *
 * `given`: xs (seconds), series [{label, values}], shaded [{from, to, kind}], height, range, xLabel, onPick(seconds).
 * Returns the chart: `pointAt(seconds)` tells the values there, `remove()` takes it away.
 */
export function lineChart(element, given) {
  let plot = null;
  let isReady = false;
  let pointed = null;
  const point = () => {
    if (isReady && pointed != null) {
      plot.setCursor({ left: plot.valToPos(pointed, "x"), top: plot.over.clientHeight / 2 });
    }
  };
  const draw = () => {
    plot?.destroy();
    isReady = false;
    const width = Math.max(120, element.clientWidth);
    const data = [given.xs, ...given.series.map((each) => each.values)];
    const chosen = options(given, width, colours());
    chosen.hooks.ready.push(() => {
      isReady = true; // before, its scales are not known
      queueMicrotask(point);
    });
    plot = new globalThis.uPlot(chosen, data, element);
  };
  draw();
  const resized = new ResizeObserver(() => {
    if (plot && Math.abs(plot.width - element.clientWidth) > 1) {
      plot.setSize({ width: Math.max(120, element.clientWidth), height: given.height ?? 220 });
    }
  });
  resized.observe(element);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", draw);
  return {
    pointAt(seconds) {
      pointed = seconds;
      point();
    },
    remove() {
      resized.disconnect();
      scheme.removeEventListener("change", draw);
      plot.destroy();
    },
  };
}
