// The view of tokens, for admins: create, limit, revoke; and the dialog that connects a new host.

import { api } from "./api.js";
import { ask, field, pasteLine, toast } from "./dialogs.js";
import { h, setText, show } from "./dom.js";
import { duration, exactTime } from "./format.js";
import { Grid } from "./grid.js";
import { reachable } from "./summary.js";

const LIFETIMES = [["", "until revoked"], ["1", "1 day"], ["30", "30 days"], ["365", "1 year"]];
const DAY_MS = 86_400_000;

export class TokensView {
  title = "Tokens";
  #actions;
  #fleet;
  #grid;
  #error = h("p", { class: "field-error", role: "alert" });
  #add = h("button", { type: "button", class: "primary", text: "Create token", on: { click: () => void this.#create() } });

  constructor(router, fleet, actions) {
    this.#actions = actions;
    this.#fleet = fleet;
    this.#grid = new Grid({
      label: "Tokens", key: (token) => token.id, sort: "-created", empty: "No tokens.",
      resort: (sort) => router.note("tokens", { sort }),
      columns: [
        { name: "id", title: "Token", value: (token) => token.id, kind: "is-name" },
        { name: "role", title: "Role", value: (token) => token.role },
        { name: "agent", title: "Agent", value: (token) => token.agent_id },
        { name: "limits", title: "Limited to", value: (token) => limits(token.scope) },
        { name: "created", title: "Created", value: (token) => token.created_at, node: (token) => this.#time(token.created_at) },
        { name: "used", title: "Last used", value: (token) => token.last_used_at, node: (token) => this.#used(token) },
        { name: "expires", title: "Expires", value: (token) => token.expires_at, node: (token) => (token.expired ? h("span", { class: "is-error", text: "expired" }) : this.#time(token.expires_at, "never")) },
        { name: "description", title: "Note", value: (token) => token.description },
        {
          name: "actions", title: "", value: () => this.#actions.mayChange, kind: "is-actions",
          node: (token) => h("button", { type: "button", class: "small danger-quiet", text: "Revoke", disabled: !this.#actions.mayChange, "aria-label": `Revoke ${token.id}`, on: { click: () => void this.#revoke(token) } }),
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
    show(this.#grid.element, true);
    try {
      this.#grid.draw((await api.rpc("ListTokens", { page_size: 1000, include_expired: true })).tokens);
    } catch (error) {
      show(this.#grid.element, false);
      setText(this.#error, error.status === 403 ? "Only an admin’s token may list tokens." : error.message);
    }
  }

  #time(at, unknown = "–") {
    if (at === null) return unknown;
    const ago = this.#fleet.now() - at;
    return h("time", { dateTime: new Date(at).toISOString(), title: exactTime(at), text: ago >= 0 ? `${duration(ago)} ago` : `in ${duration(-ago)}` });
  }

  #used(token) {
    if (token.last_used_at === null) return "never";
    return h("span", {}, this.#time(token.last_used_at), token.last_used_from ? h("span", { class: "muted", text: ` from ${token.last_used_from}` }) : null);
  }

  async #create() {
    const input = (properties) => h("input", { autocomplete: "off", spellcheck: false, ...properties });
    const role = field("role", "Role", h("select", {}, ...["reader", "sidecar", "admin"].map((text) => h("option", { text }))));
    const agent = field("agent_id", "Agent", input({ placeholder: "node-1" }), "For a sidecar: the name of its host.");
    const ttl = field("ttl", "Valid", h("select", {}, ...LIFETIMES.map(([value, text]) => h("option", { value, text }))));
    const note = field("description", "Note", input({ placeholder: "billing service" }));
    const models = field("scope.models", "Only these models", input({ placeholder: "llama3.1:8b" }), "For a reader; spaces between.");
    const labels = field("scope.labels", "Only these labels", input({ placeholder: "zone=a" }), "For a reader; key=value, spaces between.");
    const fields = [role, agent, ttl, note, models, labels];
    let made = null;
    const isDone = await ask({
      title: "Create token", fields, confirm: "Create token",
      submit: async () => {
        const scope = {
          ...(models.control.value.trim() ? { models: models.control.value.trim().split(/\s+/) } : {}),
          ...(labels.control.value.trim() ? { labels: Object.fromEntries(labels.control.value.trim().split(/\s+/).map((each) => each.split(/=(.*)/s, 2))) } : {}),
        };
        made = await api.rpc("CreateToken", {
          role: role.control.value, agent_id: agent.control.value.trim(), description: note.control.value,
          ...(ttl.control.value ? { ttl: Number(ttl.control.value) * DAY_MS } : {}),
          ...(Object.keys(scope).length ? { scope } : {}),
        });
      },
    });
    if (!isDone) return;
    await this.#load();
    await ask({ title: "The new token", body: [h("p", { text: "Copy it now: the hub does not show it again." }), pasteLine(made.token)], confirm: "Done", submit: () => {} });
  }

  async #revoke(token) {
    const isDone = await ask({
      title: `Revoke ${token.id}?`, confirm: "Revoke", danger: true,
      body: [h("p", { text: token.role === "sidecar" ? `The sidecar of ${token.agent_id} is disconnected at once.` : "Whoever uses it is refused from now on." })],
      submit: () => api.rpc("RevokeToken", { id: token.id }),
    });
    if (isDone) {
      toast(`Revoked ${token.id}.`);
      await this.#load();
    }
  }
}

function limits(scope) {
  if (!scope) return "";
  return [
    ...Object.entries(scope.labels).map(([key, value]) => `${key}=${value}`), ...scope.models, ...scope.addresses,
    ...scope.rpcs, ...(scope.read_only ? ["read only"] : []),
  ].join(", ");
}

/** Connects a new host: makes its token, shows what to paste there, and waits until it is there. */
export async function addHost(fleet, hub) {
  const name = field("agent_id", "Name", h("input", { autocomplete: "off", spellcheck: false, placeholder: "gpu-1" }), "What the hub calls the host, such as its host name.");
  let made = null;
  const isDone = await ask({
    title: "Add host", fields: [name], confirm: "Make its command",
    body: [h("p", { text: "A sidecar on the host reports its servers, models and memory. It needs a token of its own." })],
    submit: async () => {
      made = await api.rpc("CreateToken", { role: "sidecar", agent_id: name.control.value.trim(), description: "added in the dashboard" });
    },
  });
  if (!isDone) return;
  const agent = name.control.value.trim();
  const url = `${location.protocol === "https:" ? "wss" : "ws"}://${reachable(hub.ws_address)}/ws`;
  const command = `llm-hub sidecar --hub ${url} --agent ${agent}`;
  const status = h("p", { class: "waiting", role: "status" });
  const update = () => {
    const isThere = fleet.sidecars.has(agent);
    setText(status, isThere ? `${agent} is connected.` : `Waiting for ${agent} to connect…`);
    status.classList.toggle("is-there", isThere);
  };
  update();
  const timer = setInterval(update, 500);
  try {
    await ask({
      title: `Connect ${agent}`, confirm: "Done", submit: () => {},
      body: [
        h("p", { text: `Paste one of these into a shell on ${agent}. The token is shown only now.` }),
        h("p", { text: "In a terminal" }), pasteLine(`LLM_HUB_TOKEN=${made.token} ${command}`),
        h("p", { text: "As a service of systemd" }),
        pasteLine(`sudo systemd-run --unit llm-hub-sidecar --property Restart=always --setenv LLM_HUB_TOKEN=${made.token} ${command}`),
        status,
      ],
    });
  } finally {
    clearInterval(timer);
  }
}
