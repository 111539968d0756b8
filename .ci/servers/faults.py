"""A network and a server that fail all the time: nothing is lost, nothing is said to be there that is not."""
import between
import hapiserver
import world
from loads import written, zeros
from world import check, note

CONFIG = "timeout: 10s\nbundle: {}\nentries: {}\n"  # small bundles, so that there are many requests


def faults(hapi):
    others = hapi.ready()
    ways = [("fhir", "transaction", 20), ("fhir", "batch", 20), ("import", "transaction", 20)]
    for to, bundle, entries in ways if world.sizes["fresh"] else ways[1:]:
        name = f"faults, {bundle}" if to == "fhir" else "faults, $import"
        proxy = between.Between(hapi.base, seed=world.dice.randrange(1 << 30), share=0.3 if to == "fhir" or world.sizes["fresh"] else 0.15)
        try:
            s = world.Set(f"faults-{to}-{bundle}", proxy.base, [world.synth(world.sizes["fault_claims"], 56)], to=to, config=CONFIG.format(bundle, entries))
            runs, manifests = 0, []
            while True:
                runs += 1
                manifests = s.load(ok=(0, 1, 3)) if runs < 6 else s.load()
                if s.run.code == 0:
                    break
            wants, met, requests = s.reference(), dict(proxy.met), proxy.requests
            proxy.share = 0
            hapiserver.compare(name, hapi.base, wants, others)
            said = written(manifests)
            check(runs > 1 or said == len(wants), f"{name}: the account says {said} resources were written, the store has {len(wants)}")
            zeros(name, s, others)
            note(f"{name}: {len(wants)} resources through {sum(met.values())} faults in {requests} requests and {runs} runs: "
                 + ", ".join(f"{n} {k}" for k, n in sorted(met.items())))
            check(sum(met.values()) >= 5, f"{name}: only {met} faults")
            others += len(wants)
        finally:
            proxy.close()
