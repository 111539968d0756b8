// The sandbox as a member and an app see it, in a real browser: sandbox.mjs SANDBOX_JSON FOLDER [CHROMIUM].
// With ONLY=text, only the tests whose names have the text run.
// It signs in to the example app, compares what the app shows with what the API says, and looks at every page and
// state: axe-core, overflow at 320 px, and screenshots in FOLDER. It exits with 1 if anything fails.
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const [settings, folder, executablePath = "/usr/bin/chromium"] = process.argv.slice(2);
const sandbox = JSON.parse(readFileSync(settings, "utf8"));
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const app = sandbox.example_app, fhir = sandbox.fhir_base, origin = new URL(app).origin;
const member = login => sandbox.members.find(m => m.login === login) ?? sandbox.members[0];
mkdirSync(folder, { recursive: true });

const browser = await chromium.launch({
  executablePath, args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

let passed = 0, failed = 0;
const fail = text => { failed++; console.log(`FAILED   ${text}`); };

function demand(condition, text) {
  if (!condition) throw new Error(text);
}

// visit opens a page of its own, as a new browser would, and runs a test in it. Whatever the page complains about is
// a failure, but for what the test expects.
async function visit(name, test, options = {}) {
  if (process.env.ONLY && !name.includes(process.env.ONLY)) return;
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: "reduce", ...options });
  const page = await context.newPage(), complaints = [], foreign = [];
  page.setDefaultTimeout(15000);
  page.on("console", m => m.type() === "error" && !/Failed to load resource/.test(m.text()) && complaints.push(m.text()));
  page.on("pageerror", e => complaints.push(String(e)));
  page.on("request", r => !/^(data|blob|about):/.test(r.url()) && new URL(r.url()).origin !== origin && foreign.push(r.url()));
  try {
    await test(page, context);
    demand(!complaints.length, `the page complains: ${complaints.join("; ")}`);
    demand(!foreign.length, `the page asks others: ${foreign.join(" ")}`);
    passed++;
    console.log(`passed   ${name}`);
  } catch (error) {
    fail(`${name}: ${error.message.split("\n").slice(0, 3).join(" ")}`);
    await page.screenshot({ path: `${folder}/failed-${name.replace(/\W+/g, "-")}.png`, fullPage: true }).catch(() => {});
  } finally {
    await context.close();
  }
}

// look examines the page as it is now: axe-core in light and dark, and no sideways scrolling at any width.
async function look(page, name) {
  const size = page.viewportSize(), tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
  for (const [width, scheme] of [[1280, "light"], [800, "light"], [360, "light"], [320, "light"], [1280, "dark"], [360, "dark"]]) {
    await page.setViewportSize({ width, height: 900 });
    await page.emulateMedia({ colorScheme: scheme });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    demand(wide <= 0, `${name} scrolls sideways by ${wide} px at ${width} px`);
    if (width !== 800) {
      await page.evaluate(axe);
      const { violations } = await page.evaluate(values => window.axe.run({ runOnly: { type: "tag", values } }), tags);
      demand(!violations.length, `${name} at ${width} px, ${scheme}: ${violations.map(v => `${v.id} (${v.nodes[0].target}: ${v.nodes[0].failureSummary?.replace(/\s+/g, " ")})`).join("; ")}`);
    }
    if (width !== 320) await page.screenshot({ path: `${folder}/${name}-${width}${scheme === "dark" ? "-dark" : ""}.png`, fullPage: true });
  }
  await page.setViewportSize(size);
  await page.emulateMedia({ colorScheme: "light" });
}

const title = page => page.locator("h1").first().innerText();
const heading = (page, text) => page.locator("h1", { hasText: text }).first().waitFor();
const session = page => page.evaluate(() => JSON.parse(sessionStorage.getItem("my-claims.session")));

// toLogin begins at the app and ends at the login page of the server.
async function toLogin(page) {
  await page.goto(app);
  await page.getByRole("button", { name: "Sign in with your plan" }).click();
  await page.locator('input[name="password"]').waitFor();
}

async function logIn(page, login, password = member(login).password) {
  await page.locator('input[name="login"]').fill(login);
  await page.locator('input[name="password"]').fill(password);
  await page.locator('form:has(input[name="password"]) button').click();
}

const decide = (page, decision) => page.locator(`form.decision button[name="decision"][value="${decision}"]`).click();

// signIn signs in as a member and allows the app what it asks for.
async function signIn(page, login, choose = async () => {}) {
  await toLogin(page);
  await logIn(page, login);
  await choose(page);
  await page.locator("form.decision").waitFor();
  await decide(page, "allow");
  await page.waitForURL(url => url.href.startsWith(app));
  await page.locator("nav a[aria-current=page]").waitFor();
}

// read asks the API itself, with the token of the app.
async function read(page, path) {
  const { access } = await session(page);
  const response = await fetch(`${fhir}/${path}`, { headers: { Authorization: `Bearer ${access}` } });
  return { status: response.status, body: await response.json() };
}

const go = async (page, name) => {
  await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name, exact: true }).click();
  await page.locator(`nav a[aria-current=page]`, { hasText: name }).waitFor();
};
const dollars = cents => new Intl.NumberFormat("en-US", { style: "currency", currency: "USD" }).format(cents / 100);

await visit("sign in, and every view", async page => {
  await page.goto(app);
  await page.getByRole("button", { name: "Sign in with your plan" }).waitFor();
  await look(page, "welcome");
  await toLogin(page);
  await look(page, "login");
  await logIn(page, "elena", "not the password");
  await page.locator(".error").first().waitFor();
  await look(page, "login-refused");
  await logIn(page, "elena");
  await page.locator("form.decision").waitFor();
  await look(page, "consent");
  await decide(page, "allow");
  await page.locator("nav a[aria-current=page]").waitFor();
  demand(new URL(page.url()).search === "", "the code stays in the address");
  const { patient, scope } = await session(page);
  demand(patient === member("elena").patient, "the token opens somebody else's data");
  demand(scope.includes("offline_access"), `the scope is ${scope}`);
  demand((await title(page)).includes("Elena"), "the app does not greet the member");
  await look(page, "overview");

  // Costs, compared with a sum that is made here from the API.
  const bundle = (await read(page, `ExplanationOfBenefit?patient=${patient}&_count=500`)).body;
  const claims = bundle.entry.map(e => e.resource);
  const sum = code => claims.filter(c => c.status === "active").flatMap(c => c.total).filter(t => t.category.coding.some(x => x.code === code)).reduce((n, t) => n + Math.round(t.amount.value * 100), 0);
  await go(page, "Costs");
  const foot = await page.locator("tfoot").innerText();
  for (const code of ["submitted", "eligible", "benefit", "noncovered"]) demand(foot.includes(dollars(sum(code))), `the sum of ${code} is ${dollars(sum(code))}, and the table says ${foot}`);
  demand(await page.locator("svg.bar").count() >= 3, "the plot has no bars");
  await look(page, "costs");
  await page.getByRole("link", { name: "By kind" }).click();
  await page.getByRole("heading", { name: "Costs by kind" }).waitFor();
  demand(await page.locator("tbody tr").count() === 6, "there are not six kinds of claims");
  await look(page, "costs-by-kind");

  await go(page, "Claims");
  demand(await page.locator(".claim-row").count() === claims.length, "the timeline lacks claims");
  await look(page, "claims");
  await page.locator('select[name="kind"]').selectOption("pharmacy");
  await page.waitForURL(/kind=pharmacy/);
  const pharmacy = claims.filter(c => c.type.coding[0].code === "pharmacy").length;
  demand(await page.locator(".claim-row").count() === pharmacy, "the filter shows others");
  demand(await page.evaluate(() => document.activeElement?.name) === "kind", "the filter has lost the focus");
  demand((await page.locator("#status").innerText()).includes(String(pharmacy)), "the number of claims is not announced");
  await page.goBack();
  demand(await page.locator(".claim-row").count() === claims.length, "Back does not undo the filter");

  // A corrected claim and the one that it replaces, a line that was refused, and the JSON beside them.
  await page.locator(".claim-void a").first().click();
  await page.locator(".claim-head").waitFor();
  await look(page, "claim-without-effect");
  await page.goBack();
  await page.locator(".claim-row a", { has: page.locator(".badge-partly-paid") }).first().click();
  await page.locator(".line-refused").waitFor();
  if (!await page.locator(".raw-json pre").isVisible()) await page.locator(".raw-json summary").click();
  const shown = JSON.parse(await page.locator(".raw-json pre").innerText());
  demand(page.url().endsWith(shown.id) && shown.resourceType === "ExplanationOfBenefit", "the JSON is not that of the claim");
  demand(claims.some(c => c.id === shown.id), "the API does not have this claim");
  await look(page, "claim");

  await go(page, "Medicines");
  const drugs = new Set(claims.filter(c => c.type.coding[0].code === "pharmacy").map(c => c.item[0].productOrService.text));
  for (const drug of drugs) await page.getByRole("heading", { name: drug }).waitFor();
  await look(page, "medicines");

  await go(page, "Providers");
  for (const name of ["Dr. Marisol Reyes", "Corner Pharmacy", "Northgate General Hospital"]) await page.getByRole("heading", { name }).waitFor();
  demand(!(await page.locator("main").innerText()).includes("Without a name"), "a provider has no name");
  await page.locator(".raw-json summary").first().click();
  JSON.parse(await page.locator(".raw-json[open] pre").innerText());
  await look(page, "providers");

  await go(page, "Coverage");
  demand(await page.locator("section.card").count() === 3, "there are not two coverages and the person");
  await look(page, "coverage");

  await page.reload();
  await heading(page, "Coverage");
  demand((await session(page)).access, "the session is gone after a reload");
});

await visit("keyboard only", async page => {
  await page.goto(app);
  await page.getByRole("button", { name: "Sign in with your plan" }).waitFor();
  await page.keyboard.press("Tab");
  demand(await page.evaluate(() => document.activeElement.className) === "skip-link", "the first stop is not the skip link");
  const press = async (want, key = "Enter") => {
    for (let i = 0; i < 60; i++) {
      if (await page.evaluate(selector => document.activeElement.matches(selector), want)) return page.keyboard.press(key);
      await page.keyboard.press("Tab");
    }
    throw new Error(`no Tab reaches ${want} on ${page.url()}`);
  };
  await press(".button-large");
  await page.locator('input[name="password"]').waitFor();
  await page.locator('input[name="login"]').focus();
  await page.keyboard.type("tomas");
  await page.keyboard.press("Tab");
  await page.keyboard.type(member("tomas").password);
  await page.keyboard.press("Enter");
  await page.locator("form.decision").waitFor();
  await press('form.decision button[value="allow"]');
  await page.locator("nav a[aria-current=page]").waitFor();
  await press('nav a[href="#/claims"]');
  await page.locator(".claim-row").first().waitFor();
  await press(".claim-link");
  await page.locator(".claim-head").waitFor();
  demand(await page.evaluate(() => document.activeElement.tagName) === "H1", "the new heading has no focus");
});

await visit("all pages of a search", async page => {
  const pages = [];
  await page.route(/ExplanationOfBenefit\?patient=/, route => {
    pages.push(route.request().url());
    route.continue({ url: route.request().url().replace("_count=50", "_count=5") });
  });
  await signIn(page, "ruth");
  const { body } = await read(page, `ExplanationOfBenefit?patient=${member("ruth").patient}&_summary=count`);
  await go(page, "Claims");
  demand(body.total > 10 && await page.locator(".claim-row").count() === body.total, `${await page.locator(".claim-row").count()} of ${body.total} claims are shown`);
});

await visit("a parent chooses a child", async page => {
  await signIn(page, "grace", async () => {
    await page.locator('input[type="radio"][name="member"]').first().waitFor();
    await look(page, "choose");
    await page.locator("label", { hasText: "Noah" }).click();
    await page.locator('form:has(input[name="choose"]) button').click();
  });
  demand((await title(page)).includes("Noah"), "the record is not the child's");
  await page.locator(".who-name", { hasText: "Noah" }).waitFor();
  await look(page, "overview-of-a-child");
});

await visit("a member without claims", async page => {
  await signIn(page, "omar");
  await page.getByRole("heading", { name: "No claims yet" }).waitFor();
  await look(page, "no-claims");
  for (const [name, text] of [["Claims", "No claims yet"], ["Costs", "No claims yet"], ["Medicines", "No medicines"], ["Providers", "No providers"]]) {
    await go(page, name);
    await page.getByRole("heading", { name: text, exact: true }).last().waitFor();
  }
  await look(page, "no-providers");
});

await visit("the member keeps something back", async page => {
  await toLogin(page);
  await logIn(page, "priya");
  await page.locator("form.decision").waitFor();
  const kinds = page.locator('input[name="kind"]'), kept = [];
  for (let i = 0; i < await kinds.count(); i++) {
    const value = await kinds.nth(i).getAttribute("value");
    if (/Coverage|Practitioner|Organization/i.test(value) || /coverage|plan|doctor/i.test(await page.locator(`label[for="${await kinds.nth(i).getAttribute("id")}"]`).innerText())) {
      await kinds.nth(i).uncheck();
      kept.push(value);
    }
  }
  demand(kept.length > 0, "nothing can be kept back");
  await decide(page, "allow");
  await page.locator("nav a[aria-current=page]").waitFor();
  await go(page, "Coverage");
  await page.getByRole("heading", { name: "You did not share" }).first().waitFor();
  await look(page, "kept-back");
});

await visit("the member refuses", async page => {
  await toLogin(page);
  await logIn(page, "jun");
  await page.locator("form.decision").waitFor();
  await decide(page, "deny");
  await page.locator('[data-problem="denied"]').waitFor();
  await look(page, "denied");
  demand(!await session(page), "the app has a session all the same");
});

await visit("an answer that nobody asked for", async page => {
  await page.goto(`${app}?code=stolen&state=other`);
  await page.locator('[data-problem="stray"]').waitFor();
  demand(new URL(page.url()).search === "", "the code stays in the address");
  await look(page, "stray");
});

await visit("a token expires, and the server is away for a while", async page => {
  await signIn(page, "samuel");
  const before = await session(page);
  await page.evaluate(s => sessionStorage.setItem("my-claims.session", JSON.stringify({ ...s, expires: 0 })), before);
  await page.reload();
  await page.locator("nav a[aria-current=page]").waitFor();
  const after = await session(page);
  demand(after.access !== before.access && after.expires > Date.now(), "the token was not renewed");
  // A token that the server does not take any longer is renewed too.
  await page.evaluate(s => sessionStorage.setItem("my-claims.session", JSON.stringify({ ...s, access: "unknown" })), after);
  await page.reload();
  await page.locator("nav a[aria-current=page]").waitFor();
  await page.route(`${fhir}/**`, route => route.abort());
  await page.getByRole("button", { name: "Read again" }).click();
  await page.locator('[data-problem="away"]').waitFor();
  await look(page, "away");
  await page.unroute(`${fhir}/**`);
  await page.getByRole("button", { name: "Try again" }).click();
  await page.locator("nav a[aria-current=page]").waitFor();
  await heading(page, "Samuel");
});

await visit("the member removes the app", async (page, context) => {
  await signIn(page, "hana");
  const before = await session(page), other = await context.newPage();
  await other.goto(`${origin}/apps`);
  await other.locator('a[href^="/apps/revoke"]').first().waitFor();
  await look(other, "apps");
  await other.locator('a[href^="/apps/revoke"]').first().click();
  await other.locator('form[action="/apps/revoke"] button').waitFor();
  await look(other, "apps-revoke");
  await other.locator('form[action="/apps/revoke"] button').click();
  await other.waitForURL(url => url.pathname === "/apps");
  demand(await other.locator('a[href^="/apps/revoke"]').count() === 0, "the app is still there");
  await look(other, "apps-none");
  demand((await read(page, `Patient/${before.patient}`)).status === 401, "the token still opens the data");
  await page.getByRole("button", { name: "Read again" }).click();
  await page.locator('[data-problem="ended"]').waitFor();
  demand(!await session(page) && !(await page.locator("body").innerText()).includes("Lindqvist"), "data is still shown");
  await look(page, "ended");
});

await visit("sign out", async page => {
  await signIn(page, "jun");
  const before = await session(page);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByText("You are signed out, and your plan no longer shares").waitFor();
  await look(page, "signed-out");
  const response = await fetch(`${fhir}/Patient/${before.patient}`, { headers: { Authorization: `Bearer ${before.access}` } });
  demand(response.status === 401, `the token still opens the data: ${response.status}`);
  await page.reload();
  await page.getByRole("button", { name: "Sign in with your plan" }).waitFor();
});

await visit("the privacy page", async page => {
  await page.goto(`${app}privacy.html`);
  await heading(page, "What this app does");
  await look(page, "privacy");
});

await browser.close();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
