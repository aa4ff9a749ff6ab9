// Calls to the hub. The cookie alone does not prove that this page made a call, so each call has a header.

const HEADERS = { "X-LLM-Hub": "dashboard" };
const DEADLINE_MS = 20_000;

/** An error response; `status` is 0 if there was no response. */
export class ApiError extends Error {
  constructor(status, body, message) {
    super(message);
    this.status = status;
    this.errors = body?.errors ?? [];
  }
}

async function call(method, path, body) {
  const options = { method, headers: { ...HEADERS }, credentials: "same-origin", cache: "no-store" };
  options.signal = AbortSignal.timeout(DEADLINE_MS);
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  let answer = null;
  try {
    response = await fetch(path, options);
    answer = await response.json();
  } catch {
    if (!response) throw new ApiError(0, null, "The hub did not answer. It is not known whether anything changed.");
  }
  if (response.ok) return answer;
  throw new ApiError(response.status, answer, explain(response.status, answer));
}

function explain(status, answer) {
  const first = answer?.errors?.[0];
  if (first) return `${first.field}: ${first.detail}`;
  if (status === 401) return "You are signed out: the session has expired or its token was revoked.";
  if (status === 403) return "Your token is read-only. Sign in with an admin token.";
  if (status === 404) return "The endpoint no longer exists.";
  if (status === 409) return "The endpoint was changed in the meantime. Check the new values and try again.";
  if (status === 429) return `Too many calls. Try again in ${Math.ceil((answer?.retry_after_ms ?? 1000) / 1000)} s.`;
  return answer?.detail ?? `The hub answered with an error (${status}).`;
}

const REGISTRY = "api/admin/llm-registry";
const one = (id) => `${REGISTRY}/${encodeURIComponent(id)}`;

export const api = {
  rpc: (name, request = {}) => call("POST", `api/rpc/${name}`, request),
  session: () => call("GET", "api/dashboard/session"),
  signIn: (token) => call("POST", "api/dashboard/session", { token }),
  signOut: () => call("DELETE", "api/dashboard/session"),
  register: (endpoint) => call("POST", REGISTRY, endpoint),
  update: (id, change) => call("PATCH", one(id), change),
  check: (id) => call("POST", `${one(id)}/check`),
  remove: (id) => call("DELETE", one(id)),
  stream: (lastId, signal) => fetch("api/dashboard/stream", {
    headers: { ...HEADERS, Accept: "text/event-stream", ...(lastId ? { "Last-Event-ID": lastId } : {}) },
    credentials: "same-origin", cache: "no-store", signal,
  }),
};
