// The entry point of the page: creates the parts and connects them.

import { Actions, READ_ONLY } from "./actions.js";
import { api } from "./api.js";
import { Detail } from "./detail.js";
import { byId, h, setAttribute, setText, show } from "./dom.js";
import { AliasesView } from "./aliases-view.js";
import { ActivityView } from "./activity-view.js";
import { EndpointsView } from "./endpoints-view.js";
import { Fleet } from "./fleet.js";
import { duration } from "./format.js";
import { HostsView } from "./hosts-view.js";
import { ModelsView, searchFor } from "./models-view.js";
import { OverviewView } from "./overview-view.js";
import { Router, hashOf } from "./router.js";
import { SelectView } from "./select-view.js";
import { LiveConnection } from "./stream.js";
import { Summary } from "./summary.js";
import { startTheme } from "./theme-switch.js";
import { TokensView, addHost } from "./tokens-view.js";

const BUILD = document.querySelector("meta[name=build]").content;
// The page reports a lost connection after this time.
const PATIENCE_MS = 1500;

const fleet = new Fleet();
const router = new Router(showRoute);
const actions = new Actions(fleet, (id) => endpoints.open(id));
const endpoints = new EndpointsView(fleet, actions, router, () => drawSummary());
const detail = new Detail(fleet, actions, closeDetail);
const summary = new Summary(pick);
const live = new LiveConnection({ event: take, up, down, signedOut: () => signOut(true) });
const views = {
  "": new OverviewView(fleet),
  endpoints,
  models: new ModelsView(router),
  hosts: new HostsView(router, fleet, actions, () => void addHost(fleet, hub)),
  activity: new ActivityView(router, fleet, actions),
  select: new SelectView(router, fleet),
  aliases: new AliasesView(router, actions),
  tokens: new TokensView(router, fleet, actions),
};
// A view that only lists is drawn again at most this often.
const VIEW_PERIOD_MS = 1000;

let shown = "";
let viewTimer = 0;
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
  showRoute(router.route);
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
    fleet.setNow(value.now);
    if (actions.role !== value.role) {
      actions.role = value.role;
      drawRole();
      // What a view asks the hub for depends on the role.
      showRoute(router.route);
    }
    if (value.build !== BUILD) {
      notify("The hub was updated. Reload the page to use the new version.", "Reload", () => location.reload());
    }
  } else if (type === "state") {
    const began = performance.now();
    fleet.replace(value);
    hasState = true;
    drawAll();
    detail.touch(null);
    openDetail(router.route);
    performance.measure("state", { start: began });
  } else if (type === "update") {
    const began = performance.now();
    const { touched, isStructural } = fleet.update(value);
    if (isStructural) drawAll();
    else drawSummary();
    endpoints.table.touch(touched);
    drawViewSoon();
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
  summary.draw(fleet.summary(), shown === "endpoints" ? endpoints.filter : {});
}

function drawAll() {
  const now = fleet.summary();
  summary.draw(now, shown === "endpoints" ? endpoints.filter : {});
  if (shown === "endpoints") endpoints.draw(now, hub);
  else views[shown].draw(now, fleet);
}

function drawViewSoon() {
  if (shown === "endpoints" || viewTimer) return;
  viewTimer = setTimeout(() => {
    viewTimer = 0;
    if (hasState && shown !== "endpoints") views[shown].draw(fleet.summary(), fleet);
  }, VIEW_PERIOD_MS);
}

// The address says which view is shown.

for (const [name, each] of Object.entries(views)) {
  byId("views").append(h("li", {}, h("a", { href: hashOf(name), data: { view: name }, text: each.title })));
  if (name !== "endpoints") byId("fleet").append(h("section", { class: "view", id: `view-${name || "overview"}`, hidden: true }, each.element));
}

function showRoute(route) {
  if (document.body.dataset.view !== "fleet") return;
  shown = route.name in views ? route.name : "";
  for (const name of Object.keys(views)) show(byId(`view-${name || "overview"}`), name === shown);
  for (const link of byId("views").querySelectorAll("a")) setAttribute(link, "aria-current", link.dataset.view === shown ? "page" : null);
  show(byId("summary"), shown === "" || shown === "endpoints");
  document.title = `${views[shown].title} · LLM Registry Hub`;
  views[shown].enter(route);
  if (hasState) drawAll();
  openDetail(route);
}

// The hash is the address of a view, so the link to the content cannot use it.
byId("skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("fleet").focus();
});

function openDetail(route) {
  if (shown !== "endpoints" || !route.item) detail.close();
  else if (hasState) detail.open(route.item);
}

function closeDetail(id) {
  // Back has already changed the address; the button has not.
  if (router.route.item === id) router.go("endpoints", endpoints.query);
  endpoints.table.focus(id);
}

function pick(kind, value) {
  const query = shown === "endpoints" ? endpoints.query : {};
  const [name, wanted] = kind === "health" ? ["health", value] : ["text", searchFor(value)];
  router.go("endpoints", { ...query, [name]: query[name] === wanted ? "" : wanted });
}

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest?.("input, textarea, select, dialog, [popover]");
  if (event.key === "/" && !isTyping && document.body.dataset.view === "fleet") {
    event.preventDefault();
    if (shown !== "endpoints") router.go("endpoints");
    // The view is shown after the address has changed.
    setTimeout(() => endpoints.search());
  }
});

// Timers.

setInterval(() => {
  drawLink();
  if (hasState && shown === "endpoints") endpoints.table.tick();
}, 1000);
setInterval(() => {
  if (hasState) {
    if (shown === "endpoints") endpoints.table.redraw();
    else drawViewSoon();
    detail.touch(null);
  }
}, 15_000);
addEventListener("online", () => live.hurry());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) live.hurry();
});

startTheme(byId("theme"));
void start();
