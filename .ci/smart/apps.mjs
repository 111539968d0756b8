// Apps that others wrote, against a sandbox: apps.mjs SANDBOX_JSON FOLDER [CHROMIUM].
// openid-client checks the protocol as an independent client does, ID token included; fhirclient runs in a page of
// another origin, as apps of members do. A person signs in and decides in Chromium. It exits with 1 if anything fails.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import * as oidc from "openid-client";
import { chromium } from "playwright-core";

const [settings, folder, executablePath = "/usr/bin/chromium"] = process.argv.slice(2);
const sandbox = JSON.parse(readFileSync(settings, "utf8"));
const member = sandbox.members[0];
const browser = await chromium.launch({
  executablePath, args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

// decide signs in and allows, in a page that shows the login.
async function decide(page) {
  await page.fill("input[name=login]", member.login);
  await page.fill("input[name=password]", member.password);
  await page.click("form:has(input[name=password]) button");
  await page.click("button[name=decision][value=allow]");
}

// listen serves an app on a free port of the loopback address.
async function listen(answer) {
  const server = createServer(answer);
  await new Promise(ready => server.listen(0, "127.0.0.1", ready));
  return { server, origin: `http://127.0.0.1:${server.address().port}` };
}

let failed = 0;
async function check(name, test) {
  try {
    await test();
    console.log(`passed   ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAILED   ${name}: ${error.message.split("\n")[0]} ${error.code ?? ""} ${error.error ?? ""}`);
  }
}

const ask = async (path, token) => {
  const r = await fetch(`${sandbox.fhir_base}/${path}`, { headers: { Authorization: `Bearer ${token}` } });
  return { status: r.status, body: await r.json() };
};

// independent runs openid-client with a registered client and the way it authenticates itself.
async function independent(client, authentication) {
  const { server, origin } = await listen((_, response) => response.end("back"));
  try {
    const config = await oidc.discovery(new URL(sandbox.issuer), client.id, undefined, authentication, { execute: [oidc.allowInsecureRequests] });
    const redirect = `${origin}/callback`;
    const code_verifier = oidc.randomPKCECodeVerifier(), state = oidc.randomState(), nonce = oidc.randomNonce();
    const to = oidc.buildAuthorizationUrl(config, {
      redirect_uri: redirect, scope: "openid fhirUser launch/patient offline_access patient/*.rs", aud: sandbox.fhir_base, state, nonce,
      code_challenge: await oidc.calculatePKCECodeChallenge(code_verifier), code_challenge_method: "S256",
    });
    const context = await browser.newContext(), page = await context.newPage();
    await page.goto(to.href);
    await decide(page);
    await page.waitForURL(`${redirect}?**`);
    const tokens = await oidc.authorizationCodeGrant(config, new URL(page.url()), { pkceCodeVerifier: code_verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true });
    await context.close();
    assert.equal(tokens.patient, member.patient);
    assert.equal(tokens.claims().fhirUser, `${sandbox.fhir_base}/Patient/${member.patient}`);
    assert.equal((await ask(`Patient/${member.patient}`, tokens.access_token)).status, 200);
    assert.equal((await ask(`Patient/${sandbox.members[1].patient}`, tokens.access_token)).status, 404);
    const again = await oidc.refreshTokenGrant(config, tokens.refresh_token);
    assert.notEqual(again.refresh_token, tokens.refresh_token);
    assert.equal((await oidc.tokenIntrospection(config, again.access_token)).active, true);
    await oidc.tokenRevocation(config, again.refresh_token);
    assert.equal((await oidc.tokenIntrospection(config, again.access_token)).active, false);
    assert.equal((await ask(`Patient/${member.patient}`, again.access_token)).status, 401);
    await assert.rejects(oidc.refreshTokenGrant(config, again.refresh_token), e => e.error === "invalid_grant");
  } finally {
    server.close();
  }
}

await check("openid-client, public", () => independent(sandbox.clients.public, oidc.None()));
await check("openid-client, secret in the header", () => independent(sandbox.clients.confidential, oidc.ClientSecretBasic(sandbox.clients.confidential.secret)));
await check("openid-client, secret in the form", () => independent(sandbox.clients.confidential, oidc.ClientSecretPost(sandbox.clients.confidential.secret)));

await check("fhirclient in a page of its own", async () => {
  const library = readFileSync(createRequire(import.meta.url).resolve("fhirclient").replace(/fhirclient\/.*/, "fhirclient/build/fhir-client.js"));
  const page = text => `<!doctype html><meta charset="utf-8"><title>fhirclient</title><script src="/fhir-client.js"></script><script>${text}</script><p id="found"></p>`;
  const start = JSON.stringify({ iss: sandbox.fhir_base, clientId: sandbox.clients.public.id, scope: "openid fhirUser launch/patient offline_access patient/*.rs", redirectUri: "/callback", completeInTarget: true, pkceMode: "required" });
  const { server, origin } = await listen((request, response) => {
    const path = request.url.split("?")[0];
    response.setHeader("Content-Type", path.endsWith(".js") ? "text/javascript" : "text/html");
    response.end(path === "/fhir-client.js" ? library : path === "/callback" ? page(`
      FHIR.oauth2.ready().then(async client => {
        const patient = await client.patient.read();
        const claims = await client.patient.request("ExplanationOfBenefit", { pageLimit: 0, flat: true });
        await client.refresh();
        const coverage = await client.patient.request("Coverage");
        return { patient: patient.id, user: client.getFhirUser(), claims: claims.length, coverage: coverage.entry.length };
      }).then(x => { document.getElementById("found").textContent = JSON.stringify(x); }, e => { document.getElementById("found").textContent = "error: " + e.message; });`)
      : page(`FHIR.oauth2.authorize(${start})`));
  });
  const context = await browser.newContext(), view = await context.newPage();
  await view.goto(`${origin}/`);
  await view.waitForSelector("input[name=login]");
  await decide(view);
  await view.waitForFunction(() => document.getElementById("found")?.textContent);
  const text = await view.textContent("#found");
  await view.screenshot({ path: `${folder}/fhirclient.png` });
  await context.close();
  server.close();
  const found = JSON.parse(text);
  assert.equal(found.patient, member.patient);
  assert.match(found.user, new RegExp(`Patient/${member.patient}$`));
  assert.ok(found.claims > 10, `${found.claims} claims`);
  assert.ok(found.coverage > 0, "no coverage");
});

await browser.close();
console.log(failed ? `${failed} failed` : "all passed");
process.exitCode = failed ? 1 : 0;
