#!/usr/bin/env python3
"""Serves a synthetic store and tries what its OpenAPI description declares with Schemathesis: no answer is
a fault of the server, each has a status and a content type that are declared and a body of the declared
schema, and what violates the description is refused.

    schema.py PROGRAM WORKDIR SCHEMATHESIS"""
import json
import os
import re
import subprocess
import sys
import time
import urllib.request

program, work, schemathesis = (os.path.abspath(a) for a in sys.argv[1:])
CHECKS = ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance", "response_schema_conformance",
          "negative_data_rejection", "unsupported_method", "allow_header_conformance"]
os.makedirs(work, exist_ok=True)


def get(url):
    with urllib.request.urlopen(url, timeout=30) as r:
        return json.load(r)


def serve(store):
    log = os.path.join(work, "serve.log")
    with open(log, "w") as f:
        server = subprocess.Popen([program, "serve", "--store", store, "--listen", "127.0.0.1:0", "--open", "--log", "json"], stderr=f)
    for _ in range(300):
        time.sleep(0.1)
        with open(log) as f:
            m = re.search(r'"url":"([^"]+)"', f.read())
        if m:
            return server, m[1]
    server.kill()
    raise RuntimeError("serve did not start")


def configure(base):
    """Half of the operations need the id of a resource, which no generator guesses."""
    with open(os.path.join(work, "ids.toml"), "w") as f:
        for path in get(base + "/openapi.json")["paths"]:
            m = re.match(r"/(\w+)/\{id\}(.*)", path)
            if m:
                some = get(f"{base}/{m[1]}?_count=1")["entry"][0]["resource"]["id"]
                version = ', "path.version" = "1"' if "{version}" in path else ""
                f.write(f'[[operations]]\ninclude-path = "{path}"\nparameters = {{ "path.id" = "{some}"{version} }}\n\n')


extract, store = os.path.join(work, "extract"), os.path.join(work, "store")
for args in (["synth", "--claims", "500", "--seed", "41", "--out", extract], ["load", "--quiet", "--to", "store:" + store, extract]):
    subprocess.run([program, *args], check=True, capture_output=True, timeout=120)
server, base = serve(store)
try:
    configure(base)
    code = 0
    # With ids that exist, and with any.
    for config in (["--config-file", os.path.join(work, "ids.toml")], []):
        code |= subprocess.run([schemathesis, *config, "run", base + "/openapi.json", "--checks", ",".join(CHECKS), "--phases", "coverage,fuzzing,stateful", "--max-examples", "15",
                                "--seed", "41", "--workers", "2", "--warnings", "off", "--continue-on-failure", "--no-color", "--suppress-health-check", "all"], cwd=work, timeout=300).returncode
finally:
    server.terminate()
    ended = server.wait(30)
with open(os.path.join(work, "serve.log")) as f:
    served = re.findall(r'"status":(\d+)', f.read())
print(len(served), "requests:", ", ".join(f"{n} {s}" for s, n in sorted((s, served.count(s)) for s in set(served))))
sys.exit(1 if code or ended or "200" not in served else 0)
