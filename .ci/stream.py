#!/usr/bin/env python3
"""Streams claims from a real Kafka of three brokers into one store with three processes, while
brokers and processes are killed and stopped, and compares the store with a batch load of the same
extract. Then streams into NDJSON files, and Avro and Protobuf through a real schema registry.

    stream.py PROGRAM WORKDIR SHARED [CLAIMS [SECONDS [SEED]]]

With FAULTY=PROGRAM the three processes run that one, which was built with the tag targetfaults: their
store fails every CPCDS2FHIR_FAIL_EVERY calls and hangs every CPCDS2FHIR_HANG_EVERY.

What the program says is checked with parts that have none of its code: the Java client counts the
messages, and the watcher of committed offsets only compares numbers. All processes are ended and
all data is deleted, also after a failure."""
import glob
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

program, work, shared = sys.argv[1:4]
claims = int(sys.argv[4]) if len(sys.argv) > 4 else 5000
seconds = float(sys.argv[5]) if len(sys.argv) > 5 else 90
seed = int(sys.argv[6]) if len(sys.argv) > 6 else int(time.time())
program, work = os.path.abspath(program), os.path.abspath(work)
faulty = os.environ.get("FAULTY") or program
kafka = os.path.join(shared, "tools", "kafka", "kafka")
schemas = os.path.join(shared, "tools", "schema-registry", "schema-registry")
cluster, registry = os.path.join(work, "kafka"), os.path.join(work, "registry")
dice = random.Random(seed)
began = time.time()
failures = 0
running = []  # every process that was started, to end it
# Processes that die take their partitions with them for this long.
SESSIONS = "sessions: {timeout: 6s, rebalance: 6s, drain: 3s}\n"
READER = """
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;

public class Count {
    public static void main(String[] a) {
        Map<String, Object> c = Map.of("bootstrap.servers", a[0], "enable.auto.commit", "false", "isolation.level", "read_committed",
            "key.deserializer", "org.apache.kafka.common.serialization.ByteArrayDeserializer",
            "value.deserializer", "org.apache.kafka.common.serialization.ByteArrayDeserializer");
        try (KafkaConsumer<byte[], byte[]> k = new KafkaConsumer<>(c)) {
            List<TopicPartition> parts = new ArrayList<>();
            k.partitionsFor(a[1]).forEach(p -> parts.add(new TopicPartition(a[1], p.partition())));
            k.assign(parts);
            k.seekToBeginning(parts);
            Map<TopicPartition, Long> ends = k.endOffsets(parts);
            long n = 0;
            while (parts.stream().anyMatch(p -> k.position(p) < ends.get(p))) {
                n += k.poll(Duration.ofMillis(500)).count();
            }
            System.out.println(n);
        }
    }
}
"""


def check(ok, what):
    global failures
    if not ok:
        failures += 1
        print("FAILED", what, flush=True)
    return ok


def note(text):
    print(f"{time.time() - began:5.0f} s  {text}", flush=True)


def tool(*command, timeout=200):
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def cpcds(*args, timeout=200):
    return tool(program, *args, timeout=timeout)


def write(name, text):
    path = os.path.join(work, name)
    with open(path, "w") as f:
        f.write(text)
    return path


def start(*args, log, program=program):
    with open(os.path.join(work, log), "ab") as f:
        p = subprocess.Popen([program, *args], stdout=f, stderr=f)
    p.log = os.path.join(work, log)
    running.append(p)
    return p


def terminate(p, when):
    """Stops a stream as an operator does. One that has not begun to read may say that it was stopped."""
    p.terminate()
    code = p.wait(60)
    with open(p.log) as f:
        text = f.read()
    check(code == 0 or code == 1 and '"joined the group"' not in text and "stopped" in text, f"a stream that was stopped {when} ended with {code}")


def export(store):
    """The export as a hash of each file, and its lines by type."""
    out = store + ".export"
    shutil.rmtree(out, ignore_errors=True)
    cpcds("store", "export", "--store", store, "ndjson:" + out)
    files = {}
    for path in sorted(glob.glob(out + "/*/*")):
        with open(path, "rb") as f:
            files[os.path.relpath(path, out)] = hashlib.sha256(f.read()).hexdigest()
    return files


def differences(a, b):
    """Some lines of two exports that differ, by type: only their ids."""
    found = []
    for kind in sorted({os.path.basename(os.path.dirname(p)) for s in (a, b) for p in glob.glob(s + ".export/*/*")}):
        sides = []
        for side in (a, b):
            lines = set()
            for path in glob.glob(f"{side}.export/{kind}/*"):
                with open(path) as f:
                    lines.update(f)
            sides.append(lines)
        ids = [sorted(json.loads(line)["id"] for line in sides[i] - sides[1 - i]) for i in (0, 1)]
        if ids[0] or ids[1]:
            found.append(f"{kind}: {len(ids[0])} lines only in the first, {len(ids[1])} only in the second, such as {(ids[0] + ids[1])[0]}")
    return found


def said(text):
    """How often the processes have said something."""
    n = 0
    for path in glob.glob(work + "/chaos.*.log"):
        with open(path) as f:
            n += f.read().count(text)
    return n


def manifests(store, group):
    """The sum of the manifests of a group, which must balance."""
    total = {}
    paths = glob.glob(f"{store}.state/streams/{group}/manifests/*.json")
    check(paths, "there are no manifests of " + group)
    for path in paths:
        with open(path) as f:
            m = json.load(f)
        check(m["balanced"], f"{path} does not balance")
        for name, n in m["messages"].items():
            total[name] = total.get(name, 0) + n
    return total


def count(brokers, topic):
    """How many messages the Java client finds in a topic."""
    with open(os.path.join(cluster, "cluster")) as f:
        version = next(line for line in f if line.startswith("VERSION=")).strip().split("=")[1]
    jars = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "kafka", "lib", version, "*")
    return int(tool("java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=off", "-cp", jars,
                    write("Count.java", READER), brokers, topic).splitlines()[-1])


def lag(config):
    """Committed offsets by partition, and the sum of the lag; None if the brokers do not answer now."""
    try:
        out = cpcds("kafka", "lag", "--config", config, "--output", "json", timeout=40)
        rows = [json.loads(line) for line in out.splitlines()]
    except (RuntimeError, subprocess.TimeoutExpired, ValueError):
        return None
    return {(r["topic"], r["partition"]): r["committed"] for r in rows}, sum(r["lag"] for r in rows)


class Watcher(threading.Thread):
    """Records committed offsets through the whole run: they never go back."""

    def __init__(self, config):
        super().__init__(daemon=True)
        self.config, self.stopped = config, threading.Event()
        self.seen, self.back, self.looks, self.blind, self.lag = {}, [], 0, 0, None

    def run(self):
        while not self.stopped.wait(1):
            found = lag(self.config)
            if found is None:
                self.blind += 1
                continue
            self.looks += 1
            offsets, self.lag = found
            for where, at in offsets.items():
                if at < self.seen.get(where, -1):
                    self.back.append((where, self.seen[where], at))
                self.seen[where] = max(at, self.seen.get(where, -1))


def settle(store, config, wants, daemon, rounds=4):
    """Lets one process at a time sweep up what others have left waiting, until the store is as wanted."""
    for i in range(rounds):
        found = export(store)
        if found == wants:
            return True, i
        p = start("stream", "--config", config, log=daemon)
        time.sleep(5)
        terminate(p, "after the run")
    return export(store) == wants, rounds


def chaos(brokers, extract, batch, wants):
    topic, group, store = "chaos", "chaos", os.path.join(work, "stream")
    tool(kafka, "topic", topic, "--partitions", "12", "--dir", cluster)
    tool(kafka, "topic", topic + ".dlq", "--partitions", "1", "--config", "cleanup.policy=compact", "--dir", cluster)
    config = write("chaos.yaml", f"brokers: [{brokers}]\ntopics: [{topic}]\ngroup: {group}\nto: store:{store}\n{SESSIONS}log: json\n")
    faults = dict.fromkeys(["daemons killed -9", "daemons terminated", "daemons stopped and continued", "daemons stopped and killed",
                            "owners of the store hit", "brokers killed -9", "daemons that ended by themselves"], 0)
    logs = 0

    def daemon(i):
        nonlocal logs
        logs += 1
        return start("stream", "--config", config, log=f"chaos.{i}.{logs}.log", program=faulty)

    def owner():
        """The process that has the store open."""
        for i, p in enumerate(daemons):
            try:
                for fd in os.listdir(f"/proc/{p.pid}/fd"):
                    if os.readlink(f"/proc/{p.pid}/fd/{fd}").startswith(store + "/") and ".sst" in os.readlink(f"/proc/{p.pid}/fd/{fd}"):
                        return i
            except OSError:
                pass
        return -1

    daemons = [daemon(i) for i in range(3)]
    messages = int(json.loads(cpcds("kafka", "publish", extract, "--brokers", brokers, "--topic", topic, "--where", "false",
                                    "--output", "json"))["left_out"])
    publisher = start("kafka", "publish", extract, "--brokers", brokers, "--topic", topic, "--rate", f"{max(50, int(messages / seconds))}/s", "--quiet", log="publish.log")
    watcher = Watcher(config)
    watcher.start()
    ended = threading.Event()
    last = time.time() + 1.3 * seconds  # brokers that come back slowly delay the publisher: no more faults from here on

    def brokers_die():
        turn = 0
        while not ended.wait(dice.uniform(10, 20)) and time.time() < last:
            turn = turn % 3 + 1
            tool(kafka, "kill", "--broker", str(turn), "--dir", cluster)
            faults["brokers killed -9"] += 1
            time.sleep(dice.uniform(0, 5))
            tool(kafka, "up", "--dir", cluster)

    reaper = threading.Thread(target=brokers_die, daemon=True)
    reaper.start()
    note(f"{messages} messages in {seconds:.0f} s, seed {seed}")
    try:
        while publisher.poll() is None:
            time.sleep(dice.uniform(0.5, 3))
            if time.time() > last:
                continue
            i = owner() if dice.random() < 0.4 else dice.randrange(3)
            hit_owner = i >= 0 and i == owner()
            i = max(i, 0)
            p = daemons[i]
            if p.poll() is not None:
                faults["daemons that ended by themselves"] += 1
                note(f"a daemon has ended with {p.returncode}")
                daemons[i] = daemon(i)
                continue
            faults["owners of the store hit"] += hit_owner
            what = dice.choice(["kill", "kill", "term", "stop", "stop-kill"])
            if what == "term":
                faults["daemons terminated"] += 1
                terminate(p, "in the run")
            elif what == "kill":
                faults["daemons killed -9"] += 1
                p.kill()
                p.wait()
            else:
                p.send_signal(signal.SIGSTOP)
                time.sleep(dice.uniform(0.5, 10))
                if what == "stop":
                    faults["daemons stopped and continued"] += 1
                    p.send_signal(signal.SIGCONT)
                    continue
                faults["daemons stopped and killed"] += 1
                p.kill()
                p.wait()
            time.sleep(dice.uniform(0, 2))
            daemons[i] = daemon(i)
    finally:
        ended.set()
        reaper.join(120)
    check(publisher.returncode == 0, f"publish ended with {publisher.returncode}")
    note("published; " + ", ".join(f"{n} {what}" for what, n in faults.items()))
    tool(kafka, "up", "--dir", cluster)
    end = time.time() + 120
    watcher.lag = None
    while watcher.lag != 0 and time.time() < end:
        for i, p in enumerate(daemons):
            if p.poll() is not None:
                faults["daemons that ended by themselves"] += 1
                note(f"a daemon has ended with {p.returncode}")
                daemons[i] = daemon(i)
        time.sleep(1)
    check(watcher.lag == 0, f"the lag is {watcher.lag} two minutes after the last message")
    note("all is committed")
    for p in daemons:
        terminate(p, "at the end")
    watcher.stopped.set()
    watcher.join(60)
    faults["failed calls of the store"], faults["hanging calls of the store"] = said("the target fails"), said("the target hangs")
    check(faulty == program or faults["failed calls of the store"] > 0, "the store has not failed once")
    check(not watcher.back, f"committed offsets went back: {watcher.back[:3]}")
    check(watcher.looks > seconds / 10, f"the watcher has looked {watcher.looks} times only")
    check(faults["daemons that ended by themselves"] == 0, "daemons have ended by themselves")
    same, rounds = settle(store, config, wants, "settle.log")
    if not check(same, "the store differs from the batch load"):
        for line in differences(batch, store):
            print("      ", line)
    total = manifests(store, group)
    dead, read = count(brokers, topic + ".dlq"), count(brokers, topic)
    check(dead == 0 and total["dead_letters"] == 0, f"there are {dead} dead letters, the manifests say {total}")
    check(read == total["read"] and read >= messages, f"the Java client reads {read} messages, the manifests say {total['read']}, published were {messages}")
    check(total["read"] == total["records"] + total["waiting"] and total["waiting"] == total["released"], f"not all messages became records: {total}")
    note(f"the store is as the batch load made it after {rounds} sweeps; {read} messages; the watcher looked {watcher.looks} times, {watcher.blind} times without an answer")
    print("survived:", ", ".join(f"{n} {what}" for what, n in faults.items() if n))


def forms(brokers, extract, batch, wants):
    url = tool(schemas, "up", "--dir", registry, "--port", "0").splitlines()[-1]
    for form in ("avro", "protobuf", "json-schema"):
        topic, store = "form-" + form, os.path.join(work, "form-" + form)
        tool(kafka, "topic", topic, "--partitions", "3", "--dir", cluster)
        config = write(topic + ".yaml", f"brokers: [{brokers}]\ntopics: [{{name: {topic}, format: registry}}]\ngroup: {topic}\nto: store:{store}\n"
                       f"registry: {{url: '{url}'}}\nlog: json\n")
        cpcds("kafka", "publish", extract, "--config", config, "--topic", topic, "--format", form, "--key", "family", "--quiet")
        p = start("stream", "--config", config, log=topic + ".log")
        end, found = time.time() + 60, None
        while time.time() < end and (found is None or found[1] != 0) and p.poll() is None:
            time.sleep(0.5)
            found = lag(config)
        check(found and found[1] == 0, f"{form}: the lag is {found and found[1]}")
        terminate(p, "after the messages of " + form)
        same, _ = settle(store, config, wants, topic + ".log")
        if not check(same, f"{form}: the store differs from the batch load"):
            for line in differences(batch, store):
                print("      ", line)
        total, read = manifests(store, topic), count(brokers, topic)
        check(read == total["read"] and total["dead_letters"] == 0, f"{form}: the Java client reads {read} messages, the manifests say {total}")
        note(f"{form}: {read} messages")


def fold(folder):
    """What a folder of NDJSON files says, by id: parts by number, the last line counts, deletions delete."""
    parts = glob.glob(folder + "/*/part-*")
    parts.sort(key=lambda p: int(os.path.basename(p).split(".")[0].rsplit("-", 1)[1]) if "part-stream" in p else 0)
    found = {}
    for path in parts:
        kind = os.path.basename(os.path.dirname(path))
        with open(path) as f:
            for line in f:
                record = json.loads(line)
                if kind == "deleted":
                    found.pop(record["entry"][0]["request"]["url"], None)
                else:
                    found[kind + "/" + record["id"]] = line
    return found


def joined(log, after):
    """Whether a stream has joined its group since its log had this size."""
    with open(log, "rb") as f:
        f.seek(after)
        return b'"joined the group"' in f.read()


def files(brokers, extract):
    """Streams into NDJSON files with a process that is killed, and compares with a batch load into files."""
    topic, out, batch = "files", os.path.join(work, "files"), os.path.join(work, "files.batch")
    cpcds("load", "--quiet", "--to", "ndjson:" + batch, extract)
    tool(kafka, "topic", topic, "--partitions", "6", "--dir", cluster)
    config = write("files.yaml", f"brokers: [{brokers}]\ntopics: [{topic}]\ngroup: {topic}\nto: ndjson:{out}\nlog: json\n{SESSIONS}")
    cpcds("kafka", "publish", extract, "--brokers", brokers, "--topic", topic, "--quiet")
    kills, end = 0, time.time() + 90
    p, found = start("stream", "--config", config, log="files.log"), None
    while time.time() < end and (found is None or found[1] != 0 or kills < 3):
        time.sleep(dice.uniform(1, 3))
        if kills < 3:
            p.kill()
            p.wait()
            kills += 1
            said = os.path.getsize(p.log)
            p = start("stream", "--config", config, log="files.log")
        found = lag(config)
        check(p.poll() is None, "the stream into files has ended by itself")
    while time.time() < end and not joined(p.log, said):  # one that has not begun completes no parts
        time.sleep(0.2)
    check(found and found[1] == 0, f"files: the lag is {found and found[1]}")
    terminate(p, "after the files")
    have, want = fold(out), fold(batch)
    wrong = [key for key in have.keys() | want.keys() if have.get(key) != want.get(key)]
    check(not wrong, f"files: {len(wrong)} of {len(want)} resources differ from those of the batch load, such as {wrong[:3]}")
    cpcds("reconcile", "--to", "ndjson:" + out)
    cpcds("verify", "--quiet", "ndjson:" + out)
    total, read = manifests(out, topic), count(brokers, topic)
    check(read == total["read"] and total["dead_letters"] == 0, f"files: the Java client reads {read} messages, the manifests say {total}")
    note(f"NDJSON files: {read} messages, {kills} kills, {len(have)} resources as after the batch load")


def main():
    os.makedirs(work, exist_ok=True)
    extract, small = os.path.join(work, "extract"), os.path.join(work, "small")
    batches = []
    for name, n in ((extract, claims), (small, 500)):
        cpcds("synth", "--claims", str(n), "--seed", "31", "--out", name)
        batches.append(name + ".batch")
        cpcds("load", "--quiet", "--to", "store:" + batches[-1], name)
    wants = [export(b) for b in batches]
    brokers = tool(kafka, "up", "--dir", cluster, "--port", "0", "--brokers", "3").splitlines()[-1]
    note("three brokers at " + brokers)
    chaos(brokers, extract, batches[0], wants[0])
    files(brokers, small)
    forms(brokers, small, batches[1], wants[1])


def clean():
    for p in running:
        if p.poll() is None:
            p.kill()
            p.wait()
    for command in ((kafka, "down", "--wipe", "--dir", cluster), (schemas, "down", "--dir", registry)):
        try:
            subprocess.run(command, capture_output=True, timeout=120)
        except (OSError, subprocess.TimeoutExpired) as e:
            print("cleaning:", e)
    if failures:  # the logs hold no values
        for path in sorted(glob.glob(os.path.join(work, "*.log"))):
            with open(path, errors="replace") as f:
                bad = [line for line in f if '"level":"error"' in line or line.startswith("cpcds2fhir: ") or line.startswith("panic")]
            if bad:
                print(f"--- {os.path.basename(path)}\n{''.join(bad[-5:])}", end="")
    if not (failures and os.environ.get("KEEP")):
        shutil.rmtree(work, ignore_errors=True)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
try:
    main()
except (RuntimeError, subprocess.TimeoutExpired) as error:
    check(False, str(error))
finally:
    clean()
note("failed" if failures else "all as it should be")
sys.exit(1 if failures else 0)
