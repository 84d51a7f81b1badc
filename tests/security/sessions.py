"""Row 11: fixation, foreign ids, and the end of a session."""
import secrets
import statistics
import time

from client import Stream, Visitor
from report import check, same


@check("11", "a session's id is the server's: a client can't choose it")
def sessions_can_not_be_fixed(desk):
    wanted = "sess_1767168909_9f86d081884c7d65"
    visitor = Visitor(desk.edge).begin(session_id=wanted, sub=wanted)
    assert visitor.session != wanted, "the client chose"
    ids = {Visitor(desk.edge).begin().session.rsplit("_", 1)[1] for _ in range(5 if desk.own else 2)}
    assert len(ids) > 1 and all(len(each) == 16 for each in ids), ids
    assert "set-cookie" not in visitor.created.headers, "a cookie"
    return visitor.session


@check("11", "a foreign session's stream is 403 session_mismatch, whether that session exists or not")
def foreign_sessions_are_not_confirmed(desk):
    visitor, other = Visitor(desk.edge).begin(), Visitor(desk.edge).begin()
    now = int(time.time())
    ids = [("one that exists", other.session), ("one that doesn't", f"sess_{now}_{secrets.token_hex(8)}"), ("no id", "x"),
           ("an old one", "sess_1_0000000000000000"), ("with a star", "*"), ("with a wildcard of a subject", "sess_1_%3E")]
    bodies, times = set(), {}
    for what, session in ids * (100 if desk.own else 1):
        path = f"/api/v1/chat/stream/{session}"
        told = visitor.ask("GET", path)
        same(told.said, (403, "session_mismatch"), what)
        bodies.add(str({name: value for name, value in told.json().items() if name != "request_id"}))
        times.setdefault(what, []).append(told.seconds)
    same(len(bodies), 1, "different bodies")
    # In turn and many: a busy machine falls on all alike, and what looks a session up first still shows.
    exists, absent = (statistics.median(times[what]) for what in ("one that exists", "one that doesn't"))
    ratio = max(exists, absent) / min(exists, absent)
    assert ratio < 3 or not desk.own, f"the times differ: {ratio:.1f} x"
    return f"one body for {len(ids)} kinds of ids, median times differ by {ratio:.2f} x"


@check("11", "a foreign or malformed Last-Event-ID brings nothing of another session")
def foreign_event_ids_bring_nothing(desk):
    other, visitor = Visitor(desk.edge).begin(), Visitor(desk.edge).begin()
    message_id, secret = secrets.token_hex(8), f"word{secrets.token_hex(6)}"
    heard = other.say(f"[[echo]] {secret}", message_id)
    assert heard.status == 200, heard.said
    for last in (f"{message_id}:0", f"{message_id}:b", "x", f"{message_id}:99999999999999999999", "../..:0", "a" * 4000):
        stream = Stream(visitor, headers={"Last-Event-ID": last})
        body = stream.read_for(0.6 if not desk.quick else 0.3)
        stream.close()
        assert stream.status in (200, 400), f"{last[:20]!r}: {stream.status}"
        assert secret.encode() not in body and b"event: chunk" not in body, f"{last[:20]!r}: {body[:200]!r}"
    stream = Stream(visitor, f"{visitor.stream_path}?message_id={message_id}")
    body = stream.read_for(0.5)
    stream.close()
    assert secret.encode() not in body, "another session's reply by its message_id"
    return "7 ways: nothing of it"


@check("11", "DELETE ends a session on every edge within a second")
def a_deleted_session_is_over_everywhere(desk):
    visitor = Visitor(desk.edge).begin()
    told = visitor.ask("DELETE", "/api/v1/session")
    same(told.status, 204, "DELETE /api/v1/session")
    edges, began, took = [desk.edge, *([desk.other] if desk.other else [])], time.monotonic(), []
    for edge in edges:
        while (told := visitor.ask("GET", "/api/v1/session/validate", edge=edge)).status != 410:
            # The promise is a second; the rest is for a busy machine.
            assert time.monotonic() - began < 5, f"after 5 s still {told.said}"
            time.sleep(0.02)
        took.append(time.monotonic() - began)
        same(told.code, "session_ended")
    for edge in edges:
        for method, path, body in (("POST", "/api/v1/session/refresh", None), ("POST", "/api/v1/chat/ticket", None),
                                   ("POST", "/api/v1/chat/message", {"message": "hi"})):
            same(visitor.ask(method, path, body, edge=edge).said, (410, "session_ended"), path)
    return f"{len(edges)} edges, after {max(took) * 1000:.0f} ms"
