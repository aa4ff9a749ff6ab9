// The view that tries a selection: who would be chosen for a model, and why the others not.

import { api } from "./api.js";
import { field, pasteLine } from "./dialogs.js";
import { h, setText } from "./dom.js";

const STRATEGIES = ["least_loaded", "prefer_loaded", "round_robin", "least_latency", "weighted"];

export class SelectView {
  title = "Try a selection";
  #router;
  #fleet;
  #models = h("datalist", { id: "known-models" });
  #modelKey = "";
  #error = h("p", { class: "field-error", role: "alert" });
  #result = h("div", { class: "explained" });
  #fields;

  constructor(router, fleet) {
    this.#router = router;
    this.#fleet = fleet;
    const input = (properties) => h("input", { autocomplete: "off", spellcheck: false, ...properties });
    const model = input({ placeholder: "llama3.1:8b" });
    model.setAttribute("list", "known-models");
    this.#fields = {
      model: field("model", "Model or alias", model),
      strategy: field("strategy", "Strategy", h("select", {}, h("option", { value: "", text: "default" }), ...STRATEGIES.map((each) => h("option", { value: each, text: each.replaceAll("_", " ") })))),
      labels: field("labels", "Labels", input({ placeholder: "zone=a tier=prod" }), "key=value, with spaces between."),
      capabilities: field("capabilities", "Capabilities", input({ placeholder: "tools vision" })),
      context: field("min_context_length", "Least context", input({ inputMode: "numeric", placeholder: "8192" }), "In tokens."),
    };
    const form = h("form", { class: "select-form" }, ...Object.values(this.#fields).map((each) => each.element),
      h("button", { type: "submit", class: "primary", text: "Select" }));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      router.note("select", this.#values());
      void this.#ask();
    });
    this.element = h("div", {}, h("p", { class: "muted", text: "Asks the hub as a service would. It takes no lease, so it changes nothing." }),
      form, this.#models, this.#error, this.#result);
  }

  enter({ query }) {
    for (const [name, each] of Object.entries(this.#fields)) each.control.value = query[name] ?? "";
    this.#result.replaceChildren();
    setText(this.#error, "");
    if (query.model) void this.#ask();
  }

  draw(summary) {
    const names = summary.models.map((model) => model.name);
    if (this.#modelKey === names.join("\n")) return;
    this.#modelKey = names.join("\n");
    this.#models.replaceChildren(...names.map((value) => h("option", { value })));
  }

  #values() {
    return Object.fromEntries(Object.entries(this.#fields).map(([name, each]) => [name, each.control.value.trim()]));
  }

  #request() {
    const { model, strategy, labels, capabilities, context } = this.#values();
    const words = (text) => text.split(/[\s,]+/).filter(Boolean);
    return {
      model, count: 1,
      ...(strategy ? { strategy } : {}),
      ...(labels ? { labels: Object.fromEntries(words(labels).map((each) => each.split(/=(.*)/s, 2))) } : {}),
      ...(capabilities ? { capabilities: words(capabilities) } : {}),
      // Other text is sent as it is: the hub explains the error.
      ...(context ? { min_context_length: /^\d{1,12}$/.test(context) ? Number(context) : context } : {}),
    };
  }

  async #ask() {
    for (const each of Object.values(this.#fields)) each.fail("");
    setText(this.#error, "");
    const request = this.#request();
    try {
      const response = await api.rpc("SelectEndpoint", { ...request, explain: true });
      this.#drawResult(request, response);
    } catch (error) {
      this.#fail(error, request);
    }
  }

  #fail(error, request) {
    this.#result.replaceChildren(copies(request));
    const rest = [];
    for (const violation of error.errors) {
      const owner = Object.values(this.#fields).find(({ name }) => violation.field.startsWith(name));
      if (owner) owner.fail(violation.detail);
      else rest.push(`${violation.field}: ${violation.detail}`);
    }
    setText(this.#error, error.errors.length ? rest.join("; ") : error.message);
  }

  #drawResult(request, { selections, candidates }) {
    const chosen = selections[0];
    const highest = Math.max(...candidates.filter((each) => !each.rejection).map((each) => each.score), 0.001);
    this.#result.replaceChildren(
      h("p", { class: "chosen" }, "Chosen: ", h("a", { href: `#/endpoints/${encodeURIComponent(chosen.endpoint.id)}`, text: chosen.endpoint.name }),
        h("span", { class: "muted", text: ` at ${chosen.endpoint.scheme}://${chosen.endpoint.id}${chosen.endpoint.base_path}, as ${chosen.model}` })),
      h("ol", { class: "candidates", "aria-label": "Candidates" }, ...candidates.map((each) => this.#candidate(each, highest))),
      copies(request));
  }

  #candidate(candidate, highest) {
    const name = this.#fleet.endpoints.get(candidate.endpoint_id)?.name ?? candidate.endpoint_id;
    if (candidate.rejection) {
      return h("li", { class: "is-rejected" }, h("span", { class: "row-name", text: name }),
        h("span", { text: `${candidate.rejection.replaceAll("_", " ")}${candidate.detail ? `: ${candidate.detail}` : ""}` }));
    }
    const parts = Object.entries(candidate.parts).filter(([, value]) => value > 0);
    const track = h("span", { class: "parts" }, ...parts.map(([part, value]) => {
      const bar = h("span", { class: "part", data: { part }, title: `${part.replaceAll("_", " ")}: ${value.toFixed(2)}` });
      bar.style.width = `${(100 * value) / highest}%`;
      return bar;
    }));
    return h("li", {}, h("span", { class: "row-name", text: name }), track,
      h("span", { class: "is-number", text: candidate.score.toFixed(2) }),
      h("span", { class: "muted", text: parts.map(([part, value]) => `${part.replaceAll("_", " ")} ${value.toFixed(2)}`).join(", ") }));
  }
}

function copies(request) {
  const json = JSON.stringify(request).replaceAll("'", "'\\''");
  const here = location.href.replace(/[?#].*$/, "");
  const python = Object.entries(request).filter(([name]) => !["model", "count"].includes(name))
    .map(([name, value]) => `, ${name}=${name === "strategy" ? `Strategy.Value("STRATEGY_${value.toUpperCase()}")` : JSON.stringify(value)}`).join("");
  return h("details", {}, h("summary", { text: "The same from a program" }),
    h("p", { text: "curl" }), pasteLine(`curl -H "Authorization: Bearer $LLM_HUB_TOKEN" -H 'Content-Type: application/json' -d '${json}' ${here}api/rpc/SelectEndpoint`),
    h("p", { text: "grpcurl" }), pasteLine(`grpcurl -plaintext -H "authorization: Bearer $LLM_HUB_TOKEN" -d '${grpcJson(request).replaceAll("'", "'\\''")}' HUB:50051 llmhub.v1.RegistryService/SelectEndpoint`),
    h("p", { text: "Python" }), pasteLine(`hub.select(${JSON.stringify(request.model)}${python})`));
}

/** The request as protobuf's own JSON has it. */
function grpcJson({ strategy, ...rest }) {
  return JSON.stringify(strategy ? { ...rest, strategy: `STRATEGY_${strategy.toUpperCase()}` } : rest);
}
