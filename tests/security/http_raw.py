"""Rows 4, 7, 8 and 15: what no browser sends. Smuggling, sizes, hostile JSON, paths out of the folder."""
import concurrent.futures
import json
import re
import secrets

from client import Visitor
from report import check, same

CREATE, MESSAGE = "/api/v1/session/create", "/api/v1/chat/message"
# What a smuggled request would ask for: an answer to it is unmistakable.
INNER = b"GET /health/live?smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

def _post(headers, body=b"", line=b"POST " + CREATE.encode() + b" HTTP/1.1"):
    return line + b"\r\nHost: x\r\nContent-Type: application/json\r\n" + headers + b"\r\n" + body


def _heads():
    """Heads whose body two parsers may end at different places, and heads that are none: `(name, bytes)`. A health
    check reads no body: 200 means that the head was taken."""
    get = lambda headers, body=b"", version=b"1.1": b"GET /health/live HTTP/" + version + b"\r\nHost: x\r\n" + headers + b"\r\n" + body
    te = b"Transfer-Encoding: chunked\r\n"
    ended = b"0\r\n\r\n" + INNER
    yield "CL and TE", get(b"Content-Length: 5\r\n" + te, ended)
    yield "TE and CL", get(te + b"Content-Length: 5\r\n", ended)
    yield "CL for all, TE for a part", get(b"Content-Length: %d\r\n" % len(ended) + te, ended)
    yield "two CL that differ", get(b"Content-Length: 0\r\nContent-Length: %d\r\n" % len(INNER), INNER)
    yield "a list of CL that differ", get(b"Content-Length: 0, %d\r\n" % len(INNER), INNER)
    for value in (b"+5", b"-1", b"0x5", b"5 5", b"5,", b"5;", b"\"5\"", b"99999999999999999999", b"5e0", b"", b"\x0b5", b"5\x00"):
        yield f"CL {value.decode()!r}", get(b"Content-Length: " + value + b"\r\n", b"{}   " + INNER)
    for value in (b"xchunked", b"chunked, identity", b"identity", b"chunked\x00", b"\"chunked\"", b"gzip", b"chunked;q=1", b"chunked, gzip",
                  b"cow", b"\x0bchunked"):
        yield f"TE {value.decode()!r}", get(b"Transfer-Encoding: " + value + b"\r\n", ended)
        yield f"TE {value.decode()!r} and CL", get(b"Transfer-Encoding: " + value + b"\r\nContent-Length: 5\r\n", ended)
    yield "TE behind a space", get(b"Transfer-Encoding : chunked\r\nContent-Length: 5\r\n", ended)
    yield "CL behind a space", get(b"Content-Length : 5\r\n", b"{}   " + INNER)
    yield "TE after a bare LF", get(b"X: y\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n", ended)
    yield "TE after a bare CR", get(b"X: y\rTransfer-Encoding: chunked\r\nContent-Length: 5\r\n", ended)
    yield "TE in a folded line", get(b"X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", ended)
    yield "TE folded", get(b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n", ended)
    yield "TE in HTTP/1.0", get(te, ended, b"1.0")
    yield "two TE", get(te + b"Transfer-Encoding: identity\r\n", ended)
    yield "a NUL in a header", get(b"X: a\x00b\r\n")
    yield "a header without a name", get(b": x\r\n")
    yield "a header without a colon", get(b"X\r\n")
    yield "two Hosts", get(b"Host: y\r\n")
    yield "no Host", b"GET /health/live HTTP/1.1\r\n\r\n"
    yield "a space in the path", b"GET /health/live /x HTTP/1.1\r\nHost: x\r\n\r\n"
    yield "HTTP/0.9", b"GET /health/live\r\n\r\n"
    yield "HTTP/2 over cleartext", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
    yield "HTTP/9.9", get(b"", version=b"9.9")
    yield "TLS to a plain port", bytes.fromhex("160301007a010000760303") + b"\0" * 120
    yield "noise", b"\x00\xff\xfe\r\n\r\n" * 20


def _chunks():
    """Chunked bodies that are none, each around a whole document: 200 means that it was read."""
    text = json.dumps({"fingerprint": "f" * 32}).encode()
    size = b"%x" % len(text)
    for bad in (b"0x" + size, b"-" + size, b"+" + size, b"g", b"fffffffffffffffff", b"8000000000000000", size + b"\x00", size + b"\r", b""):
        yield f"chunk size {bad.decode()!r}", bad + b"\r\n" + text + b"\r\n0\r\n\r\n" + INNER
    yield "chunk ends with bare LFs", size + b"\n" + text + b"\n0\n\n" + INNER
    yield "a chunk that is longer than it says", b"1\r\n" + text + b"\r\n0\r\n\r\n" + INNER
    yield "a chunk that is shorter than it says", b"fff\r\n" + text + b"\r\n0\r\n\r\n" + INNER
    yield "endless chunk extensions", size + b";" + b"x=y;" * 20_000 + b"\r\n" + text + b"\r\n0\r\n\r\n"
    yield "endless trailers", size + b"\r\n" + text + b"\r\n0\r\n" + b"X-T: y\r\n" * 20_000 + b"\r\n"


# These may still become whole: the edge waits for them, as long as for any body.
PATIENT = {"chunk size '8000000000000000'", "a chunk that is shorter than it says"}


def _statuses(received):
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3})", received)]

@check("4", "smuggling: nothing is read as two requests, and what is ambiguous is 400 and closed")
def ambiguous_requests_are_refused(desk):
    line = b"Origin: " + desk.edge.origin.encode() + b"\r\nTransfer-Encoding: chunked\r\n"
    cases = [*_heads(), *((name, _post(line, body)) for name, body in _chunks())]
    cases = [case for case in cases if not (desk.edge.tls and case[0].startswith("TLS"))]

    def run(case):
        received, closed = desk.edge.raw(case[1], timeout=4)
        return case[0], _statuses(received), closed

    wrong, answered = [], 0
    with concurrent.futures.ThreadPoolExecutor(16 if desk.own else 4) as pool:
        for name, statuses, closed in pool.map(run, cases):
            answered += bool(statuses)
            if len(statuses) > 1:
                wrong.append(f"{name}: {len(statuses)} answers {statuses}")
            elif statuses and not 400 <= statuses[0] < 500 and statuses[0] not in (501, 505):
                wrong.append(f"{name}: taken with {statuses[0]}")
            elif not closed and name not in PATIENT:
                wrong.append(f"{name}: the connection stays open after {statuses}")
    assert not wrong, f"{len(wrong)} of {len(cases)}: " + "; ".join(wrong)
    return f"{len(cases)} of {len(cases)} refused and closed, {answered} with an answer"


@check("4", "pipelined requests are answered in order, each once, also behind a refused body")
def pipelined_requests_stay_apart(desk):
    good = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    bad = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    received, _ = desk.edge.raw(good + bad + good + last)
    same(_statuses(received), [200, 404, 200, 200])
    # A body that is refused unread must not become the next request.
    hidden = _post(b"Content-Length: %d\r\n" % len(INNER), INNER)
    received, _ = desk.edge.raw(hidden + last)
    statuses = _statuses(received)
    assert statuses in ([403], [403, 200]), statuses
    return "4 in order; a refused body is no request"

@check("7", "a body over the limit is 413, declared or chunked; heads and URLs over theirs 431, 414 or 400")
def sizes_have_limits(desk):
    visitor = Visitor(desk.edge).begin()
    path = MESSAGE
    credentials = "".join(f"{name}: {value}\r\n" for name, value in visitor.credentials("POST", path).items()).encode()
    origin = b"Origin: " + desk.edge.origin.encode() + b"\r\n"
    line = b"POST " + path.encode() + b" HTTP/1.1"
    mega = b'{"message":"' + b"x" * (1 << 20) + b'"}'
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(mega[at:at + 8192]), mega[at:at + 8192]) for at in range(0, len(mega), 8192)) + b"0\r\n\r\n"
    head = lambda extra: origin + credentials + extra
    cases = [
        ("1 MiB declared", _post(head(b"Content-Length: %d\r\n" % len(mega)), mega, line), {413}),
        ("1 GiB declared and never sent", _post(head(b"Content-Length: 1073741824\r\n"), b"{", line), {413}),
        ("1 MiB chunked", _post(head(b"Transfer-Encoding: chunked\r\n"), chunked, line), {413}),
        ("65,537 bytes", _post(head(b"Content-Length: 65537\r\n"), b" " * 65537, line), {413}),
        ("expecting to continue", _post(head(b"Content-Length: 1048576\r\nExpect: 100-continue\r\n"), b"", line), {413}),
        ("200 headers", _post(head(b"".join(b"X-%d: y\r\n" % n for n in range(200)) + b"Content-Length: 2\r\n"), b"{}", line), {431, 400}),
        ("a header of 20 KiB", _post(head(b"X: " + b"y" * 20_480 + b"\r\nContent-Length: 2\r\n"), b"{}", line), {431, 400}),
        ("a URL of 64 KiB", b"GET /" + b"u" * 65_536 + b" HTTP/1.1\r\nHost: x\r\n\r\n", {414, 431, 400}),
        ("a query of 20 KiB", b"GET /health/live?" + b"q" * 20_480 + b" HTTP/1.1\r\nHost: x\r\n\r\n", {414, 431, 400}),
        ("a head of 1 MiB without an end", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 170_000, {431, 400}),
        ("a method of 20 KiB", b"M" * 20_480 + b" / HTTP/1.1\r\nHost: x\r\n\r\n", {431, 400, 414}),
    ]
    seen = []
    with desk.growth(24) as growth:
        for _ in range(1 if desk.quick or not desk.own else 5):
            for name, data, allowed in cases:
                received, _ = desk.edge.raw(data)
                # A server that closes with input unread may take its own answer back (TCP reset).
                statuses = [status for status in _statuses(received) if status != 100]
                assert not statuses or (len(statuses) == 1 and statuses[0] in allowed), f"{name}: {statuses}"
                seen.append(bool(statuses))
    assert sum(seen) * 2 >= len(seen), f"only {sum(seen)} of {len(seen)} were answered"
    figure = f"{len(cases)} kinds refused, {sum(seen)} of {len(seen)} with an answer"
    return f"{figure}; {growth.told()}" if growth else figure

def _documents():
    """Bodies that are hard on parsers, within the size limit: `(name, bytes)`."""
    yield "arrays 30,000 deep", b"[" * 30_000
    yield "objects 10,000 deep", b'{"a":' * 10_000
    yield "a field 30,000 deep", b'{"message":"hi","context":' + b"[" * 15_000 + b"]" * 15_000 + b"}"
    yield "a number of 60,000 digits", b'{"message":' + b"9" * 60_000 + b"}"
    yield "1e99999", b'{"message":"hi","context":{"x":1e99999}}'
    yield "a fraction of 60,000 digits", b'{"message":0.' + b"1" * 60_000 + b"}"
    yield "message twice", b'{"message":"a","message":"b"}'
    yield "not UTF-8", b'{"message":"\xff\xfe"}'
    yield "overlong UTF-8", b'{"message":"\xc0\xaf"}'
    yield "a surrogate as UTF-8", b'{"message":"\xed\xa0\x80"}'
    yield "a lone surrogate", rb'{"message":"\ud800"}'
    yield "surrogates the wrong way round", rb'{"message":"\udc00\ud800"}'
    yield "a NUL byte", b'{"message":"a\x00b"}'
    yield "a raw line end in text", b'{"message":"a\nb"}'
    yield "UTF-16", '{"message":"hi"}'.encode("utf-16")
    yield "a byte order mark", b'\xef\xbb\xbf{"message":"hi"}'
    yield "NaN", b'{"message":NaN}'
    yield "a comment", b'{"message":"hi"/**/}'
    yield "a comma too many", b'{"message":"hi",}'
    yield "two documents", b'{"message":"hi"}{"message":"ho"}'
    yield "an array", b'["message"]'
    yield "nothing", b""
    yield "null", b"null"
    yield "a cut document", b'{"message":"hi'
    yield "6,000 fields", b"{" + b",".join(b'"k%d":1' % n for n in range(5000)) + b"}"
    yield "message is an object", b'{"message":{"$ne":null}}'
    yield "history is text", b'{"message":"hi","history":"x"}'
    yield "20,000 turns of nothing", b'{"message":"hi","history":[' + b",".join([b"{}"] * 20_000) + b"]}"
    yield "an id with a path", b'{"message":"hi","message_id":"../../../etc"}'
    yield "an id with a subject", b'{"message":"hi","message_id":"chat.>.x*"}'
    yield "__proto__", b'{"__proto__":{"message":"hi"}}'

@check("8", "hostile JSON is a 4xx, never a 5xx, and costs no time")
def hostile_json_is_refused(desk):
    visitor = Visitor(desk.edge).begin()
    # Where limits are in the way, a refused body ends its connection.
    line, times, wrong = desk.edge.line() if desk.own else None, [], []
    documents = list(_documents())
    with desk.growth(24) as growth:
        for name, data in documents:
            told = visitor.ask("POST", MESSAGE, data, line=line)
            times.append((told.seconds, name))
            if not 400 <= told.status < 500 or told.code is None:
                wrong.append(f"{name}: {told.said}")
        for name, data in documents[:6]:
            told = desk.edge.ask("POST", CREATE, {"Content-Type": "application/json"}, data.replace(b"message", b"fingerprint"), line=line)
            if not 400 <= told.status < 500:
                wrong.append(f"{name} at create: {told.said}")
    if line:
        line.close()
    assert not wrong, "; ".join(wrong)
    slowest, name = max(times)
    assert slowest < 1 or not desk.own, f"{name}: {slowest * 1000:.0f} ms"
    figure = f"{len(documents)} documents, slowest {slowest * 1000:.1f} ms ({name})"
    return f"{figure}; {growth.told()}" if growth else figure

@check("8", "NUL and lone escapes that JSON does allow come out clean")
def escapes_come_out_clean(desk):
    visitor = Visitor(desk.edge).begin()
    word = secrets.token_hex(4)
    body = (b'{"message":"' + word.encode() + rb'\u0000\u202e\u0007\ud83d\ude00","message_id":"' + secrets.token_hex(8).encode() + b'"}')
    told = visitor.ask("POST", MESSAGE, body)
    same(told.status, 200, "a message with escapes")
    if desk.own:
        same(desk.n8n.requests[-1]["chatInput"], f"{word}\U0001f600", "what n8n got")
    return "control and bidi characters are gone, the emoji is whole"

@check("15", "no path leads out of /widget/: dots, escapes, backslashes, NUL, absolute URLs")
def paths_do_not_leave_the_folder(desk):
    targets = ("etc/passwd", "Cargo.toml", ".env", "proc/self/environ")
    ways = ("/widget/../{}", "/widget/../../../../{}", "/widget/..%2f..%2f..%2f{}", "/widget/%2e%2e/%2e%2e/{}", "/widget/%252e%252e%252f{}",
            "/widget/..\\..\\{}", "/widget/..%5c..%5c{}", "/widget/%c0%ae%c0%ae/{}", "/widget//{}", "/widget/./{}", "/widget/%00/{}",
            "/widget/embed.js%00../../{}", "/widget/embed.js/../../{}", "/widget/js/..;/..;/{}", "/widget/~/{}", "/widget/%2f{}",
            "/widget/file:///{}", "/widget/..%ef%bc%8f{}", "/widget/....//....//{}", "/../{}", "/docs/../{}", "/docs/..%2f{}",
            "/%2e%2e/{}", "/.{}", "/widget/test/{}", "/widget/package.json?{}", "/widget/.git/config?{}")
    statuses = {}
    for way in ways:
        for target in targets if desk.own else targets[:1]:
            path = way.format(target)
            received, _ = desk.edge.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            status = (_statuses(received) or [0])[0]
            statuses[status] = statuses.get(status, 0) + 1
            assert status in (404, 400), f"{path}: {status}"
            for inside in (b"root:x:", b"[workspace]", b"JWT_SECRET", b"PATH="):
                assert inside not in received, f"{path} shows {inside!r}"
    for line in ("GET http://127.0.0.1:1/x HTTP/1.1", "CONNECT 127.0.0.1:22 HTTP/1.1", "TRACE / HTTP/1.1", "DELETE /widget/embed.js HTTP/1.1",
                 "PUT /widget/evil.js HTTP/1.1", "PROPFIND /widget/ HTTP/1.1"):
        received, _ = desk.edge.raw(f"{line}\r\nHost: x\r\nX-Secret: s3cret\r\nConnection: close\r\n\r\n".encode())
        status = (_statuses(received) or [0])[0]
        assert status in (400, 404, 405), f"{line}: {status}"
        assert b"s3cret" not in received, f"{line}: echoes its headers"
    return f"{sum(statuses.values())} paths, 6 methods: {statuses}"

@check("4", "a response can't be split: what is asked never stands in a header")
def headers_can_not_be_split(desk):
    for path in ("/widget/%0d%0aX-Evil:%201", "/nothing%0d%0aSet-Cookie:%20a=b", "/health?x=%0d%0aX-Evil:1", "/docs/%0aX-Evil:1"):
        asked = f"GET {path} HTTP/1.1\r\nHost: x\r\nX-Request-Id: a%0d%0aX-Evil: 1\r\ntraceparent: \r\nConnection: close\r\n\r\n"
        received, _ = desk.edge.raw(asked.encode())
        head = received.partition(b"\r\n\r\n")[0].lower()
        assert b"x-evil" not in head and b"set-cookie" not in head, f"{path}: {head!r}"
    told = desk.edge.ask("GET", "/health/live", {"X-Request-Id": "evil-id-0123456789"}, origin=None)
    if desk.own:
        assert told.headers["x-request-id"] != "evil-id-0123456789", "an id of a stranger was kept"
    return "4 paths; a stranger's request id is not kept"
