#!/usr/bin/env python3
"""Searches a served store with generated queries, and compares each answer with what follows from the
NDJSON export of the same store, computed here from the resources themselves.

    api.py PROGRAM WORKDIR [QUERIES [SEED]]

With CLIENTS=DIR, where .ci/clients was copied and installed, clients that others wrote read some members
too. Some answers, KEEP=200 of them, are kept in WORKDIR/answers, for the official validator, with the
AuditEvents of some more. All parameters, comparators, several values, repetitions, includes, sorting and
paging occur."""
import json
import os
import subprocess
import sys
import time

from searches import Server, dice, earliest, generate, read_export

program, work = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
queries = int(sys.argv[3]) if len(sys.argv) > 3 else 2000
seed = int(sys.argv[4]) if len(sys.argv) > 4 else int(time.time())
dice.seed(seed)
os.makedirs(work, exist_ok=True)


def run(*args):
    subprocess.run([program, *args], check=True, capture_output=True, text=True, timeout=600)


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


def audit(store, answers, kept):
    """The audit must have a record of each answer; some are kept for the validator. Returns whether it lacks any."""
    done = subprocess.run([program, "audit", "verify", "--store", store, "--output", "json"], check=True, capture_output=True, text=True)
    records = json.loads(done.stdout)["records"]
    done = subprocess.run([program, "audit", "export", "--store", store], check=True, capture_output=True, text=True)
    events = done.stdout.splitlines()
    with open(os.path.join(kept, "AuditEvent.ndjson"), "w") as f:
        f.write("\n".join(dice.sample(events, 60)) + "\n")
    print(f"audit: {records} records of at least {answers} answers, the chain holds")
    return records < answers or len(events) != records


def main():
    extract, store = os.path.join(work, "extract"), os.path.join(work, "store")
    run("synth", "--claims", "10000", "--seed", "41", "--out", extract)
    run("load", "--quiet", "--to", "store:" + store, extract)
    run("store", "export", "--store", store, "ndjson:" + store + ".export")
    resources, pools = read_export(store + ".export")
    s = Server(program, work, store)
    wrong, kinds, pages, hits = 0, {}, 0, 0
    try:
        others(s, [p[0] for p in pools["Patient"]])
        wrong += clients(s, pools, resources)
        for _ in range(queries):
            q = generate(pools, s.base)
            for name, _ in q.conditions:
                kinds[name] = kinds.get(name, 0) + 1
            want = q.found(pools)
            includes = q.included(want, resources)
            got, inc, total, count = s.walk(*q.request(s.base))
            pages += count
            ids = [x[0] for x in want]
            hits += bool(ids)
            ok = got == ids and (total is None or total == len(ids)) and (not q.names or set(inc) == includes - set(ids))
            if not ok:
                wrong += 1
                if wrong <= 10:
                    print("WRONG", q.text())
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
    wrong += audit(store, pages, os.path.join(work, "answers"))
    sys.exit(1 if wrong or code else 0)


main()
