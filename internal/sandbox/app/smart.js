// The SMART App Launch (2.2, standalone) of a public client, in a browser: discovery, authorization code with PKCE
// (S256), refresh and revocation. The session is kept in sessionStorage: it ends with the tab.

const pendingKey = "my-claims.pending";
const sessionKey = "my-claims.session";
const scope = "launch/patient openid fhirUser offline_access patient/*.rs";

// A Problem is something that a person should read. Its kind says what can be done about it.
export class Problem extends Error {
  constructor(kind, message, detail = "") {
    super(message);
    this.kind = kind; // away, denied, stray, setup, ended, refused, missing or failed
    this.detail = detail;
  }
}

const away = detail => new Problem("away", "Your plan’s server does not answer.", detail);

// ask is fetch, with a Problem if nobody answers.
export async function ask(url, options = {}) {
  try {
    return await fetch(url, {cache: "no-store", credentials: "omit", referrerPolicy: "no-referrer", ...options});
  } catch {
    throw away("It may be restarting, or you may be offline.");
  }
}

async function json(response) {
  try {
    return await response.json();
  } catch {
    throw new Problem("failed", "Your plan’s server sent an answer that this app cannot read.", `Status ${response.status}`);
  }
}

const base64url = bytes => btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const random = n => base64url(crypto.getRandomValues(new Uint8Array(n)));

function load(key) {
  try {
    return JSON.parse(sessionStorage.getItem(key));
  } catch {
    return null;
  }
}
const save = (key, value) => sessionStorage.setItem(key, JSON.stringify(value));

let known;

// discover reads the configuration of the server once.
async function discover(config) {
  if (known) return known;
  const response = await ask(`${config.fhir_base}/.well-known/smart-configuration`, {headers: {Accept: "application/json"}});
  if (!response.ok) {
    throw new Problem("setup", "Nobody can sign in at this server.", "It names no authorization server. A server that was started with --open has none; start the sandbox.");
  }
  const found = await json(response);
  if (!found.code_challenge_methods_supported?.includes("S256")) {
    throw new Problem("setup", "This server does not sign people in safely.", "It does not offer PKCE with S256.");
  }
  return known = found;
}

// signIn sends the browser to the authorization server.
export async function signIn(config) {
  const {authorization_endpoint} = await discover(config);
  const pending = {state: random(16), verifier: random(48), nonce: random(16)};
  save(pendingKey, pending);
  const challenge = base64url(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(pending.verifier)));
  const query = new URLSearchParams({
    response_type: "code", client_id: config.client_id, redirect_uri: config.redirect_uri, scope, state: pending.state, nonce: pending.nonce,
    aud: config.fhir_base, code_challenge: challenge, code_challenge_method: "S256",
  });
  location.assign(`${authorization_endpoint}?${query}`);
}

async function token(config, fields) {
  const {token_endpoint} = await discover(config);
  const response = await ask(token_endpoint, {
    method: "POST", headers: {Accept: "application/json"}, body: new URLSearchParams({client_id: config.client_id, ...fields}),
  });
  if (response.status === 429 || response.status >= 500) { // it has not said no
    throw away(`It has too much to do, or is being repaired. Try again in a minute. Status ${response.status}`);
  }
  const answer = await json(response);
  if (!response.ok) throw new Problem("failed", "Your plan did not let the app in.", answer.error_description || answer.error || `Status ${response.status}`);
  return answer;
}

// identity checks what an ID token says. It came from the token endpoint itself, so its signature need not be
// checked (OpenID Connect Core, 3.1.3.7, 6).
async function identity(config, idToken, nonce) {
  if (!idToken) return;
  const text = atob(idToken.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
  const claims = JSON.parse(new TextDecoder().decode(Uint8Array.from(text, c => c.charCodeAt(0))));
  const {issuer} = await discover(config);
  const mine = [claims.aud].flat().includes(config.client_id);
  if ((issuer && claims.iss !== issuer) || !mine || claims.nonce !== nonce || claims.exp * 1000 < Date.now() - 60000) {
    throw new Problem("stray", "This sign-in was not meant for this app.", "Its ID token does not fit.");
  }
}

function keep(old, answer) {
  const session = {
    ...old, access: answer.access_token, refresh: answer.refresh_token ?? old.refresh, scope: answer.scope ?? old.scope,
    patient: answer.patient ?? old.patient, expires: Date.now() + (answer.expires_in ?? 300) * 1000,
  };
  save(sessionKey, session);
  return session;
}

// begin finishes a sign-in that the browser comes back from, or goes on with the session of the tab. It returns the
// session, or null if nobody is signed in.
export async function begin(config) {
  const query = new URLSearchParams(location.search);
  if (!query.has("code") && !query.has("error")) return load(sessionKey);
  history.replaceState(null, "", location.pathname + location.hash); // the code is used once, and is nobody's business
  const pending = load(pendingKey);
  sessionStorage.removeItem(pendingKey);
  if (!pending || query.get("state") !== pending.state) {
    const session = load(sessionKey);
    if (session) return session; // somebody went back, or opened an old link
    throw new Problem("stray", "This sign-in was not begun here.", "Please sign in again, in this tab.");
  }
  if (query.get("error") === "access_denied") {
    throw new Problem("denied", "You did not share anything.", "That is fine. The app has got nothing. You can sign in again when you want to.");
  }
  if (query.has("error")) {
    throw new Problem("failed", "Your plan did not let the app in.", query.get("error_description") || query.get("error"));
  }
  const {issuer} = await discover(config);
  if (query.has("iss") && issuer && query.get("iss") !== issuer) { // RFC 9207
    throw new Problem("stray", "This answer comes from another server.", "Please sign in again.");
  }
  const answer = await token(config, {
    grant_type: "authorization_code", code: query.get("code"), redirect_uri: config.redirect_uri, code_verifier: pending.verifier,
  });
  if (!answer.patient) throw new Problem("failed", "Your plan did not say whose claims these are.", "The answer has no patient.");
  await identity(config, answer.id_token, pending.nonce);
  return keep({}, answer);
}

let refreshing;

// refresh gets a new access token; requests that need one at the same time share it.
export function refresh(config) {
  refreshing ??= (async () => {
    const session = load(sessionKey);
    const over = () => {
      sessionStorage.removeItem(sessionKey);
      return new Problem("ended", "Your plan no longer shares your data with this app.", "You may have removed the app, or its time is over. Sign in again to go on.");
    };
    if (!session?.refresh) throw over();
    try {
      return keep(session, await token(config, {grant_type: "refresh_token", refresh_token: session.refresh}));
    } catch (problem) {
      throw problem.kind === "away" ? problem : over(); // a server that is away has not said no
    }
  })().finally(() => refreshing = null);
  return refreshing;
}

// access is an access token that is valid for a little longer.
export async function access(config) {
  let session = load(sessionKey);
  if (!session) throw new Problem("ended", "You are signed out.");
  if (session.expires - Date.now() < 20000) session = await refresh(config);
  return session.access;
}

// signOut ends the permission at the server and forgets the session. It says whether the server took part.
export async function signOut(config) {
  const session = load(sessionKey);
  sessionStorage.removeItem(sessionKey);
  if (!session) return true;
  try {
    const {revocation_endpoint} = await discover(config);
    if (!revocation_endpoint) return false;
    for (const [hint, value] of [["refresh_token", session.refresh], ["access_token", session.access]]) {
      if (!value) continue;
      const response = await ask(revocation_endpoint, {
        method: "POST", body: new URLSearchParams({client_id: config.client_id, token: value, token_type_hint: hint}),
      });
      if (!response.ok) return false;
    }
    return true;
  } catch {
    return false;
  }
}
