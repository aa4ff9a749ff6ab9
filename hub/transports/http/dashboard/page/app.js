// The entry point of the page: creates the parts and connects them.

import { Actions, READ_ONLY } from "./actions.js";
import { api } from "./api.js";
import { Detail } from "./detail.js";
import { byId, h, setText, show } from "./dom.js";
import { Fleet } from "./fleet.js";
import { backendName, count, duration } from "./format.js";
import { Overview, emptyFleet, nothingFound } from "./overview.js";
import { LiveConnection } from "./stream.js";
import { Table } from "./table.js";
import { startTheme } from "./theme-switch.js";

const BUILD = document.querySelector("meta[name=build]").content;
// The page reports a lost connection after this time.
const PATIENCE_MS = 1500;

const fleet = new Fleet();
const filter = { text: "", health: "", backend: "", sort: "problems" };
const actions = new Actions(fleet, (id) => detail.open(id));
const detail = new Detail(fleet, actions, (id) => table.focus(id));
const table = new Table(fleet, {
  open: (id) => detail.open(id),
  menu: (id, button) => actions.showMenu(id, button),
  key: (id, key, button) => (key === "m" ? (actions.showMenu(id, button), true) : actions.key(id, key)),
});
const overview = new Overview(pick);
const live = new LiveConnection({ event: take, up, down, signedOut: () => signOut(true) });

let hub = {};
let hasState = false;
let downSince = null;
let retryAt = 0;
let downReason = "";

function view(name) {
  document.body.dataset.view = name;
  show(byId("sign-out"), name === "fleet");
  show(byId("role"), name === "fleet");
}

// Signing in and out.

async function start() {
  try {
    const { role } = await api.session();
    if (role) enter();
    else signOut(false);
  } catch (error) {
    down(error.message, performance.now() + 2000);
    downSince -= PATIENCE_MS;
    drawLink();
    setTimeout(start, 2000);
  }
}

function enter() {
  view("fleet");
  setText(byId("link"), "Connecting…");
  live.start();
}

function signOut(wasSignedIn) {
  live.stop();
  detail.close();
  hasState = false;
  downSince = null;
  show(byId("notice"), false);
  setText(byId("link"), "");
  setText(byId("token-error"), wasSignedIn ? "You are signed out: the session has expired or its token was revoked." : "");
  view("sign-in");
  byId("token").focus();
}

byId("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = byId("token");
  const button = byId("sign-in-button");
  setText(byId("token-error"), "");
  if (!input.value.trim()) {
    setText(byId("token-error"), "Paste a token first.");
    return;
  }
  button.disabled = true;
  try {
    await api.signIn(input.value);
    input.value = "";
    enter();
  } catch (error) {
    const texts = {
      401: "The hub does not accept this token. It may be mistyped, revoked or expired.",
      403: "This is a sidecar token. It can only report for its host. Use a reader or an admin token.",
    };
    setText(byId("token-error"), texts[error.status] ?? error.message);
    input.select();
    input.focus();
  } finally {
    button.disabled = false;
  }
});

async function askToSignOut() {
  try {
    await api.signOut();
  } catch (error) {
    // The session may still be valid, so the page must not look signed out.
    notify(`You are still signed in: the hub did not end the session. ${error.message}`, "Try again", askToSignOut);
    return;
  }
  signOut(false);
}

byId("sign-out").addEventListener("click", askToSignOut);

// Events of the stream.

function take(type, value) {
  if (type === "hello") {
    hub = value;
    actions.role = value.role;
    fleet.setNow(value.now);
    drawRole();
    if (value.build !== BUILD) {
      notify("The hub was updated. Reload the page to use the new version.", "Reload", () => location.reload());
    }
  } else if (type === "state") {
    const began = performance.now();
    fleet.replace(value);
    hasState = true;
    drawAll();
    detail.touch(null);
    performance.measure("state", { start: began });
  } else if (type === "update") {
    const began = performance.now();
    const { touched, isStructural } = fleet.update(value);
    if (isStructural) drawAll();
    else drawSummary();
    table.touch(touched);
    detail.touch(touched);
    performance.measure("update", { start: began });
  } else if (type === "overload") drawOverload(value.why);
  else if (type === "beat") fleet.setNow(value.now);
}

function up() {
  downSince = null;
  drawOverload(null);
  show(byId("notice"), false);
  document.body.classList.remove("is-stale");
  setText(byId("link"), "Live");
}

function down(reason, at) {
  downSince ??= performance.now();
  downReason = reason;
  retryAt = at;
  drawLink();
}

function drawLink() {
  if (downSince === null) return;
  const age = performance.now() - downSince;
  if (age < PATIENCE_MS) return;
  document.body.classList.add("is-stale");
  setText(byId("link"), "Reconnecting");
  const old = hasState ? ` The data shown is ${duration(age)} old.` : "";
  const wait = Math.max(0, retryAt - performance.now());
  notify(`${downReason}${old} ${wait > 900 ? `Retrying in ${Math.ceil(wait / 1000)} s.` : "Retrying."}`, "Try now", () => live.hurry());
}

function notify(text, label, run) {
  setText(byId("notice-text"), text);
  setText(byId("notice-action"), label);
  byId("notice-action").onclick = run;
  show(byId("notice"), true);
}

// Drawing.

function drawOverload(why) {
  byId("overload").title = why ? `The hub is ${why}` : "";
  show(byId("overload"), Boolean(why));
}

function drawRole() {
  setText(byId("role"), actions.mayChange ? "admin" : "read only");
  byId("role").title = actions.mayChange ? "You can change the fleet" : READ_ONLY;
  byId("add").disabled = !actions.mayChange;
  byId("add").title = actions.mayChange ? "" : READ_ONLY;
}

function drawSummary() {
  overview.draw(fleet.summary(), filter);
}

function drawAll() {
  const summary = fleet.summary();
  overview.draw(summary, filter);
  drawBackends(summary.backends);
  drawList();
}

function drawList() {
  const began = performance.now();
  const found = fleet.find(filter);
  const total = fleet.endpoints.size;
  table.setList(found);
  table.redraw();
  setText(byId("count"), found.length === total ? count(total, "endpoint") : `${found.length.toLocaleString()} of ${count(total, "endpoint")}`);
  show(byId("tools"), total > 0);
  show(byId("endpoints"), found.length > 0);
  drawBlank(found.length, total);
  performance.measure("filter", { start: began });
}

function drawBlank(found, total) {
  const blank = byId("blank");
  const kind = !hasState || found ? "" : total ? "nothing" : `empty-${actions.role}`;
  show(blank, kind !== "");
  if (blank.dataset.kind === kind) return;
  blank.dataset.kind = kind;
  if (kind === "nothing") blank.replaceChildren(...nothingFound(clearFilter));
  else if (kind) blank.replaceChildren(...emptyFleet(hub, actions.mayChange, () => actions.add()));
}

function drawBackends(backends) {
  const select = byId("by-backend");
  const key = backends.join();
  if (select.dataset.key === key) return;
  select.dataset.key = key;
  select.replaceChildren(h("option", { value: "", text: "any" }), ...backends.map((each) => h("option", { value: each, text: backendName(each) })));
  select.value = backends.includes(filter.backend) ? filter.backend : "";
  filter.backend = select.value;
}

// Search and filters.

const controls = { text: byId("search"), health: byId("by-health"), backend: byId("by-backend"), sort: byId("sort") };

function readFilter() {
  for (const [name, control] of Object.entries(controls)) filter[name] = control.value;
  const top = byId("tools").offsetTop;
  drawList();
  drawSummary();
  // A shorter list must not leave the page scrolled past its end.
  if (scrollY > top) scrollTo(0, top - document.querySelector(".bar").offsetHeight);
}

function clearFilter() {
  controls.text.value = controls.health.value = controls.backend.value = "";
  readFilter();
  controls.text.focus();
}

function pick(kind, value) {
  const control = kind === "health" ? controls.health : controls.text;
  control.value = control.value === value ? "" : value;
  readFilter();
}

controls.text.addEventListener("input", readFilter);
for (const name of ["health", "backend", "sort"]) controls[name].addEventListener("change", readFilter);
controls.text.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && controls.text.value) {
    event.preventDefault();
    controls.text.value = "";
    readFilter();
  } else if (event.key === "ArrowDown" || event.key === "Enter") {
    event.preventDefault();
    table.focus();
  }
});
byId("add").addEventListener("click", () => actions.add());
document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest?.("input, textarea, select, dialog, [popover]");
  if (event.key === "/" && !isTyping && document.body.dataset.view === "fleet") {
    event.preventDefault();
    controls.text.focus();
    controls.text.select();
  }
});

// Timers.

setInterval(() => {
  drawLink();
  if (hasState) table.tick();
}, 1000);
setInterval(() => {
  if (hasState) {
    table.redraw();
    detail.touch(null);
  }
}, 15_000);
addEventListener("online", () => live.hurry());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) live.hurry();
});

startTheme(byId("theme"));
void start();
