// The row of one endpoint: created once, then updated only where the endpoint changed.

import { h, setAttribute, setText, show, svg } from "./dom.js";
import { backendName, bytes, capital, count, duration, exactTime, latency } from "./format.js";
import {
  PLACES, answers, healthOf, isRestored, noQueue, placeCounts, placeOf, placeText, sinceOf, stateOf, stateText,
} from "./state.js";
import { drawStrip, makeStrip } from "./strip.js";

const MODEL_LINES = 2;
// A tooltip has no room for hundreds of names. The details list them all.
const NAMED_IN_TITLE = 20;

/** The sign of a state: states differ in shape as well as in colour. */
export function makeSign() {
  return svg("svg", { class: "sign", viewBox: "0 0 12 12", "aria-hidden": "true" });
}

export function drawSign(sign, state) {
  if (sign.dataset.state === state) return;
  sign.dataset.state = state;
  const shapes = {
    healthy: () => svg("circle", { cx: 6, cy: 6, r: 4.5 }),
    unhealthy: () => svg("path", { d: "M6 .8 11.4 11H.6z" }),
    failing: () => svg("path", { d: "M6 2.2 10.4 10.2H1.6z", class: "hollow" }),
    unknown: () => svg("circle", { cx: 6, cy: 6, r: 3.9, class: "hollow" }),
    draining: () => svg("path", { d: "M1.5 1.5h9v9h-9z" }),
    disabled: () => svg("path", { d: "M1.5 4.7h9v2.6h-9z" }),
  };
  sign.replaceChildren(shapes[state]());
}

/** A bar with its value. */
export function makeMeter(label) {
  const value = h("span", { class: "meter-value" });
  const fill = h("span", { class: "meter-fill" });
  const element = h("span", { class: "meter" },
    h("span", { class: "meter-label", text: label }),
    h("span", { class: "meter-track", "aria-hidden": "true" }, fill), value);
  return { element, fill, value };
}

export function drawMeter(meter, percent, title) {
  const isKnown = percent !== null && percent !== undefined;
  const shown = isKnown ? Math.min(100, Math.max(0, percent)) : 0;
  setText(meter.value, isKnown ? `${Math.round(shown)} %` : "–");
  const scale = `scaleX(${(shown / 100).toFixed(3)})`;
  if (meter.fill.style.transform !== scale) meter.fill.style.transform = scale;
  meter.element.classList.toggle("is-high", shown >= 90);
  if (meter.element.title !== title) meter.element.title = title;
}

/** The share in percent, or null if either value is unknown. */
export function share(used, total) {
  return used === null || used === undefined || !total ? null : (used / total) * 100;
}

/** The mean load in percent of the GPUs that report it, or null. */
export function gpuLoad(resources) {
  const known = (resources?.gpus ?? []).map((gpu) => gpu.utilization_percent).filter((value) => value !== null);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}

export class Row {
  constructor() {
    const part = (name, tag = "span") => (this[name] = h(tag, { class: `row-${name}` }));
    this.sign = makeSign();
    this.cpu = makeMeter("CPU");
    this.ram = makeMeter("RAM");
    this.vram = makeMeter("VRAM");
    this.gpu = makeMeter("GPU");
    this.meters = h("span", { class: "meters" }, this.cpu.element, this.ram.element, this.vram.element, this.gpu.element);
    this.strip = makeStrip();
    this.more = h("button", { type: "button", class: "more", tabIndex: -1, "aria-haspopup": "menu" },
      svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" },
        ...[3, 8, 13].map((cx) => svg("circle", { cx, cy: 8, r: 1.5 }))));
    this.models = h("ul", { class: "row-models" });
    this.element = h("div", { class: "row", role: "row", tabIndex: -1 },
      h("div", { class: "cell-health", role: "gridcell" },
        h("span", { class: "health-line" }, this.sign, part("state"), part("age")), part("reason")),
      h("div", { class: "cell-name", role: "gridcell" }, part("name"), part("id"), part("labels")),
      h("div", { class: "cell-backend", role: "gridcell" }, part("backend"), part("version")),
      h("div", { class: "cell-models", role: "gridcell" }, this.models),
      h("div", { class: "cell-host", role: "gridcell" }, this.meters, part("sidecar")),
      h("div", { class: "cell-queue", role: "gridcell" }, part("queue")),
      h("div", { class: "cell-strip", role: "gridcell" }, this.strip),
      h("div", { class: "cell-actions", role: "gridcell" }, this.more));
  }

  /** Shows an endpoint. */
  draw(endpoint, fleet) {
    this.endpoint = endpoint;
    this.element.dataset.id = endpoint.id;
    const state = stateOf(endpoint);
    drawSign(this.sign, state);
    this.element.dataset.state = state;
    this.element.dataset.health = healthOf(endpoint);
    setText(this.state, capital(stateText(endpoint)));
    this.tick(fleet);
    setText(this.name, endpoint.name);
    setText(this.id, endpoint.id);
    show(this.id, endpoint.name !== endpoint.id);
    this.name.title = endpoint.name;
    this.id.title = endpoint.id;
    setAttribute(this.more, "aria-label", `Actions for ${endpoint.name}`);
    const labels = Object.entries(endpoint.labels).map(([key, value]) => `${key}=${value}`);
    setText(this.labels, labels.join("  "));
    this.labels.title = labels.join("\n");
    setText(this.backend, backendName(endpoint.backend));
    this.backend.title = backendName(endpoint.backend);
    setText(this.version, endpoint.version);
    this.version.title = endpoint.version;
    this.#drawModels(endpoint, fleet.now());
    this.#drawHost(endpoint, fleet);
    this.#drawQueue(endpoint);
    drawStrip(this.strip, fleet.historyOf(endpoint), fleet.now());
  }

  /** Updates what changes with time: ages. */
  tick(fleet) {
    const { endpoint } = this;
    const now = fleet.now();
    const since = sinceOf(endpoint, fleet);
    setText(this.age, since ? duration(now - since) : "");
    this.age.title = since ? `since ${exactTime(since)}` : "";
    let reason = "not checked yet";
    if (endpoint.last_error) reason = endpoint.last_error;
    else if (endpoint.admin_state === "disabled") reason = "not checked while disabled";
    else if (endpoint.last_checked_at) {
      const took = endpoint.latency === null || !answers(endpoint) ? "" : `, ${latency(endpoint.latency)}`;
      reason = `checked ${duration(now - endpoint.last_checked_at)} ago${took}`;
    }
    if (isRestored(endpoint)) reason = `restored, ${reason}`;
    setText(this.reason, reason);
    this.reason.title = reason;
    this.reason.classList.toggle("is-error", Boolean(endpoint.last_error));
  }

  #drawModels(endpoint, now) {
    const models = inOrder(endpoint);
    const shown = models.slice(0, MODEL_LINES);
    const lines = shown.map((model) => {
      const place = placeOf(model, endpoint);
      // Most models of a fleet are on disk: their sign is enough.
      return [model.name, place === "available" ? "" : placeText(model, endpoint, now), place];
    });
    const rest = placeCounts(models.slice(MODEL_LINES), endpoint);
    const hidden = models.slice(MODEL_LINES, MODEL_LINES + NAMED_IN_TITLE).map((model) => model.name).join("\n");
    const key = JSON.stringify([lines, rest, hidden]);
    if (this.models.dataset.key === key) return;
    this.models.dataset.key = key;
    this.models.replaceChildren(
      ...lines.map(([name, when, place]) => h("li", { class: `model is-${place}` },
        h("span", { class: "model-name", text: name, title: name }),
        when ? h("span", { class: "model-warmth", text: when, title: when }) : null,
        place === "loaded" && when !== "loaded" ? h("span", { class: "unseen", text: ", loaded" }) : null)),
      ...(rest ? [h("li", { class: "model-rest", text: `and ${rest}`, title: hidden })] : []),
      ...(models.length ? [] : [h("li", { class: "model-rest", text: "no known models" })]));
  }

  #drawHost(endpoint, fleet) {
    const resources = fleet.hostOf(endpoint);
    show(this.meters, Boolean(resources));
    if (resources) {
      const gpu = gpuLoad(resources);
      drawMeter(this.cpu, resources.cpu_percent, "CPU in use");
      drawMeter(this.ram, share(resources.ram_used_bytes, resources.ram_total_bytes), amount("RAM", resources.ram_used_bytes, resources.ram_total_bytes));
      drawMeter(this.vram, share(resources.vram_used_bytes, resources.vram_total_bytes), amount("VRAM", resources.vram_used_bytes, resources.vram_total_bytes));
      drawMeter(this.gpu, gpu, gpu === null ? "GPU load unknown" : `Mean load of ${count(resources.gpus.length, "GPU")}`);
    }
    const agent = endpoint.agent_id;
    const isConnected = Boolean(agent) && fleet.sidecars.has(agent);
    setText(this.sidecar, !agent ? "no sidecar" : isConnected ? agent : `${agent} not connected`);
    setAttribute(this.sidecar, "data-sidecar", !agent ? "none" : isConnected ? "connected" : "gone");
    this.sidecar.title = !agent ? "No sidecar reports for this host" : `Sidecar ${agent} is ${isConnected ? "connected" : "not connected"}`;
  }

  #drawQueue(endpoint) {
    const load = endpoint.load;
    const running = load?.running ?? null;
    const waiting = load?.waiting ?? null;
    const parts = [];
    if (running !== null) parts.push(load.slots ? `${running} of ${load.slots} running` : `${running} running`);
    if (waiting !== null) parts.push(`${waiting} waiting`);
    setText(this.queue, parts.length ? parts.join("\n") : "–");
    this.queue.classList.toggle("is-unknown", !parts.length);
    this.queue.classList.toggle("is-waiting", (waiting ?? 0) > 0);
    this.queue.title = parts.length ? "" : noQueue(endpoint);
  }
}

/** The endpoint's models, the loaded ones first. */
export function inOrder(endpoint) {
  const rank = (model) => PLACES.indexOf(placeOf(model, endpoint));
  return [...endpoint.models].sort((a, b) => rank(a) - rank(b));
}

function amount(what, used, total) {
  if (used === null || total === null || used === undefined) return `${what} unknown`;
  return `${what}: ${bytes(used)} of ${bytes(total)} in use`;
}
