// The address of what is shown, such as "#/endpoints?health=unhealthy". It is in the hash, so
// the page works below any path that a proxy gives it.

/** Reads a hash: the view's name, what follows it, and the query. */
export function parseHash(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [name, ...rest] = path.split("/");
  return { name, item: decode(rest.join("/")), query: Object.fromEntries(new URLSearchParams(query)) };
}

/** The hash of a view; empty values of the query are left out. */
export function hashOf(name, query = {}, item = "") {
  const kept = Object.entries(query).filter(([, value]) => value !== "" && value !== undefined && value !== null);
  const search = new URLSearchParams(kept).toString();
  return `#/${name}${item ? `/${encodeURIComponent(item)}` : ""}${search ? `?${search}` : ""}`;
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export class Router {
  #changed;

  /** `changed(route)` is called when the address changes, by a link, Back or `go`. */
  constructor(changed) {
    this.#changed = changed;
    addEventListener("hashchange", () => changed(this.route));
  }

  get route() {
    return parseHash(location.hash);
  }

  /** Shows another address, with an entry in the browser's history. */
  go(name, query = {}, item = "") {
    const hash = hashOf(name, query, item);
    if (hash === location.hash) this.#changed(this.route);
    else location.hash = hash;
  }

  /** Changes the address of what is shown already: no new entry, and nobody is called. */
  note(name, query = {}, item = "") {
    history.replaceState(null, "", hashOf(name, query, item));
  }
}
