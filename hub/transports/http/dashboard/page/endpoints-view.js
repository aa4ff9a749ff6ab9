// The view of all endpoints: search, filters and rows. Its address has the filters and the order.

import { byId, h, setText, show } from "./dom.js";
import { backendName, count } from "./format.js";
import { emptyFleet, nothingFound } from "./summary.js";
import { Table } from "./table.js";

const FIRST_SORT = "problems";

export class EndpointsView {
  #fleet;
  #actions;
  #router;
  #filtered;
  #controls = { text: byId("search"), health: byId("by-health"), backend: byId("by-backend"), sort: byId("sort") };
  #hub = {};
  filter = { text: "", health: "", backend: "", sort: FIRST_SORT };
  title = "Endpoints";

  /** `filtered()` is called when the user has changed the filter. */
  constructor(fleet, actions, router, filtered) {
    this.#fleet = fleet;
    this.#actions = actions;
    this.#router = router;
    this.#filtered = filtered;
    this.table = new Table(fleet, {
      open: (id) => this.open(id),
      menu: (id, button) => actions.showMenu(id, button),
      key: (id, key, button) => (key === "m" ? (actions.showMenu(id, button), true) : actions.key(id, key)),
    });
    this.#controls.text.addEventListener("input", () => this.#read());
    for (const name of ["health", "backend", "sort"]) this.#controls[name].addEventListener("change", () => this.#read());
    this.#controls.text.addEventListener("keydown", (event) => this.#searchKey(event));
    byId("add").addEventListener("click", () => actions.add());
  }

  /** Shows what an address says. */
  enter({ query }) {
    this.filter = { text: query.text ?? "", health: query.health ?? "", backend: query.backend ?? "", sort: query.sort ?? FIRST_SORT };
    for (const [name, control] of Object.entries(this.#controls)) {
      control.value = this.filter[name];
      // An address may name what no select offers.
      if (control.value !== this.filter[name] && name !== "backend") this.filter[name] = control.value = name === "sort" ? FIRST_SORT : "";
    }
  }

  /** The filter as an address has it. */
  get query() {
    return { ...this.filter, sort: this.filter.sort === FIRST_SORT ? "" : this.filter.sort };
  }

  /** Shows an endpoint's details, which have an address of their own. */
  open(id) {
    this.#router.go("endpoints", this.query, id);
  }

  draw(summary, hub) {
    this.#hub = hub;
    this.#drawBackends(summary.backends);
    this.drawList();
  }

  drawList() {
    const began = performance.now();
    const found = this.#fleet.find(this.filter);
    const total = this.#fleet.endpoints.size;
    this.table.setList(found);
    this.table.redraw();
    setText(byId("count"), found.length === total ? count(total, "endpoint") : `${found.length.toLocaleString()} of ${count(total, "endpoint")}`);
    show(byId("tools"), total > 0);
    show(byId("endpoints"), found.length > 0);
    this.#drawBlank(found.length, total);
    performance.measure("filter", { start: began });
  }

  /** Puts the cursor into the search field. */
  search() {
    this.#controls.text.focus();
    this.#controls.text.select();
  }

  #drawBlank(found, total) {
    const blank = byId("blank");
    const kind = found ? "" : total ? "nothing" : `empty-${this.#actions.role}`;
    show(blank, kind !== "");
    if (blank.dataset.kind === kind) return;
    blank.dataset.kind = kind;
    if (kind === "nothing") blank.replaceChildren(...nothingFound(() => this.#clear()));
    else if (kind) blank.replaceChildren(...emptyFleet(this.#hub, this.#actions.mayChange, () => this.#actions.add()));
  }

  #drawBackends(backends) {
    const select = this.#controls.backend;
    const key = backends.join();
    if (select.dataset.key === key) return;
    select.dataset.key = key;
    select.replaceChildren(h("option", { value: "", text: "any" }), ...backends.map((each) => h("option", { value: each, text: backendName(each) })));
    select.value = backends.includes(this.filter.backend) ? this.filter.backend : "";
    this.filter.backend = select.value;
  }

  #read() {
    for (const [name, control] of Object.entries(this.#controls)) this.filter[name] = control.value;
    this.#router.note("endpoints", this.query);
    const top = byId("tools").offsetTop;
    this.drawList();
    this.#filtered();
    // A shorter list must not leave the page scrolled past its end.
    if (scrollY > top) scrollTo(0, top - document.querySelector(".bar").offsetHeight);
  }

  #clear() {
    this.#controls.text.value = this.#controls.health.value = this.#controls.backend.value = "";
    this.#read();
    this.#controls.text.focus();
  }

  #searchKey(event) {
    const { text } = this.#controls;
    if (event.key === "Escape" && text.value) {
      event.preventDefault();
      text.value = "";
      this.#read();
    } else if (event.key === "ArrowDown" || event.key === "Enter") {
      event.preventDefault();
      this.table.focus();
    }
  }
}
