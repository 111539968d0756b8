#!/usr/bin/env python3
"""Asks a HAPI server with the same resources the same generated searches as a served store, and explains
every difference.

    hapi.py PROGRAM WORKDIR SHARED [QUERIES [SEED [CLAIMS]]]

What a search must find is computed from the export of the store, as api.py does it; the store must find
exactly that. HAPI must find it too, or exactly what the computation finds with some of the classes below:
each changes the computation in one way in which HAPI deviates, for the searches that it applies to. So a
class cannot hide anything that it does not predict. SHARED has tools/fhir-server and the guide's package.
With BENCH=PROGRAM, the benchmarks' program, it also compares the speed of both."""
import concurrent.futures
import datetime as dt
import glob
import json
import math
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
import urllib.error
import urllib.request

import hapi_speed
from searches import DateTest, Server, dice, earliest, generate, holds, instant, read_export, request

SPEC = "https://hl7.org/fhir/R4/search.html#"
THEIRS, BOTH = "HAPI's", "both allowed"
DAY = dt.timedelta(days=1)
# Parameters of which a resource may have several values, which are rows of HAPI's index.
REPEATED = {"service-date", "service-start-date", "care-team", "coverage", "identifier", "type"}


def dates(q):
    return [(name, tests) for name, tests in q.conditions if isinstance(tests[0], DateTest)]


def in_two_forms(tests):
    """Whether a resource is named twice, with its type and without."""
    named = {(x.target, x.form) for x in tests if x.target and x.form != "URL"}
    return len({i for i, _ in named}) < len(named)


def page(q):
    return int(dict(q.params).get("_count", 50))


def rows(q, v):
    """In how many rows of its index HAPI may find a resource. It first reads one row more than a page has resources, and
    at least 13: if they are all of the resources of the first page, it takes this page for the last one."""
    return math.prod(len(v[name]) for name in {q.sort, *(n for n, _ in q.conditions)} if name)


def references(q, v):
    return sum(len(v[x]) for x in q.names)


# What HAPI does otherwise: to which searches it applies, whose it is, and the section of the specification.
CLASSES = {
    "own clock": (lambda q: q.sort == "_lastUpdated" or any(n == "_lastUpdated" for n, _ in q.conditions),
                  BOTH, "https://hl7.org/fhir/R4/resource-definitions.html#Meta.lastUpdated"),
    "_lastUpdated with several values": (lambda q: any(n == "_lastUpdated" and len(t) > 1 for n, t in q.conditions),
                                         THEIRS, SPEC + "combining"),
    "first comparator for all values": (lambda q: any(n != "_lastUpdated" and len({x.form for x in t}) > 1 for n, t in dates(q)),
                                        THEIRS, SPEC + "prefix"),
    "ge and le of a month or year": (lambda q: any(x.form in ("ge", "le") and x.coarse for _, t in dates(q) for x in t),
                                     THEIRS, SPEC + "prefix"),
    "ge and le of a period that is partly in the value": (lambda q: any(x.form in ("ge", "le") for _, t in dates(q) for x in t),
                                                          BOTH, SPEC + "prefix"),
    "URL of the server": (lambda q: any(x.form == "URL" for _, t in q.conditions for x in t),
                          THEIRS, SPEC + "reference"),
    "resource in two forms": (lambda q: any(in_two_forms(t) for _, t in q.conditions), THEIRS, SPEC + "reference"),
    "pages end early": (lambda q: {q.sort, *(n for n, _ in q.conditions)} & REPEATED, THEIRS, SPEC + "count"),
    "_include=* of a Coverage": (lambda q: q.kind == "Coverage" and any(k == "_include" and x.endswith("*") for k, x in q.params),
                                 BOTH, SPEC + "include"),
    "more than 1,000 references": (lambda q: q.names and page(q) > 50, BOTH, SPEC + "include"),
}


def bounds(t, coarse):
    """From when on and before when HAPI looks, and by how much it may err."""
    (begin, end), at = t.want, t.form
    if coarse and t.coarse:
        begin, end = (end - DAY if at == "ge" else begin), (begin + DAY if at == "le" else end)
    return {"eq": (begin, end), "ne": (begin, end), "gt": (end, None), "sa": (end, None), "ge": (begin, None),
            "lt": (None, begin), "eb": (None, begin), "le": (None, end)}[at]


def as_hapi(t, first, have, coarse):
    """What HAPI 8.8 compares, if the comparator of the first value is another one than that of this value."""
    (begin, end), (low, high) = have, bounds(t, coarse)
    # It counts in days as numbers such as 20240131, so that a day after the 31st is no day of the next month.
    past = not t.timed and low is not None and t.form in ("gt", "sa") and low.day == 1
    none = not t.timed and high is not None and t.form in ("lt", "eb") and high.day == 1
    if first == "ne":
        return begin < t.want[0] or end > t.want[1]
    if first in ("lt", "le"):
        return (begin < low if past else begin <= low) if low is not None else begin < high
    if first in ("gt", "ge"):
        return (end > high if none else end >= high) if high is not None else end > low
    if low is not None and high is not None:
        return low <= begin < high and low < end <= high
    if low is not None:
        return begin >= low or t.form != "sa" and end > low
    return end <= high or t.form != "eb" and begin < high


def matches(t, tests, have, name, on):
    """Whether a value of a resource matches one of a search, with the classes that are on."""
    if t.form == "URL" and "URL of the server" in on:
        return False
    if not isinstance(t, DateTest):
        return t(have)
    first = tests[0].form if "first comparator for all values" in on and name != "_lastUpdated" else t.form
    coarse = "ge and le of a month or year" in on
    if first != t.form:
        return as_hapi(t, first, have, coarse)
    low, high = bounds(t, coarse)
    partly = "ge and le of a period that is partly in the value" in on
    if t.form == "ge" and (partly or coarse and t.coarse):
        return have[1] > low if partly else holds("ge", (low, low + DAY), have)
    if t.form == "le" and (partly or coarse and t.coarse):
        return have[0] < high if partly else holds("le", (high - DAY, high), have)
    return t(have)


# What the generator does not ask, because an answer of one of them is an error: status of ours and of HAPI's.
REFUSALS = {
    "ExplanationOfBenefit?patient={}&service-date=ap2020": (200, 400, THEIRS, SPEC + "prefix"),
    "ExplanationOfBenefit?patient={}&_count=-1": (400, 200, BOTH, SPEC + "count"),
    "Patient?birthdate=1970": (400, 200, BOTH, SPEC + "errors"),
    "ExplanationOfBenefit?patient={}&type:not=pharmacy": (400, 200, BOTH, SPEC + "modifiers"),
    "ExplanationOfBenefit?patient.identifier=x": (400, 200, BOTH, SPEC + "chaining"),
    "Patient?_has:Coverage:beneficiary:_id=x": (400, 200, BOTH, SPEC + "has"),
    "ExplanationOfBenefit?_sort=service-date": (403, 200, BOTH, SPEC + "errors"),
    "ExplanationOfBenefit?patient={}&_sort=_id": (400, 200, BOTH, SPEC + "sort"),
    "ExplanationOfBenefit?patient={}&_include:iterate=Patient:organization": (400, 200, BOTH, SPEC + "include"),
    "Patient?_id={}&_format=xml": (406, 200, BOTH, "https://hl7.org/fhir/R4/http.html#mime-type"),
}


def refusals(ours, hapi, member):
    wrong = 0
    for path, (own, theirs, whose, where) in REFUSALS.items():
        got = [request(base + "/" + path.format(member))[0] for base in (ours, hapi)]
        print(f"  {got[0]} and {got[1]} {path.format('MEMBER')}: {whose}; {where}")
        wrong += got != [own, theirs]
    return wrong


class Oracle:
    """What HAPI finds by the specification and some classes."""

    def __init__(self, resources, pools, clock):
        self.resources, self.pools, self.clock = resources, pools, clock

    def value(self, key, v, name, on):
        if name == "_lastUpdated" and "own clock" in on:
            return [self.clock[key]]
        return v[name]

    def found(self, q, on):
        return {key: v for key, v in ((q.kind + "/" + i, v) for i, v in self.pools[q.kind])
                if all(any(matches(t, tests, x, name, on) for x in self.value(key, v, name, on) for t in tests) for name, tests in q.conditions)}

    def agrees(self, q, on, got, included, total):
        """Whether HAPI must answer so by the specification and the classes that are on."""
        if "_lastUpdated with several values" in on:
            return got == "HAPI-1930"
        if "resource in two forms" in on and got == "HAPI-1099":  # only if it has not looked them up before
            return True
        found = self.found(q, on)
        if isinstance(got, str) or len(set(got)) < len(got) or not set(got) <= set(found) or total not in (None, len(found)):
            return False
        rest = [key for key in found if key not in set(got)]
        if q.sort:  # resources with the same key may be in any order
            order = [earliest(self.value(key, found[key], q.sort, on), q.down) for key in got + rest]
            if sorted(order[:len(got)]) != order[:len(got)] or rest and got and min(order[len(got):]) < order[len(got) - 1]:
                return False
        if rest and not ("pages end early" in on and total is None and len(got) == page(q) and sum(rows(q, found[key]) for key in got) > max(12, page(q))):
            return False
        if not q.names:
            return True
        includes = q.included([(key, found[key]) for key in got], self.resources) - set(got)
        if "_include=* of a Coverage" in on:
            includes |= {r for key in got for r in found[key]["subscriber"]}
        if "more than 1,000 references" in on and sum(sorted((references(q, found[key]) for key in got), reverse=True)[:page(q)]) > 1000:
            return included <= includes
        return included - set(got) == includes

    def explain(self, q, got, included, total):
        """The classes that explain an answer of HAPI, none if it is as specified; None if they do not."""
        if self.agrees(q, (), got, included, total):
            return []
        on = [c for c, (applies, *_) in CLASSES.items() if applies(q)]
        if not self.agrees(q, on, got, included, total):
            return None
        for c in list(on):  # only those that it takes
            fewer = [x for x in on if x != c]
            if self.agrees(q, fewer, got, included, total):
                on = fewer
        return on


class Hapi:
    """A HAPI server with its data in memory."""

    def __init__(self, shared, work):
        self.tool, self.dir, self.shared = os.path.join(shared, "tools/fhir-server/fhir-server"), os.path.join(work, "hapi"), shared
        os.makedirs(self.dir, exist_ok=True)

    def up(self):
        env = {"FHIR_HEAP": "2500m", **os.environ}  # so that collecting garbage does not slow it down
        done = subprocess.run([self.tool, "up", "--dir", self.dir, "--port", "0"], check=True, capture_output=True, text=True, timeout=600, env=env)
        self.base = done.stdout.split()[-1]

    def down(self):
        subprocess.run([self.tool, "down", "--dir", self.dir], capture_output=True, timeout=120)

    def send(self, method, path, body):
        r = urllib.request.Request(self.base + path, data=json.dumps(body).encode(), method=method, headers={"Content-Type": "application/fhir+json"})
        try:
            with urllib.request.urlopen(r, timeout=300) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as e:
            raise RuntimeError(f"{method} {path}: {e.code} {json.load(e)['issue'][0]['diagnostics'][:40]}") from None

    def define(self):
        """Stores the guide's search parameters, and waits until HAPI uses them."""
        values, probes = {"date": "2020", "token": "x", "reference": "x"}, []
        with tarfile.open(os.path.join(self.shared, "packages/hl7.fhir.us.carin-bb-2.2.0.tgz")) as package:
            for name in package.getnames():
                if name.startswith("package/SearchParameter-") and "practitionerrole" not in name:
                    p = json.load(package.extractfile(name))
                    p.pop("text", None)
                    self.send("PUT", "/SearchParameter/" + p["id"], p)
                    probes.append(f"{self.base}/{p['base'][0]}?{p['code']}={values[p['type']]}&_summary=count")
        # It refuses a parameter that it does not know. It reads all definitions at once.
        end = time.time() + 90
        while any(request(p)[0] != 200 for p in probes):
            if time.time() > end:
                raise RuntimeError("HAPI does not use the search parameters")
            time.sleep(0.5)

    def load(self, export):
        """Stores an export, what is referred to first: HAPI does not index a reference to what is not there yet.
        Returns when it says that it updated each resource."""
        clock = {}
        # Several writers that create the first resource with some tag or profile at the same time disturb each other.
        for kinds, writers in ((["Organization", "Practitioner"], 1), (["Patient"], 1), (["RelatedPerson"], 1), (["Coverage"], 1), (["ExplanationOfBenefit"], 2)):
            lines = []
            for kind in kinds:
                for path in glob.glob(f"{export}/{kind}/*.ndjson"):
                    with open(path) as f:
                        lines += f.readlines()
            with concurrent.futures.ThreadPoolExecutor(writers) as pool:
                for times in pool.map(self.store, [lines[i:i + 100] for i in range(0, len(lines), 100)]):
                    clock.update(times)
        return clock

    def store(self, lines):
        resources = [json.loads(line) for line in lines]
        keys = [r["resourceType"] + "/" + r["id"] for r in resources]
        b = self.send("POST", "", {"resourceType": "Bundle", "type": "transaction",
                                   "entry": [{"resource": r, "request": {"method": "PUT", "url": k}} for k, r in zip(keys, resources)]})
        times = [instant(e["response"]["lastModified"]) for e in b["entry"]]
        return {k: (t, t + dt.timedelta(milliseconds=1)) for k, t in zip(keys, times)}

    def walk(self, url, post):
        """All pages: matches in order or the code of the error, includes, total."""
        matches, includes, total = [], set(), None
        while url:
            status, text = request(url, post)
            b = json.loads(text)
            if status != 200:
                return b["issue"][0]["diagnostics"].split(":")[0], includes, None
            post = None
            total = b.get("total", total)
            for e in b.get("entry", []):
                key = e["resource"]["resourceType"] + "/" + e["resource"]["id"]
                if e["search"]["mode"] == "match":
                    matches.append(key)
                else:
                    includes.add(key)
            url = next((link["url"] for link in b["link"] if link["relation"] == "next"), None)
        return matches, includes, total


def compare(q, ours, hapi, oracle):
    """Asks both the same. Returns what is wrong with ours, and the classes that explain HAPI's answer."""
    want = q.found(oracle.pools)
    ids = [x[0] for x in want]
    got, inc, total, _ = ours.walk(*q.request(ours.base))
    includes = q.included(want, oracle.resources) - set(ids)
    fault = None if got == ids and total in (None, len(ids)) and (not q.names or set(inc) == includes) else "ours"
    text = q.text()
    q.params = [(k, v.replace(ours.base, hapi.base)) for k, v in q.params]
    answer = hapi.walk(*q.request(hapi.base))
    found = answer[0] if isinstance(answer[0], str) else f"{len(answer[0])} and {len(answer[1])} included"
    return text, fault, oracle.explain(q, *answer), f"{len(ids)} and {len(includes)} included, HAPI {found}, total {answer[2]}"


def main():
    program, work, shared = (os.path.abspath(p) for p in sys.argv[1:4])
    numbers = [int(x) for x in sys.argv[4:]]
    queries, seed, claims = (numbers + [2000, int(time.time()), 1000][len(numbers):])[:3]
    dice.seed(seed)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no server is left
    os.makedirs(work, exist_ok=True)
    extract, store = os.path.join(work, "extract"), os.path.join(work, "store")
    for args in (("synth", "--claims", str(claims), "--seed", "41", "--out", extract), ("load", "--quiet", "--to", "store:" + store, extract),
                 ("store", "export", "--store", store, "ndjson:" + store + ".export")):
        subprocess.run([program, *args], check=True, capture_output=True, timeout=600)
    resources, pools = read_export(store + ".export")
    hapi, ours, wrong, counts, began = Hapi(shared, work), None, 0, {}, time.time()
    try:
        ours = Server(program, work, store)
        ours.keep = False
        hapi.up()
        hapi.define()
        oracle = Oracle(resources, pools, hapi.load(store + ".export"))
        print(f"{len(resources)} resources in both after {time.time() - began:.0f} s", flush=True)
        searches = [generate(pools, ours.base) for _ in range(queries)]
        lock = threading.Lock()

        def ask(q):
            nonlocal wrong
            text, fault, classes, how = compare(q, ours, hapi, oracle)
            with lock:
                if fault or classes is None:
                    wrong += 1
                    if wrong <= 10:
                        print("WRONG" if fault else "UNEXPLAINED", text, "\n   ", how, flush=True)
                for c in classes or []:
                    counts[c] = counts.get(c, 0) + 1
                return bool(classes)

        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            different = sum(pool.map(ask, searches))
        print(f"{queries} searches (seed {seed}) on both after {time.time() - began:.0f} s: {different} differ and are explained, {wrong} are not")
        for c, (_, whose, where) in CLASSES.items():
            print(f"  {counts.get(c, 0)} {c}: {whose}; {where}")
        wrong += refusals(ours.base, hapi.base, pools["Patient"][0][0])
        if os.environ.get("BENCH"):
            wrong += hapi_speed.compare(os.environ["BENCH"], program, work, store, ours.base, hapi.base, pools)
    finally:
        try:
            code = ours.stop() if ours else 0
        finally:
            hapi.down()
    if code != 0:
        print("serve ended with", code)
    sys.exit(1 if wrong or code else 0)


main()
