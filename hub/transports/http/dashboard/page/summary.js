// The top of the fleet's views: its figures, its models, and instructions for an empty fleet.

import { pasteLine } from "./dialogs.js";
import { byId, h, setAttribute, setText, show } from "./dom.js";
import { bytes, count } from "./format.js";

const FEW_MODELS = 8;

export class Summary {
  #figures = byId("figures");
  #list = byId("model-list");
  #more = byId("models-more");
  #cells = new Map();
  #showsAll = false;
  #models = [];
  #modelKey = "";

  /** `pick(kind, value)` is called when a figure ("health") or a model ("model") is clicked. */
  constructor(pick) {
    this.pick = pick;
    this.#more.addEventListener("click", () => {
      this.#showsAll = !this.#showsAll;
      this.#modelKey = "";
      this.#drawModels();
    });
  }

  draw(summary, filter) {
    const { states } = summary;
    this.#figure("hosts", count(summary.hosts, "host").split(" ")[1], summary.hosts.toLocaleString(),
      `${count(summary.endpoints, "endpoint")}`, null, filter);
    this.#figure("healthy", "healthy", states.healthy.toLocaleString(),
      `on ${count(summary.healthyHosts, "host")}`, "healthy", filter);
    this.#figure("unhealthy", "unhealthy", states.unhealthy.toLocaleString(),
      [states.failing ? `${states.failing.toLocaleString()} failing` : null,
        states.unknown ? `${states.unknown.toLocaleString()} unknown` : "none unknown"].filter(Boolean).join(", "), "unhealthy", filter);
    this.#figure("draining", "draining", states.draining.toLocaleString(),
      states.disabled ? `${states.disabled.toLocaleString()} disabled` : "none disabled", "draining", filter);
    this.#figure("sidecars", summary.sidecars === 1 ? "sidecar" : "sidecars", summary.sidecars.toLocaleString(), "connected", null, filter);
    const free = summary.vramTotal - summary.vramUsed;
    this.#figure("vram", "VRAM free", summary.vramTotal ? bytes(free) : "–",
      summary.vramTotal ? `of ${bytes(summary.vramTotal)}` : "no host reports VRAM", null, filter);
    this.#models = summary.models;
    this.#drawModels();
  }

  #figure(key, label, value, note, health, filter) {
    let cell = this.#cells.get(key);
    if (!cell) {
      cell = { value: h("span", { class: "figure-value" }), label: h("span", { class: "figure-label" }), note: h("span", { class: "figure-note" }) };
      const parts = [cell.value, cell.label, cell.note];
      cell.box = health
        ? h("button", { type: "button", class: "figure", data: { figure: key }, on: { click: () => this.pick("health", health) } }, ...parts)
        : h("div", { class: "figure", data: { figure: key } }, ...parts);
      this.#figures.append(h("li", {}, cell.box));
      this.#cells.set(key, cell);
    }
    setText(cell.value, value);
    setText(cell.label, label);
    setText(cell.note, note);
    cell.box.classList.toggle("is-zero", value === "0");
    if (health) setAttribute(cell.box, "aria-pressed", String(filter.health === health));
  }

  #drawModels() {
    const shown = this.#showsAll ? this.#models : this.#models.slice(0, FEW_MODELS);
    const key = JSON.stringify([shown, this.#models.length]);
    show(byId("models"), this.#models.length > 0);
    if (key === this.#modelKey) return;
    this.#modelKey = key;
    setText(byId("models-title"), count(this.#models.length, "model"));
    this.#list.replaceChildren(...shown.map((model) => h("li", {}, h("button", {
      type: "button", class: model.loaded ? "model-chip is-loaded" : "model-chip",
      title: `${count(model.hosts, "host")} ${model.hosts === 1 ? "has" : "have"} ${model.name}${held(model)}`,
      on: { click: () => this.pick("model", model.name) },
    }, h("span", { class: "model-name", text: model.name }),
    h("span", { class: "model-counts", text: `${count(model.hosts, "host")}${held(model)}` })))));
    const hidden = this.#models.length - FEW_MODELS;
    show(this.#more, hidden > 0);
    setText(this.#more, this.#showsAll ? "Show fewer" : `Show ${hidden} more`);
    setAttribute(this.#more, "aria-expanded", String(this.#showsAll));
  }
}

/** On how many hosts a model is in memory, as far as known; hosts that are down count apart. */
function held({ hosts, loaded, loading, unknown, down }) {
  const isKnown = loaded || hosts > unknown;
  return [
    isKnown ? `${loaded} loaded` : null,
    loading ? `${loading} loading` : null,
    unknown ? (isKnown ? `${unknown} unknown` : "state unknown") : null,
    down ? `${down} down` : null,
  ].filter(Boolean).map((part) => `, ${part}`).join("");
}

/** How to register the first endpoint. `hub` is the stream's hello event. */
export function emptyFleet(hub, mayChange, add) {
  const grpc = reachable(hub.grpc_address);
  const ws = reachable(hub.ws_address);
  const here = location.href.replace(/[?#].*$/, "");
  return [
    h("h2", { text: "No endpoints yet" }),
    h("p", { class: "muted", text: "An endpoint is an address on which an inference server answers. There are several ways to register the first one:" }),
    h("ol", {},
      h("li", {}, h("p", { text: "Register an endpoint here." }),
        h("button", { type: "button", class: "primary", text: "Add endpoint", disabled: !mayChange, on: { click: add } }),
        mayChange ? null : h("p", { class: "muted", text: "Your token is read-only. Sign in with an admin token." })),
      h("li", {}, h("p", { text: "Register it from a shell on the hub’s machine:" }), pasteLine(`llm-hub --hub ${grpc} register gpu-1.lan`)),
      h("li", {}, h("p", { text: "Register it over HTTP:" }),
        pasteLine(`curl -H "Authorization: Bearer $LLM_HUB_TOKEN" -d '{"host": "gpu-1.lan"}' -H 'Content-Type: application/json' ${here}api/admin/llm-registry`)),
      h("li", {}, h("p", { text: "Let a sidecar register its own host. It needs a token that is bound to its agent:" }),
        pasteLine(`llm-hub --hub ${grpc} token create --role sidecar --agent node-1`),
        h("p", { class: "muted" }, "It then connects to ", h("code", { text: `ws://${ws}/ws` }), "."))),
  ];
}

/** The message when no endpoint matches. */
export function nothingFound(clear) {
  return [
    h("h2", { text: "No endpoint matches" }),
    h("p", { class: "muted", text: "Each search word must occur in the endpoint’s name, address, model, label, backend, version, agent or error." }),
    h("button", { type: "button", text: "Clear search and filters", on: { click: clear } }),
  ];
}

/** The address at which a browser's user reaches a server of the hub. */
export function reachable(address) {
  // A hub that listens on every address is reachable at this page's address.
  return (address ?? "").replace(/^(0\.0\.0\.0|\[::\])(?=:)/, location.hostname);
}
