// The view of what happened: changes of state, and who changed what, in one list.

import { api } from "./api.js";
import { h, keyed, setText, show } from "./dom.js";
import { exactTime, timeOf } from "./format.js";
import { drawSign, makeSign } from "./row.js";
import { changesOf } from "./views.js";

const MOST = 500;

export class ActivityView {
  title = "Activity";
  #fleet;
  #actions;
  #events = [];
  #search = h("input", { type: "search", placeholder: "Search: endpoint, token, action", autocomplete: "off", spellcheck: false, "aria-label": "Search activity" });
  #kind = h("select", { "aria-label": "Kind" }, h("option", { value: "", text: "everything" }), h("option", { value: "state", text: "changes of state" }), h("option", { value: "audit", text: "changes by people and programs" }));
  #list = h("ol", { class: "activity", "aria-label": "Activity" });
  #empty = h("p", { class: "muted", text: "Nothing to show." });
  #error = h("p", { class: "muted" });

  constructor(router, fleet, actions) {
    this.#fleet = fleet;
    this.#actions = actions;
    const changed = () => {
      router.note("activity", { text: this.#search.value, kind: this.#kind.value });
      this.draw();
    };
    this.#search.addEventListener("input", changed);
    this.#kind.addEventListener("change", changed);
    this.element = h("div", {}, h("div", { class: "view-tools", role: "search" }, this.#search, this.#kind), this.#error, this.#empty, this.#list);
  }

  enter({ query }) {
    this.#search.value = query.text ?? "";
    this.#kind.value = query.kind ?? "";
    void this.#load();
  }

  async #load() {
    setText(this.#error, "");
    if (!this.#actions.mayChange) {
      setText(this.#error, "The audit trail is for admins: you see changes of state only.");
      return;
    }
    try {
      const { events } = await api.rpc("ListAuditEvents", { page_size: MOST });
      this.#events = events.map((event) => ({
        at: event.changed_at, key: event.id, kind: "audit", what: this.#named(event.resource), state: null,
        text: `${inWords(event.action)}${event.secret_changed ? ", with its secret" : ""}`,
        by: [event.token_id, event.remote_address, event.transport].filter(Boolean).join(", "),
      }));
      this.draw();
    } catch (error) {
      setText(this.#error, `The audit trail is missing: ${error.message}`);
    }
  }

  /** The name of an audited resource, such as "endpoints/gpu-1:11434". */
  #named(resource) {
    const [kind, id] = resource.split(/\/(.*)/s, 2);
    return (kind === "endpoints" && this.#fleet.endpoints.get(id)?.name) || `${kind.replace(/s$/, "")} ${id}`;
  }

  draw() {
    const changes = changesOf(this.#fleet).map((change) => ({
      at: change.at, key: `${change.id} ${change.at}`, kind: "state", what: change.name, state: change.state,
      text: `is ${change.state}`, by: change.reason ?? "",
    }));
    const words = this.#search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kind = this.#kind.value;
    const shown = [...changes, ...this.#events]
      .filter((each) => (!kind || each.kind === kind) && words.every((word) => `${each.what} ${each.text} ${each.by}`.toLowerCase().includes(word)))
      .sort((a, b) => b.at - a.at).slice(0, MOST);
    show(this.#empty, shown.length === 0);
    keyed(this.#list, shown, {
      key: (each) => each.key, sign: (each) => each.text,
      make: () => h("li"),
      draw: (line, each) => {
        const sign = makeSign();
        if (each.state) drawSign(sign, each.state);
        line.replaceChildren(
          h("time", { dateTime: new Date(each.at).toISOString(), title: exactTime(each.at), text: timeOf(each.at, this.#fleet.now()) }),
          each.state ? sign : h("span"), h("span", { class: "row-name", text: each.what }), h("span", { text: each.text }), h("span", { class: "muted", text: each.by }));
      },
    });
  }
}

/** "RegisterEndpoint" is "register endpoint". */
function inWords(action) {
  return action.replace(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase();
}
