"""What a broken edge, worker or analytics could do on NATS with the user it has: what it must not, the server refuses."""
import json
import socket
from urllib.parse import urlsplit

from client import Visitor
from desk import CONFIG
from es256 import Key
from report import check

# Beyond its own job, for each user. The session in them is any.
FORBIDDEN = {
    "edge": {"PUB": ["status.worker.w", "status.analytics.a", "$JS.API.STREAM.DELETE.REQ", "$JS.API.STREAM.PURGE.SNAP",
                     "$JS.API.STREAM.CREATE.X", "$JS.API.CONSUMER.MSG.NEXT.REQ.workers", "$JS.API.CONSUMER.DURABLE.CREATE.REQ.mine",
                     "$JS.API.STREAM.MSG.GET.FACTS", "$JS.ACK.REQ.workers.1.1.1.1.1", "$SYS.REQ.SERVER.PING", "_INBOX.worker.x"],
             "SUB": [">", "chat.>", "chat.req.*", "chat.snap.*", "chat.ask.*", "chat.ctl.*", "fact.>", "proof.>", "limit.snapshot", "_INBOX.>", "_INBOX.worker.>", "$SYS.>"]},
    "worker": {"PUB": ["chat.req.s", "chat.ctl.s", "chat.end.s", "proof.p", "limit.charge.ip", "limit.snapshot", "fact.default.session_started",
                       "fact.default.reply_rated", "fact.default.calls_refused", "status.analytics.a", "$JS.API.STREAM.DELETE.REQ", "$JS.API.STREAM.MSG.DELETE.REQ", "$JS.API.STREAM.MSG.GET.PROOF",
                       "$JS.API.CONSUMER.MSG.NEXT.FACTS.recorder"],
               "SUB": [">", "chat.>", "chat.req.*", "chat.snap.*", "chat.ev.*", "chat.end.*", "fact.>", "proof.>", "limit.>", "_INBOX.>", "_INBOX.edge.>"]},
    "analytics": {"PUB": ["chat.req.s", "chat.ev.s", "chat.snap.s", "chat.ctl.s", "chat.end.s", "proof.p", "limit.charge.ip", "limit.snapshot", "fact.default.reply_ended",
                          "$JS.API.STREAM.MSG.GET.SNAP", "$JS.API.DIRECT.GET.SNAP.chat.snap.s", "$JS.API.STREAM.DELETE.FACTS",
                          "$JS.API.CONSUMER.MSG.NEXT.REQ.workers"],
                  "SUB": [">", "chat.>", "chat.ev.*", "chat.req.*", "chat.snap.*", "proof.>", "_INBOX.>", "_INBOX.edge.>"]},
}


def _session(at, user, password, lines):
    """Speaks the NATS protocol; the errors that the server told until its answer to PING."""
    options = {"verbose": False, "pedantic": False, "lang": "python", "version": "0", **({"user": user, "pass": password} if user else {})}
    with socket.create_connection((at.hostname, at.port), 5) as plain, plain.makefile("rb") as reader:
        reader.readline()
        plain.sendall(f"CONNECT {json.dumps(options)}\r\n".encode() + b"".join(lines) + b"PING\r\n")
        errors = []
        while (line := reader.readline()) and line.strip() != b"PONG":
            if line.startswith(b"-ERR"):
                errors.append(line.decode().strip())
        return errors


@check("nats", "each user of NATS can do its own job only, and nobody gets in without one", own=True)
def nats_users_have_their_own_subjects(desk):
    assert CONFIG.is_file(), "there is no nats/nats-server.conf: whoever reaches NATS may do everything"
    deployment, tried, wrong = desk.spread(), 0, []
    at = urlsplit(deployment["nats"]("edge")["NATS_URL"])
    # The honest ones first: what nats-server refuses it logs.
    visitor = Visitor(desk.edge, key=Key()).begin()
    assert visitor.say("hello").status == 200, "a message"
    visitor.ask("DELETE", "/api/v1/session")
    honest = [line for line in deployment["server"].text().splitlines() if "iolation" in line]
    assert not honest, f"our own processes did what their users must not: {honest[:3]}"
    for user, password in (("", ""), ("edge", "wrong"), ("edge", ""), ("root", "root"), ("edge", desk.passwords["worker"])):
        errors = _session(at, user, password, [])
        if not any("Authorization" in error for error in errors):
            wrong.append(f"{user or 'nobody'} got in")
    for user, forbidden in FORBIDDEN.items():
        for verb, subjects in forbidden.items():
            for number, subject in enumerate(subjects, 1):
                line = f"PUB {subject} 0\r\n\r\n" if verb == "PUB" else f"SUB {subject} {number}\r\n"
                errors = _session(at, user, desk.passwords[user], [line.encode()])
                tried += 1
                if not any("Permissions Violation" in error for error in errors):
                    wrong.append(f"{user} may {verb} {subject}: {errors}")
    assert "iolation" in deployment["server"].text(), "nats-server logs no violations: nothing is known of our own processes"
    assert not wrong, f"{len(wrong)} of {tried}: " + "; ".join(wrong)
    return f"0 violations by our own processes; {tried} forbidden operations of 3 users, {tried} violations; 5 logins refused"
