#!/usr/bin/env python3
"""Searches a served store with generated queries, and compares each answer with what follows from the
NDJSON export of the same store, computed here from the resources themselves.

    api.py PROGRAM WORKDIR [QUERIES [SEED]]

With CLIENTS=DIR, where .ci/clients was copied and installed, clients that others wrote read some members
too. Some answers are kept in WORKDIR/answers, for the official validator. All parameters, comparators, several values, repetitions, includes, sorting and paging occur. A load of
other claims runs beside a part of the queries."""
import calendar
import datetime as dt
import glob
import json
import os
import random
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

program, work = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
queries = int(sys.argv[3]) if len(sys.argv) > 3 else 2000
seed = int(sys.argv[4]) if len(sys.argv) > 4 else int(time.time())
dice = random.Random(seed)
os.makedirs(work, exist_ok=True)
UTC = dt.timezone.utc
FOREVER = (dt.datetime.min.replace(tzinfo=UTC), dt.datetime.max.replace(tzinfo=UTC))
CARE = "http://hl7.org/fhir/us/carin-bb/"


def run(*args):
    subprocess.run([program, *args], check=True, capture_output=True, text=True, timeout=600)


def instant(s):
    return dt.datetime.fromisoformat(s.replace("Z", "+00:00"))


def moment(s):
    """The period of a date or time as FHIR reads it: from its beginning up to its end."""
    if re.fullmatch(r"\d{4}", s):
        y = int(s)
        return dt.datetime(y, 1, 1, tzinfo=UTC), dt.datetime(y + 1, 1, 1, tzinfo=UTC)
    if re.fullmatch(r"\d{4}-\d\d", s):
        y, m = map(int, s.split("-"))
        days = calendar.monthrange(y, m)[1]
        begin = dt.datetime(y, m, 1, tzinfo=UTC)
        return begin, begin + dt.timedelta(days=days)
    if re.fullmatch(r"\d{4}-\d\d-\d\d", s):
        begin = dt.datetime.fromisoformat(s).replace(tzinfo=UTC)
        return begin, begin + dt.timedelta(days=1)
    t = instant(s)
    if t.tzinfo is None:
        t = t.replace(tzinfo=UTC)
    step = dt.timedelta(minutes=1) if re.search(r"T\d\d:\d\d(Z|[+-]\d\d:\d\d)?$", s) else dt.timedelta(milliseconds=1) if "." in s else dt.timedelta(seconds=1)
    return t, t + step


def period(p):
    begin = moment(p["start"])[0] if "start" in p else FOREVER[0]
    end = moment(p["end"])[1] if "end" in p else FOREVER[1]
    return begin, end


def holds(prefix, want, have):
    (wb, we), (hb, he) = want, have
    within = wb <= hb and he <= we
    if prefix == "ap":
        now = dt.datetime.now(UTC)
        near = max((now - we), (wb - now), dt.timedelta(0)) / 10
        return hb < we + near and he > wb - near
    return {"eq": within, "ne": not within, "gt": he > we, "lt": hb < wb, "ge": he > we or within, "le": hb < wb or within,
            "sa": hb >= we, "eb": he <= wb}[prefix]


def ref(x):
    return [x["reference"]] if x and "reference" in x else []


def index(r):
    """What a resource can be found by: name -> list of values."""
    kind = r["resourceType"]
    v = {"_id": [r["id"]], "_lastUpdated": [moment(r["meta"]["lastUpdated"])],
         "identifier": [(i.get("system", ""), i["value"]) for i in r.get("identifier", []) if "value" in i]}
    if kind == "ExplanationOfBenefit":
        dates, starts = [], []
        b = r.get("billablePeriod")
        if b:
            dates.append(period(b))
            if "start" in b:
                starts.append(moment(b["start"]))
        v["billable-period-start"] = list(starts)
        for item in r.get("item", []):
            if "servicedDate" in item:
                dates.append(moment(item["servicedDate"]))
                starts.append(moment(item["servicedDate"]))
            if "servicedPeriod" in item:
                dates.append(period(item["servicedPeriod"]))
                if "start" in item["servicedPeriod"]:
                    starts.append(moment(item["servicedPeriod"]["start"]))
        v["service-date"], v["service-start-date"] = dates, starts
        v["type"] = [(c.get("system", ""), c["code"]) for c in r["type"].get("coding", [])]
        v["patient"], v["provider"], v["insurer"] = ref(r["patient"]), ref(r["provider"]), ref(r["insurer"])
        v["care-team"] = sorted({x for c in r.get("careTeam", []) for x in ref(c["provider"])})
        v["coverage"] = sorted({x for c in r.get("insurance", []) for x in ref(c["coverage"])})
        v["payee"] = ref(r.get("payee", {}).get("party"))
    elif kind == "Coverage":
        v["patient"] = v["beneficiary"] = ref(r["beneficiary"])
        v["payor"] = [x for p in r["payor"] for x in ref(p)]
    elif kind == "RelatedPerson":
        v["patient"] = ref(r["patient"])
    return v


KINDS = {"_id": "id", "_lastUpdated": "date", "identifier": "token", "type": "token", "service-date": "date", "service-start-date": "date",
         "billable-period-start": "date"}
PARAMS = {
    "ExplanationOfBenefit": ["_id", "_lastUpdated", "identifier", "type", "service-date", "service-start-date", "billable-period-start",
                             "patient", "provider", "care-team", "coverage", "insurer", "payee"],
    "Coverage": ["_id", "_lastUpdated", "identifier", "patient", "beneficiary", "payor"],
    "Patient": ["_id", "_lastUpdated", "identifier"], "Organization": ["_id", "_lastUpdated", "identifier"],
    "Practitioner": ["_id", "_lastUpdated", "identifier"], "RelatedPerson": ["_id", "_lastUpdated", "patient"],
}
INCLUDES = {"ExplanationOfBenefit": ["patient", "provider", "care-team", "coverage", "insurer", "payee"], "Coverage": ["payor", "beneficiary", "patient"],
            "RelatedPerson": ["patient"]}
SORTS = {"ExplanationOfBenefit": ["service-date", "billable-period-start", "_lastUpdated"]}


def escape(s):
    return re.sub(r"([,|$\\])", r"\\\1", s)


def token(values, name):
    system, code = dice.choice(values)
    form = dice.randrange(5)
    if form == 0:
        return escape(code), lambda s, c: c == code
    if form == 1 and name != "identifier":
        return escape(system) + "|", lambda s, c: s == system
    if form == 2:
        return "|" + escape(code), lambda s, c: s == "" and c == code
    return escape(system) + "|" + escape(code), lambda s, c: s == system and c == code


def date(values):
    """A comparator and a value near one of a resource, of any precision."""
    at = dice.choice(values)[dice.randrange(2)]
    if at in FOREVER:
        at = dt.datetime(2024, 5, 17, tzinfo=UTC)
    at += dt.timedelta(seconds=dice.choice([0, 0, 0, -1, 1, 3600, 86400, -86400, 40 * 86400]))
    text = dice.choice(["%Y", "%Y-%m", "%Y-%m-%d", "%Y-%m-%d", "%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S+05:00", "%Y-%m-%dT%H:%M:%S"])
    shown = at + dt.timedelta(hours=5) if "+05" in text else at
    value = shown.strftime(text)
    prefix = dice.choice(["eq", "ne", "gt", "ge", "lt", "le", "sa", "eb", ""])
    want = moment(value)
    return prefix + value, lambda have: holds(prefix or "eq", want, have)


def reference(values, base, patient):
    r = dice.choice(values)
    form = dice.randrange(4)
    if form == 0:
        return r.split("/")[1], lambda x: x.split("/")[1] == r.split("/")[1]
    if form == 1:
        return base + "/" + r, lambda x: x == r
    return r, lambda x: x == r


def condition(kind, name, pool, base):
    """A parameter with one to three values, and what it means."""
    tests, texts = [], []
    for _ in range(dice.choice([1, 1, 1, 2, 3])):
        values = []
        while not values:
            values = pool[dice.randrange(len(pool))][1][name]
            if not values and all(not v[name] for _, v in pool):
                return None
        k = KINDS.get(name, "reference")
        if k == "id":
            i = dice.choice(values)
            text, test = i, (lambda i: lambda x: x == i)(i)
        elif k == "date":
            text, test = date(values)
        elif k == "token":
            text, f = token(values, name)
            test = (lambda f: lambda x: f(*x))(f)
        else:
            text, test = reference(values, base, name)
        texts.append(text)
        tests.append(test)
    return (name, ",".join(texts)), lambda v: any(t(x) for x in v[name] for t in tests)


class Server:
    def __init__(self, store):
        self.log = open(os.path.join(work, "serve.log"), "w")
        # The source's dates are in the export; when something was committed is not.
        config = os.path.join(work, "serve.yaml")
        with open(config, "w") as f:
            f.write("last_updated: source\n")
        self.p = subprocess.Popen([program, "serve", "--config", config, "--store", store, "--listen", "127.0.0.1:0", "--open", "--log", "json"], stderr=self.log)
        end = time.time() + 30
        self.base, self.kept = None, 0
        os.makedirs(os.path.join(work, "answers"), exist_ok=True)
        while self.base is None and time.time() < end:
            time.sleep(0.1)
            m = re.search(r'"url":"([^"]+)"', open(os.path.join(work, "serve.log")).read())
            self.base = m and m[1]
        if self.base is None:
            raise RuntimeError("serve did not start")

    def get(self, url, post=None, keep=False):
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data=post), timeout=60) as r:
                status, text = r.status, r.read()
        except urllib.error.HTTPError as e:
            status, text = e.code, e.read()
        # A subset is not valid by the profiles, and need not be.
        if keep and b"SUBSETTED" not in text and len(text) < 200_000:
            self.kept += 1
            with open(os.path.join(work, "answers", f"{self.kept:05}.json"), "wb") as f:
                f.write(text)
        return status, json.loads(text)

    def walk(self, url, post=None):
        """All pages: matches in order, includes, total."""
        matches, includes, total, pages = [], [], None, 0
        while url:
            status, b = self.get(url, post, keep=self.kept < 200 and dice.random() < 0.3)
            if status != 200:
                return status, b, None, 0
            post = None
            pages += 1
            total = b.get("total", total)
            seen = set()
            for e in b.get("entry", []):
                r = e["resource"]
                key = r["resourceType"] + "/" + r["id"]
                if e["fullUrl"] != self.base + "/" + key or key in seen:
                    raise RuntimeError("fullUrl, or twice on a page: " + key)
                seen.add(key)
                (matches if e["search"]["mode"] == "match" else includes).append(key)
            url = next((link["url"] for link in b["link"] if link["relation"] == "next"), None)
        return matches, includes, total, pages

    def stop(self):
        self.p.terminate()
        code = self.p.wait(30)
        self.log.close()
        return code


def others(s, patients):
    """Answers that are no searches, for the validator."""
    s.get(s.base + "/metadata", keep=True)
    for p in patients[:10]:
        for path in ("Patient/" + p, "Patient/" + p + "/_history", "Patient/" + p + "/$everything?_count=9", "Patient?_id=" + p + "&_revinclude=Coverage:beneficiary"):
            status, _ = s.get(s.base + "/" + path, keep=True)
            if status != 200:
                raise RuntimeError(f"{path}: {status}")
    for path in ("Patient/none", "Patient?birthdate=1970", "Patient?_format=xml", "Nothing", "ExplanationOfBenefit?_sort=service-date", "Patient?_cursor=x"):
        status, b = s.get(s.base + "/" + path, keep=True)
        if status < 400 or b["resourceType"] != "OperationOutcome":
            raise RuntimeError(f"{path}: {status}")


def clients(s, pools, resources):
    """What clients that others wrote get of some members, against the export."""
    where = os.environ.get("CLIENTS")
    if not where:
        return 0
    with open(os.path.join(where, "cp.txt")) as f:
        jars = f.read().strip()
    commands = {"fhir-kit-client": ["node", "kit.mjs"], "fhirclient": ["node", "smart.mjs"], "fhirpy": ["venv/bin/python", "fhirpy_client.py"],
                "HAPI": ["java", "-Xmx256m", "-cp", "target/classes:" + jars, "Hapi"]}
    wrong = 0
    for patient, _ in dice.sample(pools["Patient"], 8):
        own = {kind: sorted((i, v) for i, v in pools[kind] if v["patient"] == ["Patient/" + patient]) for kind in ("ExplanationOfBenefit", "Coverage")}
        want = {"fhirVersion": "4.0.1", "read": patient, "ids": [i for i, _ in own["ExplanationOfBenefit"]], "coverages": [i for i, _ in own["Coverage"]], "missing": 404,
                "includes": sorted({r for _, v in own["ExplanationOfBenefit"] for r in v["insurer"] + v["coverage"] if r in resources}),
                "sorted": [i for i, v in sorted(own["ExplanationOfBenefit"], key=lambda x: (earliest(x[1]["service-date"], True), x[0]))]}
        for name, command in commands.items():
            done = subprocess.run([*command, s.base, patient], capture_output=True, text=True, timeout=120, cwd=where)
            got = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"failed": done.stderr[-300:]}
            bad = [k for k in got if k in want and got[k] != want[k]]
            if got.get("resolved") and got["resolved"][0] != patient:
                bad.append("resolved")
            if bad or "ids" not in got:
                wrong += 1
                print(f"WRONG {name}: {bad} {got.get('failed', '')}")
    print(f"{len(commands)} clients read 8 members: {wrong} differences")
    return wrong


def earliest(values, down):
    known = [b for b, _ in values if b != FOREVER[0]]
    if not known:
        return (1, 0)
    return (0, -max(known).timestamp()) if down else (0, min(known).timestamp())


def main():
    extract, store = os.path.join(work, "extract"), os.path.join(work, "store")
    run("synth", "--claims", "10000", "--seed", "41", "--out", extract)
    run("load", "--quiet", "--to", "store:" + store, extract)
    run("store", "export", "--store", store, "ndjson:" + store + ".export")
    resources, pools = {}, {}
    for path in glob.glob(store + ".export/*/*.ndjson"):
        with open(path) as f:
            for line in f:
                r = json.loads(line)
                v = resources[r["resourceType"] + "/" + r["id"]] = index(r)
                pools.setdefault(r["resourceType"], []).append((r["id"], v))
    s = Server(store)
    wrong, kinds, pages, hits = 0, {}, 0, 0
    patients = [p[0] for p in pools["Patient"]]
    try:
        others(s, patients)
        wrong += clients(s, pools, resources)
        for n in range(queries):
            kind = dice.choice(["ExplanationOfBenefit"] * 6 + ["Coverage"] * 2 + ["Patient", "Organization", "Practitioner", "RelatedPerson"])
            pool = pools[kind]
            params, tests = [], []
            # Most queries name few resources, so that they find some.
            if kind in ("ExplanationOfBenefit", "Coverage", "RelatedPerson") and dice.random() < 0.75:
                some = dice.sample(patients, dice.choice([1, 1, 2, 5]))
                own = [x for x in pool if x[1]["patient"][0].split("/")[1] in some]
                if own:
                    pool = own
                params.append(("patient", ",".join(dice.choice(["", "Patient/"]) + p for p in some)))
                tests.append((lambda some: lambda v: v["patient"][0].split("/")[1] in some)(some))
            for name in dice.sample(PARAMS[kind], dice.choice([0, 1, 1, 2, 3]) if params else dice.choice([1, 1, 2])):
                c = condition(kind, name, pool, s.base)
                if c:
                    params.append(c[0])
                    tests.append(c[1])
                    kinds[name] = kinds.get(name, 0) + 1
            sort, down = None, False
            bounded = any(p[0] in ("patient", "beneficiary", "_id") for p in params)
            if kind in SORTS and bounded and dice.random() < 0.4:
                sort, down = dice.choice(SORTS[kind]), dice.random() < 0.5
                params.append(("_sort", "-" * down + sort))
            want = [(kind + "/" + i, v) for i, v in pools[kind] if all(t(v) for t in tests)]
            if sort:
                want.sort(key=lambda x: (earliest(x[1][sort], down), x[0]))
            else:
                want.sort(key=lambda x: x[0])
            includes = set()
            if kind in INCLUDES and dice.random() < 0.3 and len(want) < 400:
                names = dice.sample(INCLUDES[kind], min(len(INCLUDES[kind]), dice.choice([1, 2])))
                if dice.random() < 0.2:
                    params.append(("_include", "*" if dice.random() < 0.5 else kind + ":*"))
                    names = INCLUDES[kind]
                else:
                    params += [("_include", f"{kind}:{x}") for x in names]
                includes = {r for _, v in want for x in names for r in v[x] if r in resources}
                if kind == "ExplanationOfBenefit" and "coverage" in names and dice.random() < 0.5:
                    params.append(("_include:iterate", "Coverage:payor"))
                    includes |= {p for r in list(includes) if r.startswith("Coverage/") for p in resources[r]["payor"] if p in resources}
            if len(want) > 300:
                params += [("_count", "500"), ("_elements", "status")]
            elif dice.random() < 0.7:
                params.append(("_count", str(dice.choice([1, 2, 3, 7, 20, 50, 200]) if len(want) < 60 else dice.choice([50, 200, 500]))))
            dice.shuffle(params)
            encoded = urllib.parse.urlencode(params)
            if dice.random() < 0.2:
                cut = dice.randrange(len(params) + 1)
                url, post = s.base + "/" + kind + "/_search?" + urllib.parse.urlencode(params[:cut]), urllib.parse.urlencode(params[cut:]).encode()
            else:
                url, post = s.base + "/" + kind + "?" + encoded, None
            got, inc, total, count = s.walk(url, post)
            pages += count
            ids = [x[0] for x in want]
            hits += bool(ids)
            ok = got == ids and (total is None or total == len(ids)) and (not any(p[0].startswith("_include") for p in params) or set(inc) == includes - set(ids))
            if not ok:
                wrong += 1
                if wrong <= 10:
                    print(f"WRONG {kind}?{encoded}")
                    if isinstance(got, int):
                        print("   ", got, json.dumps(inc)[:300])
                    else:
                        print(f"    {len(got)} instead of {len(ids)}, total {total}; missing {sorted(set(ids) - set(got))[:2]}, too many {sorted(set(got) - set(ids))[:2]}; "
                              f"includes {len(set(inc))} instead of {len(includes - set(ids))}")
        print(f"{queries} queries (seed {seed}), {hits} found something, {pages} pages; {wrong} differences")
        print("parameters:", ", ".join(f"{n} {k}" for k, n in sorted(kinds.items())))
    finally:
        code = s.stop()
    if code != 0:
        print("serve ended with", code)
    sys.exit(1 if wrong or code else 0)


main()
