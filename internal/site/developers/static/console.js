// The console of the developers' portal, and the page on which everybody tries requests: signs in a test member of the
// sandbox by the authorization code flow with PKCE, and sends requests to the sandbox. The token is in a variable of this page only. What the way through the authorization
// server needs (verifier, state, the page to come back to, the request) and the code are in sessionStorage until they are used.

const kept = 'cpcds2fhir console';
const root = document.getElementById('console');
if (root) start(JSON.parse(root.dataset.settings));
else if (document.getElementById('console-back')) pass();

// pass takes the answer of the authorization server along to the console that has begun the sign-in.
function pass() {
  const begun = JSON.parse(sessionStorage.getItem(kept) ?? 'null');
  if (!begun || !/^(\/developers\/apps\/[A-Za-z0-9_-]+\/console|\/docs\/try)$/.test(begun.back)) return;
  sessionStorage.setItem(kept, JSON.stringify({ ...begun, answer: location.search }));
  location.replace(begun.back);
}

function start(set) {
  const at = (id) => document.getElementById('console-' + id);
  const words = set.words;
  const say = (text, kind = '') => { at('status').textContent = text; at('status').className = 'note ' + kind; };
  let token = '';
  let patient = ''; // of whom the token is
  let endpoints = null;
  let statement = null;

  root.hidden = false;
  say(words.working);

  const encode = (bytes) => btoa(String.fromCharCode(...bytes)).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
  const random = () => encode(crypto.getRandomValues(new Uint8Array(32)));

  // Only addresses of the sandbox get the token, whatever is typed or linked.
  function address(path) {
    const base = new URL(set.base + '/');
    const url = new URL(path.replace(/^\/+/, ''), base);
    if (url.origin !== base.origin || !url.pathname.startsWith(base.pathname)) throw new Error(words.failed);
    return url;
  }

  async function json(url, options) {
    const answer = await fetch(url, { credentials: 'omit', cache: 'no-store', ...options });
    const body = await answer.json().catch(() => ({}));
    return { answer, body };
  }

  async function discover() {
    const found = await json(address('.well-known/smart-configuration'), { headers: { accept: 'application/json' } });
    if (!found.answer.ok) throw new Error(words.unreachable);
    endpoints = found.body;
    const described = await json(address('metadata'), { headers: { accept: 'application/fhir+json' } });
    if (!described.answer.ok) throw new Error(words.unreachable);
    statement = described.body;
    choose();
  }

  function option(value, text = value) {
    const o = document.createElement('option');
    o.value = value;
    o.textContent = text;
    return o;
  }

  function choose() {
    const types = (statement.rest?.[0]?.resource ?? []).map((r) => r.type);
    at('type').replaceChildren(...types.map((t) => option(t)));
    if (!set.request) { parameters(); return; }
    at('type').value = set.request.split(/[/?]/)[0];
    if (at('type').selectedIndex < 0) at('type').selectedIndex = 0;
    parameters();
    at('path').value = set.request;
    command();
  }

  const resourceOf = (type) => (statement?.rest?.[0]?.resource ?? []).find((r) => r.type === type);

  function parameters() {
    const resource = resourceOf(at('type').value);
    at('parameter').replaceChildren(option('', words.none), ...(resource?.searchParam ?? []).map((p) => option(p.name, p.name + ' (' + p.type + ')')));
    compose();
  }

  function compose() {
    const name = at('parameter').value;
    const value = at('value').value;
    at('path').value = at('type').value + (name ? '?' + encodeURIComponent(name) + '=' + encodeURIComponent(value) : '');
    command();
  }

  // In the documentation, requests have places for the ids of a member and of a resource.
  const places = /\$(ID|PATIENT)\b/;
  const quote = (text) => places.test(text) ? '"' + text.replace(/[\\"`]|\$(?!(ID|PATIENT)\b)/g, '\\$&').replace(/!/g, '%21') + '"' : "'" + text.replace(/'/g, "'\\''") + "'";

  // filled puts ids of the member who has signed in into these places.
  async function filled(path) {
    if (!places.test(path)) return path;
    if (!token || !patient) throw new Error(words.first);
    path = path.replace(/\$PATIENT\b/g, () => encodeURIComponent(patient));
    if (!places.test(path)) return path;
    const id = await someID(path.split(/[/?]/)[0]);
    if (!id) throw new Error(words.noid);
    return path.replace(/\$ID\b/g, () => encodeURIComponent(id));
  }

  // someID is the id of a resource of a type that belongs to the member, or that something of theirs refers to.
  async function someID(type) {
    if (type === 'Patient') return patient;
    const own = '?patient=' + encodeURIComponent(patient);
    const searches = (resourceOf(type)?.searchParam ?? []).some((p) => p.name === 'patient') ? [type + own + '&_count=1'] : ['Coverage' + own + '&_include=*', 'ExplanationOfBenefit' + own + '&_count=10&_include=*'];
    for (const search of searches) {
      const { body } = await json(address(search), { headers: { accept: 'application/fhir+json', authorization: 'Bearer ' + token } });
      const found = (body.entry ?? []).find((e) => e.resource?.resourceType === type);
      if (found) return found.resource.id;
    }
    return '';
  }

  // The command has a placeholder where the token would be: what is copied may be shown to others.
  function command() {
    let url;
    try { url = address(at('path').value).href; } catch { at('command').textContent = ''; return; }
    at('command').textContent = 'curl -H "Authorization: Bearer $TOKEN" -H ' + quote('Accept: application/fhir+json') + ' ' + quote(url);
  }

  async function begin() {
    if (!endpoints) return;
    const verifier = random();
    const state = random();
    const challenge = encode(new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(verifier))));
    const url = new URL(endpoints.authorization_endpoint);
    for (const [name, value] of Object.entries({ response_type: 'code', client_id: set.client, redirect_uri: set.redirect, scope: set.scope, state, aud: set.base, code_challenge: challenge, code_challenge_method: 'S256' })) url.searchParams.set(name, value);
    if (url.protocol !== 'https:' && url.protocol !== 'http:') { say(words.failed, 'bad'); return; }
    sessionStorage.setItem(kept, JSON.stringify({ verifier, state, back: location.pathname, path: set.request && at('path').value }));
    location.assign(url);
  }

  // back goes on with a sign-in that was begun here.
  async function back() {
    const begun = JSON.parse(sessionStorage.getItem(kept) ?? 'null');
    sessionStorage.removeItem(kept);
    if (!begun?.answer) return false;
    const query = new URLSearchParams(begun.answer);
    if (query.get('state') !== begun.state) { say(words.state, 'bad'); return true; }
    if (query.has('error')) { say(words.denied, 'bad'); return true; }
    if (begun.path) { at('path').value = begun.path; command(); }
    if (await redeem(query.get('code') ?? '', begun.verifier) && begun.path) await send();
    return true;
  }

  async function redeem(code, verifier) {
    const headers = { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' };
    const form = new URLSearchParams({ grant_type: 'authorization_code', code, redirect_uri: set.redirect, code_verifier: verifier, client_id: set.client });
    try {
      const { answer, body } = await json(endpoints.token_endpoint, { method: 'POST', headers, body: form });
      if (!answer.ok || !body.access_token) { say(words.notoken + ' ' + (body.error ?? answer.status), 'bad'); return false; }
      token = body.access_token;
      patient = body.patient ?? '';
      at('forget').hidden = false;
      say(words.signed, 'good');
      if (patient && !set.request) { at('path').value = 'Patient/' + encodeURIComponent(patient); command(); }
      return true;
    } catch { say(words.unreachable, 'bad'); return false; }
  }

  async function send() {
    let url;
    say(words.working);
    try {
      const path = await filled(at('path').value);
      url = address(path);
      at('path').value = path;
      command();
    } catch (e) { say(e instanceof TypeError ? words.unreachable : e.message, 'bad'); return; }
    const headers = { accept: 'application/fhir+json' };
    if (token) headers.authorization = 'Bearer ' + token;
    try {
      const answer = await fetch(url, { headers, credentials: 'omit', cache: 'no-store' });
      const text = await answer.text();
      at('code').textContent = 'HTTP ' + answer.status;
      at('headers').textContent = [...answer.headers].map(([n, v]) => n + ': ' + v).join('\n');
      try { at('body').replaceChildren(tree(JSON.parse(text), 0)); } catch { const pre = document.createElement('pre'); pre.textContent = text; at('body').replaceChildren(pre); }
      say(words.sent + ' HTTP ' + answer.status, answer.ok ? 'good' : 'bad');
    } catch { say(words.unreachable, 'bad'); }
  }

  // tree shows a value of JSON; objects and lists can be folded.
  function tree(value, depth, name = '') {
    const label = name === '' ? '' : name + ': ';
    if (value === null || typeof value !== 'object') {
      const line = document.createElement('p');
      const code = document.createElement('code');
      code.textContent = label + JSON.stringify(value);
      line.append(code);
      return line;
    }
    const entries = Object.entries(value);
    const details = document.createElement('details');
    details.open = depth < 2;
    const summary = document.createElement('summary');
    const code = document.createElement('code');
    code.textContent = label + (Array.isArray(value) ? '[' + entries.length + ']' : '{' + entries.length + '}');
    summary.append(code);
    details.append(summary);
    let filled = false;
    const fill = () => { if (!filled) { filled = true; details.append(...entries.map(([n, v]) => tree(v, depth + 1, n))); } };
    if (details.open) fill(); else details.addEventListener('toggle', fill, { once: true });
    return details;
  }

  at('type').addEventListener('change', parameters);
  at('parameter').addEventListener('change', compose);
  at('value').addEventListener('input', compose);
  at('path').addEventListener('input', command);
  at('begin').addEventListener('click', begin);
  at('send').addEventListener('click', send);
  at('forget').addEventListener('click', () => { token = patient = ''; at('forget').hidden = true; say(words.ready); });
  at('curl').addEventListener('click', async () => {
    try { await navigator.clipboard.writeText(at('command').textContent); say(words.copied, 'good'); } catch { say(words.uncopied, 'bad'); }
  });

  (async () => {
    try {
      await discover();
      if (await back()) return;
      say(words.ready);
      if (/^(metadata|openapi\.json)$/.test(set.request)) await send(); // they need no token
    } catch { say(words.unreachable, 'bad'); }
  })();
}
