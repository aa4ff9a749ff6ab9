// The fleet as the stream reports it, with its summary, search and order.

import { backendName, namesModel } from "./format.js";
import { STATES, freeVram, healthOf, placeOf, stateOf } from "./state.js";

const HISTORY_MS = 3_600_000;
// What a host knows of a model, the strongest first: one address of it that has the model loaded is enough.
const HELD = ["loaded", "loading", "available", "unknown", "down"];
const LOOPBACK = new Set(["localhost", "::1", "::ffff:127.0.0.1"]);
const byName = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" }).compare;

export class Fleet {
  endpoints = new Map();
  resources = new Map();
  sidecars = new Map();
  since = new Map();
  history = new Map();
  #byAgent = new Map();
  #haystacks = new Map();
  #offset = 0;

  /** The hub's time, advanced by this machine's monotonic clock. */
  now() {
    return performance.now() + this.#offset;
  }

  /** Sets the hub's time. */
  setNow(now) {
    this.#offset = now - performance.now();
  }

  /** Replaces the whole state. */
  replace(state) {
    this.setNow(state.now);
    this.endpoints.clear();
    this.#byAgent.clear();
    this.#haystacks.clear();
    this.resources = new Map(Object.entries(state.resources));
    this.sidecars = new Map(Object.entries(state.sidecars));
    this.since = new Map(Object.entries(state.since));
    this.history.clear();
    for (const endpoint of state.endpoints) this.#put(endpoint);
    for (const transition of state.history) this.#remember(transition);
  }

  /**
   * Applies an update. Returns the ids of the endpoints that may look different now, and
   * whether any endpoint was added or removed, or may sort or filter differently.
   */
  update(update) {
    this.setNow(update.now);
    const touched = new Set();
    for (const endpoint of update.put ?? []) {
      this.#put(endpoint);
      touched.add(endpoint.id);
    }
    for (const id of update.deleted ?? []) this.#delete(id);
    for (const transition of update.history ?? []) {
      this.since.set(transition[1], transition[0]);
      this.#remember(transition);
      touched.add(transition[1]);
    }
    for (const [agent, resources] of Object.entries(update.resources ?? {})) {
      if (resources) this.resources.set(agent, resources);
      else this.resources.delete(agent);
      this.#touchAgent(agent, touched);
    }
    for (const [agent, connectedAt] of Object.entries(update.sidecars ?? {})) {
      if (connectedAt === null) this.sidecars.delete(agent);
      else this.sidecars.set(agent, connectedAt);
      this.#touchAgent(agent, touched);
    }
    for (const [id, checkedAt, failures, latency, load, outcomes] of update.checks ?? []) {
      const endpoint = this.endpoints.get(id);
      if (!endpoint) continue;
      Object.assign(endpoint, { last_checked_at: checkedAt, consecutive_failures: failures, latency, load, outcomes });
      touched.add(id);
    }
    const isStructural = Boolean(update.put?.length || update.deleted?.length);
    return { touched, isStructural };
  }

  #put(endpoint) {
    const before = this.endpoints.get(endpoint.id);
    if (before && before.agent_id !== endpoint.agent_id) this.#byAgent.get(before.agent_id)?.delete(endpoint.id);
    this.endpoints.set(endpoint.id, endpoint);
    this.#haystacks.delete(endpoint.id);
    if (endpoint.agent_id) {
      const ids = this.#byAgent.get(endpoint.agent_id);
      if (ids) ids.add(endpoint.id);
      else this.#byAgent.set(endpoint.agent_id, new Set([endpoint.id]));
    }
  }

  #delete(id) {
    const endpoint = this.endpoints.get(id);
    if (!endpoint) return;
    this.#byAgent.get(endpoint.agent_id)?.delete(id);
    for (const map of [this.endpoints, this.since, this.history, this.#haystacks]) map.delete(id);
  }

  #touchAgent(agent, touched) {
    for (const id of this.#byAgent.get(agent) ?? []) touched.add(id);
  }

  #remember(transition) {
    const [at, id] = transition;
    const list = this.history.get(id);
    if (!list) {
      this.history.set(id, [transition]);
      return;
    }
    list.push(transition);
    // The last transition before the window gives the state at the window's start.
    while (list.length > 2 && list[1][0] < at - HISTORY_MS) list.shift();
  }

  /** The endpoint's transitions; its current state alone if the hub has no history of it. */
  historyOf(endpoint) {
    const since = this.since.get(endpoint.id);
    return this.history.get(endpoint.id) ?? (since ? [[since, endpoint.id, endpoint.status, endpoint.admin_state, ""]] : []);
  }

  /** The resources of the endpoint's host, or undefined. */
  hostOf(endpoint) {
    return endpoint.agent_id ? this.resources.get(endpoint.agent_id) : undefined;
  }

  /** The key of each endpoint's host, by id: its agent, also for other endpoints at the same address. */
  #hostKeys() {
    const agents = new Map();
    const addressOf = (endpoint) => {
      const { host } = this.endpoints.get(endpoint.same_server_as) ?? endpoint;
      return LOOPBACK.has(host) ? "127.0.0.1" : host;
    };
    for (const endpoint of this.endpoints.values()) {
      if (endpoint.agent_id) agents.set(addressOf(endpoint), endpoint.agent_id);
    }
    const keys = new Map();
    for (const endpoint of this.endpoints.values()) {
      const address = addressOf(endpoint);
      const agent = endpoint.agent_id || agents.get(address);
      keys.set(endpoint.id, agent ? `agent ${agent}` : address);
    }
    return keys;
  }

  /** What the endpoint's host is to a model: one of HELD. */
  #held(model, endpoint) {
    const health = healthOf(endpoint);
    return health === "unhealthy" || health === "failing" ? "down" : placeOf(model, endpoint);
  }

  /** Counts over the whole fleet. */
  summary() {
    const states = Object.fromEntries(STATES.map((state) => [state, 0]));
    const keys = this.#hostKeys();
    const hosts = new Set();
    const healthyHosts = new Set();
    const models = new Map();
    const backends = new Set();
    for (const endpoint of this.endpoints.values()) {
      const state = stateOf(endpoint);
      states[state] += 1;
      const host = keys.get(endpoint.id);
      hosts.add(host);
      if (state === "healthy") healthyHosts.add(host);
      if (endpoint.backend) backends.add(endpoint.backend);
      for (const model of endpoint.models) {
        let entry = models.get(model.name);
        if (!entry) models.set(model.name, (entry = new Map()));
        const rank = HELD.indexOf(this.#held(model, endpoint));
        entry.set(host, Math.min(rank, entry.get(host) ?? rank));
      }
    }
    let vramUsed = 0;
    let vramTotal = 0;
    for (const resources of this.resources.values()) {
      if (resources.vram_total_bytes === null || resources.vram_used_bytes === null) continue;
      vramUsed += resources.vram_used_bytes;
      vramTotal += resources.vram_total_bytes;
    }
    const list = [...models].map(([name, ranks]) => {
      const held = Object.fromEntries(HELD.map((each) => [each, 0]));
      for (const rank of ranks.values()) held[HELD[rank]] += 1;
      return { name, hosts: ranks.size - held.down, ...held };
    });
    list.sort((a, b) => b.loaded - a.loaded || b.hosts - a.hosts || b.down - a.down || byName(a.name, b.name));
    return {
      endpoints: this.endpoints.size, hosts: hosts.size, healthyHosts: healthyHosts.size, states,
      models: list, backends: [...backends].sort(), sidecars: this.sidecars.size, vramUsed, vramTotal,
    };
  }

  /** The endpoints that match, in order. `filter`: text, health, backend, sort. */
  find({ text, health, backend, sort }) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const found = [];
    for (const endpoint of this.endpoints.values()) {
      if (health && stateOf(endpoint) !== health) continue;
      if (backend && endpoint.backend !== backend) continue;
      if (words.length) {
        const haystack = this.#haystack(endpoint);
        if (!words.every((word) => haystack.includes(word) || hasModel(endpoint, word))) continue;
      }
      found.push(endpoint);
    }
    return found.sort(this.#order(sort));
  }

  #haystack(endpoint) {
    let text = this.#haystacks.get(endpoint.id);
    if (text === undefined) {
      const labels = Object.entries(endpoint.labels).map(([key, value]) => `${key}=${value}`);
      const models = endpoint.models.map((model) => model.name);
      text = [
        endpoint.name, endpoint.id, backendName(endpoint.backend), endpoint.version, endpoint.agent_id,
        endpoint.last_error, ...labels, ...models,
      ].join("\n").toLowerCase();
      this.#haystacks.set(endpoint.id, text);
    }
    return text;
  }

  #order(sort) {
    const named = (a, b) => byName(a.name, b.name) || byName(a.id, b.id);
    if (sort === "changed") return (a, b) => (this.since.get(b.id) ?? 0) - (this.since.get(a.id) ?? 0) || named(a, b);
    if (sort === "vram") return (a, b) => this.#freeVram(b) - this.#freeVram(a) || named(a, b);
    if (sort === "name") return named;
    return (a, b) => STATES.indexOf(stateOf(a)) - STATES.indexOf(stateOf(b)) || named(a, b);
  }

  #freeVram(endpoint) {
    return freeVram(this.hostOf(endpoint)) ?? -1;
  }

  /** The models for which this is the last healthy, enabled endpoint. */
  lastResortFor(endpoint) {
    if (stateOf(endpoint) !== "healthy") return [];
    const alone = new Set(endpoint.models.map((model) => model.name));
    for (const other of this.endpoints.values()) {
      if (other.id === endpoint.id || stateOf(other) !== "healthy") continue;
      for (const name of alone) if (other.models.some((model) => namesModel(name, model.name))) alone.delete(name);
      if (!alone.size) break;
    }
    return [...alone];
  }
}

/** Whether a search word is "model=NAME" and the endpoint has a model that NAME means. */
function hasModel(endpoint, word) {
  if (!word.startsWith("model=")) return false;
  return endpoint.models.some((model) => namesModel(word.slice("model=".length), model.name.toLowerCase()));
}
