"""Loads into a real HAPI server, by bundles and by $import: what arrives, and what a rerun writes."""
import json
import os
import shutil
import time

import between
import hapiserver
import world
from world import check, note


def zeros(name, s, others=0):
    """Checks that reconcile finds nothing. It reads everything that others have there, one by one: it is not asked
    where there are some."""
    if others:
        return
    code, report = s.reconcile()
    total = {what: sum(row[what] for row in report["types"]) for what in ("missing", "different", "extra")}
    check(not any(total.values()) and code == 0 and report["agree"], f"{name}: reconcile ended with {code} and finds {total}")
    odd = [row for row in report["types"] if len({row[k] for k in ("accounts", "index", "server", "counted")}) > 1]
    check(not odd, f"{name}: reconcile counts {odd[:2]}")


def written(manifests):
    """How many resources manifests say were written, of all types."""
    return sum(n for m in manifests for r in m["resources"].values() for what, n in r.items() if what in ("created", "updated", "deleted"))


def loads(hapi, to):
    hapi.ready(empty=True)
    between_ = between.Between(hapi.base)
    try:
        name = "by bundle" if to == "fhir" else "by $import"
        synthea = os.path.join(world.shared, "data", "synthea-cpcds", "csv")
        s = world.Set("load-" + to, between_.base, [(synthea, "--mode", "lenient"), world.synth(world.sizes["claims"], 51)], to=to)
        began, cpu, manifests = time.time(), 0.0, []
        for extract in list(s.extracts):
            one = world.Set(s.name, s.url, [extract], to=to)
            manifests += one.load()
            cpu += one.run.cpu
        took, n = time.time() - began, written(manifests)
        note(f"{name}: {n} resources in {took:.0f} s, {n / took:.0f}/s, our CPU {100 * cpu / took:.0f}% of one")
        wants = s.reference()
        check(n == len(wants), f"{name}: the accounts say {n} resources were written, the store has {len(wants)}")
        hapiserver.compare(name, hapi.base, wants)
        zeros(name, s)
        before = hapiserver.listing(hapi.base, content=False)
        untouched(name + ", again", hapi, between_, s, before, bare=True)
        shutil.rmtree(os.path.join(s.state, "index"))
        untouched(name + ", with the index lost", hapi, between_, s, before)
        zeros(name + ", with the index lost", s)
        untouched(name + ", again with the new index", hapi, between_, s, before, bare=True)
        if to == "fhir":
            repaired(hapi, s, wants)
    finally:
        between_.close()


def repaired(hapi, s, wants):
    """Others delete and edit what is there: reconcile finds just that, and its repair writes just that."""
    claims = world.dice.sample(sorted(k for k in wants if k.startswith("ExplanationOfBenefit/")), 5)
    deleted, edited = claims[:3], claims[3:]
    for key in deleted:
        hapiserver.request(f"{hapi.base}/{key}", "DELETE")
    for key in edited:
        hapiserver.request(f"{hapi.base}/{key}", "PUT", {**json.loads(wants[key]), "disposition": "edited by somebody else"})
    before = hapiserver.listing(hapi.base, content=False)
    code, report = s.reconcile()
    found = {f"{f['kind']} {f['resource']}" for f in report["findings"] if f["kind"] != "extra"}
    check(code == 1 and found == {"missing " + k for k in deleted} | {"different " + k for k in edited}, f"reconcile ended with {code} and found {sorted(found)[:6]}")
    code, report = s.reconcile("--repair", "--id-key", s.key)
    check(code == 0 and report["repaired"], f"reconcile --repair ended with {code}")
    after = hapiserver.listing(hapi.base, content=False)
    touched = {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)}
    check(touched == set(claims), f"the repair wrote {len(touched)} resources, not the {len(claims)} that were deleted or edited")
    hapiserver.compare("repaired", hapi.base, wants, versions=())
    note(f"reconcile finds {len(deleted)} deleted and {len(edited)} edited resources, and repairs just these")


def untouched(name, hapi, between_, s, before, *flags, bare=False):
    """Loads again: nothing may be written. bare: nothing but what says what the server is, and counts, may be asked."""
    between_.reset()
    logged, began = len(hapi.log()), time.time()
    manifests = s.load(*flags)
    took, posted = time.time() - began, len(hapi.log()) - logged
    check(between_.writes == 0, f"{name}: {between_.writes} writes were sent")
    check(not bare or posted == 0, f"{name}: the log of the server has {posted} requests that are not reads")
    check(written(manifests) == 0, f"{name}: the accounts say {written(manifests)} resources were written")
    after = hapiserver.listing(hapi.base, content=False)
    changed = [k for k in before.keys() | after.keys() if before.get(k) != after.get(k)]
    check(not changed, f"{name}: {len(changed)} resources have another version or time, such as {changed[:3]}")
    note(f"{name}: {between_.writes} writes in {between_.requests} requests, {took:.0f} s; every versionId as before")
