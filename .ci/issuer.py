#!/usr/bin/env python3
"""Serves a store to whoever has a token of an authorization server that others wrote (npm oidc-provider): the
authorization code flow with PKCE, tokens that are JWTs and tokens that the server is asked about, keys that
are replaced, revocation, and a server that is away.

    issuer.py PROGRAM WORKDIR ISSUER

ISSUER is a copy of .ci/issuer, where npm install was run."""
import base64
import hashlib
import html
import http.cookiejar
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

program, work, where = (os.path.abspath(a) for a in sys.argv[1:4])
os.makedirs(work, exist_ok=True)
BASE = "https://api.example.org/fhir"
checks = 0


def expect(what, got, want):
    global checks
    checks += 1
    if got != want:
        raise AssertionError(f"{what}: {got!r}, not {want!r}")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args):
        return None


class Browser:
    """A browser without scripts: cookies, redirects, forms."""

    def __init__(self):
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()), Stay())

    def go(self, url, form=None):
        """Follows redirects, to a page or to the app. Returns the URL and the page."""
        for _ in range(20):
            if url.startswith("http://127.0.0.1:9/"):
                return url, ""
            data = urllib.parse.urlencode(form).encode() if form is not None else None
            try:
                with self.opener.open(urllib.request.Request(url, data=data), timeout=30) as r:
                    return url, r.read().decode()
            except urllib.error.HTTPError as e:
                if e.code not in (301, 302, 303):
                    raise RuntimeError(f"{url}: {e.code} {e.read()[:500]}") from e
                url, form = urllib.parse.urljoin(url, e.headers["Location"]), None
        raise RuntimeError("too many redirects")

    def submit(self, url, page, **values):
        """Submits the form of a page."""
        action = html.unescape(re.search(r'<form[^>]*action="([^"]+)"', page)[1])
        fields = {html.unescape(m[1]): html.unescape(m[2]) for m in re.finditer(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page)}
        return self.go(urllib.parse.urljoin(url, action), {**fields, **values})


class Issuer:
    def __init__(self, fmt, key):
        self.port, self.fmt = free_port(), fmt
        self.url = f"http://127.0.0.1:{self.port}"
        self.start(key)

    def start(self, key):
        self.p = subprocess.Popen(["node", "issuer.mjs", str(self.port), BASE, self.fmt, os.path.join(work, key)], cwd=where, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        while line := self.p.stdout.readline():
            if "listening" in line:
                return
        raise RuntimeError("the issuer does not start")

    def stop(self):
        self.p.terminate()
        self.p.wait(20)

    def post(self, path, client, secret, **form):
        r = urllib.request.Request(self.url + path, data=urllib.parse.urlencode(form).encode())
        r.add_header("Authorization", "Basic " + base64.b64encode(f"{urllib.parse.quote(client)}:{urllib.parse.quote(secret, safe='')}".encode()).decode())
        with urllib.request.urlopen(r, timeout=30) as a:
            return a.read().decode()

    def token(self, member, scope="openid patient/*.read"):
        """A token, by the authorization code flow: the member signs in and consents."""
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(8)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        b = Browser()
        url, page = b.go(self.url + "/auth?" + urllib.parse.urlencode({"client_id": "app", "redirect_uri": "http://127.0.0.1:9/callback", "response_type": "code", "scope": scope,
                                                                       "state": state, "code_challenge": challenge, "code_challenge_method": "S256", "aud": BASE}))
        while not url.startswith("http://127.0.0.1:9/"):
            url, page = b.submit(url, page, **({"login": member, "password": "x"} if 'name="login"' in page else {}))
        answer = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)
        if "code" not in answer or answer["state"] != [state]:
            raise RuntimeError(f"no code: {sorted(answer)}")
        text = self.post("/token", "app", "app-secret", grant_type="authorization_code", code=answer["code"][0], redirect_uri="http://127.0.0.1:9/callback", code_verifier=verifier)
        return json.loads(text)["access_token"]


class Api:
    def __init__(self, store, issuer, extra=""):
        config = os.path.join(work, "serve.yaml")
        with open(config, "w") as f:
            f.write(f"store: {store}\nlisten: 127.0.0.1:0\nbase: {BASE}\nlog: json\nauthorization:\n  issuer: {issuer.url}\n{extra}")
        done = subprocess.run([program, "serve", "check", "--config", config], capture_output=True, text=True)
        expect("serve check", (done.returncode, "FAILED" in done.stdout), (0, False))
        self.log = os.path.join(work, "serve.log")
        with open(self.log, "w") as f:
            self.p = subprocess.Popen([program, "serve", "--config", config], stderr=f)
        end = time.time() + 30
        while not (m := re.search(r'"msg":"serving","address":"([^"]+)"', open(self.log).read())):
            if time.time() > end:
                raise RuntimeError("serve does not start")
            time.sleep(0.05)
        self.base = "http://" + m[1] + "/fhir"

    def get(self, path, token=None):
        r = urllib.request.Request(self.base + path)
        if token:
            r.add_header("Authorization", "Bearer " + token)
        try:
            with urllib.request.urlopen(r, timeout=30) as a:
                return a.status, json.load(a)
        except urllib.error.HTTPError as e:
            return e.code, json.load(e)

    def stop(self, secret):
        self.p.terminate()
        expect("the end of serve", self.p.wait(30), 0)
        with open(self.log) as f:
            expect("the token in the log", secret in f.read(), False)


def sees(api, token, member, other):
    """What a token of a member opens, and what it does not."""
    expect("the member", api.get("/Patient/" + member, token)[0], 200)
    expect("another member", api.get("/Patient/" + other, token)[0], 404)
    status, b = api.get("/ExplanationOfBenefit?_count=500", token)
    patients = {e["resource"]["patient"]["reference"] for e in b.get("entry", [])}
    expect("whose claims", (status, patients), (200, {"Patient/" + member}))
    expect("no token", api.get("/Patient/" + member)[0], 401)
    expect("a changed token", api.get("/Patient/" + member, token[:-6] + "AAAAAA")[0], 401)


def main():
    extract, store = os.path.join(work, "extract"), os.path.join(work, "store")
    for args in (["synth", "--claims", "300", "--seed", "8", "--out", extract], ["load", "--quiet", "--to", "store:" + store, extract]):
        subprocess.run([program, *args], check=True, capture_output=True)
    out = subprocess.run([program, "store", "search", "--store", store, "Patient?_count=2"], check=True, capture_output=True, text=True).stdout
    member, other = (json.loads(line)["id"] for line in out.splitlines())

    issuer = Issuer("jwt", "key1.json")
    api = None
    try:
        api = Api(store, issuer)
        status, about = api.get("/.well-known/smart-configuration")
        expect("smart-configuration", (status, about["issuer"], about["code_challenge_methods_supported"]), (200, issuer.url, ["S256"]))
        token = issuer.token(member)
        sees(api, token, member, other)
        narrow = issuer.token(member, "openid patient/Coverage.rs")
        expect("claims with a scope of coverages", api.get("/ExplanationOfBenefit", narrow)[0], 403)
        expect("coverages with it", api.get("/Coverage", narrow)[0], 200)
        issuer.stop()  # away: known keys count
        expect("while the issuer is away", api.get("/Patient/" + member, token)[0], 200)
        issuer.start("key2.json")  # back, with another key
        time.sleep(11)  # keys are fetched again after ten seconds at the earliest
        fresh = issuer.token(member)
        sees(api, fresh, member, other)
        api.stop(token)
    finally:
        issuer.stop()
        if api and api.p.poll() is None:
            api.p.kill()

    issuer = Issuer("opaque", "key3.json")
    try:
        os.environ["INTROSPECTION_SECRET"] = "api secret:%"
        api = Api(store, issuer, "  introspection: {enabled: true, client: api, secret: env:INTROSPECTION_SECRET, cache: 1s}\n")
        token = issuer.token(member)
        expect("an opaque token", token.count("."), 0)
        sees(api, token, member, other)
        issuer.post("/token/revocation", "app", "app-secret", token=token)
        time.sleep(1.2)
        expect("a revoked token", api.get("/Patient/" + member, token)[0], 401)
        again = issuer.token(other)
        sees(api, again, other, member)
        issuer.stop()
        time.sleep(1.2)
        status, b = api.get("/Patient/" + other, again)
        expect("while the issuer is away", (status, b["resourceType"]), (503, "OperationOutcome"))
        api.stop(again)
    finally:
        if issuer.p.poll() is None:
            issuer.stop()
        if api.p.poll() is None:
            api.p.kill()
    out = subprocess.run([program, "audit", "list", "--store", store, "--client", "app", "--user", member, "--output", "json"], check=True, capture_output=True, text=True).stdout
    expect("the members in the audit of a member's sessions", {m for line in out.splitlines() for m in json.loads(line)["members"]}, {member})
    print(f"{checks} checks with oidc-provider")


main()
