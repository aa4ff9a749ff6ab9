// The fleet as the stream reports it, with its summary, search and order.

import { backendName, stateOf, statesOf } from "./format.js";

const HISTORY_MS = 3_600_000;
const PROBLEM_RANK = { unhealthy: 0, unknown: 1, draining: 2, disabled: 4, healthy: 3 };
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
    for (const [id, checkedAt, failures, latency, load] of update.checks ?? []) {
      const endpoint = this.endpoints.get(id);
      if (!endpoint) continue;
      Object.assign(endpoint, { last_checked_at: checkedAt, consecutive_failures: failures, latency, load });
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

  /** The host of the endpoint's server, in one spelling; the same for every address of one server. */
  #hostName(endpoint) {
    const { host } = this.endpoints.get(endpoint.same_server_as) ?? endpoint;
    return LOOPBACK.has(host) ? "127.0.0.1" : host;
  }

  /** Counts over the whole fleet. */
  summary() {
    const states = { healthy: 0, unhealthy: 0, unknown: 0, draining: 0, disabled: 0 };
    const hosts = new Set();
    const healthyHosts = new Set();
    const models = new Map();
    const backends = new Set();
    for (const endpoint of this.endpoints.values()) {
      for (const state of statesOf(endpoint)) states[state] += 1;
      const host = this.#hostName(endpoint);
      hosts.add(host);
      if (endpoint.status === "healthy") healthyHosts.add(host);
      if (endpoint.backend) backends.add(endpoint.backend);
      for (const model of endpoint.models) {
        let entry = models.get(model.name);
        if (!entry) models.set(model.name, (entry = { name: model.name, hosts: new Set(), loaded: new Set() }));
        entry.hosts.add(host);
        if (model.state === "loaded") entry.loaded.add(host);
      }
    }
    let vramUsed = 0;
    let vramTotal = 0;
    for (const resources of this.resources.values()) {
      if (resources.vram_total_bytes === null || resources.vram_used_bytes === null) continue;
      vramUsed += resources.vram_used_bytes;
      vramTotal += resources.vram_total_bytes;
    }
    const list = [...models.values()]
      .map(({ name, hosts: having, loaded }) => ({ name, hosts: having.size, loaded: loaded.size }))
      .sort((a, b) => b.loaded - a.loaded || b.hosts - a.hosts || byName(a.name, b.name));
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
      if (health && !statesOf(endpoint).includes(health)) continue;
      if (backend && endpoint.backend !== backend) continue;
      if (words.length) {
        const haystack = this.#haystack(endpoint);
        if (!words.every((word) => haystack.includes(word))) continue;
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
    return (a, b) => PROBLEM_RANK[stateOf(a)] - PROBLEM_RANK[stateOf(b)] || named(a, b);
  }

  #freeVram(endpoint) {
    const host = this.hostOf(endpoint);
    if (!host || host.vram_total_bytes === null || host.vram_used_bytes === null) return -1;
    return host.vram_total_bytes - host.vram_used_bytes;
  }

  /** The models for which this is the last healthy, enabled endpoint. */
  lastResortFor(endpoint) {
    if (endpoint.status !== "healthy" || stateOf(endpoint) !== "healthy") return [];
    const alone = new Set(endpoint.models.map((model) => model.name));
    for (const other of this.endpoints.values()) {
      if (other.id === endpoint.id || stateOf(other) !== "healthy") continue;
      for (const model of other.models) alone.delete(model.name);
      if (!alone.size) break;
    }
    return [...alone];
  }
}
