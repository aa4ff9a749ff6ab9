// The rows: only those in view exist, so two thousand cost no more than thirty.

import { byId, setAttribute } from "./dom.js";
import { Row } from "./row.js";

const MARGIN_ROWS = 6;

export class Table {
  #fleet;
  #rows = byId("rows");
  #grid = byId("endpoints");
  #list = [];
  #shown = new Map();
  #spare = [];
  #height = 0;
  #active = null;
  #frame = 0;

  /** `handlers`: `open(id)`, `menu(id, button)`, `key(id, key)`. */
  constructor(fleet, handlers) {
    this.#fleet = fleet;
    addEventListener("scroll", () => this.#later(), { passive: true });
    addEventListener("resize", () => this.relayout());
    this.#rows.addEventListener("click", (event) => {
      const id = this.#idAt(event.target);
      if (!id) return;
      const button = event.target.closest("button.more");
      this.#activate(id);
      if (button) handlers.menu(id, button);
      else if (!getSelection()?.toString()) handlers.open(id);
    });
    this.#rows.addEventListener("focusin", (event) => this.#activate(this.#idAt(event.target)));
    this.#rows.addEventListener("keydown", (event) => this.#key(event, handlers));
  }

  /** Shows these endpoints, in this order. */
  setList(list) {
    this.#list = list;
    if (!list.some((endpoint) => endpoint.id === this.#active)) this.#active = list[0]?.id ?? null;
    setAttribute(this.#grid, "aria-rowcount", String(list.length + 1));
    this.relayout();
  }

  /** Redraws the rows of these endpoints that are in view. */
  touch(ids) {
    for (const [id, row] of this.#shown) if (ids.has(id)) this.#draw(row, id);
  }

  /** Updates the ages in all rows in view. */
  tick() {
    for (const row of this.#shown.values()) row.tick(this.#fleet);
  }

  /** Redraws all rows in view. */
  redraw() {
    for (const [id, row] of this.#shown) this.#draw(row, id);
  }

  /** Measures the row height again and places all rows. */
  relayout() {
    this.#height = parseFloat(getComputedStyle(this.#rows).getPropertyValue("--row-height"));
    this.#rows.style.height = `${this.#height * this.#list.length}px`;
    this.#render();
  }

  /** Focuses a row; by default the active one. */
  focus(id = this.#active) {
    if (!id) return;
    this.#activate(id);
    this.#reveal(id);
    this.#shown.get(id)?.element.focus({ preventScroll: true });
  }

  #later() {
    this.#frame ||= requestAnimationFrame(() => this.#render());
  }

  #render() {
    this.#frame = 0;
    const top = -this.#rows.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(top / this.#height) - MARGIN_ROWS);
    const last = Math.min(this.#list.length, Math.ceil((top + innerHeight) / this.#height) + MARGIN_ROWS);
    const wanted = new Map();
    for (let i = first; i < last; i += 1) wanted.set(this.#list[i].id, i);
    // The focused row stays even out of view; otherwise the focus would be lost.
    const focused = this.#idAt(document.activeElement);
    if (focused && !wanted.has(focused)) {
      const index = this.#list.findIndex((endpoint) => endpoint.id === focused);
      if (index >= 0) wanted.set(focused, index);
    }
    for (const [id, row] of this.#shown) {
      if (!wanted.has(id)) {
        this.#shown.delete(id);
        this.#spare.push(row);
      }
    }
    for (const [id, index] of wanted) {
      let row = this.#shown.get(id);
      if (!row) {
        row = this.#spare.pop() ?? new Row();
        this.#shown.set(id, row);
        this.#draw(row, id);
        if (!row.element.isConnected) this.#rows.append(row.element);
      }
      this.#place(row, id, index);
    }
    for (const row of this.#spare.splice(0)) row.element.remove();
  }

  #place(row, id, index) {
    const transform = `translateY(${index * this.#height}px)`;
    if (row.element.style.transform !== transform) row.element.style.transform = transform;
    setAttribute(row.element, "aria-rowindex", String(index + 2));
    const tabIndex = id === this.#active ? 0 : -1;
    row.element.tabIndex = tabIndex;
    row.more.tabIndex = tabIndex;
  }

  #draw(row, id) {
    const endpoint = this.#fleet.endpoints.get(id);
    if (endpoint) row.draw(endpoint, this.#fleet);
  }

  #idAt(target) {
    return target instanceof Element ? target.closest(".row")?.dataset.id ?? null : null;
  }

  #activate(id) {
    if (!id || id === this.#active) return;
    for (const [other, tabIndex] of [[this.#active, -1], [id, 0]]) {
      const row = this.#shown.get(other);
      if (row) row.element.tabIndex = row.more.tabIndex = tabIndex;
    }
    this.#active = id;
  }

  #key(event, handlers) {
    const id = this.#idAt(event.target);
    if (!id || event.ctrlKey || event.metaKey || event.altKey) return;
    const onButton = event.target.closest("button");
    const index = this.#list.findIndex((endpoint) => endpoint.id === id);
    const page = Math.max(1, Math.floor(innerHeight / this.#height) - 2);
    const steps = {
      ArrowDown: index + 1, ArrowUp: index - 1, PageDown: index + page, PageUp: index - page,
      Home: 0, End: this.#list.length - 1,
    };
    if (event.key in steps) {
      event.preventDefault();
      const next = Math.min(this.#list.length - 1, Math.max(0, steps[event.key]));
      this.focus(this.#list[next].id);
    } else if (event.key === "Enter" && !onButton) {
      event.preventDefault();
      handlers.open(id);
    } else if (!onButton && handlers.key(id, event.key, this.#shown.get(id).more)) event.preventDefault();
  }

  #reveal(id) {
    const index = this.#list.findIndex((endpoint) => endpoint.id === id);
    if (index < 0) return;
    const rows = this.#rows.getBoundingClientRect().top;
    const cover = document.querySelector(".bar").offsetHeight + document.querySelector(".head").offsetHeight;
    const top = rows + index * this.#height - cover;
    const bottom = rows + (index + 1) * this.#height - innerHeight;
    if (top < 0) scrollBy(0, top - 4);
    else if (bottom > 0) scrollBy(0, bottom + 4);
    this.#render();
  }
}
