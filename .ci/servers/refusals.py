"""Resources that a server does not accept: exactly these are rejects, all others arrive, and a replay loads them
when the server has changed its mind."""
import glob
import json
import os
import stat
import time

import between
import hapiserver
import world
from loads import zeros
from world import Run, check, note

SECRET = "the member Zzyzx Quux says so"
NUMBER = "https://example.org/fhir/sid/claim"
# HAPI keeps a claim's own number unique, if it is told to. (A prescription has one number in all its claims.)
UNIQUE = [
    {"resourceType": "SearchParameter", "id": "claim-number", "url": "http://example.org/SearchParameter/claim-number", "version": "1", "name": "claimnumber",
     "status": "active", "description": "the payer's number of a claim", "code": "claim-number", "base": ["ExplanationOfBenefit"], "type": "token",
     "expression": "ExplanationOfBenefit.identifier.where(system='" + NUMBER + "')"},
    {"resourceType": "SearchParameter", "id": "claim-number-unique", "url": "http://example.org/SearchParameter/claim-number-unique", "version": "1",
     "name": "claimnumberunique", "status": "active", "description": "no two claims have one number", "code": "claim-number-unique", "base": ["ExplanationOfBenefit"],
     "type": "composite", "expression": "ExplanationOfBenefit", "extension": [{"url": "http://hapifhir.io/fhir/StructureDefinition/sp-unique", "valueBoolean": True}],
     "component": [{"definition": "http://example.org/SearchParameter/claim-number", "expression": "ExplanationOfBenefit"}]},
]


def open_rejects(s):
    out = Run("rejects", "list", "--to", s.target(), "--state", s.state, "--output", "json").out
    return [json.loads(line) for line in out.splitlines()], out


def chosen(wants, share=0.005):
    claims = sorted(k for k in wants if k.startswith("ExplanationOfBenefit/"))
    return sorted(world.dice.sample(claims, max(3, round(share * len(claims)))))


def exactly(name, s, refused, status, rule):
    """Checks that the rejects of a set are these resources."""
    found, text = open_rejects(s)
    problems = [p for r in found for p in r["problems"]]
    have = {p.get("resource") for p in problems}
    check(have == set(refused), f"{name}: {len(have - set(refused))} rejects too many, {len(set(refused) - have)} too few, such as {sorted(map(str, have ^ set(refused)))[:3]}")
    odd = [(p["rule"], p.get("status"), p.get("codes")) for p in problems if p["rule"] != rule or p.get("status") != status or not p.get("codes")]
    check(not odd, f"{name}: {len(odd)} rejects of another kind, such as {odd[:2]}")
    return text


def replayed(name, hapi, s, wants, others=0):
    """Replays all rejects, and checks that nothing is missing any more."""
    Run("rejects", "replay", "--quiet", "--to", s.target(), "--state", s.state, "--id-key", s.key, *s.server)
    left, _ = open_rejects(s)
    check(not left, f"{name}: {len(left)} rejects are still open after the replay, such as {[(r.get('table'), r['problems']) for r in left[:2]]}")
    hapiserver.compare(name + ", replayed", hapi.base, wants, others)
    zeros(name + ", replayed", s, others)


def by_rules(hapi, others):
    """A server with rules of its own: 422 for the whole transaction, or for the entry of a batch."""
    have = others
    for bundle in ("transaction", "batch") if world.sizes["fresh"] else ("transaction",):
        proxy = between.Between(hapi.base)
        try:
            s = world.Set("rules-" + bundle, proxy.base, [world.synth(world.sizes["refused_claims"], 53)], config=f"bundle: {bundle}\n")
            wants = s.reference()
            refused = chosen(wants)
            proxy.refused = dict.fromkeys(refused, SECRET)
            name = f"422 in a {bundle}"
            s.load(ok=(0,))
            text = exactly(name, s, refused, 422, "server-refused")
            silent(name, s, text)
            hapiserver.compare(name, hapi.base, {k: v for k, v in wants.items() if k not in refused}, have, but=refused)
            requests = proxy.requests
            proxy.refused = {}
            replayed(name, hapi, s, wants, have)
            note(f"{name}: {len(refused)} of {len(wants)} refused in {requests} requests, exactly these are rejects, all others arrived; the replay loads them")
            have += len(wants)
        finally:
            proxy.close()
    return have


def silent(name, s, listed):
    """What the server said stands in files that only the owner can read, and nowhere else."""
    manifest = world.path(f"{s.name}.0.json")
    with open(manifest) as f:
        check(SECRET not in s.run.out + s.run.err + listed + f.read(), f"{name}: what the server said has leaked")
    words = Run("rejects", "show", "--to", s.target(), "--state", s.state, "--rule", "server-refused").out
    check(SECRET in words, f"{name}: rejects show does not have what the server said")
    others = [p for p in glob.glob(s.state + "/**/*", recursive=True) if os.path.isfile(p) and stat.S_IMODE(os.stat(p).st_mode) & 0o077]
    check(not others, f"{name}: others can read {others[:3]}")


def unique(hapi):
    """HAPI's own rule: 409, and yet nobody else has changed anything."""
    hapi.ready(empty=True)
    s = world.Set("unique", hapi.base, [world.synth(world.sizes["refused_claims"], 54)])
    wants = s.reference()
    refused = chosen(wants)
    for p in UNIQUE:
        status, _ = hapiserver.request(f"{hapi.base}/SearchParameter/{p['id']}", "PUT", p)
        check(status in (200, 201), f"HAPI answers {status} to a search parameter")
    taken = []
    for i, key in enumerate(refused):
        number = [x for x in json.loads(wants[key])["identifier"] if x["system"] == NUMBER]
        taken.append({"resourceType": "ExplanationOfBenefit", "id": f"taken-{i}", "status": "active", "identifier": number})
    deadline = time.time() + 90  # it uses a search parameter some seconds later
    while True:
        for r in (taken[0], {**taken[0], "id": "second"}):
            status, _ = hapiserver.request(f"{hapi.base}/ExplanationOfBenefit/{r['id']}", "PUT", r)
        if status == 409:
            break
        for r in ("second", taken[0]["id"]):
            hapiserver.request(f"{hapi.base}/ExplanationOfBenefit/{r}", "DELETE")
        if time.time() > deadline:
            raise world.Broken(f"HAPI does not keep the numbers unique: {status}")
        time.sleep(1)
        taken[0]["id"] += "x"
    for r in taken:
        hapiserver.request(f"{hapi.base}/ExplanationOfBenefit/{r['id']}", "PUT", r)
    name = "409 of HAPI's own rule"
    s.load()
    exactly(name, s, refused, 409, "server-refused")
    hapiserver.compare(name, hapi.base, {k: v for k, v in wants.items() if k not in refused}, len(taken), but=refused)
    for r in taken:
        hapiserver.request(f"{hapi.base}/ExplanationOfBenefit/{r['id']}", "DELETE")
    replayed(name, hapi, s, wants)
    hapi.wipe()  # with its rule
    note(f"{name}: {len(refused)} of {len(wants)} refused, exactly these are rejects, all others arrived; the replay loads them")


def dependants(hapi, others):
    """A refused member: what refers to it cannot arrive either, and nothing else is affected."""
    proxy = between.Between(hapi.base)
    try:
        s = world.Set("member", proxy.base, [world.synth(300, 55)])
        wants = s.reference()
        references = {k: {x.split('"')[0] for x in v.split('"reference":"')[1:]} for k, v in wants.items()}
        root = world.dice.choice(sorted(k for k in wants if k.startswith("Patient/")))
        gone = {root}
        while more := {k for k, to in references.items() if to & gone} - gone:
            gone |= more
        proxy.refused = {root: SECRET}
        s.load()
        found, _ = open_rejects(s)
        have = {p.get("resource") for r in found for p in r["problems"]}
        check(have == gone, f"a refused member: rejects of {len(have)} resources, not of the {len(gone)} that depend on it: {sorted(map(str, have ^ gone))[:4]}")
        hapiserver.compare("a refused member", hapi.base, {k: v for k, v in wants.items() if k not in gone}, others, but=gone)
        proxy.refused = {}
        replayed("a refused member", hapi, s, wants, others)
        note(f"a refused member: {len(gone)} resources depend on it and are rejects, all {len(wants) - len(gone)} others arrived; the replay loads them")
    finally:
        proxy.close()


def refusals(hapi):
    dependants(hapi, by_rules(hapi, hapi.ready()))
