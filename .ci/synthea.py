#!/usr/bin/env python3
"""Loads the Synthea extracts in all file formats and header variants and checks the output
without using any code of the product: the number of claims, the balance of the manifest's
counts, the same resources from the same data, references that resolve, and no duplicate
resources."""
import collections
import csv
import glob
import hashlib
import json
import os
import subprocess
import sys

program, data, work = sys.argv[1:4]
failures = 0


def check(ok, what):
    global failures
    if not ok:
        failures += 1
        print("FAILED", what)


def load(name, mode, inputs):
    out = os.path.join(work, f"{name}-{mode}")
    command = [program, "load", "--quiet", "--mode", mode, "--to", "ndjson:" + out, "--manifest", out + ".json"]
    done = subprocess.run(command + inputs, capture_output=True, text=True)
    return out, done.returncode, done.stderr


def distinct(folder):
    rows = csv.reader(open(os.path.join(folder, "CPCDS_Claims.csv"), newline=""))
    header = [h.lower() for h in next(rows)]
    key = next(i for i, h in enumerate(header) if h in ("claim unique identifier", "payer claim unique identifier"))
    return len({row[key] for row in rows})


def references(value):
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield value["reference"]
        for v in value.values():
            yield from references(v)
    elif isinstance(value, list):
        for v in value:
            yield from references(v)


def examine(name, out, claims):
    m = json.load(open(out + ".json"))
    c = m["claims"]
    check(c["seen"] == claims, f"{name}: {c['seen']} claims were read, but the extract has {claims}")
    check(c["seen"] == sum(c[k] for k in ("loaded", "unchanged", "stale", "rejected", "skipped")), f"{name}: the claim counts do not balance")
    for table, r in m["rows"].items():
        check(r["read"] == r["in_claims"] + r["rejected"] + r["skipped"], f"{name}: the row counts of {table} do not balance")
    check(m["balanced"], f"{name}: the manifest is marked as not balanced")
    lines, names, wanted = [], collections.Counter(), set()
    for file in glob.glob(out + "/[A-Z]*/*.ndjson"):
        for line in open(file, "rb"):
            r = json.loads(line)
            lines.append(line)
            names[r["resourceType"] + "/" + r["id"]] += 1
            wanted.update(references(r))
    check(not [n for n, k in names.items() if k > 1], f"{name}: a resource was written twice")
    check(wanted <= set(names), f"{name}: {len(wanted - set(names))} references do not resolve")
    for typ, r in m["resources"].items():
        have = sum(1 for n in names if n.startswith(typ + "/"))
        check(r["created"] == have, f"{name}: {have} resources of type {typ} were written, but the manifest counts {r['created']}")
    claims = sum(1 for n in names if n.startswith("ExplanationOfBenefit/"))
    print(f"{name}: {c['seen']} claims, {c['loaded']} loaded, {c['rejected']} rejected, {c['skipped']} skipped, {claims} ExplanationOfBenefits")
    return hashlib.sha256(b"".join(sorted(lines))).hexdigest(), claims


parquet = os.path.join(data, "parquet")
small = [p for p in sorted(glob.glob(parquet + "/*.parquet")) if not os.path.basename(p).startswith("claims")]
forms = {
    "csv": [os.path.join(data, "csv")],
    "parquet": sorted(glob.glob(parquet + "/claims-0*.parquet")) + small,
    "typed": [parquet + "/claims-typed.parquet"] + small,
    "nested": [parquet + "/claims-nested.parquet"] + small,
    "rowgroups": [parquet + "/claims-rowgroups-1000.parquet"] + small,
}
claims = distinct(os.path.join(data, "csv"))
for mode in ("strict", "lenient"):
    same = set()
    for name, inputs in forms.items():
        out, code, err = load(name, mode, inputs)
        # In strict mode no claim can be used, so the load fails.
        check(code == (1 if mode == "strict" else 0), f"{name} {mode}: exit code {code}: {err}")
        if code in (0, 1):
            digest, eobs = examine(f"{name} {mode}", out, claims)
            same.add(digest)
            check((eobs == 0) == (mode == "strict"), f"{name} {mode}: {eobs} ExplanationOfBenefits")
    check(len(same) == 1, f"{mode}: the formats of one extract produce different resources")
for folder in sorted(glob.glob(os.path.join(data, "dialects", "*"))):
    name = os.path.basename(folder)
    out, code, err = load(name, "lenient", [folder])
    if name in ("cpcds-2019-11", "cpcds-2020-02", "cpcds-2020-04"):
        check(code == 2 and "refused because of the column" in err, f"{name}: exit code {code}: {err}")
    else:
        check(code == 0, f"{name}: exit code {code}: {err}")
        if code == 0:
            examine(name, out, distinct(folder))
print("all checks of the Synthea extracts passed" if not failures else f"{failures} checks failed")
sys.exit(1 if failures else 0)
