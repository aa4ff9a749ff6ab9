// The time strip: an endpoint's states over the last hour.

import { setAttribute, svg } from "./dom.js";
import { duration, timeOf } from "./format.js";

const WINDOW_MS = 3_600_000;
const WIDTH = 240;
const HEIGHT = 12;

/** The periods of constant state within the window: `{from, to, status, admin, reason}`. */
export function periods(transitions, now) {
  const begin = now - WINDOW_MS;
  const list = [];
  transitions.forEach(([at, , status, admin, reason], i) => {
    const to = i + 1 < transitions.length ? transitions[i + 1][0] : now;
    if (to > begin) list.push({ from: Math.max(at, begin), to: Math.max(to, at), status, admin, reason });
  });
  return list;
}

/** An empty strip. */
export function makeStrip() {
  return svg("svg", {
    class: "strip", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
  });
}

/** Draws the strip if it has changed. */
export function drawStrip(strip, transitions, now) {
  const list = periods(transitions, now);
  const key = list.map(({ from, status, admin }) => `${x(from, now)}${status}${admin}`).join();
  if (strip.dataset.key === key) return;
  strip.dataset.key = key;
  setAttribute(strip, "aria-label", describe(list, now));
  strip.replaceChildren(
    svg("rect", { class: "strip-empty", x: 0, y: 0, width: WIDTH, height: HEIGHT }),
    ...list.map((period, i) => {
      const isHeld = period.admin === "draining" || period.admin === "disabled";
      const left = x(period.from, now);
      // A short outage must be visible: no period is narrower than two units.
      const width = Math.max(2, x(period.to, now) - left);
      const isLast = i === list.length - 1;
      return svg("rect", {
        class: `strip-${period.status ?? "unknown"}`, x: Math.min(left, WIDTH - 2), width: isLast ? WIDTH - left : width,
        y: isHeld ? HEIGHT / 2 : 0, height: isHeld ? HEIGHT / 2 : HEIGHT,
      });
    }),
  );
}

function x(at, now) {
  return Math.round(((at - (now - WINDOW_MS)) / WINDOW_MS) * WIDTH);
}

function describe(list, now) {
  if (!list.length) return "Last hour: no data";
  const totals = new Map();
  for (const { from, to, status } of list) totals.set(status, (totals.get(status) ?? 0) + to - from);
  const parts = [...totals].map(([status, ms]) => `${status} ${duration(ms)}`);
  const changes = list.length - 1;
  const last = changes ? `; ${changes} changes, the last at ${timeOf(list.at(-1).from, now)}` : "";
  return `Last hour: ${parts.join(", ")}${last}`;
}
