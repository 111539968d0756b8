// The app itself: it starts a session, reads the record and shows one view at a time, by the address after #.

import {h} from "./elements.js";
import {costBar} from "./plot.js";
import {nameOf, readRecord} from "./record.js";
import {begin, signIn, signOut} from "./smart.js";
import {costs, coverageView, medicinesView, oneClaim, overview, providersView, timeline} from "./views.js";

const views = [
  {path: "", name: "Overview", show: overview},
  {path: "claims", name: "Claims", show: timeline, one: oneClaim},
  {path: "costs", name: "Costs", show: costs},
  {path: "medicines", name: "Medicines", show: medicinesView},
  {path: "providers", name: "Providers", show: providersView},
  {path: "coverage", name: "Coverage", show: coverageView},
];

const page = {main: document.getElementById("main"), nav: document.getElementById("nav"), who: document.getElementById("who"), status: document.getElementById("status")};

let config, session, record;

const say = text => page.status.textContent = text;

// present replaces what the page shows. The focus goes to the new heading, unless a filter of the view has it.
function present(title, body, {focus = true} = {}) {
  document.title = `${title} - My Claims`;
  page.main.replaceChildren(...[body].flat(Infinity).filter(e => e instanceof Node));
  if (focus) {
    scrollTo(0, 0);
    page.main.querySelector("h1")?.focus({preventScroll: true});
  }
}

const button = (text, act, kind = "button") => h("button", {type: "button", class: kind, onclick: act}, text);

// busy shows that something is on its way.
function busy(text) {
  say(text);
  present("One moment", h("div", {class: "busy"}, h("h1", {tabindex: "-1"}, "One moment"), h("p", {}, `${text} …`)), {focus: false});
}

async function goSignIn() {
  busy("Taking you to your plan");
  try {
    await signIn(config);
  } catch (problem) {
    trouble(problem);
  }
}

// sample is a decoration: how a claim looks in the app.
function sample() {
  const row = {name: "", billed: 24000, paid: 13200, owed: 1800, saved: 9000};
  return h("div", {class: "card sample", "aria-hidden": "true"},
    h("div", {class: "card-head"}, h("strong", {}, "Office visit"), h("span", {class: "badge badge-paid"}, "Paid")),
    h("p", {class: "quiet"}, "Doctor visit · Your Clinic"),
    h("p", {class: "sample-owed"}, "You owe ", h("strong", {}, "$18.00")),
    costBar(row));
}

function welcome(note) {
  page.nav.hidden = true;
  page.who.replaceChildren();
  present("Welcome", [h("div", {class: "split"},
    h("div", {class: "welcome"},
      note && h("p", {class: "notice", role: "status"}, note),
      h("h1", {tabindex: "-1"}, "Your claims, in one place"),
      h("p", {class: "lead"}, "See what your health plan paid, what you owe, which medicines you got and who treated you."),
      h("p", {}, button("Sign in with your plan", goSignIn, "button button-large")),
      h("ul", {class: "promises"},
        h("li", {}, "You sign in at your plan. This app never sees your password."),
        h("li", {}, "You choose what to share, and you can stop at any time."),
        h("li", {}, "Your data stays in this browser tab."))),
    sample()),
  ], {focus: Boolean(note)});
}

// trouble explains a problem and what to do about it.
function trouble(problem) {
  const kind = problem.kind ?? "failed";
  if (kind === "ended" || kind === "denied" || kind === "stray") {
    session = record = null;
    page.nav.hidden = true;
    page.who.replaceChildren();
  }
  const again = kind === "away" || kind === "failed";
  say(problem.message);
  present("A problem", h("div", {class: "card trouble", "data-problem": kind},
    h("h1", {tabindex: "-1"}, kind === "failed" && !problem.kind ? "Something went wrong in this app." : problem.message),
    h("p", {}, problem.detail || (problem.kind ? "" : String(problem.message))),
    h("p", {class: "actions"},
      again && button("Try again", start),
      kind !== "setup" && (again && session ? null : button(kind === "denied" || again ? "Sign in" : "Sign in again", goSignIn)),
      session && button("Sign out", leave, "button button-quiet"))));
}

async function leave() {
  busy("Signing you out");
  const told = await signOut(config);
  session = record = null;
  history.replaceState(null, "", location.pathname);
  welcome(told ? "You are signed out, and your plan no longer shares your data with this app."
    : "You are signed out here. Your plan could not be told, so also remove the app on its page of connected apps.");
}

function frame() {
  page.who.replaceChildren(
    h("span", {class: "who-name"}, nameOf(record.person) || "Signed in"),
    button("Read again", start, "button button-quiet"),
    button("Sign out", leave, "button button-quiet"));
  page.nav.hidden = false;
}

// route shows the view of the address.
function route() {
  if (!record) return;
  const [path, text = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [first, id] = path.split("/");
  const view = views.find(v => v.path === first) ?? views[0], query = new URLSearchParams(text);
  page.nav.replaceChildren(h("ul", {}, views.map(v => h("li", {}, h("a", {href: `#/${v.path}`, "aria-current": v === view ? "page" : false}, v.name)))));
  const {title, body, status, keepFocus} = id && view.one ? view.one(record, decodeURIComponent(id)) : view.show(record, query);
  const focused = keepFocus && text && document.activeElement?.closest(".filters, .choices") ? document.activeElement : null;
  present(title, body, {focus: !focused});
  if (focused) { // the filter that was used goes on having the focus
    const same = focused.name ? page.main.querySelector(`select[name="${focused.name}"]`) : page.main.querySelector('.choices [aria-current="true"]');
    same?.focus();
  }
  say(status ?? "");
}

async function start() {
  try {
    if (!config) {
      const response = await fetch("config.json", {cache: "no-store"});
      config = await response.json();
    }
    if (location.origin !== new URL(config.redirect_uri).origin) {
      location.replace(config.redirect_uri + location.hash); // of two names of this machine, one is registered
      return;
    }
    busy("Starting");
    session = await begin(config);
    if (!session) {
      welcome();
      return;
    }
    busy("Reading your record");
    record = await readRecord(config, session.patient, text => busy(text));
    frame();
    route();
  } catch (problem) {
    trouble(problem);
  }
}

addEventListener("hashchange", () => record ? route() : null);
start();
