"""A real HAPI server, and what is on it: asked as any client would."""
import hashlib
import json
import os
import shutil
import time
import urllib.error
import urllib.request

import world

TYPES = ("Organization", "Practitioner", "Patient", "RelatedPerson", "Coverage", "ExplanationOfBenefit")


def request(url, method="GET", body=None, headers=None, timeout=600):
    """Status and JSON of an answer."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    r = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": "application/fhir+json", "Cache-Control": "no-cache", **(headers or {})})
    try:
        with urllib.request.urlopen(r, timeout=timeout) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as e:
        text = e.read()
        try:
            return e.code, json.loads(text)
        except ValueError:
            return e.code, {"text": text[:200].decode(errors="replace")}


def as_written(number):
    return {"number": number}


def by_value(number):
    return {"number": number.rstrip("0").rstrip(".") if "." in number else number}


def parsed(text, number=as_written):
    return json.loads(text, parse_float=number, parse_int=number)


def normal(resource, number=as_written):
    """A digest of the content of a resource: members in any order, without what servers add."""
    r = parsed(resource, number) if isinstance(resource, (str, bytes)) else resource
    meta = {k: v for k, v in r.get("meta", {}).items() if k not in ("versionId", "lastUpdated", "source")}
    r = {k: v for k, v in r.items() if k != "meta"}
    if meta:
        r["meta"] = meta
    return hashlib.sha256(json.dumps(r, sort_keys=True).encode()).digest()


def listing(base, kinds=TYPES, page=500, content=True, number=as_written):
    """Everything on a server, page by page: version, and digest or last update, by Type/id."""
    found = {}
    for kind in kinds:
        url = f"{base}/{kind}?_count={page}" + ("" if content else "&_elements=id")
        while url:
            r = urllib.request.Request(url, headers={"Cache-Control": "no-cache"})
            with urllib.request.urlopen(r, timeout=600) as answer:
                bundle = parsed(answer.read(), number)
            for e in bundle.get("entry", []):
                r = e["resource"]
                found[f"{kind}/{r['id']}"] = r["meta"]["versionId"], normal(r) if content else r["meta"]["lastUpdated"]
            url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), None)
    return found


def counts(base):
    return {kind: request(f"{base}/{kind}?_summary=count")[1]["total"] for kind in TYPES}


def compare(name, base, wants, others=0, but=(), versions=("1",), number=as_written):
    """Checks that a server has exactly these resources, in these versions, beside others that are no matter of
    this set; the server's own counts say so too. Returns what it has of them."""
    have = listing(base, number=number)
    missing = [k for k in wants if k not in have and k not in but]
    there = [k for k in but if k in have]
    different = [k for k, text in wants.items() if k in have and have[k][1] != normal(text, number)]
    again = [k for k in wants if k in have and versions and have[k][0] not in versions]
    extra = len(have) - sum(k in have for k in wants) - others
    world.check(not missing, f"{name}: {len(missing)} of {len(wants)} resources are missing on the server, such as {missing[:3]}")
    world.check(not there, f"{name}: {len(there)} resources that were refused are on the server, such as {there[:3]}")
    world.check(not different, f"{name}: {len(different)} resources differ from the store's, such as {different[:3]}")
    world.check(not again, f"{name}: {len(again)} resources have a further version, such as {[(k, have[k][0]) for k in again[:3]]}")
    world.check(extra == 0, f"{name}: {extra} resources on the server are not those of the store")
    own = counts(base)
    for kind in TYPES:
        n = sum(k.startswith(kind + "/") for k in have)
        world.check(own[kind] == n, f"{name}: the server counts {own[kind]} of type {kind}, its pages have {n}")
    return {k: v for k, v in have.items() if k in wants}


def total(base):
    return sum(counts(base).values())


class Hapi:
    """One server. With HAPI_DIR it is one in that folder, which is left running, for whoever writes checks."""

    def __init__(self):
        self.tool = os.path.join(world.shared, "tools/fhir-server/fhir-server")
        self.dir = os.environ.get("HAPI_DIR") or world.path("hapi")
        self.base, self.starts, self.starting = None, 0, 0.0

    def up(self):
        os.makedirs(self.dir, exist_ok=True)
        began = time.time()
        port = [] if os.path.exists(os.path.join(self.dir, "server")) else ["--port", "0"]  # it keeps the first one
        out = world.tool(self.tool, "up", "--dir", self.dir, *port, "--db", "file:" + os.path.join(self.dir, "db"),
                         "--integrity", "--strict", "--ids", "ALPHANUMERIC", env={"FHIR_HEAP": "2000m", "FHIR_WAIT": "600", **os.environ})
        self.base = out.split()[-1]
        self.starts += 1
        self.starting += time.time() - began
        return self.base

    def ready(self, empty=False):
        """A server that answers. Returns how many resources it has already."""
        if empty or world.sizes["fresh"]:
            self.wipe()
        if self.base is None:
            self.up()
        return total(self.base)

    def wipe(self):
        self.kill()
        shutil.rmtree(os.path.join(self.dir, "db"), ignore_errors=True)
        self.base = None

    def kill(self):
        if os.path.exists(os.path.join(self.dir, "server")):
            world.tool(self.tool, "kill", "--dir", self.dir)

    def remove(self):
        if os.path.isdir(self.dir) and not os.environ.get("HAPI_DIR"):
            try:
                self.kill()
            finally:
                shutil.rmtree(self.dir, ignore_errors=True)

    def log(self):
        """The writes in its log: requests that are neither reads nor searches. A bundle is one line, whatever is in it."""
        with open(os.path.join(self.dir, "log"), errors="replace") as f:
            return [line.strip() for line in f if any(f" {verb} " in line for verb in ("POST", "PUT", "DELETE", "PATCH"))]
