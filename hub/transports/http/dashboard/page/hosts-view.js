// The view of hosts: the free resources of each, with a line for every GPU.

import { h } from "./dom.js";
import { bytes, count, duration } from "./format.js";
import { Grid } from "./grid.js";
import { drawMeter, gpuLoad, makeMeter, share } from "./row.js";
import { freeVram } from "./state.js";
import { hostsOf } from "./views.js";

export class HostsView {
  title = "Hosts";
  #grid;
  #fleet;
  #add = h("button", { type: "button", class: "primary", text: "Add host" });

  /** `addHost()` opens the dialog that connects a new host. */
  constructor(router, fleet, actions, addHost) {
    this.#fleet = fleet;
    this.actions = actions;
    const percent = (name, title, value) => ({ name, title, value, node: (host) => bar(title, value(host)) });
    this.#grid = new Grid({
      label: "Hosts", key: (host) => host.name, sort: "name", empty: "No sidecar has connected yet. “Add host” shows how.",
      open: (host) => router.go("endpoints", { text: host.name }),
      resort: (sort) => router.note("hosts", { sort }),
      columns: [
        { name: "name", title: "Host", value: (host) => host.name, kind: "is-name" },
        { name: "sidecar", title: "Sidecar", value: (host) => (host.connectedAt ? "connected" : "not connected"), node: (host) => presence(host) },
        {
          name: "endpoints", title: "Endpoints", value: (host) => host.endpoints * 1000 + host.down,
          node: (host) => (host.down ? h("span", { class: "is-error", text: `${host.endpoints}, ${host.down} down` }) : String(host.endpoints)),
        },
        percent("cpu", "CPU", (host) => rounded(host.resources?.cpu_percent)),
        percent("ram", "RAM", (host) => rounded(share(host.resources?.ram_used_bytes, host.resources?.ram_total_bytes))),
        percent("vram", "VRAM", (host) => rounded(share(host.resources?.vram_used_bytes, host.resources?.vram_total_bytes))),
        percent("gpu", "GPU", (host) => rounded(gpuLoad(host.resources))),
        { name: "free", title: "Free VRAM", kind: "is-number", value: (host) => freeVram(host.resources), node: (host) => (freeVram(host.resources) === null ? "–" : bytes(freeVram(host.resources))) },
        { name: "gpus", title: "GPUs", value: (host) => gpuTexts(host).join("\n"), node: (host) => h("ul", { class: "gpus" }, ...gpuTexts(host).map((text) => h("li", { text }))) },
        { name: "reported", title: "Reported", value: (host) => this.#age(host) },
      ],
    });
    this.#add.addEventListener("click", addHost);
    this.element = h("div", {}, h("div", { class: "view-tools" }, this.#add), this.#grid.element);
  }

  enter({ query }) {
    this.#grid.sort = query.sort;
  }

  draw() {
    this.#add.disabled = !this.actions.mayChange;
    this.#grid.draw(hostsOf(this.#fleet));
  }

  #age({ resources }) {
    return resources?.reported_at ? `${duration(this.#fleet.now() - resources.reported_at)} ago` : null;
  }
}

function rounded(value) {
  return value === null || value === undefined ? null : Math.round(value);
}

function bar(label, percent) {
  const meter = makeMeter("");
  drawMeter(meter, percent, percent === null ? `${label} unknown` : `${label}: ${percent} % in use`);
  return meter.element;
}

function presence(host) {
  return h("span", { class: "row-sidecar", data: { sidecar: host.connectedAt ? "connected" : "gone" }, text: host.connectedAt ? "connected" : "not connected" });
}

function gpuTexts({ resources }) {
  if (!resources) return [];
  if (!resources.gpus.length) return [count(0, "GPU")];
  return resources.gpus.map((gpu, index) => [
    `${gpu.index ?? index} ${gpu.name ?? "GPU"}`,
    gpu.vram_used_bytes === null || gpu.vram_total_bytes === null ? null : `${bytes(gpu.vram_used_bytes)} of ${bytes(gpu.vram_total_bytes)}`,
    gpu.utilization_percent === null ? null : `${Math.round(gpu.utilization_percent)} %`,
    gpu.temperature_celsius === null ? null : `${Math.round(gpu.temperature_celsius)} °C`,
  ].filter(Boolean).join(" · "));
}
