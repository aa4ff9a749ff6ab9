// The view of models: for each, where it is now and what room there is for it.

import { h } from "./dom.js";
import { bytes } from "./format.js";
import { Grid } from "./grid.js";
import { modelsOf } from "./views.js";

export class ModelsView {
  title = "Models";
  #router;
  #grid;

  constructor(router) {
    this.#router = router;
    const number = (name, title, value = (row) => row[name]) => ({ name, title, value, kind: "is-number" });
    this.#grid = new Grid({
      label: "Models", key: (row) => row.name, sort: "-loaded", empty: "No server has reported a model yet.",
      open: (row) => router.go("endpoints", { text: searchFor(row.name) }),
      resort: (sort) => router.note("models", { sort }),
      columns: [
        { name: "name", title: "Model", value: (row) => row.name, kind: "is-name" },
        number("loaded", "Loaded"), number("loading", "Loading"), number("available", "On disk"),
        number("unknown", "Unknown"), number("down", "Down"),
        number("waiting", "Queue"),
        { name: "room", title: "Most free VRAM", kind: "is-number", value: (row) => row.room, node: (row) => (row.room === null ? "–" : bytes(row.room)) },
        { name: "size", title: "Size", kind: "is-number", value: (row) => row.size, node: (row) => (row.size === null ? "–" : bytes(row.size)) },
        {
          name: "healthy", title: "Healthy servers", kind: "is-number", value: (row) => row.healthy,
          node: (row) => (row.healthy === 1 ? h("span", { class: "is-alone", title: "Only one healthy server has this model", text: "1, the last" }) : String(row.healthy)),
        },
        { name: "capabilities", title: "Can", value: (row) => row.capabilities.join(", ") },
      ],
    });
    this.element = h("div", {}, this.#grid.element);
  }

  enter({ query }) {
    this.#grid.sort = query.sort;
  }

  draw(summary, fleet) {
    this.#grid.draw(modelsOf(fleet, summary));
  }
}

/** What finds the endpoints that have a model. Search words have no spaces. */
export function searchFor(name) {
  return /\s/.test(name) ? name : `model=${name}`;
}
