"""Generated searches of a Patient Access API, and what they must find, computed from the resources themselves.
The generator draws from dice, so that a seed repeats a run."""
import calendar
import datetime as dt
import glob
import json
import os
import random
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

dice = random.Random()
UTC = dt.timezone.utc
FOREVER = (dt.datetime.min.replace(tzinfo=UTC), dt.datetime.max.replace(tzinfo=UTC))


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
        v["subscriber"] = ref(r.get("subscriber"))  # no parameter of ours
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


class Test:
    """One value of a parameter: in which form it is written, the id in it, and whether a value of a resource matches."""

    def __init__(self, form, matches, target=None):
        self.form, self.matches, self.target = form, matches, target

    def __call__(self, have):
        return self.matches(have)


class DateTest(Test):
    """The form is the comparator; want is the period of the value, coarse says that it is a month or a year."""

    def __init__(self, prefix, value):
        super().__init__(prefix, lambda have: holds(prefix, self.want, have))
        self.want, self.coarse, self.timed = moment(value), len(value) < 10, "T" in value


def token(values, name):
    system, code = dice.choice(values)
    form = dice.randrange(5)
    if form == 0:
        return escape(code), Test("code", lambda x: x[1] == code)
    if form == 1 and name != "identifier":
        return escape(system) + "|", Test("system|", lambda x: x[0] == system)
    if form == 2:
        return "|" + escape(code), Test("|code", lambda x: x[0] == "" and x[1] == code)
    return escape(system) + "|" + escape(code), Test("system|code", lambda x: x == (system, code))


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
    return prefix + value, DateTest(prefix or "eq", value)


def same_id(i):
    return Test("id", lambda x: x.split("/")[1] == i, i)


def reference(values, base):
    r = dice.choice(values)
    form = dice.randrange(4)
    if form == 0:
        return r.split("/")[1], same_id(r.split("/")[1])
    if form == 1:
        return base + "/" + r, Test("URL", lambda x: x == r, r.split("/")[1])
    return r, Test("Type/id", lambda x: x == r, r.split("/")[1])


def condition(name, pool, base):
    """A parameter with one to three values, and a test for each."""
    tests, texts = [], []
    for _ in range(dice.choice([1, 1, 1, 2, 3])):
        values = []
        while not values:
            values = pool[dice.randrange(len(pool))][1][name]
            if not values and all(not v[name] for _, v in pool):
                return None
        k = KINDS.get(name, "reference")
        if k == "id":
            text = dice.choice(values)
            test = Test("id", text.__eq__)
        elif k == "date":
            text, test = date(values)
        elif k == "token":
            text, test = token(values, name)
        else:
            text, test = reference(values, base)
        texts.append(text)
        tests.append(test)
    return (name, ",".join(texts)), tests


def earliest(values, down):
    known = [b for b, _ in values if b != FOREVER[0]]
    if not known:
        return (1, 0)
    return (0, -max(known).timestamp()) if down else (0, min(known).timestamp())


def read_export(folder):
    """The resources of an export, by reference and by type: what each can be found by."""
    resources, pools = {}, {}
    for path in glob.glob(folder + "/*/*.ndjson"):
        with open(path) as f:
            for line in f:
                r = json.loads(line)
                v = resources[r["resourceType"] + "/" + r["id"]] = index(r)
                pools.setdefault(r["resourceType"], []).append((r["id"], v))
    return resources, pools


class Search:
    """A search with the parameters of the URL and, if it is a POST, those of the body."""

    def __init__(self, kind):
        self.kind, self.params, self.conditions = kind, [], []  # conditions: name, tests of which one must hold
        self.sort, self.down, self.names, self.iterate, self.cut = None, False, [], False, None

    def passes(self, v):
        return all(any(t(x) for x in v[name] for t in tests) for name, tests in self.conditions)

    def found(self, pools):
        """What it must find, in order."""
        want = [(self.kind + "/" + i, v) for i, v in pools[self.kind] if self.passes(v)]
        want.sort(key=lambda x: (earliest(x[1][self.sort], self.down), x[0]) if self.sort else x[0])
        return want

    def included(self, want, resources):
        found = {r for _, v in want for x in self.names for r in v[x] if r in resources}
        if self.iterate:
            found |= {p for r in list(found) if r.startswith("Coverage/") for p in resources[r]["payor"] if p in resources}
        return found

    def text(self):
        return self.kind + "?" + urllib.parse.urlencode(self.params)

    def request(self, base):
        """URL and body."""
        if self.cut is None:
            return base + "/" + self.text(), None
        url = base + "/" + self.kind + "/_search?" + urllib.parse.urlencode(self.params[:self.cut])
        return url, urllib.parse.urlencode(self.params[self.cut:]).encode()


def generate(pools, base):
    """A search, most often one that finds something."""
    s = Search(dice.choice(["ExplanationOfBenefit"] * 6 + ["Coverage"] * 2 + ["Patient", "Organization", "Practitioner", "RelatedPerson"]))
    pool, patients = pools[s.kind], [p[0] for p in pools["Patient"]]
    # Most searches name few resources, so that they find some.
    if s.kind in ("ExplanationOfBenefit", "Coverage", "RelatedPerson") and dice.random() < 0.75:
        some = dice.sample(patients, dice.choice([1, 1, 2, 5]))
        own = [x for x in pool if x[1]["patient"][0].split("/")[1] in some]
        if own:
            pool = own
        s.params.append(("patient", ",".join(dice.choice(["", "Patient/"]) + p for p in some)))
        s.conditions.append(("patient", [same_id(p) for p in some]))  # no other type has these ids
    for name in dice.sample(PARAMS[s.kind], dice.choice([0, 1, 1, 2, 3]) if s.params else dice.choice([1, 1, 2])):
        c = condition(name, pool, base)
        if c:
            s.params.append(c[0])
            s.conditions.append((name, c[1]))
    bounded = any(p[0] in ("patient", "beneficiary", "_id") for p in s.params)
    if s.kind in SORTS and bounded and dice.random() < 0.4:
        s.sort, s.down = dice.choice(SORTS[s.kind]), dice.random() < 0.5
        s.params.append(("_sort", "-" * s.down + s.sort))
    size = len(s.found(pools))
    if s.kind in INCLUDES and dice.random() < 0.3 and size < 400:
        s.names = dice.sample(INCLUDES[s.kind], min(len(INCLUDES[s.kind]), dice.choice([1, 2])))
        if dice.random() < 0.2:
            s.params.append(("_include", "*" if dice.random() < 0.5 else s.kind + ":*"))
            s.names = INCLUDES[s.kind]
        else:
            s.params += [("_include", f"{s.kind}:{x}") for x in s.names]
        if s.kind == "ExplanationOfBenefit" and "coverage" in s.names and dice.random() < 0.5:
            s.params.append(("_include:iterate", "Coverage:payor"))
            s.iterate = True
    if size > 300:
        s.params += [("_count", "500"), ("_elements", "status")]
    elif dice.random() < 0.7:
        s.params.append(("_count", str(dice.choice([1, 2, 3, 7, 20, 50, 200]) if size < 60 else dice.choice([50, 200, 500]))))
    dice.shuffle(s.params)
    if dice.random() < 0.2:
        s.cut = dice.randrange(len(s.params) + 1)
    return s


def request(url, post=None):
    """Status and body of an answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=post), timeout=60) as r:
            return r.status, r.read()
    except urllib.error.HTTPError as e:
        return e.code, e.read()


# KEEP is how many answers are kept for the official validator, at most.
KEEP = int(os.environ.get("KEEP", "200"))


class Server:
    """The product, serving a store. What it answers is kept in the folder."""

    def __init__(self, program, work, store):
        self.work = work
        self.log = open(os.path.join(work, "serve.log"), "w")
        # The source's dates are in the export; when something was committed is not.
        config = os.path.join(self.work, "serve.yaml")
        with open(config, "w") as f:
            f.write("last_updated: source\n")
        self.p = subprocess.Popen([program, "serve", "--config", config, "--store", store, "--listen", "127.0.0.1:0", "--open", "--log", "json"], stderr=self.log)
        end = time.time() + 30
        self.base, self.kept, self.keep = None, 0, True
        os.makedirs(os.path.join(self.work, "answers"), exist_ok=True)
        while self.base is None and time.time() < end:
            time.sleep(0.1)
            m = re.search(r'"url":"([^"]+)"', open(os.path.join(self.work, "serve.log")).read())
            self.base = m and m[1]
        if self.base is None:
            raise RuntimeError("serve did not start")

    def get(self, url, post=None, keep=False):
        status, text = request(url, post)
        # A subset is not valid by the profiles, and need not be.
        if keep and b"SUBSETTED" not in text and len(text) < 200_000:
            self.kept += 1
            with open(os.path.join(self.work, "answers", f"{self.kept:05}.json"), "wb") as f:
                f.write(text)
        return status, json.loads(text)

    def walk(self, url, post=None):
        """All pages: matches in order, includes, total."""
        matches, includes, total, pages = [], [], None, 0
        while url:
            status, b = self.get(url, post, keep=self.keep and self.kept < KEEP and dice.random() < KEEP / 700)
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
