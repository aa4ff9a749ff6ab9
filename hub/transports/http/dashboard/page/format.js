// Formats values as text. Times are epoch milliseconds by the hub's clock.

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

// The 24-hour clock: "14:05" is shorter than "02:05 PM" in a dense row.
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const dated = new Intl.DateTimeFormat(undefined, {
  day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23",
});

/** How long something lasts: "12 s", "3 min", "2 h", "4 d". */
export function duration(ms) {
  if (ms < MINUTE) return `${Math.max(0, Math.floor(ms / SECOND))} s`;
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)} min`;
  if (ms < 2 * DAY) return `${Math.floor(ms / HOUR)} h`;
  return `${Math.floor(ms / DAY)} d`;
}

/** The time of day, with the date if it is not today. */
export function timeOf(ms, now) {
  const at = new Date(ms);
  return at.toDateString() === new Date(now).toDateString() ? clock.format(at) : dated.format(at);
}

/** The full date and time. */
export function exactTime(ms) {
  return exact.format(new Date(ms));
}

/** How long a loaded model stays in memory, in words. */
export function warmth(expiresAt, now) {
  if (expiresAt === null || expiresAt === undefined) return "loaded";
  if (expiresAt <= now) return "about to unload";
  // A backend reports "never" as a time centuries away.
  if (expiresAt - now > 365 * DAY) return "kept warm";
  return `warm until ${timeOf(expiresAt, now)}`;
}

/** Bytes in binary units, with two significant digits or the full integer. */
export function bytes(count) {
  if (count < 1024) return `${count} B`;
  const units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = count / 1024;
  let unit = 0;
  while (value >= 1023.5 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** Milliseconds of latency. */
export function latency(ms) {
  if (ms < 1) return "<1 ms";
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** "1 host", "3 hosts". */
export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString()} ${number === 1 ? one : many}`;
}

const BACKENDS = {
  ollama: "Ollama", vllm: "vLLM", llama_cpp: "llama.cpp", lm_studio: "LM Studio", sglang: "SGLang",
  openai: "OpenAI-compatible", llama_swap: "llama-swap", litellm: "LiteLLM", lemonade: "Lemonade", lmdeploy: "LMDeploy",
  docker_model_runner: "Docker Model Runner", tei: "Text Embeddings Inference",
};

/** A backend's name as its project writes it. */
export function backendName(backend) {
  return BACKENDS[backend] ?? "Unknown";
}

const SOURCES = { manual: "registered by an admin", auto: "registered by its sidecar", config: "from the configuration file" };

/** How an endpoint was registered, in words. */
export function sourceName(source) {
  return SOURCES[source] ?? "unknown";
}

/** A word with a capital first letter. */
export function capital(word) {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

/** Whether a name means a model: its own name, or the same without the tag `latest`, as everywhere in the hub. */
export function namesModel(name, model) {
  // The colon of a port, as in "registry.lan:5000/model", begins no tag.
  const hasTag = name.slice(name.lastIndexOf("/") + 1).includes(":");
  return name === model || (!hasTag && `${name}:latest` === model);
}
