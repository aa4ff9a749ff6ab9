// The first view: what is wrong now, the heat of the hosts, what changed in the last hour.

import { h, keyed, setText, show } from "./dom.js";
import { count, duration, timeOf } from "./format.js";
import { hashOf } from "./router.js";
import { drawSign, gpuLoad, makeSign, share } from "./row.js";
import { STATES, sinceOf, stateOf, stateText } from "./state.js";
import { changesOf, hostsOf, modelsOf } from "./views.js";

const MOST_PROBLEMS = 12;
const MOST_CHANGES = 15;

export class OverviewView {
  title = "Overview";
  #fleet;
  #problems = h("ul", { class: "problems" });
  #fine = h("p", { class: "muted", text: "Nothing is wrong: every endpoint answers, and every sidecar is connected." });
  #more = h("p", { class: "muted" });
  #heat = h("ul", { class: "heat", "aria-label": "Memory in use and load" });
  #noHeat = h("p", { class: "muted", text: "No sidecar reports yet." });
  #changes = h("ol", { class: "activity" });
  #noChanges = h("p", { class: "muted", text: "Nothing changed." });

  constructor(fleet) {
    this.#fleet = fleet;
    const part = (title, ...children) => h("section", { class: "card" }, h("h3", { text: title }), ...children);
    this.element = h("div", { class: "overview" },
      part("Wrong now", this.#problems, this.#more, this.#fine),
      part("Hosts: VRAM in use, GPU load", this.#heat, this.#noHeat),
      part("Changed in the last hour", this.#changes, this.#noChanges));
  }

  enter() {}

  draw(summary) {
    this.#drawProblems(summary);
    this.#drawHeat();
    this.#drawChanges();
  }

  #drawProblems(summary) {
    const now = this.#fleet.now();
    const wrong = [...this.#fleet.endpoints.values()].filter((each) => ["unhealthy", "failing"].includes(stateOf(each)))
      .sort((a, b) => STATES.indexOf(stateOf(a)) - STATES.indexOf(stateOf(b)));
    const items = [
      ...wrong.map((each) => {
        const since = sinceOf(each, this.#fleet);
        return {
          key: `endpoint ${each.id}`, state: stateOf(each), title: each.name, href: hashOf("endpoints", {}, each.id),
          text: `${stateText(each)}${since ? ` for ${duration(now - since)}` : ""}${each.last_error ? `: ${each.last_error}` : ""}`,
        };
      }),
      ...hostsOf(this.#fleet).filter((host) => host.endpoints && !host.connectedAt).map((host) => ({
        key: `host ${host.name}`, state: "unknown", title: host.name, href: hashOf("hosts"),
        text: "its sidecar is not connected: CPU and memory are unknown",
      })),
      ...modelsOf(this.#fleet, summary).filter((model) => model.healthy === 0).map((model) => ({
        key: `model ${model.name}`, state: "unhealthy", title: model.name, href: hashOf("models"), text: "no healthy server has this model",
      })),
    ];
    show(this.#fine, items.length === 0 && this.#fleet.endpoints.size > 0);
    const hidden = Math.max(0, items.length - MOST_PROBLEMS);
    show(this.#more, hidden > 0);
    setText(this.#more, `and ${hidden} more`);
    keyed(this.#problems, items.slice(0, MOST_PROBLEMS), {
      key: (each) => each.key, sign: (each) => `${each.state}${each.text}`,
      make: () => h("li"),
      draw: (line, each) => {
        const sign = makeSign();
        drawSign(sign, each.state);
        line.replaceChildren(sign, h("a", { href: each.href, text: each.title }), h("span", { class: "muted", text: each.text }));
      },
    });
  }

  #drawHeat() {
    const hosts = hostsOf(this.#fleet).filter((host) => host.resources);
    show(this.#noHeat, hosts.length === 0);
    keyed(this.#heat, hosts.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true })), {
      key: (host) => host.name, sign: (host) => heatText(host),
      make: () => h("li"),
      draw: (cell, host) => {
        const vram = share(host.resources.vram_used_bytes, host.resources.vram_total_bytes);
        const link = h("a", { href: hashOf("endpoints", { text: host.name }), title: heatText(host) },
          h("span", { class: "heat-name", text: host.name }), h("span", { class: "heat-value", text: vram === null ? "–" : `${Math.round(vram)} %` }));
        link.dataset.heat = vram === null ? "unknown" : vram >= 90 ? "high" : vram >= 70 ? "warm" : "low";
        cell.replaceChildren(link);
      },
    });
  }

  #drawChanges() {
    const changes = changesOf(this.#fleet).slice(0, MOST_CHANGES);
    show(this.#noChanges, changes.length === 0);
    keyed(this.#changes, changes, {
      key: (each) => `${each.id} ${each.at}`, sign: (each) => each.state,
      make: () => h("li"),
      draw: (line, each) => {
        const sign = makeSign();
        drawSign(sign, each.state);
        line.replaceChildren(h("time", { dateTime: new Date(each.at).toISOString(), text: timeOf(each.at, this.#fleet.now()) }), sign,
          h("a", { href: hashOf("endpoints", {}, each.id), text: each.name }), h("span", { text: `is ${each.state}` }), h("span", { class: "muted", text: each.reason ?? "" }));
      },
    });
  }
}

function heatText({ name, resources }) {
  const vram = share(resources.vram_used_bytes, resources.vram_total_bytes);
  const gpu = gpuLoad(resources);
  return `${name}: VRAM ${vram === null ? "unknown" : `${Math.round(vram)} % in use`}, GPU ${gpu === null ? "unknown" : `${Math.round(gpu)} %`}, ${count(resources.gpus.length, "GPU")}`;
}
