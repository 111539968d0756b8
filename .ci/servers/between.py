"""A proxy between the program and a server. It counts the writes that pass, and makes what networks and busy
servers make: 429, 503, closed connections, answers that never arrive. It also refuses resources by their id, as
a server with rules of its own does."""
import gzip
import http.client
import http.server
import json
import random
import re
import socket
import struct
import threading
import time
from urllib.parse import urlsplit

METHOD = re.compile(rb'"method"\s*:\s*"(PUT|POST|DELETE|PATCH)"')
TARGET = re.compile(rb'"url"\s*:\s*"((?:[A-Z][A-Za-z]+)/[A-Za-z0-9.-]+)"')
FAULTS = ("429", "429 wait", "500", "502 html", "503", "503 wait", "reset before", "answer eaten", "answer cut", "answer html", "slow", "no answer")


class Between:
    """share: of the requests that meet a fault. refused: Type/id -> what the server says of it."""

    def __init__(self, base, seed=1, share=0.0, faults=FAULTS, hang=12):
        self.server, self.prefix = urlsplit(base).netloc, urlsplit(base).path
        self.dice, self.share, self.faults, self.hang = random.Random(seed), share, faults, hang
        self.refused = {}
        self.lock = threading.Lock()
        self.reset()
        handler = type("Handler", (Handler,), {"between": self})
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)
        self.thread.start()
        self.base = f"http://127.0.0.1:{self.http.server_address[1]}{self.prefix}"

    def reset(self):
        self.requests, self.writes, self.met = 0, 0, {}

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    def fault(self):
        with self.lock:
            self.requests += 1
            if self.dice.random() >= self.share:
                return None
            kind = self.dice.choice(self.faults)
            self.met[kind] = self.met.get(kind, 0) + 1
            return kind

    def count(self, method, plain):
        n = len(METHOD.findall(plain)) if method == "POST" else int(method in ("PUT", "DELETE", "PATCH"))
        with self.lock:
            self.writes += n


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    between = None
    upstream = None

    def log_message(self, *_):
        pass

    def setup(self):
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def forward(self, body):
        """Status, headers and body that the server answers; None if it does not answer."""
        # The server makes its links from Host: they lead back here.
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("connection", "transfer-encoding", "content-length")}
        for again in (True, False):
            if self.upstream is None:
                self.upstream, again = http.client.HTTPConnection(self.between.server, timeout=900), False
            try:
                self.upstream.request(self.command, self.path, body or None, headers)
                answer = self.upstream.getresponse()
                return answer.status, answer.getheaders(), answer.read()
            except (OSError, http.client.HTTPException):
                self.upstream.close()
                self.upstream = None
                # An idle connection that the server has closed: a write is not sent twice by a proxy.
                if not again or self.command not in ("GET", "HEAD"):
                    return None
        return None

    def reply(self, status, headers, body, cut=None):
        self.send_response(status)
        for k, v in headers:
            if k.lower() not in ("connection", "transfer-encoding", "content-length", "keep-alive", "date", "server"):
                self.send_header(k, v)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])

    def drop(self):
        """Closes the connection as a crash does: with RST."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def outcome(self, status, code, text, headers=()):
        body = json.dumps({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": code, "diagnostics": text}]}).encode()
        self.reply(status, [("Content-Type", "application/fhir+json"), *headers], body)

    def serve(self):
        try:
            self.handle_request()
        except (OSError, ValueError):
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = serve

    def handle_request(self):
        body = self.body()
        plain = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        self.between.count(self.command, plain)
        fault = self.between.fault()
        if fault and self.before(fault):
            return
        answer = self.refuse(plain) if self.between.refused else None
        answer = answer or self.forward(body)
        if answer is None:
            return self.drop()
        status, headers, text = answer
        if fault == "answer eaten":
            self.drop()
        elif fault == "no answer":
            time.sleep(self.between.hang)
            self.drop()
        elif fault == "answer cut":
            self.reply(status, headers, text, len(text) // 2)
            self.drop()
        elif fault == "answer html":
            self.reply(200, [("Content-Type", "text/html")], b"<html><body>Please sign in</body></html>")
        else:
            self.reply(status, headers, text)

    def before(self, fault):
        """Makes a fault that the server never learns of; False if it is one of another kind."""
        wait = [("Retry-After", "1")] if fault.endswith("wait") else []
        if fault.startswith("429"):
            self.outcome(429, "throttled", "too many requests", wait)
        elif fault.startswith("503"):
            self.outcome(503, "transient", "not now", wait)
        elif fault == "500":
            self.outcome(500, "exception", "something went wrong")
        elif fault == "502 html":
            self.reply(502, [("Content-Type", "text/html")], b"<html>Bad Gateway</html>")
        elif fault == "reset before":
            self.drop()
        else:
            if fault == "slow":
                time.sleep(3)
            return False
        return True

    def refuse(self, plain):
        """What a server with rules of its own answers; None if nothing here breaks them."""
        refused, path = self.between.refused, urlsplit(self.path).path.removeprefix(self.between.prefix).strip("/")
        if self.command == "PUT" and path in refused:
            return 422, [("Content-Type", "application/fhir+json")], unprocessable(refused[path])
        if self.command != "POST" or path or not {t.decode() for t in TARGET.findall(plain)} & refused.keys():
            return None
        bundle = json.loads(plain)
        bad = [i for i, e in enumerate(bundle["entry"]) if e["request"]["method"] == "PUT" and e["request"]["url"] in refused]
        if not bad:
            return None
        said = [unprocessable(refused[bundle["entry"][i]["request"]["url"]]) for i in bad]
        if bundle["type"] == "transaction":
            return 422, [("Content-Type", "application/fhir+json")], said[0]
        # Entries as they are, byte for byte, would need a parser of our own: numbers are kept as text instead.
        kept = json.loads(plain, parse_float=Number, parse_int=Number)
        kept["entry"] = [e for i, e in enumerate(kept["entry"]) if i not in set(bad)]
        entries, headers = [], [("Content-Type", "application/fhir+json")]
        if kept["entry"]:
            self.headers.replace_header("Content-Encoding", "identity") if "Content-Encoding" in self.headers else None
            del self.headers["Accept-Encoding"]
            answer = self.forward(written(kept).encode())
            if answer is None or answer[0] != 200:
                return answer
            entries = json.loads(answer[2])["entry"]
        for i, text in zip(bad, said):
            entries.insert(i, {"response": {"status": "422 Unprocessable Entity", "outcome": json.loads(text)}})
        return 200, headers, json.dumps({"resourceType": "Bundle", "type": "batch-response", "entry": entries}).encode()


def unprocessable(text):
    return json.dumps({"resourceType": "OperationOutcome", "issue": [
        {"severity": "error", "code": "business-rule", "diagnostics": text, "expression": ["ExplanationOfBenefit.identifier[0].value"],
         "details": {"coding": [{"system": "urn:example:rules", "code": "CLAIM-CLOSED"}], "text": text}}]}).encode()


class Number(str):
    """A number as it was written."""


def written(v):
    if isinstance(v, Number):
        return str(v)
    if isinstance(v, dict):
        return "{" + ",".join(json.dumps(k) + ":" + written(x) for k, x in v.items()) + "}"
    if isinstance(v, list):
        return "[" + ",".join(map(written, v)) + "]"
    return json.dumps(v)
