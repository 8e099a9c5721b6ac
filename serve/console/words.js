// How values are said.
import { clock } from "./plotting/charts.js";

export { clock };

export const fileName = (uri) => uri.replace(/\/+$/, "").split("/").pop() || uri;

export const whole = (number) => (number ?? 0).toLocaleString("en-US", { maximumFractionDigits: 0 });

export function bytes(number) {
  for (const [unit, size] of [["TB", 1e12], ["GB", 1e9], ["MB", 1e6], ["KB", 1e3]]) {
    if (number >= size) return `${(number / size).toFixed(1)} ${unit}`;
  }
  return `${number ?? 0} bytes`;
}

export const percent = (share) => `${Math.round(100 * share)}%`;

/** A moment of ISO 8601, in the viewer's own time. */
export function moment(text) {
  if (!text) return "";
  const date = new Date(text);
  return Number.isNaN(date.getTime())
    ? text
    : date.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
}

export function duration(seconds) {
  if (seconds == null) return "–";
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes} min ${whole % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
