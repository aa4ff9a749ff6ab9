// What the views show, derived from the fleet: models, hosts, changes. No drawing here.

import { freeVram, healthOf, placeOf, stateOf } from "./state.js";

/** Each model of the fleet: where it is, what room and queue its servers have, who would miss it. */
export function modelsOf(fleet, summary) {
  const rows = new Map(summary.models.map((model) => [model.name, {
    ...model, room: null, running: null, waiting: null, healthy: 0, size: null, capabilities: new Set(),
  }]));
  for (const endpoint of fleet.endpoints.values()) {
    const isHealthy = stateOf(endpoint) === "healthy";
    const free = freeVram(fleet.hostOf(endpoint));
    for (const model of endpoint.models) {
      const row = rows.get(model.name);
      if (!row) continue;
      row.size = Math.max(row.size ?? 0, model.size_bytes ?? 0) || null;
      for (const each of model.capabilities) row.capabilities.add(each);
      if (!isHealthy) continue;
      row.healthy += 1;
      if (free !== null) row.room = Math.max(row.room ?? 0, free);
      if (placeOf(model, endpoint) !== "loaded") continue;
      row.running = add(row.running, endpoint.load?.running);
      row.waiting = add(row.waiting, endpoint.load?.waiting);
    }
  }
  return [...rows.values()].map((row) => ({ ...row, capabilities: [...row.capabilities].sort() }));
}

/** Each host that a sidecar reports for, or that an endpoint names. */
export function hostsOf(fleet) {
  const hosts = new Map();
  const host = (name) => {
    let found = hosts.get(name);
    if (!found) hosts.set(name, (found = { name, endpoints: 0, down: 0, connectedAt: fleet.sidecars.get(name) ?? null, resources: fleet.resources.get(name) ?? null }));
    return found;
  };
  for (const name of fleet.sidecars.keys()) host(name);
  for (const name of fleet.resources.keys()) host(name);
  for (const endpoint of fleet.endpoints.values()) {
    if (!endpoint.agent_id) continue;
    const its = host(endpoint.agent_id);
    its.endpoints += 1;
    if (["unhealthy", "failing"].includes(healthOf(endpoint))) its.down += 1;
  }
  return [...hosts.values()];
}

/** The changes of all endpoints in the last hour, the newest first: `{at, id, name, state, reason}`. */
export function changesOf(fleet) {
  const changes = [];
  for (const transitions of fleet.history.values()) {
    // The first is the state at the window's start, not a change.
    for (const [at, id, status, admin, reason] of transitions.slice(1)) {
      changes.push({ at, id, name: fleet.endpoints.get(id)?.name ?? id, state: stateOf({ status, admin_state: admin }), reason });
    }
  }
  return changes.sort((a, b) => b.at - a.at);
}

function add(sum, value) {
  return value === null || value === undefined ? sum : (sum ?? 0) + value;
}
