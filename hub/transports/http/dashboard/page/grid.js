// A table whose headers sort. The order is part of the address: "?sort=-vram" is descending.

import { h, keyed, setAttribute, show } from "./dom.js";

const compare = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" }).compare;

export class Grid {
  #columns;
  #key;
  #open;
  #sort;
  #resort;
  #head = h("tr");
  #body = h("tbody");
  #empty = h("p", { class: "muted grid-empty" });
  #items = [];
  #buttons = new Map();

  /**
   * `columns`: `{name, title, value(item), node?(item), kind?}`. `value` is what sorts and what
   * is compared for changes; `node` returns the cell's content if that is not the value's text.
   * `kind` is a class of the cells. `open(item)` is called for a clicked row. `resort(sort)` is
   * called when a header was clicked.
   */
  constructor({ label, columns, key, sort, empty, open = null, resort = () => {} }) {
    this.#columns = columns;
    this.#key = key;
    this.#open = open;
    this.#sort = sort;
    this.#resort = resort;
    this.#empty.textContent = empty;
    for (const column of columns) {
      const cell = h("th", { scope: "col", class: column.kind ?? "" });
      if (column.title) {
        const button = h("button", { type: "button", class: "sorter", text: column.title, on: { click: () => this.#sortBy(column.name) } });
        cell.append(button);
        this.#buttons.set(column.name, cell);
      } else cell.append(h("span", { class: "unseen", text: "Actions" }));
      this.#head.append(cell);
    }
    this.table = h("table", { class: "grid", "aria-label": label }, h("thead", {}, this.#head), this.#body);
    this.element = h("div", { class: "grid-box", tabIndex: -1 }, this.table, this.#empty);
    this.#drawHead();
  }

  /** Sorts as an address says; an unknown column changes nothing. */
  set sort(sort) {
    if (!sort || !this.#buttons.has(sort.replace(/^-/, "")) || sort === this.#sort) return;
    this.#sort = sort;
    this.#drawHead();
  }

  draw(items) {
    this.#items = items;
    const name = this.#sort.replace(/^-/, "");
    const column = this.#columns.find((each) => each.name === name);
    const direction = this.#sort.startsWith("-") ? -1 : 1;
    const sorted = items.map((item) => [column.value(item), item])
      .sort(([a, one], [b, two]) => direction * order(a, b) || compare(this.#key(one), this.#key(two)))
      .map(([, item]) => item);
    keyed(this.#body, sorted, {
      key: this.#key,
      sign: (item) => JSON.stringify(this.#columns.map((each) => each.value(item))),
      make: () => h("tr", this.#open ? { class: "opens" } : {}),
      draw: (row, item) => this.#drawRow(row, item),
    });
    show(this.table, items.length > 0);
    show(this.#empty, items.length === 0);
  }

  #drawRow(row, item) {
    row.replaceChildren(...this.#columns.map((column, index) => {
      const content = column.node ? column.node(item) : String(column.value(item) ?? "–");
      const cell = h(index === 0 ? "th" : "td", { class: column.kind ?? "", ...(index === 0 ? { scope: "row" } : {}) });
      if (index === 0 && this.#open) {
        cell.append(h("button", { type: "button", class: "link-button", on: { click: () => this.#open(item) } }, content));
      } else cell.append(content);
      return cell;
    }));
    row.onclick = this.#open ? (event) => {
      if (!event.target.closest("button, a") && !getSelection()?.toString()) this.#open(item);
    } : null;
  }

  #sortBy(name) {
    this.#sort = this.#sort === name ? `-${name}` : name;
    this.#drawHead();
    this.#resort(this.#sort);
    this.draw(this.#items);
  }

  #drawHead() {
    for (const [name, cell] of this.#buttons) {
      const direction = this.#sort === name ? "ascending" : this.#sort === `-${name}` ? "descending" : null;
      setAttribute(cell, "aria-sort", direction);
    }
  }
}

/** Unknown values come last, in whichever direction. */
function order(a, b) {
  const isKnown = (value) => value !== null && value !== undefined && value !== "";
  if (!isKnown(a) || !isKnown(b)) return Number(isKnown(b)) - Number(isKnown(a));
  return typeof a === "number" && typeof b === "number" ? a - b : compare(String(a), String(b));
}
