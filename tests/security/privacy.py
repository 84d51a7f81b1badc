"""Row 24: a marker goes through every input, at LOG_LEVEL=trace, and none of it may come out where it is kept or shown."""
import json
import re
import secrets
import time

from client import Stream, Visitor
from es256 import Key, hs256
from n8n import INSIDE
from report import check, same

MESSAGE = "/api/v1/chat/message"


class Markers:
    """Words that occur nowhere else: what each was is told when one is found."""

    def __init__(self):
        self.all = {}

    def plant(self, what, form="{}"):
        word = f"mk{secrets.token_hex(7)}"
        self.all[word] = what
        return form.format(word)

    def keep(self, what, secret):
        self.all[secret] = what
        return secret

    def found_in(self, data):
        text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
        return sorted({what for word, what in self.all.items() if word in text})


def _run_everything(desk, edge, markers, source):
    """One visitor does whatever can be done, well and badly; all answers to what was refused."""
    vouched = {"aud": "default", "exp": int(time.time()) + 60}
    visitor = Visitor(edge, source=source, key=Key(), fingerprint=markers.plant("fingerprint"))
    visitor.create(
        parent_origin=edge.origin, locale="en-GB", timezone="Europe/Berlin",
        page={"url": markers.plant("page.url query", "https://shop.example/shoes?mail={}"),
              "title": markers.plant("page.title"),
              "referrer": markers.plant("page.referrer", "https://x.example/?q={}")},
        metadata={"order": markers.plant("metadata")},
        identity_token=hs256({"alg": "HS256"}, {**vouched, "sub": markers.plant("identity_token's sub")}, "k" * 40))
    same(visitor.created.status, 200, "create")
    markers.keep("session token", visitor.token)
    markers.keep("a session token's signature", visitor.token.rsplit(".", 1)[1])
    refused = [visitor.created] if visitor.created.status != 200 else []
    said = visitor.ask("POST", MESSAGE, {
        "message": markers.plant("message", "[[echo]] {}"), "message_id": secrets.token_hex(8),
        "history": [{"role": "user", "content": markers.plant("history")}],
        "page": {"url": markers.plant("page.url of a message", "https://shop.example/?t={}"),
                 "title": markers.plant("page.title of a message")},
        "context": {"cart": markers.plant("context")}})
    same(said.status, 200, "the message")
    for marker in ("error", "status=500", "html", "reset", "garbage"):
        refused.append(visitor.say(f"[[{marker}]] {markers.plant('a message that fails')}", timeout=15))
    ticket = visitor.ask("POST", "/api/v1/chat/ticket").json()["ticket"]
    markers.keep("ticket", ticket)
    bare = {"Authorization": None, "DPoP": None, "X-Fingerprint": None}
    stream = Stream(visitor, f"{visitor.stream_path}?ticket={ticket}", headers=bare)
    stream.read_for(0.3, b"event: ready")
    stream.close()
    create, validate, as_json = "/api/v1/session/create", "/api/v1/session/validate", {"Content-Type": "application/json"}
    query = f"?ticket={markers.plant('a bad ticket')}&message={markers.plant('message in a query')}&message_id={secrets.token_hex(8)}"
    refused += [
        edge.ask("GET", visitor.stream_path + query, source=source),
        edge.ask("GET", f"/{markers.plant('a path')}?{markers.plant('a query')}", source=source),
        edge.ask("GET", f"/widget/{markers.plant('a path in /widget/')}", source=source),
        edge.ask("POST", create, as_json, markers.plant("bad JSON", '{{"fingerprint":{}').encode(), source=source),
        edge.ask("POST", create, body={"fingerprint": markers.plant("a bad fingerprint", "{} !")}, source=source),
        edge.ask("POST", create, {"Content-Type": markers.plant("a content type")}, b"{}", source=source),
        edge.ask("GET", validate, {"Authorization": markers.plant("a forged token", "Bearer {}.x.y"),
                                   "X-Fingerprint": markers.plant("a wrong fingerprint")}, source=source),
        edge.ask("GET", validate, {"Authorization": f"Bearer {visitor.token}x", "X-Fingerprint": visitor.fingerprint,
                                   "DPoP": markers.plant("a bad proof", "{}.x.y")}, source=source),
        edge.ask("GET", validate, {"Cookie": markers.plant("a cookie", "a={}"), "User-Agent": markers.plant("user agent"),
                                   "Referer": markers.plant("referer", "https://x.example/{}"),
                                   "X-Forwarded-For": "203.0.113.77", "X-Request-Id": markers.plant("a request id")}, source=source),
        edge.ask("GET", validate, {"Origin": markers.plant("a foreign origin", "https://{}.example")}, origin=None, source=source),
        edge.ask("POST", MESSAGE, body={"message": markers.plant("a message without a session")}, source=source),
        visitor.ask("POST", MESSAGE, {"message": markers.plant("a message with a bad id"),
                                      "message_id": markers.plant("a bad message_id", "{}/..")}),
        visitor.ask("POST", "/api/v1/chat/feedback", {"message_id": "none-such-message", "rating": "up", "comment": markers.plant("a comment")}),
        visitor.ask("POST", "/api/v1/chat/cancel", {"message_id": "none-such-message", "x": markers.plant("an unknown field")}),
        visitor.ask("GET", visitor.stream_path.replace("sess_", "sess_9"),
                    headers={"Last-Event-ID": markers.plant("Last-Event-ID")}),
    ]
    broken = markers.plant("a broken head"), markers.plant("a broken header")
    edge.raw(b"GET /%b HTTP/1.1\r\nHost: x\r\nBroken %b\r\n\r\n" % tuple(word.encode() for word in broken), source=source)
    refreshed = visitor.ask("POST", "/api/v1/session/refresh").json()
    markers.keep("a refreshed token", refreshed.get("token") or "none-was-made")
    visitor.ask("DELETE", "/api/v1/session")
    return refused


@check("24", "no secret, token, fingerprint, address or text in logs, metrics, errors or analytics, at LOG_LEVEL=trace", own=True)
def nothing_private_leaves(desk):
    source, found, looked = "127.77.88.99", [], 0
    for log_format in ("text",) if desk.quick else ("text", "json"):
        markers = Markers()
        for name, secret in desk.secrets.items():
            markers.keep(name, secret)
        for role, password in desk.passwords.items():
            markers.keep(f"the password of {role} at NATS", password)
        markers.keep("the visitor's address", source)
        markers.keep("an address by X-Forwarded-For", "203.0.113.77")
        markers.keep("n8n's insides", INSIDE)
        started = len(desk.started)
        deployment = desk.deploy({"LOG_LEVEL": "trace", "LOG_FORMAT": log_format, "METRICS_TOKEN": desk.secrets["METRICS_TOKEN"]})
        roles = [*deployment["edges"], deployment["worker"], deployment["analytics"]]
        edge = desk.reach(deployment["edges"][0])
        answers = _run_everything(desk, edge, markers, source)
        shown = {f"answer {number} ({answer.status})": answer.body for number, answer in enumerate(answers)}
        bearer = {"Authorization": f"Bearer {desk.secrets['METRICS_TOKEN']}"}
        for process in roles:
            for path in ("/metrics", "/health"):
                shown[f"{process.name} {path}"] = desk.reach(process).ask("GET", path, bearer, origin=None).body
        for process in reversed(desk.started[started:]):
            process.stop(8)
        for process in desk.started[started:]:
            shown[f"{process.name} log"] = process.log.read_bytes()
        # What is looked for would be found: the id of each request is in the log, and only there.
        known = answers[-1].headers["x-request-id"].encode()
        assert known in shown[f"{roles[0].name} log"], "the log of the first edge does not tell of the last request"
        # Facts have no text; the ids of sessions and messages are theirs.
        shown["analytics' database"] = deployment["database"].read_bytes()
        for where, data in shown.items():
            looked += len(data)
            for what in markers.found_in(data):
                # What a visitor writes to the shop is kept there until the file is rewritten, and nowhere else.
                if (where, what) != ("analytics' database", "a comment"):
                    found.append(f"{where}: {what}")
    assert not found, f"{len(found)} leaks: " + "; ".join(found[:12])
    return f"{len(markers.all)} markers, {len(shown)} places, {looked / 1e6:.1f} MB looked through"


@check("24", "a panic anywhere in all of this would show: there was none, and no process ended", own=True)
def nothing_panicked(desk):
    lines, total = [], 0
    desk.spread()
    for process in desk.started:
        text = process.text()
        lines += [f"{process.name}: {line}" for line in text.splitlines() if "panicked at" in line or "ended in a panic" in line]
        if process.name.split("-", 1)[1] in ("edge", "worker", "analytics", "all-in-one") and process.child.poll() not in (None, 0):
            lines.append(f"{process.name} ended with {process.child.returncode}")
    for process in desk.spread_over["edges"]:
        told = desk.reach(process).ask("GET", "/metrics", origin=None).body.decode()
        counted = re.findall(r"^frontdesk_\w*panics\w* (\d+)", told, re.M)
        assert counted, "no counter of panics"
        total += sum(map(int, counted))
    assert not lines and not total, f"{total} counted; " + "; ".join(lines[:5])
    return f"{len(desk.started)} processes; {json.dumps({'panics': total})}"
