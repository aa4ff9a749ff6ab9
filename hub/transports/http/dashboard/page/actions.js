// The actions on an endpoint, and the menu that offers them.

import { api } from "./api.js";
import { ask, field, toast } from "./dialogs.js";
import { byId, h } from "./dom.js";
import { backendName } from "./format.js";

const BACKENDS = [
  "ollama", "vllm", "llama_cpp", "lm_studio", "sglang", "openai",
  "llama_swap", "litellm", "lemonade", "lmdeploy", "docker_model_runner", "tei",
];

export const READ_ONLY = "Your token is read-only. Sign in with an admin token to change the fleet.";

export class Actions {
  #fleet;
  #menu = byId("menu");
  #opener = null;
  /** "admin" or "reader"; null until the stream has said it. */
  role = null;

  constructor(fleet, open) {
    this.#fleet = fleet;
    this.open = open;
    this.#menu.addEventListener("keydown", (event) => this.#menuKey(event));
    this.#menu.addEventListener("toggle", (event) => {
      if (event.newState === "closed") this.#opener?.setAttribute("aria-expanded", "false");
    });
  }

  get mayChange() {
    return this.role === "admin";
  }

  /** The actions available for an endpoint now: `{key, label, hint, run, danger}`. */
  of(id) {
    const endpoint = this.#fleet.endpoints.get(id);
    if (!endpoint) return [];
    const isEnabled = endpoint.admin_state !== "draining" && endpoint.admin_state !== "disabled";
    return [
      { key: "c", label: "Check now", run: () => this.check(id) },
      isEnabled
        ? { key: "d", label: "Drain", run: () => this.setState(id, "draining") }
        : { key: "d", label: "Enable", run: () => this.setState(id, "enabled") },
      ...(endpoint.admin_state === "disabled" ? [] : [{ label: "Disable", run: () => this.setState(id, "disabled") }]),
      { key: "l", label: "Edit labels…", run: () => this.editLabels(id) },
      { key: "Delete", hint: "Del", label: "Remove…", run: () => this.remove(id), danger: true },
    ];
  }

  /** Runs the action of a key; returns whether the key has one. */
  key(id, key) {
    const action = this.of(id).find((each) => each.key === key);
    if (!action) return false;
    if (this.mayChange) void action.run();
    else toast(READ_ONLY, { isError: true });
    return true;
  }

  /** Opens the menu of an endpoint next to a button. */
  showMenu(id, button) {
    const menu = this.#menu;
    const item = (label, hint, isDisabled, run, danger) => h("button", {
      type: "button", role: "menuitem", class: danger ? "is-danger" : "", tabIndex: -1,
      "aria-disabled": isDisabled ? "true" : null,
      on: { click: () => { if (!isDisabled) { menu.hidePopover(); this.#opener?.focus(); void run(); } } },
    }, h("span", { text: label }), hint ? h("kbd", { text: hint }) : null);
    menu.replaceChildren(
      item("Details", "Enter", false, () => this.open(id)),
      ...this.of(id).map((each) => item(each.label, each.hint ?? each.key?.toUpperCase(), !this.mayChange, each.run, each.danger)),
      ...(this.mayChange ? [] : [h("p", { class: "menu-reason", text: READ_ONLY })]));
    this.#opener = button;
    button.setAttribute("aria-expanded", "true");
    menu.showPopover();
    const box = button.getBoundingClientRect();
    const below = box.bottom + 4 + menu.offsetHeight <= innerHeight;
    menu.style.top = `${below ? box.bottom + 4 : Math.max(4, box.top - 4 - menu.offsetHeight)}px`;
    menu.style.left = `${Math.max(4, box.right - menu.offsetWidth)}px`;
    menu.querySelector("button").focus();
  }

  #menuKey(event) {
    const items = [...this.#menu.querySelectorAll("button")];
    const index = items.indexOf(document.activeElement);
    const steps = { ArrowDown: index + 1, ArrowUp: index - 1 + items.length, Home: 0, End: items.length - 1 };
    if (event.key in steps) {
      event.preventDefault();
      items[steps[event.key] % items.length].focus();
    } else if (event.key === "Escape" || event.key === "Tab") {
      event.preventDefault();
      this.#menu.hidePopover();
      this.#opener?.focus();
    }
  }

  async check(id) {
    const name = this.#name(id);
    try {
      const endpoint = await api.check(id);
      if (endpoint.last_error) toast(`${name}: ${endpoint.last_error}`, { isError: true });
      else toast(`${name} answers.`);
    } catch (error) {
      toast(`${name} was not checked. ${error.message}`, { isError: true });
    }
  }

  async setState(id, state) {
    const endpoint = this.#fleet.endpoints.get(id);
    if (!endpoint) return;
    const before = endpoint.admin_state;
    const change = () => api.update(id, { admin_state: state });
    const alone = state === "enabled" ? [] : this.#fleet.lastResortFor(endpoint);
    const done = { draining: "is draining", disabled: "is disabled", enabled: "is enabled" }[state];
    if (alone.length) {
      const isDone = await ask({
        title: `${state === "draining" ? "Drain" : "Disable"} ${endpoint.name}?`,
        body: [lastResort(alone)],
        confirm: state === "draining" ? "Drain anyway" : "Disable anyway",
        danger: true, submit: change,
      });
      if (!isDone) return;
    } else {
      try {
        await change();
      } catch (error) {
        toast(`${endpoint.name} was not changed. ${error.message}`, { isError: true });
        return;
      }
    }
    const undo = { label: "Undo", run: () => void this.setState(id, before || "enabled") };
    toast(`${endpoint.name} ${done}.`, { action: undo });
  }

  async editLabels(id) {
    const endpoint = this.#fleet.endpoints.get(id);
    if (!endpoint) return;
    const labels = labelsField(endpoint.labels);
    const isDone = await ask({
      title: `Labels of ${endpoint.name}`, fields: [labels], confirm: "Save labels",
      // The etag prevents two people who edit at the same time from overwriting each other.
      submit: () => api.update(id, { labels: parseLabels(labels.control.value), etag: endpoint.etag }),
    });
    if (isDone) toast(`Saved the labels of ${endpoint.name}.`);
  }

  async remove(id) {
    const endpoint = this.#fleet.endpoints.get(id);
    if (!endpoint) return;
    const alone = this.#fleet.lastResortFor(endpoint);
    const body = [h("p", {}, "The hub removes ", h("code", { text: id }), ", its labels and its API key. The server itself is not affected.")];
    if (endpoint.source === "auto") {
      body.push(h("p", { text: "Its sidecar registers it again with its next report. To keep it out of use, disable it instead." }));
    }
    if (endpoint.source === "config") {
      body.push(h("p", { text: "The configuration file lists it, so the hub registers it again when it next reads the file." }));
    }
    if (alone.length) body.push(lastResort(alone));
    const isDone = await ask({
      title: `Remove ${endpoint.name}?`, body, confirm: "Remove", danger: true, submit: () => api.remove(id),
    });
    if (isDone) toast(`${endpoint.name} was removed.`);
    return isDone;
  }

  async add() {
    const input = (properties) => h("input", { autocomplete: "off", spellcheck: false, ...properties });
    const host = field("host", "Host", input({ placeholder: "gpu-1.lan", autocapitalize: "off" }), "A host name or an IP address. You can also paste HOST:PORT or a URL.");
    const port = field("port", "Port", input({ inputMode: "numeric", placeholder: "11434" }));
    const name = field("name", "Name", input({ placeholder: "host:port" }));
    const backend = field("backend", "Backend", h("select", {},
      h("option", { value: "", text: "detect" }), ...BACKENDS.map((each) => h("option", { value: each, text: backendName(each) }))));
    const scheme = field("scheme", "Scheme", h("select", {}, h("option", { text: "http" }), h("option", { text: "https" })));
    const path = field("base_path", "Base path", input({ placeholder: "/ollama" }), "Only if the server does not answer at the root.");
    const key = field("api_key", "API key", input({ type: "password", autocomplete: "new-password" }), "The server’s own key, if it requires one. It is never shown again.");
    const agent = field("agent_id", "Agent", input({ placeholder: "node-1" }), "The sidecar that reports for its host.");
    const labels = labelsField({});
    const all = [host, port, name, backend, scheme, path, key, agent, labels];
    const splitPasted = () => {
      splitAddress(host, port, scheme, path);
      // Fields that have been filled in must be visible.
      if (scheme.control.value !== "http" || path.control.value) more.open = true;
    };
    host.control.addEventListener("change", splitPasted);
    host.control.addEventListener("paste", () => setTimeout(splitPasted));
    const values = () => {
      splitPasted();
      const body = { host: host.control.value.trim() };
      const text = port.control.value.trim();
      // Send other text unchanged: the hub explains the error.
      if (text) body.port = /^\d{1,9}$/.test(text) ? Number(text) : text;
      for (const each of [name, backend, scheme, path, key, agent]) {
        const value = each.control.value.trim();
        if (value) body[each.name] = value;
      }
      if (labels.control.value.trim()) body.labels = parseLabels(labels.control.value);
      return body;
    };
    let added = null;
    const more = h("details", {}, h("summary", { text: "More: backend, key, labels…" }), h("div", { class: "field-grid" },
      ...[name, backend, scheme, path, key, agent].map((each) => each.element)), labels.element);
    const isDone = await ask({
      title: "Add endpoint", confirm: "Add endpoint",
      body: [h("div", { class: "field-pair" }, host.element, port.element), more],
      fields: all, isLaidOut: true,
      submit: async () => { added = await api.register(values()); },
    });
    if (isDone) toast(`${added.name} is registered. Its first check is in progress.`);
  }

  #name(id) {
    return this.#fleet.endpoints.get(id)?.name ?? id;
  }
}

function splitAddress(host, port, scheme, path) {
  const text = host.control.value.trim();
  // Several colons without brackets are an IPv6 address.
  const pair = /^(\[[^\]]+\]|[^:/[\]\s]+):(\d{1,9})(\/\S*)?$/.exec(text);
  if (pair) {
    [, host.control.value, port.control.value] = pair;
    if (pair[3]) path.control.value = pair[3].replace(/\/+$/, "");
    return;
  }
  if (!/^https?:\/\//i.test(text)) return;
  let url;
  try {
    url = new URL(text);
  } catch {
    return;
  }
  // Do not silently drop parts that an endpoint cannot have: the hub rejects the whole text.
  if (url.username || url.password || url.search || url.hash) return;
  host.control.value = url.hostname;
  scheme.control.value = url.protocol.slice(0, -1);
  // As everywhere in the hub, a URL without a port means the scheme's default port.
  port.control.value = url.port || (url.protocol === "https:" ? "443" : "80");
  path.control.value = url.pathname.replace(/\/+$/, "");
}

function lastResort(models) {
  const shown = models.slice(0, 5).join(", ");
  const rest = models.length > 5 ? ` and ${models.length - 5} more` : "";
  return h("p", { class: "caution" }, h("strong", { text: "No other healthy endpoint has " }), `${shown}${rest}.`);
}

function labelsField(labels) {
  const lines = Object.entries(labels).map(([key, value]) => `${key}=${value}`);
  const control = h("textarea", { rows: Math.min(8, Math.max(3, lines.length + 1)), spellcheck: false, value: lines.join("\n") });
  return field("labels", "Labels", control, "One per line: key=value, such as zone=a.");
}

function parseLabels(text) {
  const labels = {};
  for (const line of text.split("\n").map((each) => each.trim()).filter(Boolean)) {
    const equals = line.indexOf("=");
    const key = (equals < 0 ? line : line.slice(0, equals)).trim();
    labels[key] = equals < 0 ? "" : line.slice(equals + 1).trim();
  }
  return labels;
}
