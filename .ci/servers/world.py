"""What every part of servers.py stands on: the program, folders, checks, clocks, processes."""
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time

failures = 0
began = time.time()
running = []  # processes that were started, to end exactly them
dice = random.Random()
program = work = shared = ""
python = "python3"  # with the module requests
medplum = ""  # a folder with server.mjs and its packages
sizes = {}


class Broken(Exception):
    """A part cannot go on."""


def check(ok, what):
    global failures
    if not ok:
        failures += 1
        print("FAILED", what, flush=True)
    return ok


def note(text):
    print(f"{time.time() - began:5.0f} s  {text}", flush=True)


def path(*names):
    return os.path.join(work, *names)


def write(name, text):
    p = path(name)
    os.makedirs(os.path.dirname(p), exist_ok=True)
    with open(p, "w") as f:
        f.write(text)
    return p


def tool(*command, timeout=600, env=None):
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env={**os.environ, **(env or {})})
    if done.returncode != 0:
        raise Broken(f"{' '.join(command)}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout.strip()


def start(*args, log, env=None, cwd=None):
    with open(path(log), "ab") as f:
        p = subprocess.Popen(args, stdout=f, stderr=f, env={**os.environ, **(env or {})}, cwd=cwd)
    p.log = path(log)
    running.append(p)
    return p


def end(p, sig=signal.SIGTERM, within=60):
    """Ends one process, and returns its exit code."""
    if p.poll() is None:
        p.send_signal(sig)
    try:
        code = p.wait(within)
    except subprocess.TimeoutExpired:
        p.kill()
        code = p.wait()
        check(False, f"a process did not end within {within} s of signal {sig}")
    if p in running:
        running.remove(p)
    return code


def end_all():
    for p in list(running):
        end(p, signal.SIGKILL)


class Run:
    """What a command of the program did: code, text, seconds, and seconds of CPU."""

    def __init__(self, *args, ok=(0,), timeout=3600):
        before, at = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
        done = subprocess.run([program, *args], capture_output=True, text=True, timeout=timeout)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.code, self.out, self.err, self.took = done.returncode, done.stdout, done.stderr, time.time() - at
        self.cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        if ok is not None and self.code not in ok:
            raise Broken(f"{' '.join(args)} ended with {self.code}:\n{self.out[-1500:]}{self.err[-1500:]}")


class Set:
    """One extract on one server: its state folder, and a key of its own, so that no two sets share an id."""

    def __init__(self, name, url, extracts, *flags, to="fhir", config=""):
        self.name, self.url, self.extracts, self.flags, self.to = name, url, extracts, flags, to
        self.state = path(name + ".state")
        self.key = write(name + ".key", f"key of {name}: " + "0123456789abcdef" * 4 + "\n")
        os.chmod(self.key, 0o600)
        self.server = ["--server", write(name + ".yaml", config)] if config else []

    def target(self):
        return f"{self.to}:{self.url}"

    def flags_of(self, extract):
        return [*self.flags, *(extract[1:] if isinstance(extract, tuple) else ()), extract[0] if isinstance(extract, tuple) else extract]

    def command(self, extract, *more):
        stage = ["--stage", "file://" + path(self.name + ".stage")] if self.to == "import" else []
        return ["load", "--quiet", "--to", self.target(), "--state", self.state, "--id-key", self.key, *self.server, *stage, *more, *self.flags_of(extract)]

    def load(self, *more, ok=(0,)):
        """Loads all extracts, one after the other. Returns the manifests."""
        said = []
        for i, extract in enumerate(self.extracts):
            manifest = path(f"{self.name}.{i}.json")
            if os.path.exists(manifest):
                os.remove(manifest)
            self.run = Run(*self.command(extract, "--manifest", manifest, *more), ok=ok)
            if self.run.code != 0:
                return said
            with open(manifest) as f:
                said.append(json.load(f))
            check(said[-1]["balanced"], f"{self.name}: the manifest does not balance")
        return said

    def reconcile(self, *more):
        """The findings of reconcile: the counts by name, and its exit code."""
        run = Run("reconcile", "--to", self.target(), "--state", self.state, *self.server, "--output", "json", *more, ok=None)
        try:
            return run.code, json.loads(run.out)
        except ValueError:
            raise Broken(f"reconcile ended with {run.code}: {run.out[-500:]}{run.err[-1500:]}") from None

    def reference(self):
        """What must be on the server: the export of an embedded store that has the same extracts, by Type/id."""
        store, out = path(self.name + ".store"), path(self.name + ".export")
        for extract in self.extracts:
            Run("load", "--quiet", "--to", "store:" + store, "--id-key", self.key, *self.flags_of(extract))
        Run("store", "export", "--store", store, "ndjson:" + out)
        wants = exported(out)
        for p in (store, store + ".state", out):
            shutil.rmtree(p, ignore_errors=True)
        return wants


def exported(folder):
    """The text of each resource of an export, by Type/id."""
    found = {}
    for kind in sorted(os.listdir(folder)):
        if kind[0].isupper():
            for name in os.listdir(os.path.join(folder, kind)):
                with open(os.path.join(folder, kind, name)) as f:
                    for line in f:
                        found[f"{kind}/{json.loads(line)['id']}"] = line
    return found


def synth(claims, seed, form="parquet"):
    """A synthetic extract; made once."""
    out = path(f"synth-{claims}-{seed}-{form}")
    if not os.path.isdir(out):
        Run("synth", "--claims", str(claims), "--seed", str(seed), "--format", form, "--out", out)
    return out
