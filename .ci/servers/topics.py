"""Kafka -> HAPI: a stream that is killed and started again fills a server as a batch load does."""
import json
import os
import signal
import subprocess
import time

import hapiserver
import world
from loads import zeros
from world import Broken, Run, check, note


def lag(config):
    """The sum of the lag; None if it cannot be asked."""
    try:
        run = Run("kafka", "lag", "--config", config, "--output", "json", timeout=60)
        return sum(json.loads(line)["lag"] for line in run.out.splitlines())
    except (Broken, subprocess.TimeoutExpired, ValueError):
        return None


def kafka(hapi):
    tool, cluster = os.path.join(world.shared, "tools", "kafka", "kafka"), world.path("kafka")
    try:
        others = hapi.ready()
        brokers = world.tool(tool, "up", "--dir", cluster, "--port", "0").splitlines()[-1]
        streamed(hapi, tool, cluster, brokers, others)
    finally:
        if os.path.isdir(cluster):
            subprocess.run([tool, "down", "--wipe", "--dir", cluster], capture_output=True, timeout=120)


def streamed(hapi, tool, cluster, brokers, others):
    topic, extract = "claims", world.synth(world.sizes["stream_claims"], 60)
    s = world.Set("stream", hapi.base, [extract])
    world.tool(tool, "topic", topic, "--partitions", "4", "--dir", cluster)
    world.tool(tool, "topic", topic + ".dlq", "--partitions", "1", "--config", "cleanup.policy=compact", "--dir", cluster)
    config = world.write("stream.yaml", f"brokers: ['{brokers}']\ntopics: [{topic}]\ngroup: {topic}\nto: 'fhir:{hapi.base}'\nstate: {s.state}\nid_key: {s.key}\n"
                         "sessions: {timeout: 6s, rebalance: 6s, drain: 3s}\nlog: json\n")
    Run("kafka", "publish", extract, "--brokers", brokers, "--topic", topic, "--quiet")
    began, kills, behind = time.time(), 0, None
    deadline = began + 120 + world.sizes["stream_claims"] / 10
    p = world.start(world.program, "stream", "--config", config, log="stream.log")
    each = max(4.0, world.sizes["stream_claims"] / 100 / 4)
    while behind != 0 or kills < world.sizes["stream_kills"]:
        if time.time() > deadline:
            raise Broken(f"the lag is still {behind}: {tail(p)}")
        if kills < world.sizes["stream_kills"]:
            time.sleep(world.dice.uniform(each / 2, each))
            world.end(p, signal.SIGKILL)
            kills += 1
            p = world.start(world.program, "stream", "--config", config, log="stream.log")
        else:
            time.sleep(1)
        if p.poll() is not None:
            raise Broken(f"the stream has ended with {p.returncode}: {tail(p)}")
        behind = lag(config)
    took, wants = time.time() - began, s.reference()
    check(world.end(p) == 0, "a stream that was stopped did not end with 0")
    for sweep in range(5):  # what waits for others is swept up when a stream starts
        if hapiserver.total(hapi.base) >= others + len(wants):
            break
        p = world.start(world.program, "stream", "--config", config, log="stream.log")
        time.sleep(8)
        world.end(p)
    # A member's claim may come before what it refers to is as new as in the end: versions are not compared.
    hapiserver.compare("stream", hapi.base, wants, others, versions=())
    zeros("stream", s, others)
    note(f"Kafka -> HAPI: {len(wants)} resources in {took:.0f} s with {kills} kills, {sweep} sweeps; as a batch load makes them")


def tail(p):
    with open(p.log, errors="replace") as f:
        return f.read()[-800:]
