"""How fast: ours, a plain program that posts bundles which are ready, and the script that a user would write."""
import csv
import http.client
import itertools
import os
import queue
import shutil
import statistics
import subprocess
import threading
import time
from urllib.parse import urlsplit

import hapiserver
import world
from world import check, note

SCRIPT = """
import json, sys, time, requests
base, began = sys.argv[1], time.time()
n = 0
for path in sys.argv[2:]:
    for line in open(path):
        r = json.loads(line)
        requests.put(f"{base}/{r['resourceType']}/{r['id']}", json=r, headers={"Content-Type": "application/fhir+json"}).raise_for_status()
        n += 1
print(n, time.time() - began)
"""


def bundles(wants, entries=100):
    """Transactions as bytes, in waves: what is referred to first."""
    waves = []
    for kind in hapiserver.TYPES:
        lines = [v.strip() for k, v in sorted(wants.items()) if k.startswith(kind + "/")]
        keys = sorted(k for k in wants if k.startswith(kind + "/"))
        each = ['{"resource":%s,"request":{"method":"PUT","url":"%s"}}' % (line, key) for key, line in zip(keys, lines)]
        waves.append([('{"resourceType":"Bundle","type":"transaction","entry":[' + ",".join(each[i:i + entries]) + "]}").encode()
                      for i in range(0, len(each), entries)])
    return waves


def plain(base, waves, connections):
    """Posts the waves with so many connections. Returns the seconds."""
    where, failed = urlsplit(base), []

    def post(todo):
        c = http.client.HTTPConnection(where.netloc, timeout=600)
        while True:
            try:
                body = todo.get_nowait()
            except queue.Empty:
                return c.close()
            for attempt in range(5):
                c.request("POST", where.path, body, {"Content-Type": "application/fhir+json", "X-Retry-On-Version-Conflict": "retry; max-retries=10"})
                answer = c.getresponse()
                answer.read()
                if answer.status == 200:
                    break
            else:
                failed.append(answer.status)

    began = time.time()
    for wave in waves:
        todo = queue.Queue()
        for b in wave:
            todo.put(b)
        threads = [threading.Thread(target=post, args=(todo,)) for _ in range(min(connections, max(1, len(wave))))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    if failed:
        raise world.Broken(f"the plain program was answered {failed[:3]}")
    return time.time() - began


CONNECTIONS = (1, 2, 4, 8)


def rate(hapi):
    """Both load parts of one extract into one server, in turn. What the plain program has loaded is loaded by ours, too,
    which only reads it: otherwise the server would have resources that our index does not know, and ours would read
    before it writes."""
    n = 1 + len(CONNECTIONS) + 2 * world.sizes["rate_rounds"] + 1
    parts = split(world.synth(world.sizes["rate_claims"] * n, 57, "csv"), n)
    hapi.ready(empty=True)
    known, cpus = set(), []

    def news(part):
        wants = world.Set("rate", hapi.base, [part]).reference()
        new = {k: v for k, v in wants.items() if k not in known}
        known.update(wants)
        return new

    def by_ours():
        part = parts.pop(0)
        new, s = news(part), world.Set("rate", hapi.base, [part])
        resources = s.load()[0]["resources"]
        check(sum(r["created"] for r in resources.values()) == len(new), f"ours has not created {len(new)} resources")
        cpus.append(s.run.cpu / s.run.took)
        return len(new) / s.run.took

    def by_plain(connections):
        part = parts.pop(0)
        new = news(part)
        took = plain(hapi.base, bundles(new), connections)
        resources = world.Set("rate", hapi.base, [part]).load()[0]["resources"]
        check(not any(r["created"] + r["updated"] for r in resources.values()), "ours has loaded again what the plain program had loaded")
        return len(new) / took

    by_ours()  # warms up the server
    tried = {c: by_plain(c) for c in CONNECTIONS}
    best = max(tried, key=tried.get)
    note("plain program: " + ", ".join(f"{r:.0f}/s with {c}" for c, r in tried.items()))
    ours, theirs = [], []
    for i in range(world.sizes["rate_rounds"]):
        for side in ("op", "po")[i % 2]:
            if side == "o":
                ours.append(by_ours())
            else:
                theirs.append(by_plain(best))
    ratio = statistics.median(ours) / statistics.median(theirs)
    note(f"ours {', '.join(f'{r:.0f}' for r in ours)}/s, plain with {best} connections {', '.join(f'{r:.0f}' for r in theirs)}/s: "
         f"{ratio:.2f} times as fast; our CPU {100 * statistics.median(cpus):.0f}% of one")
    check(ratio >= world.sizes["rate_least"], f"ours has {ratio:.2f} of the plain program's rate")
    n, took = naive(hapi.base, news(parts.pop(0)))
    script = n / took
    note(f"a script with requests, one PUT each: {script:.0f}/s for {n} resources; ours is {statistics.median(ours) / script:.1f} times as fast")
    if world.sizes["fresh"]:  # a small load has fixed costs that say nothing about the rate
        check(statistics.median(ours) > script, "the script is faster")


def split(extract, n):
    """Cuts the claims of an extract into n, and gives each part all of the small tables."""
    parts = [f"{extract}-{i}" for i in range(n)]
    for p in parts:
        shutil.copytree(extract, p, ignore=shutil.ignore_patterns("claims*"))
    with open(os.path.join(extract, "claims-00000.csv"), newline="") as f:
        rows = csv.reader(f)
        head = next(rows)
        claims = [list(group) for _, group in itertools.groupby(rows, key=lambda row: row[0])]
    for i, p in enumerate(parts):
        with open(os.path.join(p, "claims-00000.csv"), "w", newline="") as f:
            w = csv.writer(f)
            w.writerow(head)
            for group in claims[i * len(claims) // n:(i + 1) * len(claims) // n]:
                w.writerows(group)
    return parts


def naive(base, wants):
    """The script on a share of the claims, and on all that they may refer to, which does not count."""
    claims = [k for k in sorted(wants) if k.startswith("ExplanationOfBenefit/")]
    plain(base, bundles({k: v for k, v in wants.items() if k not in claims}), 1)
    path = world.write("naive.ndjson", "".join(wants[k] for k in claims[:max(100, len(claims) // 20)]))
    script = world.write("naive.py", SCRIPT)
    done = subprocess.run([world.python, script, base, path], capture_output=True, text=True, timeout=3600)
    if done.returncode != 0:
        raise world.Broken(f"the script ended with {done.returncode}: {done.stderr[-800:]}")
    n, took = done.stdout.split()
    return int(n), float(took)
