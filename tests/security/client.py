"""A visitor's browser as far as HTTP goes, and the plain socket for what no browser sends."""
import gzip
import http.client
import json
import re
import secrets
import socket
import ssl
import time
import zlib
from urllib.parse import urlsplit

from es256 import b64, sha256
from report import Skip

# What a browser sends beside the request's own headers: an honest visitor must not look like a program.
BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Accept": "*/*",
    "Accept-Language": "en-GB,en;q=0.9",
    "Accept-Encoding": "gzip, deflate",
    "Sec-CH-UA": '"Chromium";v="142", "Not=A?Brand";v="24"',
    "Sec-CH-UA-Mobile": "?0",
    "Sec-CH-UA-Platform": '"Linux"',
    "Sec-Fetch-Site": "cross-site",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Dest": "empty",
}


class Answer:
    """A whole response. Header names are in lower case."""

    def __init__(self, status, headers, body, seconds=0.0):
        self.status, self.body, self.seconds = status, body, seconds
        self.all_headers = [(name.lower(), value) for name, value in headers]
        self.headers = dict(self.all_headers)

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            return {}

    @property
    def code(self):
        """A problem's stable code."""
        body = self.json()
        return body.get("code") if isinstance(body, dict) else None

    @property
    def said(self):
        """Status and code, as most checks compare it."""
        return (self.status, self.code)

    def events(self):
        return parse_events(self.body)


def parse_events(wire):
    """Server-sent events by the WHATWG standard, section 9.2.6, written from that text: `(name, id, data)` each."""
    events, name, last_id, data = [], "", None, []
    for line in re.split("\r\n|\n|\r", wire.decode("utf-8", "replace")):
        if not line:
            if data:
                text = "\n".join(data)
                try:
                    events.append((name or "message", last_id, json.loads(text)))
                except ValueError:
                    events.append((name or "message", last_id, text))
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id" and "\0" not in value:
            last_id = value
    return events


class Edge:
    """One address to attack. `public` is where visitors believe they are, `origin` a page that may call."""

    def __init__(self, url, public=None, origin=None, patience=0):
        at = urlsplit(url)
        self.url, self.tls, self.host = url.rstrip("/"), at.scheme == "https", at.hostname
        self.port = at.port or (443 if self.tls else 80)
        self.public = (public or self.url).rstrip("/")
        self.origin = origin or self.public
        # Whom to trust over TLS; whoever tests with a certificate of their own puts it here.
        self.context = ssl.create_default_context() if self.tls else None
        # Seconds that all calls together may wait for limits; 0 where a 429 is an answer like any other.
        self.patience = patience

    def socket(self, source=None, timeout=10):
        bound = (source, 0) if source else None
        plain = socket.create_connection((self.host, self.port), timeout, bound)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.context.wrap_socket(plain, server_hostname=self.host) if self.tls else plain

    def line(self, source=None, timeout=20):
        """A kept connection."""
        bound = (source, 0) if source else None
        if self.tls:
            return http.client.HTTPSConnection(self.host, self.port, timeout=timeout, source_address=bound, context=self.context)
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout, source_address=bound)

    def ask(self, method, path, headers=None, body=None, *, source=None, timeout=20, line=None, origin=True, browser=True):
        """One request and its whole response. `origin`: True for the allowed one, None for no header, or a text."""
        headers = dict(headers or {})
        if browser:
            headers = {**BROWSER, **headers}
        if origin:
            headers.setdefault("Origin", self.origin if origin is True else origin)
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        while True:
            answer = self._once(method, path, headers, body, source, timeout, line)
            if answer.status != 429 or not self.patience:
                return answer
            self.wait(answer.headers.get("retry-after"))

    def wait(self, retry_after):
        """Waits for a limit that is not what is being tested, as long as there is patience for it."""
        seconds = int(retry_after or 1) + 0.5
        if seconds > self.patience:
            raise Skip("the limits of that address are in the way")
        self.patience -= seconds
        time.sleep(seconds)

    def _once(self, method, path, headers, body, source, timeout, line):
        kept = line or self.line(source, timeout)
        began = time.perf_counter()
        try:
            try:
                kept.request(method, path, body=body, headers=headers)
                response = kept.getresponse()
            except (BrokenPipeError, ConnectionResetError):
                # Refused before the body was read: the answer may be there all the same.
                response = kept.getresponse()
            data = response.read()
            if response.headers.get("content-encoding") == "gzip":
                data = gzip.decompress(data)
            elif response.headers.get("content-encoding") == "deflate":
                data = zlib.decompress(data)
            return Answer(response.status, response.getheaders(), data, time.perf_counter() - began)
        finally:
            if line is None:
                kept.close()

    def raw(self, data, timeout=2.0, settle=0.3, source=None):
        """Sends bytes as they are, but with its own name where they first say `Host: x`; all that comes back, and whether the
        other side closed. Waits `timeout` for the first byte and `settle` for each further one."""
        data = data.replace(b"Host: x\r\n", b"Host: " + self.url.partition("://")[2].encode() + b"\r\n", 1)
        while True:
            received, closed = self._raw(data, timeout, settle, source)
            limited = received.startswith(b"HTTP/1.1 429") and re.search(rb"(?i)retry-after: (\d+)", received)
            if not limited or not self.patience:
                return received, closed
            self.wait(limited[1])

    def _raw(self, data, timeout, settle, source):
        received, closed = b"", False
        with self.socket(source, timeout) as plain:
            try:
                plain.sendall(data)
                while len(received) < 1 << 20:
                    more = plain.recv(65536)
                    if not more:
                        closed = True
                        break
                    received += more
                    plain.settimeout(settle)
            except TimeoutError:
                pass
            except OSError:
                closed = True
        return received, closed


class Visitor:
    """One visitor. With a key, the session is bound to it and every call carries a proof."""

    def __init__(self, edge, key=None, source=None, fingerprint=None):
        self.edge, self.key, self.source = edge, key, source
        self.fingerprint = fingerprint or secrets.token_hex(16)
        self.session = self.token = self.token_type = None
        self.created = None

    def create(self, **fields):
        body = {"fingerprint": self.fingerprint, **fields}
        if self.key and "public_key" not in fields:
            body["public_key"] = self.key.jwk
        self.created = self.edge.ask("POST", "/api/v1/session/create", body=body, source=self.source)
        if self.created.status == 200:
            told = self.created.json()
            self.session, self.token, self.token_type = told["session_id"], told["token"], told["token_type"]
        return self.created

    def begin(self, **fields):
        """`create` that must succeed."""
        answer = self.create(**fields)
        assert answer.status == 200, f"no session: {answer.said}"
        return self

    @property
    def bound(self):
        return self.token_type == "DPoP"

    def credentials(self, method, path, body=b"", edge=None, **claims):
        headers = {"X-Fingerprint": self.fingerprint, "Authorization": f"{self.token_type} {self.token}"}
        if self.bound:
            headers["DPoP"] = self.proof(method, path, body, edge, **claims)
        return headers

    def claims(self, method, path, body=b"", edge=None):
        return {
            "htm": method,
            "htu": (edge or self.edge).public + path.partition("?")[0],
            "iat": int(time.time()),
            "jti": secrets.token_urlsafe(16),
            "ath": b64(sha256(self.token.encode())),
            "bh": b64(sha256(body)),
        }

    def proof(self, method, path, body=b"", edge=None, header=None, key=None, **claims):
        """A proof, with what is given instead of what is right; `None` leaves a claim out."""
        head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": (key or self.key).jwk, **(header or {})}
        told = {**self.claims(method, path, body, edge), **claims}
        told = {name: value for name, value in told.items() if value is not None}
        return (key or self.key).jwt({name: value for name, value in head.items() if value is not None}, told)

    def ask(self, method, path, body=None, *, edge=None, headers=None, **how):
        """A call with all credentials; `headers` go over them, and `None` takes one away."""
        edge = edge or self.edge
        sent = {}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            sent["Content-Type"] = "application/json"
        sent.update(self.credentials(method, path, body or b"", edge))
        sent.update(headers or {})
        sent = {name: value for name, value in sent.items() if value is not None}
        return edge.ask(method, path, sent, body, source=self.source, **how)

    def say(self, text, message_id=None, **how):
        """Says something and waits for the whole reply."""
        body = {"message": text, "message_id": message_id or secrets.token_hex(8)}
        return self.ask("POST", "/api/v1/chat/message", body, **how)

    @property
    def stream_path(self):
        return f"/api/v1/chat/stream/{self.session}"


class Stream:
    """An open event stream over a socket of its own."""

    def __init__(self, visitor, path=None, source=None, headers=None, timeout=10):
        path = path or visitor.stream_path
        sent = {**BROWSER, "Host": f"{visitor.edge.host}:{visitor.edge.port}", "Origin": visitor.edge.origin,
                "Accept": "text/event-stream", **visitor.credentials("GET", path), **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items() if value is not None)
        self.socket = visitor.edge.socket(source or visitor.source, timeout)
        self.socket.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
        self.received = b""
        while b"\r\n\r\n" not in self.received:
            more = self.socket.recv(65536)
            if not more:
                break
            self.received += more
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split(" ")[1]) if lines[0].startswith("HTTP/1.1 ") else 0
        self.headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}

    def read_for(self, seconds, until=None):
        """Everything of the body within that time, or until `until` was seen."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not (until and until in self.received):
            self.socket.settimeout(max(0.01, end - time.monotonic()))
            try:
                more = self.socket.recv(65536)
            except TimeoutError:
                break
            except OSError:
                break
            if not more:
                break
            self.received += more
        return self.received

    def close(self, reset=False):
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()
