"""Servers that are not HAPI: Medplum's repository in memory, and our own API, which nobody can load into."""
import json
import os
import re
import socket
import time

import hapiserver
import world
from loads import written, zeros
from world import Run, check, note


class Medplum:
    def __init__(self, kind, transactions):
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}/fhir/R4"
        self.p = world.start("node", "server.mjs", str(self.port), kind, log=f"medplum-{kind}.log", cwd=world.medplum, env={"TRANSACTIONS": str(int(transactions))})
        deadline = time.time() + 120
        while "listening" not in text_of(self.p.log):
            if self.p.poll() is not None or time.time() > deadline:
                raise world.Broken(f"Medplum's repository does not start: {text_of(self.p.log)[-500:]}")
            time.sleep(0.2)

    def writes(self):
        return hapiserver.request(f"http://127.0.0.1:{self.port}/writes")[1]

    def stop(self):
        world.end(self.p)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def text_of(path):
    with open(path, errors="replace") as f:
        return f.read()


def medplum(_):
    """Both ways of ids: the repository itself takes our ids; Medplum's server does not."""
    for kind, ids, transactions in (("open", "client", False), ("open", "client", True), ("guarded", "conditional", False), ("guarded", "conditional", True)):
        name = f"Medplum's repository, ids: {ids}, {'transactions' if transactions else 'batches'}"
        m = Medplum(kind, transactions)
        try:
            config = f"ids: {ids}\n" + "bundle: transaction\n" * transactions
            s = world.Set(f"medplum-{ids}-{int(transactions)}", m.base, [world.synth(world.sizes["medplum_claims"], 58)], config=config)
            manifests = s.load()
            wants = s.reference()
            check(written(manifests) == len(wants), f"{name}: the accounts say {written(manifests)} resources were written, the store has {len(wants)}")
            if ids == "client":
                hapiserver.compare(name, m.base, wants, versions=(), number=hapiserver.by_value)  # JavaScript has no decimals: 1.10 is 1.1
            else:
                translated(name, m.base, wants)
            zeros(name, s)
            done = m.writes()
            check(done["created"] == len(wants) and done["updated"] == 0, f"{name}: the server has made {done}")
            before = hapiserver.listing(m.base)
            s.load()
            check(m.writes() == done and hapiserver.listing(m.base) == before, f"{name}: a rerun wrote {m.writes()}")
            note(f"{name}: {len(wants)} resources in {s.run.took:.0f} s, as in the store; a rerun wrote nothing")
        finally:
            m.stop()


def translated(name, base, wants):
    """Checks a server that has made ids of its own: with its ids back in ours, each resource is as in the store.
    Ours is the identifier that the load has added."""
    found, own, marks = [], {}, {}
    for kind in hapiserver.TYPES:
        url = f"{base}/{kind}?_count=200"
        while url:
            _, bundle = hapiserver.request(url)
            found += [e["resource"] for e in bundle.get("entry", [])]
            url = next((x["url"] for x in bundle["link"] if x["relation"] == "next"), None)
    for r in found:
        for i in r.get("identifier", []):
            if f"{r['resourceType']}/{i.get('value')}" in wants:
                own[f"{r['resourceType']}/{r['id']}"] = f"{r['resourceType']}/{i['value']}"
                marks[i.get("system")] = marks.get(i.get("system"), 0) + 1
    check(len(found) == len(wants) == len(set(own.values())), f"{name}: {len(found)} resources on the server, {len(set(own.values()))} of them ours, the store has {len(wants)}")
    check(len(marks) == 1, f"{name}: our ids are identifiers of the systems {sorted(map(str, marks))}")
    different = []
    for r in found:
        key = own.get(f"{r['resourceType']}/{r['id']}")
        if key is None:
            continue
        text = json.dumps({**r, "id": key.split("/")[1], "identifier": [i for i in r["identifier"] if i.get("system") not in marks]})
        text = re.sub(r'("reference": ")([^"]+)"', lambda m: m[1] + own.get(m[2], m[2]) + '"', text)
        text = text.replace('"identifier": [], ', "").replace(', "identifier": []', "")
        if hapiserver.normal(text, hapiserver.by_value) != hapiserver.normal(wants[key], hapiserver.by_value):
            different.append(key)
    check(not different, f"{name}: {len(different)} resources differ from the store's, such as {different[:3]}")


def own(_):
    """Our own API only reads: a load into it is refused before anything is sent, with the reason."""
    store = world.path("own")
    Run("load", "--quiet", "--to", "store:" + store, world.synth(200, 59))
    p = world.start(world.program, "serve", "--store", store, "--listen", "127.0.0.1:0", "--open", "--log", "json", log="serve.log")
    try:
        deadline = time.time() + 60
        while not (m := re.search(r'"url":"([^"]+)"', text_of(p.log))):
            if p.poll() is not None or time.time() > deadline:
                raise world.Broken(f"serve does not start: {text_of(p.log)[-500:]}")
            time.sleep(0.1)
        for to in ("fhir", "import"):
            s = world.Set("own-" + to, m[1], [world.synth(200, 59)], to=to)
            run = Run(*s.command(s.extracts[0]), ok=None)
            check(run.code in (2, 3) and re.search(r"(?i)cpcds2fhir|serve", run.err) and re.search(r"(?i)read", run.err),
                  f"our own API as a target: {run.code} {run.err[-300:]}")
            check(not os.path.exists(os.path.join(s.state, "index")), "a load that was refused has left an index")
        note(f"our own API as a target: {run.err.strip().splitlines()[-1]}")
    finally:
        world.end(p)
