// All facts about one endpoint, in a drawer that updates while it is open.

import { READ_ONLY } from "./actions.js";
import { h } from "./dom.js";
import { backendName, bytes, capital, count, duration, exactTime, latency, sourceName, timeOf } from "./format.js";
import { drawMeter, drawSign, gpuLoad, inOrder, makeMeter, makeSign, share } from "./row.js";
import {
  answers, faultText, isRestored, noQueue, originsText, outcomeText, placeOf, placeText, sidecarText, sinceOf, stateOf, stateText,
} from "./state.js";
import { drawStrip, makeStrip } from "./strip.js";

export class Detail {
  #fleet;
  #actions;
  #id = null;
  #dialog = h("dialog", { class: "drawer", "aria-labelledby": "detail-title" });
  #title = h("h2", { id: "detail-title", tabIndex: -1 });
  #body = h("div", { class: "drawer-body", tabIndex: -1 });
  #buttons = h("div", { class: "drawer-buttons" });

  /** `closed(id)` is called when the drawer closes. */
  constructor(fleet, actions, closed) {
    this.#fleet = fleet;
    this.#actions = actions;
    const close = h("button", { type: "button", class: "quiet", text: "Close", on: { click: () => this.#dialog.close() } });
    this.#dialog.append(h("header", {}, this.#title, close), this.#body, this.#buttons);
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog) this.#dialog.close();
    });
    this.#dialog.addEventListener("close", () => {
      const id = this.#id;
      this.#id = null;
      closed(id);
    });
    document.body.append(this.#dialog);
  }

  open(id) {
    if (!this.#fleet.endpoints.has(id) || this.#id === id) return;
    this.#id = id;
    this.#draw();
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#body.scrollTop = 0;
    this.#title.focus();
  }

  close() {
    if (this.#dialog.open) this.#dialog.close();
  }

  /** Redraws if the open endpoint is among `ids` or `ids` is null; closes if the endpoint was removed. */
  touch(ids) {
    if (this.#id === null) return;
    if (!this.#fleet.endpoints.has(this.#id)) this.#dialog.close();
    else if (ids === null || ids.has(this.#id)) this.#draw();
  }

  #draw() {
    const endpoint = this.#fleet.endpoints.get(this.#id);
    const now = this.#fleet.now();
    this.#title.textContent = endpoint.name;
    this.#body.replaceChildren(
      this.#health(endpoint, now), this.#models(endpoint, now), this.#host(endpoint, now),
      this.#facts(endpoint, now), this.#changes(endpoint, now));
    const key = JSON.stringify([this.#actions.role, endpoint.admin_state]);
    if (this.#buttons.dataset.key === key) return;
    this.#buttons.dataset.key = key;
    this.#buttons.replaceChildren(
      ...this.#actions.of(endpoint.id).map((action) => h("button", {
        type: "button", class: action.danger ? "danger-quiet" : "", text: action.label, disabled: !this.#actions.mayChange,
        on: { click: () => this.#actions.of(this.#id).find(({ label }) => label === action.label)?.run() },
      })),
      this.#actions.mayChange ? "" : h("p", { class: "muted", text: READ_ONLY }));
  }

  #health(endpoint, now) {
    const sign = makeSign();
    const state = stateOf(endpoint);
    drawSign(sign, state);
    const since = sinceOf(endpoint, this.#fleet);
    const strip = makeStrip();
    drawStrip(strip, this.#fleet.historyOf(endpoint), now);
    const took = answers(endpoint) && endpoint.latency !== null ? `, answered in ${latency(endpoint.latency)}` : "";
    const checked = endpoint.last_checked_at
      ? `Last checked ${duration(now - endpoint.last_checked_at)} ago${took}`
      : "Not checked yet";
    const flapping = endpoint.flapping ? `Flapping: ${endpoint.flapping.reason}` : null;
    const paragraph = (text, kind) => (text ? h("p", { class: kind, text }) : null);
    const failures = endpoint.consecutive_failures ? `, ${count(endpoint.consecutive_failures, "failure")} in a row` : "";
    return h("section", { class: "detail-health", data: { state } },
      h("p", { class: "health-line" }, sign, h("span", { class: "row-state", text: capital(stateText(endpoint)) }),
        h("span", { class: "row-age", text: since ? `for ${duration(now - since)}` : "" })),
      paragraph(endpoint.last_error, "is-error"), paragraph(faultText(endpoint)), paragraph(flapping),
      paragraph(`${checked}${failures}.`, "muted"),
      isRestored(endpoint) ? paragraph("Restored: known from before the hub's last start, not checked since.", "muted") : null,
      strip, h("p", { class: "strip-scale muted" }, h("span", { text: "1 h ago" }), h("span", { text: "now" })));
  }

  #models(endpoint, now) {
    const models = inOrder(endpoint);
    if (!models.length) return section("Models", h("p", { class: "muted", text: "No models known. They appear after the first successful check." }));
    const line = (model) => {
      const place = placeOf(model, endpoint);
      const seen = outcomeText(endpoint, model.name, now);
      const facts = [
        model.parameter_size, model.quantization, model.size_bytes ? bytes(model.size_bytes) : null,
        model.context_length ? `${model.context_length.toLocaleString()} tokens` : null,
        place === "loaded" && model.vram_bytes ? `${bytes(model.vram_bytes)} in memory` : null,
      ].filter(Boolean);
      return h("li", { class: `model is-${place}` },
        h("span", { class: "model-name", text: model.name }),
        h("span", { class: "model-warmth", text: placeText(model, endpoint, now) }),
        facts.length ? h("span", { class: "model-facts", text: facts.join(" · ") }) : null,
        seen ? h("span", { class: "model-facts", text: seen }) : null);
    };
    return section("Models", h("ul", { class: "detail-models" }, ...models.map(line)));
  }

  #host(endpoint, now) {
    const agent = endpoint.agent_id;
    if (!agent) {
      return section("Host", h("p", { class: "muted", text: "No sidecar reports for this host, so its CPU and memory usage are unknown." }));
    }
    const connectedAt = this.#fleet.sidecars.get(agent);
    const presence = connectedAt
      ? `Sidecar ${agent} has been connected since ${timeOf(connectedAt, now)}.`
      : `Sidecar ${agent} is not connected.`;
    const resources = this.#fleet.hostOf(endpoint);
    if (!resources) return section("Host", h("p", { class: "muted", text: `${presence} It has not reported in the last 90 s.` }));
    const bar = (label, percent, text) => {
      const meter = makeMeter(label);
      drawMeter(meter, percent, text);
      return h("div", { class: "detail-meter" }, meter.element, h("span", { class: "muted", text }));
    };
    const of = (used, total) => (used === null || total === null ? "unknown" : `${bytes(used)} of ${bytes(total)}`);
    return section("Host",
      h("p", { class: "muted", text: `${presence} Reported ${duration(now - resources.reported_at)} ago.` }),
      bar("CPU", resources.cpu_percent, ""),
      bar("RAM", share(resources.ram_used_bytes, resources.ram_total_bytes), of(resources.ram_used_bytes, resources.ram_total_bytes)),
      bar("VRAM", share(resources.vram_used_bytes, resources.vram_total_bytes), of(resources.vram_used_bytes, resources.vram_total_bytes)),
      resources.gpus.length > 1 ? bar("GPU", gpuLoad(resources), "mean load") : null,
      ...resources.gpus.map((gpu, i) => h("div", { class: "detail-gpu" },
        h("p", { text: `${gpu.index ?? i}  ${gpu.name ?? "GPU"}` }),
        bar("Load", gpu.utilization_percent, [
          gpu.temperature_celsius === null ? null : `${Math.round(gpu.temperature_celsius)} °C`,
          gpu.power_watts === null ? null : `${Math.round(gpu.power_watts)} W`,
        ].filter(Boolean).join(", ")),
        bar("VRAM", share(gpu.vram_used_bytes, gpu.vram_total_bytes), of(gpu.vram_used_bytes, gpu.vram_total_bytes)))));
  }

  #facts(endpoint, now) {
    const labels = Object.entries(endpoint.labels).map(([key, value]) => `${key}=${value}`);
    const load = endpoint.load;
    const noView = endpoint.agent_id ? "no recent report" : "no sidecar reports on this server";
    const facts = [
      ["Address", `${endpoint.scheme}://${endpoint.id}${endpoint.base_path}`],
      ...(endpoint.same_server_as ? [["Same server as", `${endpoint.same_server_as}; counted once`]] : []),
      ["Backend", `${backendName(endpoint.backend)} ${endpoint.version}`.trim() + (endpoint.backend_detected ? " (detected)" : "")],
      ["Sidecar’s view", sidecarText(endpoint, now) ?? noView],
      ["Known from", originsText(endpoint) ?? "nothing observed yet"],
      ["Labels", labels.join(", ") || "none"],
      ["Queue", load && (load.running ?? load.waiting) !== null
        ? [`${load.running ?? "?"} running`, `${load.waiting ?? "?"} waiting`, load.slots ? `${load.slots} slots` : null].filter(Boolean).join(", ")
        : noQueue(endpoint)],
      ["Registered", `${exactTime(endpoint.registered_at)}, ${sourceName(endpoint.source)}`],
      ["Next check", endpoint.next_check_at && endpoint.next_check_at > now ? `in ${duration(endpoint.next_check_at - now)}` : "due"],
    ];
    return section("Facts", h("dl", {}, ...facts.flatMap(([term, text]) => [h("dt", { text: term }), h("dd", { text })])));
  }

  #changes(endpoint, now) {
    const list = [...this.#fleet.historyOf(endpoint)].reverse().slice(0, 20);
    if (!list.length) return null;
    return section("Changes", h("ol", { class: "changes" }, ...list.map(([at, , status, admin, reason]) => {
      const sign = makeSign();
      const state = stateOf({ status, admin_state: admin });
      drawSign(sign, state);
      return h("li", { data: { state } }, h("time", { dateTime: new Date(at).toISOString(), text: timeOf(at, now), title: exactTime(at) }), sign,
        h("span", { text: capital(state) }), h("span", { class: "muted", text: reason ?? "" }));
    })));
  }
}

function section(title, ...children) {
  return h("section", {}, h("h3", { text: title }), ...children);
}
