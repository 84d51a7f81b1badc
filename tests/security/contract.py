"""What held for the Python predecessor, and what every response has."""
import secrets
import socket

from client import Visitor
from report import Skip, check, same

MESSAGE = "/api/v1/chat/message"
PAGES = ("/health", "/health/live", "/health/ready", "/openapi.json", "/docs", "/widget/embed.js", "/widget/modern-widget.html",
         "/metrics", "/nothing", "/api/v1/session/validate", "/api/v1/nothing", "/")


@check("-", "an evil origin is 403, a message without a session is 401, one over the limit is 400")
def predecessor_checks_hold(desk):
    told = desk.edge.ask("POST", "/api/v1/session/create", body={"fingerprint": "f" * 16}, origin="https://evil.example")
    same(told.said, (403, "origin_not_allowed"), "evil origin")
    same(desk.edge.ask("POST", MESSAGE, body={"message": "hi"}).said, (401, "unauthorized"), "no session")
    visitor = Visitor(desk.edge).begin()
    limit = visitor.created.json()["limits"]["message_max_chars"]
    told = visitor.say("x" * (limit + 1))
    same(told.said, (400, "message_rejected"), "over the limit")
    same(told.json().get("max_chars"), limit, "max_chars")
    same(visitor.say(" \t\u202e ").said, (400, "message_rejected"), "nothing left after cleaning")
    return f"limit {limit} characters"


@check("-", "every response has its security headers, sets no cookie and names no server")
def security_headers_are_everywhere(desk):
    for path in PAGES:
        told = desk.edge.ask("GET", path)
        headers = told.headers
        for name, value in (("x-content-type-options", "nosniff"), ("referrer-policy", None), ("content-security-policy", None),
                            ("x-request-id", None)):
            assert name in headers and value in (None, headers[name]), f"{path}: {name} is {headers.get(name)!r}"
        policy = headers["content-security-policy"]
        assert "unsafe-inline" not in policy and "unsafe-eval" not in policy and "*;" not in policy, f"{path}: {policy}"
        assert "frame-ancestors" in policy, f"{path}: {policy}"
        # Where `frame-ancestors` allows somebody, `DENY` would only keep out browsers that don't know it.
        nobody = "frame-ancestors 'none'" in policy
        same(headers.get("x-frame-options"), "DENY" if nobody else None, f"{path}: x-frame-options")
        if desk.edge.public.startswith("https://"):
            assert "strict-transport-security" in headers, f"{path}: no Strict-Transport-Security, though visitors come by https"
        for name in ("set-cookie", "server", "x-powered-by"):
            assert name not in headers, f"{path}: {name}: {headers[name]}"
        if path.startswith("/api/") or told.status >= 400:
            assert "application/problem+json" in headers.get("content-type", "") or told.status < 400, f"{path}: {headers.get('content-type')}"
    return f"{len(PAGES)} paths"


@check("-", "answers that hold a token are not stored by anybody")
def secrets_are_not_cached(desk):
    visitor = Visitor(desk.edge).begin()
    ticket = visitor.ask("POST", "/api/v1/chat/ticket")
    refreshed = visitor.ask("POST", "/api/v1/session/refresh")
    for what, told in (("create", visitor.created), ("ticket", ticket), ("refresh", refreshed)):
        same(told.status, 200, what)
        assert "no-store" in told.headers.get("cache-control", ""), f"{what}: {told.headers.get('cache-control')}"
    return "create, ticket, refresh: no-store"


@check("-", "/metrics is for the private network, and never for who came through a proxy", own=True)
def metrics_are_private(desk):
    ask = lambda edge, **headers: edge.ask("GET", "/metrics", headers, origin=None).status
    same(ask(desk.edge), 200, "from the loopback")
    for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"):
        same(ask(desk.edge, **{name: "for=10.0.0.1" if name == "Forwarded" else "10.0.0.1"}), 403, name)
    with desk.single(METRICS_TOKEN=desk.secrets["METRICS_TOKEN"]) as (_, edge):
        same(ask(edge), 401, "without the token")
        same(ask(edge, Authorization="Bearer nope"), 401, "another token")
        same(ask(edge, Authorization=f"Bearer {desk.secrets['METRICS_TOKEN']}"), 200, "the token")
    return "loopback 200, proxied 403; with METRICS_TOKEN 401 without it"


@check("-", "/metrics can't be read from outside")
def metrics_are_closed_outside(desk):
    if desk.own or desk.edge.host in ("localhost", "::1") or desk.edge.host.startswith("127."):
        raise Skip("this is the loopback, which may read it")
    with desk.edge.socket() as plain:
        near = plain.getpeername()[0]
    told = desk.edge.ask("GET", "/metrics", origin=None)
    assert told.status in (401, 403, 404), f"{told.status} from {socket.gethostname()} to {near}"
    return str(told.status)


@check("-", "one error form: a problem document that tells nothing of the inside")
def errors_tell_nothing(desk):
    visitor = Visitor(desk.edge).begin()
    marker = secrets.token_hex(6)
    asks = [
        desk.edge.ask("GET", f"/{marker}"),
        desk.edge.ask("PUT", "/api/v1/session/create"),
        desk.edge.ask("POST", "/api/v1/session/create", {"Content-Type": "application/json"}, b'{"fingerprint":' + marker.encode()),
        desk.edge.ask("POST", "/api/v1/session/create", {"Content-Type": "text/plain"}, b"{}"),
        visitor.ask("POST", MESSAGE, {"message": 5}),
        visitor.ask("POST", MESSAGE, {"message": "hi", "message_id": f"<{marker}>"}),
        visitor.ask("POST", MESSAGE, {"message": "hi", "history": [{"role": marker, "content": "x"}]}),
    ]
    for told in asks:
        body = told.json()
        same(told.headers.get("content-type"), "application/problem+json", f"{told.status}")
        same((body.get("status"), body.get("request_id")), (told.status, told.headers["x-request-id"]))
        assert body.get("code") and 400 <= told.status < 500, told.said
        text = told.body.decode()
        for word in ("panicked", "src/", ".rs:", "127.0.0.1", "nats", "webhook", "JWT_SECRET", visitor.token):
            assert word not in text, f"{told.said} says {word!r}"
    same([told.status for told in asks], [404, 405, 400, 415, 400, 400, 400])
    assert "POST" in asks[1].headers.get("allow", ""), "405 without Allow"
    return f"{len(asks)} kinds"
