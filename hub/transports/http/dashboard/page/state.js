// What is known about an endpoint now: its state, and where its models are.

import { duration, exactTime, latency, warmth } from "./format.js";

/** The states in which an endpoint is counted and found, the ones to look at first. */
export const STATES = ["unhealthy", "failing", "unknown", "draining", "healthy", "disabled"];

/** An endpoint's health: healthy, failing, unhealthy or unknown. */
export function healthOf(endpoint) {
  // The hub still trusts a server whose last probe failed, but that server does not answer now.
  if (endpoint.status === "healthy") return endpoint.last_error ? "failing" : "healthy";
  return endpoint.status === "unhealthy" ? "unhealthy" : "unknown";
}

/** The one state of an endpoint: draining and disabled take precedence over its health. */
export function stateOf(endpoint) {
  if (endpoint.admin_state === "draining" || endpoint.admin_state === "disabled") return endpoint.admin_state;
  return healthOf(endpoint);
}

/** The state in words; a draining endpoint that does not answer shows both. */
export function stateText(endpoint) {
  const state = stateOf(endpoint);
  const health = healthOf(endpoint);
  return state === "draining" && health !== "healthy" ? `${state}, ${health}` : state;
}

/** Since when the endpoint has its state, or undefined: the hub keeps no time for one that fails. */
export function sinceOf(endpoint, fleet) {
  return stateOf(endpoint) === "failing" ? undefined : fleet.since.get(endpoint.id);
}

/** Whether the endpoint is healthy and its last probe succeeded. Only then are the places of its models known. */
export function answers(endpoint) {
  return healthOf(endpoint) === "healthy";
}

/** Whether the health is what the hub knew before its last start and has not checked since. */
export function isRestored(endpoint) {
  return healthOf(endpoint) !== "unknown" && Boolean(endpoint.provenance?.status?.restored);
}

/** Where a model is: loaded, loading, available (on disk) or unknown. */
export function placeOf(model, endpoint) {
  return (answers(endpoint) && model.state) || "unknown";
}

/** The places in the order in which models are listed. */
export const PLACES = ["loaded", "loading", "available", "unknown"];

const PLACE_TEXTS = { loading: "loading", available: "on disk", unknown: "state unknown" };

/** Where a model is, in words. */
export function placeText(model, endpoint, now) {
  const place = placeOf(model, endpoint);
  if (place === "loaded") return warmth(model.expires_at, now);
  return place === "unknown" && model.state === "loaded" ? "loaded when last seen" : PLACE_TEXTS[place];
}

/** "2 loaded, 3 on disk". */
export function placeCounts(models, endpoint) {
  return PLACES.map((place) => [place, models.filter((model) => placeOf(model, endpoint) === place).length])
    .filter(([, number]) => number)
    .map(([place, number]) => `${number} ${PLACE_TEXTS[place] ?? place}`).join(", ");
}

/** Why no queue is shown. */
export function noQueue(endpoint) {
  return answers(endpoint) ? "not reported by this backend" : "unknown";
}

const FAULTS = {
  no_answer: "The hub gets no answer.",
  dead: "Neither the hub nor the sidecar on the server’s host gets an answer.",
  unreachable: "The sidecar on the server’s host gets an answer, the hub does not. Check the network in between, and whether the server listens on its loopback address only.",
  not_serving: "The server answers the hub but does not serve.",
  requests_fail: "Probes succeed, but callers report that their requests fail.",
};

/** What the fault means, or null without a fault. */
export function faultText(endpoint) {
  return FAULTS[endpoint.fault] ?? null;
}

/** What callers report of their requests for a model: null if nothing recent, or if the page has no outcomes. */
export function outcomeText(endpoint, model, now) {
  const seen = (endpoint.outcomes ?? []).find((each) => each.model === model);
  if (!seen) return null;
  const breaker = { open: "circuit open", half_open: seen.on_trial ? "circuit half open, on trial" : "circuit half open" }[seen.breaker];
  const until = seen.breaker === "open" && seen.changes_at > now ? ` for ${duration(seen.changes_at - now)}` : "";
  return [
    breaker ? `${breaker}${until}: ${seen.reason}` : null,
    seen.recent_requests >= 0.5 ? `${Math.round(seen.recent_requests)} recent requests` : null,
    seen.failed_ratio ? `${Math.round(seen.failed_ratio * 100)} % of requests fail` : null,
    seen.time_to_first_token !== null ? `first token after ${latency(seen.time_to_first_token)}` : null,
    seen.tokens_per_second !== null ? `${Math.round(seen.tokens_per_second)} tokens/s` : null,
  ].filter(Boolean).join(" · ") || null;
}

/** What the sidecar on the server's host says about the server, or null. */
export function sidecarText(endpoint, now) {
  const view = endpoint.sidecar_view;
  if (!view) return null;
  const sees = view.reachable === null || view.reachable === undefined
    ? "does not say whether it gets an answer"
    : view.reachable ? "gets an answer" : "gets no answer";
  const error = view.error ? `: ${view.error}` : "";
  const when = view.reported_at ? `, reported ${duration(now - view.reported_at)} ago` : "";
  return `${view.agent_id} ${sees}${error}${when}`;
}

const OBSERVERS = { probe: "the hub’s probe", sidecar: "the sidecar", manual: "registered" };

/** Who observed which facts: "the hub’s probe: status, models". Null if nothing was observed. */
export function originsText(endpoint) {
  const facts = new Map();
  for (const fact of ["status", "backend", "version", "models"]) {
    const source = endpoint.provenance?.[fact];
    if (!source) continue;
    const restored = source.restored ? `, restored from ${exactTime(source.observed_at)}` : "";
    const origin = `${OBSERVERS[source.observer] ?? "unknown"}${restored}`;
    facts.set(origin, [...(facts.get(origin) ?? []), fact]);
  }
  return [...facts].map(([origin, names]) => `${origin}: ${names.join(", ")}`).join("; ") || null;
}

/** Unused VRAM in bytes, or null. */
export function freeVram(resources) {
  if (!resources || resources.vram_total_bytes === null || resources.vram_used_bytes === null) return null;
  return resources.vram_total_bytes - resources.vram_used_bytes;
}
