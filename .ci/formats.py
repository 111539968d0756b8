#!/usr/bin/env python3
"""Writes the same small extract with every writer that users may have, loads the files, and
compares the resources byte for byte with those of the original extract.

The writers are installed with pinned versions into a cache folder. --all adds the slow
writers. --only PART runs the cases whose name contains that part."""
import argparse
import collections
import concurrent.futures
import csv
import glob
import hashlib
import itertools
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
RECORD = os.path.join(HERE, "formats.csv")
DOCUMENT = os.path.join(ROOT, "docs", "formats.md")
BEGIN, END = "<!-- begin of what .ci/formats.py writes -->", "<!-- end of what .ci/formats.py writes -->"
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "cpcds2fhir-formats")
SAME_BYTES = "the same bytes"
SAME, REFUSED, REJECTED, WRONG = "same", "refused", "rejected", "WRONG"

PYTHON = {
    "main": ["pyarrow==26.0.1", "numpy==2.4.6", "pandas==3.1.1", "polars==2.1.0", "duckdb==2.0.1", "fastparquet==2026.9.0",
             "deltalake==1.6.6", "datafusion==55.0.0", "chdb==4.4.0", "zstandard==0.25.0"],
    "old": ["pyarrow==10.0.1", "numpy==1.26.4", "duckdb==0.9.2"],
    "spark": ["pyspark==4.3.0"],
}
NODE = {"apache-arrow": "21.2.0", "hyparquet-writer": "0.17.0", "parquetjs": "0.11.2", "@dsnp/parquetjs": "1.8.9", "nodejs-polars": "0.26.1"}
if sys.platform == "linux" and platform.machine() == "x86_64":
    NODE["nodejs-polars-linux-x64-gnu"] = "0.26.1"  # npm skips it if it considers the version of Node.js too old

# The scripts that write the files, and the environment of each.
SCRIPTS = [("write_pyarrow.py", "main"), ("write_ipc.py", "main"), ("write_csv.py", "main"), ("write_pandas.py", "main"),
           ("write_polars.py", "main"), ("write_duckdb.py", "main"), ("write_tables.py", "main"), ("write_old.py", "old"),
           ("write_node.mjs", "node")]
SLOW = [("write_spark.py", "spark")]


class Installation:
    """The environments of the writers, which are created if they do not exist yet."""

    def __init__(self):
        self.failed = {}

    def interpreter(self, name):
        if name == "node":
            return self.make("node", json.dumps(NODE), self.node, lambda folder: ["node"])
        return self.make(name, "\n".join(PYTHON[name]), lambda folder: self.python(folder, PYTHON[name]),
                         lambda folder: [os.path.join(folder, "bin", "python")])

    def make(self, name, wanted, install, interpreter):
        folder = os.path.join(CACHE, f"{name}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}")
        if not os.path.exists(os.path.join(folder, "complete")):
            shutil.rmtree(folder, ignore_errors=True)
            start = time.monotonic()
            try:
                install(folder)
            except (subprocess.CalledProcessError, OSError) as e:
                self.failed[name] = (getattr(e, "output", "") or str(e)).strip().splitlines()[-1]
                return None, folder
            with open(os.path.join(folder, "complete"), "w") as f:
                f.write(wanted)
            print(f"installed {name} in {time.monotonic() - start:.0f} s: {wanted.replace(chr(10), ' ')}")
        return interpreter(folder), folder

    @staticmethod
    def run(*command, cwd=None):
        subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=cwd)

    def python(self, folder, packages):
        self.run(sys.executable, "-m", "venv", folder)
        python = os.path.join(folder, "bin", "python")
        self.run(python, "-m", "pip", "install", "--quiet", "--no-compile", "--prefer-binary", *packages)

    def node(self, folder):
        os.makedirs(folder)
        with open(os.path.join(folder, "package.json"), "w") as f:
            json.dump({"name": "formats", "private": True, "type": "module", "dependencies": NODE}, f)
        self.run("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)


class Loads:
    """Runs loads with the program and collects their results."""

    def __init__(self, program, work):
        self.program, self.work, self.count = os.path.abspath(program), work, itertools.count()
        self.environment = {**os.environ, "XDG_CONFIG_HOME": os.path.join(work, "config")}

    def call(self, *arguments):
        return subprocess.run([self.program, *arguments], capture_output=True, text=True, errors="replace", env=self.environment, timeout=120)

    def load(self, folder, *flags):
        """Returns the exit code, the messages, the resources as sorted lines by type, and the manifest."""
        out = os.path.join(self.work, f"out-{next(self.count)}")
        done = self.call("load", "--quiet", "--to", "ndjson:" + out, "--state", out + ".state", "--manifest", out + ".json", *flags, folder)
        resources, account = {}, {}
        for kind in sorted(glob.glob(out + "/[A-Z]*")):
            resources[os.path.basename(kind)] = sorted(line for file in glob.glob(kind + "/*.ndjson") for line in open(file, "rb"))
        if os.path.exists(out + ".json"):
            with open(out + ".json") as f:
                account = json.load(f)
        shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(out + ".state", ignore_errors=True)
        return done.returncode, done.stderr, resources, account

    def layout(self, csv_settings):
        """Writes the layout of the extract with different CSV settings and returns its path."""
        text = self.call("layout", "show", "--output", "yaml", "cpcds").stdout
        path = os.path.join(self.work, hashlib.sha256(csv_settings.encode()).hexdigest()[:12] + ".yaml")
        if csv_settings.startswith("null"):
            text = csv_settings + "\n" + text
        else:
            text = f"csv: {{{csv_settings}}}\n" + re.sub(r"(?m)^csv:.*\n( .*\n)*", "", text)
        with open(path, "w") as f:
            f.write(text)
        return path


def judge(loads, original, case):
    """Returns the outcome of a case and the message."""
    if "error" in case:
        return WRONG, "not written: " + case["error"]
    try:
        code, said, resources, account = loads.load(case["folder"], *case["flags"])
    except subprocess.TimeoutExpired:
        return WRONG, "the load did not end within two minutes"
    message = " ".join(said.replace(case["folder"] + "/", "").replace(case["folder"], "the folder").split())
    message = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "N", message)
    if code == 0 or "can be used" in said: # a load fails if nothing in it can be used
        if resources == original:
            return SAME, ""
        rules = ", ".join(sorted(account["rejects"]))
        kinds = [k for k in sorted(original.keys() | resources.keys()) if original.get(k) != resources.get(k)]
        if rules and all(set(resources.get(k, ())) <= set(original.get(k, ())) for k in kinds):
            return REJECTED, "by the rules " + rules
        return WRONG, f"other resources: {', '.join(kinds)}. {message}"
    if code not in (1, 2, 3) or "panic" in said or not message:
        return WRONG, f"exit code {code}: {message}"
    return REFUSED, message


def name_of(case):
    return f"{case['format']} / {case['writer']} / {case['variant']}"


def read_record():
    with open(RECORD, newline="") as f:
        return {row["case"]: row for row in csv.DictReader(f)}


def write_record(record):
    with open(RECORD, "w", newline="") as f:
        w = csv.DictWriter(f, ["case", "outcome", "message"], lineterminator="\n")
        w.writeheader()
        w.writerows(record[k] for k in record)


def lines_of(rows):
    """The outcomes in a readable form: a heading for each format, and below it a list with one
    item for each writer and outcome."""
    rows = list(rows)
    groups, formats = collections.OrderedDict(), list(dict.fromkeys(r[0] for r in rows))
    for format, writer, variant, outcome in sorted(rows, key=lambda r: formats.index(r[0])):
        groups.setdefault((format, writer, outcome), []).append(variant)
    lines, last = [], None
    for (format, writer, outcome), variants in groups.items():
        if format != last:
            lines += ["", "### " + format, ""]
            last = format
        item = f"- **{writer}**, {outcome}: {'; '.join(variants)}"
        lines += textwrap.wrap(item, 110, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return lines


def rows_of_cases(cases):
    for c in cases:
        outcome = SAME_BYTES if c["outcome"] == SAME else f"{c['outcome']} with `{c['expected']}`"
        yield c["format"], f"{c['writer']} {c['version']}", c["variant"], outcome


def rows_of_lines(lines):
    """The inverse of lines_of: returns the rows that its lines were made from."""
    for part in re.split(r"^### ", "\n".join(lines), flags=re.MULTILINE)[1:]:
        format, items = part.split("\n", 1)
        for item in re.split(r"^- ", items, flags=re.MULTILINE)[1:]:
            writer, outcome, variants = re.fullmatch(rf"\*\*(.+?)\*\*, ({SAME_BYTES}|\w+ with `[^`]+`): (.+)", " ".join(item.split())).groups()
            for variant in variants.split("; "):
                yield format, writer, variant, outcome


def document():
    with open(DOCUMENT) as f:
        text = f.read()
    before, rest = text.split(BEGIN)
    measured, after = rest.split(END)
    return before, measured.splitlines(), after


def check_document(cases, whole):
    have, want = set(rows_of_lines(document()[1])), set(rows_of_cases(cases))
    missing = sorted(want - have) + (sorted(have - want) if whole else [])
    for row in missing:
        print("docs/formats.md does not match this outcome:", " / ".join(row))
    return not missing


def write_document(cases):
    before, _, after = document()
    with open(DOCUMENT, "w") as f:
        f.write("\n".join([before + BEGIN, *lines_of(rows_of_cases(cases)), "", END + after]))


def write_cases(scripts, original, out):
    """Runs the writers. Returns their cases and the scripts that failed."""
    installation, faults = Installation(), []
    elements = os.path.join(ROOT, "schemas", "cpcds", "elements.csv")
    for script, environment in scripts:
        interpreter, folder = installation.interpreter(environment)
        if interpreter is None:
            faults.append(f"{script}: its packages could not be installed: {installation.failed[environment]}")
            continue
        start = time.monotonic()
        done = subprocess.run([*interpreter, os.path.join(HERE, "formats", script), original, elements, out], capture_output=True, text=True,
                              env={**os.environ, "FORMATS_MODULES": folder, "PYTHONDONTWRITEBYTECODE": "1"})
        if done.returncode != 0:
            faults.append(f"{script} stopped: {(done.stderr.strip() or 'no message').splitlines()[-1][:300]}")
        print(f"{script} finished in {time.monotonic() - start:.1f} s")
    cases = []
    for file in sorted(glob.glob(os.path.join(out, "*", "*.jsonl")), key=os.path.getmtime):
        with open(file) as f:
            cases += [json.loads(line) for line in f]
    return cases, faults


def run_cases(cases, loads, original, record, update, jobs):
    """Loads each case, prints its outcome, and counts the outcomes and the surprises."""
    ends, surprises = collections.Counter(), 0
    for case in cases:
        case["flags"] = ["--layout", loads.layout(case["layout"])] if "layout" in case else []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        judged = pool.map(lambda case: (case, *judge(loads, original, case)), cases)
        for case, outcome, message in judged:
            surprises += note(case, outcome, message, record, update)
            ends[outcome] += 1
    return ends, surprises


def brief(message):
    """The part of a message that is recorded: the error itself, without preceding warnings and
    without the column names that follow it. The row is left out: the files are read at the same
    time, so if two have the same defect, either may be named."""
    message = re.split(r"cpcds2fhir: |layout cpcds: ", message)[-1]
    message = re.sub(r"^\S+, row \d+( \(line \d+\))?, column \"\w+\": ", "", message)
    return re.split(r"; as \w+: no column|; the nearest one|\|", message)[0][:200].strip()


def note(case, outcome, message, record, update):
    """Prints the outcome of a case. Returns whether it differs from the recorded outcome."""
    name = name_of(case)
    expected = record.get(name)
    as_recorded = outcome != WRONG and expected is not None and outcome == expected["outcome"] and (expected["message"] in message)
    if update and outcome != WRONG and not as_recorded:
        record[name] = expected = {"case": name, "outcome": outcome, "message": brief(message)}
        as_recorded = True
    case["outcome"], case["expected"] = outcome, (expected or {}).get("message", "")
    wanted = "" if as_recorded else f"   EXPECTED {expected['outcome']} {expected['message']}" if expected else "   NOT RECORDED"
    print(f"{outcome:<9}{name}{': ' + message[:400] if message else ''}{wanted}", flush=True)
    return not as_recorded


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="path of the built cpcds2fhir")
    parser.add_argument("--all", action="store_true", help="also run the slow writers")
    parser.add_argument("--only", default="", metavar="PART", help="only load the cases whose name contains PART")
    parser.add_argument("--script", default="", metavar="PART", help="only run the writers whose script name contains PART")
    parser.add_argument("--jobs", type=int, default=2, help="number of parallel loads (default 2)")
    parser.add_argument("--record", action="store_true", help="record the outcomes that are not WRONG in formats.csv")
    parser.add_argument("--write-docs", action="store_true", help="write the outcomes to docs/formats.md; needs --all")
    parser.add_argument("--keep", metavar="DIR", help="keep the written files in DIR")
    flags = parser.parse_args()
    partial = bool(flags.only or flags.script)
    if flags.write_docs and (partial or not flags.all):
        parser.error("--write-docs needs --all and all cases")
    with tempfile.TemporaryDirectory() as work:
        ok = check(flags, work, partial)
    sys.exit(0 if ok else 1)


def check(flags, work, partial):
    start = time.monotonic()
    loads = Loads(flags.program, work)
    original, out = os.path.join(work, "original"), os.path.abspath(flags.keep) if flags.keep else os.path.join(work, "cases")
    os.makedirs(out, exist_ok=True)
    for grain in ("line", "nested"):
        made = loads.call("synth", "--claims", "300", "--seed", "9", "--grain", grain, "--compression", "snappy", "--out", os.path.join(original, grain))
        assert made.returncode == 0, made.stderr
    code, said, plain, _ = loads.load(os.path.join(original, "line"))
    assert code == 0 and len(plain["ExplanationOfBenefit"]) == 300, said
    scripts = [s for s in SCRIPTS + (SLOW if flags.all else []) if flags.script in s[0]]
    cases, faults = write_cases(scripts, original, out)
    cases = [c for c in cases if flags.only in name_of(c)]
    record = read_record()
    ends, surprises = run_cases(cases, loads, plain, record, flags.record, flags.jobs)
    if flags.record:
        write_record(record)
    writers = {(c["writer"], c["version"]) for c in cases}
    for fault in faults:
        print("FAILED" if os.environ.get("CI") or "stopped" in fault else "left out", fault)
    ok = not surprises and not ends[WRONG] and bool(cases) and not (faults and (os.environ.get("CI") or any("stopped" in f for f in faults)))
    if not partial and not faults:
        ran = {c["writer"] for c in cases}
        for name in record.keys() - {name_of(c) for c in cases}:
            if not flags.all and name.split(" / ")[1] not in ran:
                continue
            ok = False
            print("recorded, but this case no longer exists:", name)
    if flags.write_docs:
        write_document(cases)
    elif not check_document([c for c in cases if c["outcome"] != WRONG], flags.all and not partial):
        ok = False
    print(f"{len(cases)} cases of {len(writers)} writers: {ends[SAME]} the same bytes, {ends[REFUSED]} refused, {ends[WRONG]} WRONG; "
          f"{surprises} different from the record; {time.monotonic() - start:.0f} s")
    return ok


if __name__ == "__main__":
    main()
