#!/usr/bin/env python3
"""Loads into real FHIR servers, and compares what they have with an embedded store of the same extracts.

    servers.py PROGRAM WORKDIR SHARED [PART...]

Parts (all, if none is named):

    bundle    load --to fhir: into HAPI; reruns, with the index and without it, write nothing; reconcile --repair
    import    the same by load --to import:, which is HAPI's $import
    kills     kill -9 of the program and of the server, at any moment
    refusals  entries that a server does not accept are rejects, exactly these
    faults    through a proxy: 429, 503, resets, answers that never arrive
    kafka     a stream of Kafka messages into HAPI, killed and started again
    medplum   Medplum's repository in memory; MEDPLUM is a copy of .ci/servers/medplum with its packages
    own       our own API, which is no target
    rate      against a plain program and a script; PYTHON is one with the module requests
    unique    entries that break a rule of HAPI's own: 409 which is nobody's edit

With SERVERS=acceptance the parts are large, and each has an empty server; in CI what an earlier part has loaded
stays there, if a part does not need it empty. SIZES="claims=300 kills=2" changes sizes, SEED the moments of faults. HAPI runs with referential integrity and its strict parser, one server at a time. All
processes that were started are ended and all data is deleted, also after a failure; KEEP=1 keeps the folder."""
import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "servers"))
import faults
import foreign
import hapiserver
import kills
import loads
import rate
import refusals
import topics
import world

PARTS = {
    "bundle": lambda hapi: loads.loads(hapi, "fhir"),
    "import": lambda hapi: loads.loads(hapi, "import"),
    "kills": kills.killed,
    "refusals": refusals.refusals,
    "faults": faults.faults,
    "kafka": topics.kafka,
    "medplum": foreign.medplum,
    "own": foreign.own,
    "rate": rate.rate,
    "unique": refusals.unique,
}
SIZES = {
    "ci": {"fresh": 0, "claims": 400, "kill_claims": 800, "kills": 3, "server_kills": 1, "refused_claims": 150, "fault_claims": 80, "stream_claims": 800,
           "stream_kills": 3, "medplum_claims": 100, "rate_claims": 200, "rate_rounds": 2, "rate_least": 0.25},
    "acceptance": {"fresh": 1, "claims": 20000, "kill_claims": 10000, "kills": 20, "server_kills": 5, "refused_claims": 10000, "fault_claims": 5000, "stream_claims": 20000,
                   "stream_kills": 3, "medplum_claims": 500, "rate_claims": 4000, "rate_rounds": 4, "rate_least": 0.95},
}


def main():
    names = sys.argv[4:] or list(PARTS)
    if unknown := set(names) - PARTS.keys():
        sys.exit(f"there is no part {', '.join(sorted(unknown))}: {', '.join(PARTS)}")
    world.program, world.work, world.shared = (os.path.abspath(a) for a in sys.argv[1:4])
    world.sizes = SIZES[os.environ.get("SERVERS", "ci")] | {k: float(v) if "." in v else int(v) for k, _, v in (a.partition("=") for a in os.environ.get("SIZES", "").split())}
    world.python, world.medplum = os.environ.get("PYTHON", "python3"), os.environ.get("MEDPLUM", "")
    seed = int(os.environ.get("SEED", time.time()))
    world.dice.seed(seed)
    os.makedirs(world.work, exist_ok=True)
    hapi = hapiserver.Hapi()
    took = []
    try:
        for name in names:
            began = time.time()
            print(f"--- {name} (seed {seed})", flush=True)
            try:
                PARTS[name](hapi)
            except (world.Broken, OSError, subprocess.TimeoutExpired) as e:
                world.check(False, f"{name}: {e}")
            world.end_all()
            took.append(f"{name} {time.time() - began:.0f} s")
    finally:
        world.end_all()
        hapi.remove()
        if not os.environ.get("KEEP"):
            shutil.rmtree(world.work, ignore_errors=True)
    world.note(f"{', '.join(took)}; HAPI was started {hapi.starts} times, {hapi.starting:.0f} s")
    print(f"{world.failures} checks failed" if world.failures else "all as it should be")
    sys.exit(1 if world.failures else 0)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
main()
