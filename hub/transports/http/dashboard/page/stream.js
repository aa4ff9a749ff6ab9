// The live connection: server-sent events over fetch. Unlike EventSource, fetch can send a
// header and distinguishes a refused call from a lost connection.

import { api } from "./api.js";

// The hub sends an event at least every 15 s.
const SILENCE_MS = 40_000;
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 10_000;

/** Splits a stream of text into events. The cost does not depend on how the text is chunked. */
export class EventParser {
  #pieces = [];
  #event = { id: "", type: "message", data: "" };

  constructor(onEvent) {
    this.onEvent = onEvent;
  }

  push(text) {
    let start = 0;
    for (;;) {
      const end = text.indexOf("\n", start);
      if (end < 0) break;
      this.#pieces.push(text.slice(start, end));
      this.#line(this.#pieces.join(""));
      this.#pieces = [];
      start = end + 1;
    }
    if (start < text.length) this.#pieces.push(text.slice(start));
  }

  #line(line) {
    if (line === "") {
      if (this.#event.data) this.onEvent(this.#event);
      this.#event = { id: "", type: "message", data: "" };
      return;
    }
    const colon = line.indexOf(": ");
    const value = line.slice(colon + 2);
    if (line.startsWith("data: ")) this.#event.data += value;
    else if (line.startsWith("event: ")) this.#event.type = value;
    else if (line.startsWith("id: ")) this.#event.id = value;
  }
}

/**
 * Keeps a connection open. `handlers`: `event(type, value)`, `up()`, `down(why, retryAt)`,
 * `signedOut()`. `retryAt` is in performance.now() time.
 */
export class LiveConnection {
  #handlers;
  #abort = null;
  #lastId = "";
  #failures = 0;
  #retry = 0;
  #watchdog = 0;
  #isRunning = false;

  constructor(handlers) {
    this.#handlers = handlers;
  }

  start() {
    this.stop();
    this.#isRunning = true;
    this.#lastId = "";
    this.#failures = 0;
    void this.#connect();
  }

  stop() {
    this.#isRunning = false;
    clearTimeout(this.#retry);
    clearTimeout(this.#watchdog);
    this.#abort?.abort();
    this.#abort = null;
  }

  /** Reconnects immediately if it is waiting to reconnect. */
  hurry() {
    if (this.#isRunning && !this.#abort) {
      clearTimeout(this.#retry);
      void this.#connect();
    }
  }

  async #connect() {
    const abort = new AbortController();
    this.#abort = abort;
    let why = "The hub does not answer.";
    try {
      this.#watch();
      const response = await api.stream(this.#lastId, abort.signal);
      if (response.status === 401 || response.status === 403) {
        this.stop();
        this.#handlers.signedOut();
        return;
      }
      if (response.ok) {
        why = "The connection to the hub was lost.";
        await this.#read(response);
      } else why = await refusal(response);
    } catch {
      // A lost, silent or stopped connection is handled the same way below.
    }
    clearTimeout(this.#watchdog);
    if (this.#abort !== abort || !this.#isRunning) return;
    this.#abort = null;
    // Full jitter: dashboards that lost the same hub do not all reconnect at the same time.
    const longest = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#failures);
    this.#failures += 1;
    const delay = 100 + Math.random() * longest;
    this.#retry = setTimeout(() => void this.#connect(), delay);
    this.#handlers.down(why, performance.now() + delay);
  }

  async #read(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const parser = new EventParser((event) => this.#take(event));
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      this.#watch();
      parser.push(value);
    }
  }

  #take(event) {
    if (!this.#isRunning) return;
    if (event.id) this.#lastId = event.id;
    const value = JSON.parse(event.data);
    if (event.type === "end" && value.reason === "signed_out") {
      this.stop();
      this.#handlers.signedOut();
      return;
    }
    if (event.type === "hello") {
      this.#failures = 0;
      this.#handlers.up();
    }
    this.#handlers.event(event.type, value);
  }

  #watch() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#abort?.abort(), SILENCE_MS);
  }
}

async function refusal(response) {
  try {
    const { detail } = await response.json();
    if (detail) return `The hub refused: ${detail}.`;
  } catch {
    // The response is not the hub's own; it may come from a proxy.
  }
  return `The hub answered with an error (${response.status}).`;
}
