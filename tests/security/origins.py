"""Rows 10, 14 and part of 9: which pages may call, and what a cache may keep."""
import re
import secrets

from client import Visitor
from desk import CHAT, SHOP
from report import Skip, check, same

CREATE, VALIDATE = "/api/v1/session/create", "/api/v1/session/validate"

EVIL = [
    "null", "https://evil.example", "https://shop.example.evil.example", "https://shop.example.evil", "https://evilshop.example",
    "http://shop.example", "https://shop.example:8443", "https://shop.example:443", "https://shop.example.", "https://shop.example/",
    "https://shop.example/path", "https://shop.example@evil.example", "https://evil.example#shop.example",
    "https://SHOP.example.evil", "https://www.shop.example", "https://stores.example", "https://evilstores.example",
    "https://a.stores.example.evil", "http://a.stores.example", "https://.stores.example", "https://a..stores.example",
    "https://*.stores.example", "*", "", "file://", "chrome-extension://abc", "https://shop.example https://evil.example",
    "https://shop.example,https://evil.example", "https://xn--shp-0na.example", "https://[::1]", "https://127.0.0.1",
]
GOOD = [SHOP, CHAT, "https://a.stores.example", "https://a.b.stores.example"]

def _foreign(edge, origin):
    return edge.ask("POST", CREATE, body={"fingerprint": secrets.token_hex(8)}, origin=origin)

@check("10", "origins match exactly: evil, null, look-alike and sub-domain ones are 403 without CORS headers")
def foreign_origins_are_refused(desk):
    evil = EVIL if desk.own else [origin for origin in EVIL if "shop.example" not in origin or "evil" in origin][:8]
    wrong = []
    for origin in evil:
        told = desk.edge.ask("POST", CREATE, {"Origin": origin}, {"fingerprint": "f" * 16}, origin=None)
        if told.status not in (403, 400) or "access-control-allow-origin" in told.headers:
            wrong.append(f"{origin!r}: {told.said} {told.headers.get('access-control-allow-origin')}")
        told = desk.edge.ask("GET", VALIDATE, {"Origin": origin}, origin=None)
        if told.status not in (403, 400):
            wrong.append(f"{origin!r} by GET: {told.said}")
    assert not wrong, "; ".join(wrong)
    if desk.own:
        for origin in GOOD:
            told = _foreign(desk.edge, origin)
            same((told.status, told.headers.get("access-control-allow-origin")), (200, origin), origin)
        same(_foreign(desk.edge, None).said, (403, "origin_not_allowed"), "a POST without Origin")
    return f"{len(evil)} refused, {len(GOOD) if desk.own else 1} allowed"

@check("10", "parent_origin, the session's own page and the Referer can't widen the list")
def parents_are_checked_alike(desk):
    for parent in ("https://evil.example", "null", "https://shop.example.evil", "", "x" * 5000):
        told = Visitor(desk.edge).create(parent_origin=parent)
        assert told.said in ((403, "origin_not_allowed"), (400, "invalid_request")), f"{parent[:30]!r}: {told.said}"
    referred = {"Referer": f"{desk.edge.origin}/", "Origin": "https://evil.example"}
    told = desk.edge.ask("POST", CREATE, referred, {"fingerprint": "f" * 16}, origin=None)
    same(told.said, (403, "origin_not_allowed"), "an allowed Referer with an evil Origin")
    raw = (f"POST {CREATE} HTTP/1.1\r\nHost: x\r\nOrigin: {desk.edge.origin}\r\nOrigin: https://evil.example\r\n"
           "Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
    received, _ = desk.edge.raw(raw.encode())
    assert received[9:12] in (b"403", b"400"), f"two Origins: {received[:40]!r}"
    return "5 parents, a Referer, two Origins: refused"

@check("10", "preflights: an allowed page learns what it may, any other nothing; never `*`, never credentials")
def preflights_answer_the_matrix(desk):
    count = 0
    for path in (CREATE, VALIDATE, "/api/v1/chat/message", "/api/v1/chat/ticket", "/api/v1/chat/stream/sess_1_0000000000000000"):
        for method in ("POST", "GET", "DELETE"):
            for origin in (desk.edge.origin, "https://evil.example", "null"):
                asked = {"Origin": origin, "Access-Control-Request-Method": method,
                         "Access-Control-Request-Headers": "authorization,content-type,x-fingerprint,dpop,last-event-id"}
                told = desk.edge.ask("OPTIONS", path, asked, origin=None)
                allowed = told.headers.get("access-control-allow-origin")
                if origin == desk.edge.origin:
                    same((told.status // 100, allowed), (2, origin), f"{method} {path} from {origin}")
                    listed = told.headers.get("access-control-allow-headers", "").lower()
                    for name in ("authorization", "content-type", "x-fingerprint", "dpop", "last-event-id"):
                        assert name in listed, f"{path}: {name} is not allowed"
                    assert method in told.headers["access-control-allow-methods"], path
                    assert int(told.headers["access-control-max-age"]) >= 60, path
                else:
                    same(allowed, None, f"{method} {path} from {origin}")
                assert "access-control-allow-credentials" not in told.headers, path
                assert "origin" in told.headers.get("vary", "").lower(), f"{path}: Vary"
                count += 1
    return f"{count} preflights"

@check("10", "a form of another page can't post: no JSON content type, no request")
def forms_can_not_post(desk):
    visitor = Visitor(desk.edge).begin()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain; x=application/json", ""):
        told = visitor.ask("POST", "/api/v1/chat/message", b'{"message":"hi"}', headers={"Content-Type": kind})
        same(told.said, (415, "unsupported_media_type"), repr(kind))
    return "5 content types refused"

@check("10", "the frame may be shown by the site's pages only")
def frames_are_for_the_site(desk):
    told = desk.edge.ask("GET", "/widget/modern-widget.html", origin=None)
    same(told.status, 200)
    policy = told.headers["content-security-policy"]
    ancestors = next(part.split()[1:] for part in policy.split(";") if part.split()[:1] == ["frame-ancestors"])
    assert "*" not in ancestors and "https:" not in ancestors and "http:" not in ancestors, ancestors
    if desk.own:
        assert SHOP in ancestors, ancestors
    for directive in ("default-src", "script-src", "object-src", "base-uri"):
        assert directive in policy or "default-src 'none'" in policy, f"{directive} is open: {policy}"
    return " ".join(ancestors)

@check("10", "behind PUBLIC_URL a made-up Host is not an own origin (DNS rebinding)", own=True)
def a_host_header_is_no_origin(desk):
    for host in ("evil.example", "shop.example", "127.0.0.1"):
        told = desk.edge.ask("POST", CREATE, {"Host": host, "Origin": f"http://{host}"}, {"fingerprint": "f" * 16}, origin=None)
        same(told.said, (403, "origin_not_allowed"), host)
    told = desk.edge.ask("POST", CREATE, {"Host": "x", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https",
                                          "Origin": "https://evil.example"}, {"fingerprint": "f" * 16}, origin=None)
    same(told.said, (403, "origin_not_allowed"), "X-Forwarded-Host")
    return "4 made-up hosts refused"

@check("14", "widget files don't echo headers or queries, so that a cache can't be poisoned")
def caches_can_not_be_poisoned(desk):
    marker = f"evil{secrets.token_hex(4)}"
    paths = ["/widget/embed.js", "/widget/modern-widget.html", "/widget/widget-config.json", "/openapi.json", "/docs"]
    poison = {"X-Forwarded-Host": f"{marker}.example", "X-Forwarded-Proto": marker, "X-Forwarded-Prefix": f"/{marker}",
              "X-Original-URL": f"/{marker}", "X-Rewrite-URL": f"/{marker}", "X-HTTP-Method-Override": "DELETE", "Referer": f"https://{marker}.example/",
              "User-Agent": marker, "Accept-Language": marker, "Forwarded": f"host={marker}.example"}
    for path in paths:
        plain = desk.edge.ask("GET", path, origin=None)
        same(plain.status, 200, path)
        for sent in (poison, {"Host": f"{marker}.example"}):
            for spelled in (path, f"{path}?x={marker}&callback={marker}"):
                told = desk.edge.ask("GET", spelled, sent, origin=None)
                if not desk.own and told.status in (400, 404, 421) and "Host" in sent:
                    continue
                same((told.status, told.body), (plain.status, plain.body), spelled)
                held = [name for name, value in told.all_headers if marker in value]
                assert not held, f"{spelled}: in {held}"
        same(plain.headers.get("etag"), desk.edge.ask("GET", path, poison, origin=None).headers.get("etag"), f"{path}: ETag")
    return f"{len(paths)} files x {len(poison) + 1} headers and a query: same bytes"

@check("14", "files with a hash in their name are kept long, the page that names them is not")
def cache_times_fit_the_names(desk):
    page = desk.edge.ask("GET", "/widget/modern-widget.html", origin=None)
    assert "immutable" not in page.headers.get("cache-control", ""), "the page itself is immutable"

    names = re.findall(r'(?:src|href)="([^"]+\.(?:js|css))"', page.body.decode())
    if not names:
        raise Skip("the page names no files")
    for name in names:
        path = name if name.startswith("/") else f"/widget/{name}"
        told = desk.edge.ask("GET", path, origin=None)
        same(told.status, 200, path)
        assert "max-age=" in told.headers.get("cache-control", "") , f"{path}: {told.headers.get('cache-control')}"
    return f"{len(names)} hashed files"

