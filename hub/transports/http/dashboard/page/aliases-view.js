// The view of model aliases: the names that stand for several models.

import { api } from "./api.js";
import { ask, field, toast } from "./dialogs.js";
import { h, setText } from "./dom.js";
import { Grid } from "./grid.js";

const FACTS = ["model", "digest", "family", "quantization", "min_context_length"];

export class AliasesView {
  title = "Aliases";
  #actions;
  #grid;
  #error = h("p", { class: "field-error", role: "alert" });
  #add = h("button", { type: "button", class: "primary", text: "Add alias", on: { click: () => void this.#edit(null) } });

  constructor(router, actions) {
    this.#actions = actions;
    this.#grid = new Grid({
      label: "Aliases", key: (alias) => alias.name, sort: "name",
      empty: "No aliases. An alias lets services ask for “chat” while you decide which models that means.",
      resort: (sort) => router.note("aliases", { sort }),
      columns: [
        { name: "name", title: "Alias", value: (alias) => alias.name, kind: "is-name" },
        { name: "targets", title: "Stands for", value: (alias) => targetTexts(alias).join("\n"), node: (alias) => h("ul", {}, ...targetTexts(alias).map((text) => h("li", { text }))) },
        { name: "description", title: "Note", value: (alias) => alias.description },
        {
          name: "actions", title: "", value: () => this.#actions.mayChange, kind: "is-actions",
          node: (alias) => h("span", { class: "buttons" },
            h("button", { type: "button", class: "small", text: "Edit", disabled: !this.#actions.mayChange, "aria-label": `Edit ${alias.name}`, on: { click: () => void this.#edit(alias) } }),
            h("button", { type: "button", class: "small danger-quiet", text: "Remove", disabled: !this.#actions.mayChange, "aria-label": `Remove ${alias.name}`, on: { click: () => void this.#remove(alias) } })),
        },
      ],
    });
    this.element = h("div", {}, h("div", { class: "view-tools" }, this.#add), this.#error, this.#grid.element);
  }

  enter({ query }) {
    this.#grid.sort = query.sort;
    void this.#load();
  }

  draw() {
    this.#add.disabled = !this.#actions.mayChange;
  }

  async #load() {
    setText(this.#error, "");
    try {
      this.#grid.draw((await api.rpc("ListModelAliases", { page_size: 1000 })).aliases);
    } catch (error) {
      setText(this.#error, error.message);
    }
  }

  async #edit(alias) {
    const input = (properties) => h("input", { autocomplete: "off", spellcheck: false, ...properties });
    const name = field("alias.name", "Alias", input({ value: alias?.name ?? "", readOnly: Boolean(alias), placeholder: "chat" }));
    const targets = field("alias.targets", "Models", h("textarea", { rows: 4, spellcheck: false, value: alias ? targetTexts(alias).join("\n") : "" }),
      "One per line: a model’s name, or facts such as family=llama quantization=Q4_K_M min_context_length=8192.");
    const note = field("alias.description", "Note", input({ value: alias?.description ?? "" }));
    const isDone = await ask({
      title: alias ? `Alias ${alias.name}` : "Add alias", fields: [name, targets, note], confirm: "Save alias",
      submit: () => api.rpc("SetModelAlias", {
        alias: { name: name.control.value.trim(), targets: parseTargets(targets.control.value), description: note.control.value, ...(alias ? { etag: alias.etag } : {}) },
      }),
    });
    if (isDone) {
      toast(`Saved the alias ${name.control.value.trim()}.`);
      await this.#load();
    }
  }

  async #remove(alias) {
    const isDone = await ask({
      title: `Remove ${alias.name}?`, body: [h("p", { text: "Services that ask for this name find no endpoint any more." })], confirm: "Remove", danger: true,
      submit: () => api.rpc("RemoveModelAlias", { name: alias.name, etag: alias.etag }),
    });
    if (isDone) await this.#load();
  }
}

function targetTexts(alias) {
  return alias.targets.map((target) => {
    const facts = FACTS.filter((fact) => target[fact]);
    return facts.length === 1 && facts[0] === "model" ? target.model : facts.map((fact) => `${fact}=${target[fact]}`).join(" ");
  });
}

function parseTargets(text) {
  return text.split("\n").map((line) => line.trim()).filter(Boolean).map((line) => {
    const facts = line.split(/\s+/).map((word) => word.split(/=(.*)/s, 2));
    if (!facts.every(([fact, value]) => FACTS.includes(fact) && value !== undefined)) return { model: line };
    return Object.fromEntries(facts.map(([fact, value]) => [fact, fact === "min_context_length" && /^\d+$/.test(value) ? Number(value) : value]));
  });
}
