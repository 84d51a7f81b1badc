"""Rows 5, 16 and 17: who is counted as whom, and what a flood costs."""
import json
import random
import secrets
import socket
import time

from client import Stream, Visitor
from report import check, same

CREATE, VALIDATE = "/api/v1/session/create", "/api/v1/session/validate"
SPOOFS = ("X-Forwarded-For", "Forwarded", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP", "X-Cluster-Client-IP",
          "X-Originating-IP", "Fastly-Client-IP", "X-Forwarded", "Forwarded-For", "X-Remote-Addr")


def _counted(edge, count, headers, source=None):
    """Sends `count` calls with `headers(n)`; how many were not refused, the last answer, and how many seconds it took."""
    taken, last, began = 0, None, time.monotonic()
    for n in range(count):
        last = edge.ask("GET", VALIDATE, headers(n), source=source)
        taken += last.status != 429
    return taken, last, time.monotonic() - began


def _within(taken, limit, seconds):
    """Whether that is a limit a minute at once, and what came free meanwhile: on a busy machine calls take their time."""
    return limit <= taken <= limit + seconds * limit / 60 + 1


@check("5", "without a trusted proxy no header changes who is counted", own=True)
def spoofed_addresses_change_nothing(desk):
    with desk.single(RATE_LIMIT_PER_MINUTE="20") as (_, edge):
        def spoof(n):
            address = f"203.0.113.{n}"
            return {name: f"for={address}" if name == "Forwarded" else address for name in SPOOFS}

        taken, last, seconds = _counted(edge, 60, spoof, "127.0.5.1")
        assert _within(taken, 20, seconds), f"{taken} of 60 in {seconds:.1f} s were let through a limit of 20"
        same((last.status, last.code, last.json().get("scope")), (429, "rate_limited", "ip"))
        assert int(last.headers["retry-after"]) >= 1, "no Retry-After"
        hops = ", ".join(f"198.51.100.{n % 250}" for n in range(100))
        same(edge.ask("GET", VALIDATE, {"X-Forwarded-For": hops}, source="127.0.5.1").status, 429, "a list of 100 hops")
        same(edge.ask("GET", VALIDATE, source="127.0.5.2").status, 401, "another address")
    return f"{len(SPOOFS)} headers: {taken} of 60 let through a limit of 20 in {seconds:.1f} s"


@check("5", "behind a trusted proxy the right-most foreign address counts, an IPv6 one by its /64", own=True)
def proxies_are_read_from_the_right(desk):
    with desk.single(RATE_LIMIT_PER_MINUTE="10", TRUSTED_PROXIES="127.0.0.9/32,10.0.0.0/8") as (_, edge):
        proxy = "127.0.0.9"
        hundred = ", ".join(["192.0.2.1"] * 100)
        cases = [
            ("made up on the left", lambda n: {"X-Forwarded-For": f"203.0.113.{n}, 198.51.100.1"}),
            ("behind two proxies", lambda n: {"X-Forwarded-For": f"203.0.113.{n}, 198.51.100.2, 10.0.0.7"}),
            ("in Forwarded", lambda n: {"Forwarded": f"for=203.0.113.{n}, for=198.51.100.3"}),
            ("100 hops", lambda n: {"X-Forwarded-For": f"203.0.113.{n}, {hundred}, 198.51.100.4"}),
            ("with ports", lambda n: {"X-Forwarded-For": f"198.51.100.5:{1000 + n}"}),
            ("IPv6 in brackets, one /64", lambda n: {"X-Forwarded-For": f"[2001:db8:0:1::{n:x}]:{1000 + n}"}),
            ("IPv6, one /64", lambda n: {"X-Forwarded-For": f"2001:db8:0:2:{n:x}::{n:x}"}),
            ("IPv6 in Forwarded, one /64", lambda n: {"Forwarded": f'for="[2001:db8:0:3::{n:x}]:80"'}),
            ("IPv4 in IPv6", lambda n: {"X-Forwarded-For": "::ffff:198.51.100.6" if n % 2 else "198.51.100.6"}),
            ("two headers", lambda n: {"X-Forwarded-For": f"203.0.113.{n}, 198.51.100.7", "Forwarded": f"for=203.0.113.{n}"}),
        ]
        wrong = []
        for name, headers in cases:
            taken, _, seconds = _counted(edge, 14, headers, proxy)
            if not _within(taken, 10, seconds):
                wrong.append(f"{name}: {taken} of 14 through a limit of 10 in {seconds:.1f} s")
        taken, *_ = _counted(edge, 14, lambda n: {"X-Forwarded-For": f"2001:db8:1:{n:x}::1"}, proxy)
        if taken != 14:
            wrong.append(f"each /64 is a caller of its own: {taken} of 14")
        taken, _, seconds = _counted(edge, 14, lambda n: {"X-Forwarded-For": f"203.0.113.{n}"}, "127.0.0.8")
        if not _within(taken, 10, seconds):
            wrong.append(f"a neighbour of the proxy is no proxy: {taken} of 14 in {seconds:.1f} s")
    assert not wrong, "; ".join(wrong)
    return f"{len(cases) + 2} ways to tell an address"


@check("16", "RateLimit headers are right to the digit, and each refusal says what it was and until when", own=True)
def limits_are_told_to_the_digit(desk):
    with desk.single(RATE_LIMIT_PER_MINUTE="7") as (_, edge):
        left = []
        for _ in range(8):
            told = edge.ask("GET", VALIDATE, source="127.0.5.3")
            same(told.headers.get("ratelimit-policy"), '"ip";q=7;w=60', "RateLimit-Policy")
            left.append(told.headers["ratelimit"].split(";")[1])
        same(left, [f"r={n}" for n in (6, 5, 4, 3, 2, 1, 0, 0)], "RateLimit")
        again = told.json()["retry_after"]
        same((told.status, told.headers["retry-after"]), (429, str(again)), "the refusal")
        assert 1 <= again <= 9, f"60 s for 7 calls are 9 s for one, and not {again}"
    with desk.single(RATE_LIMIT_CREATE_PER_MINUTE="3", RATE_LIMIT_SESSION_PER_MINUTE="2") as (_, edge):
        visitor = Visitor(edge).begin()
        said = [visitor.say(f"hello {n}").status for n in range(3)]
        same(said, [200, 200, 429], "messages of a session")
        statuses = [Visitor(edge).create() for _ in range(3)]
        same([told.status for told in statuses], [200, 200, 429], "creations")
        same(statuses[-1].json().get("scope"), "create")
    return "7 calls counted down, 2 messages, 3 creations"


@check("16", "limits hold for all edges together, not for each", own=True)
def edges_share_their_limits(desk):
    deployment = desk.deploy({"RATE_LIMIT_PER_MINUTE": "20"})
    edges = [desk.reach(process) for process in deployment["edges"]]
    taken, began = 0, time.monotonic()
    for n in range(60):
        taken += edges[n % 2].ask("GET", VALIDATE, source="127.0.5.4").status != 429
        time.sleep(0.01)
    seconds = time.monotonic() - began
    for process in (*deployment["edges"], deployment["worker"], deployment["analytics"]):
        process.stop()
    # What another edge let through is known after 50 ms.
    assert taken <= 30 + seconds / 3, f"two edges let {taken} of 60 in {seconds:.1f} s through a limit of 20"
    return f"{taken} of 60 over two edges through a limit of 20"


@check("16", "a budget for the day stops the workflow, whatever the minute allows", own=True)
def a_daily_budget_stops_the_workflow(desk):
    with desk.single(MESSAGES_PER_DAY_SESSION="3") as (_, edge):
        visitor, before = Visitor(edge).begin(), desk.n8n.asked
        told = [visitor.say(f"hello {n}") for n in range(5)]
        same([answer.status for answer in told], [200, 200, 200, 429, 429])
        same(desk.n8n.asked - before, 3, "runs of the workflow")
        assert told[-1].json()["retry_after"] > 60, f"retry_after {told[-1].json()['retry_after']}"
    return "3 runs, then 429 until the day is over"


@check("16", "one address can't hold all streams: 429 over its share, free again when they close", own=True)
def streams_of_an_address_are_limited(desk):
    cap, tries = 20, 100 if desk.quick else 500
    streams, refused = [], []
    with desk.single(STREAMS_PER_IP=str(cap), STREAMS_PER_SESSION="5", MAX_CONNECTIONS_PER_IP="0", SSE_HEARTBEAT="1s") as (process, edge):
        visitors = [Visitor(edge, source="127.0.6.1").begin() for _ in range(25)]
        try:
            with desk.growth(24, process) as growth:
                for n in range(tries):
                    stream = Stream(visitors[n % len(visitors)])
                    (streams if stream.status == 200 else refused).append(stream)
                    if stream.status != 200:
                        stream.socket.close()
            same(len(streams), cap, f"streams of one address, of {tries} tried")
            same({(stream.status, "retry-after" in stream.headers) for stream in refused}, {(429, True)}, "refusals")
            body = json.loads(refused[0].received or b"{}")
            same((body.get("code"), body.get("limit")), ("rate_limited", "streams"), "code and limit")
            other = Stream(Visitor(edge, source="127.0.6.2").begin())
            same(other.status, 200, "another address")
            other.close()
            # Vanished without a word: the heartbeats find out.
            for stream in streams[:5]:
                stream.close(reset=True)
            began = time.monotonic()
            while (again := Stream(visitors[0])).status != 200:
                again.close()
                assert time.monotonic() - began < 6, "no place after 6 s, with heartbeats each second"
                time.sleep(0.1)
            free = time.monotonic() - began
            again.close()
        finally:
            for stream in streams:
                stream.close()
    return f"{cap} of {tries} opened, free again after {free:.1f} s; {growth.told()}"


def _flood(edge, count, seconds, batch=100):
    """GETs that each come from an address of their own, as a trusted proxy tells it, many on their way at once; how many
    were answered."""
    answered, end = 0, time.monotonic() + seconds
    with edge.socket(timeout=10) as plain:
        while answered < count and time.monotonic() < end:
            plain.sendall(b"".join(
                b"GET %s HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: %d.%d.%d.%d\r\n\r\n"
                % (VALIDATE.encode(), random.randint(11, 99), random.randrange(256), random.randrange(256), random.randrange(256))
                for _ in range(batch)))
            received = b""
            while received.count(b"HTTP/1.1 ") < batch or not received.endswith(b"}"):
                more = plain.recv(1 << 18)
                assert more, "the flood was cut off"
                received += more
            answered += batch
    return answered


@check("17", "a flood from as many addresses as it takes keeps memory flat, and the attacker is not forgotten", own=True)
def a_flood_of_addresses_stays_flat(desk):
    count, seconds = (10_000, 8) if desk.quick else (100_000, 30)
    with desk.single(RATE_LIMIT_PER_MINUTE="1", TRUSTED_PROXIES="127.0.0.0/8", LOG_LEVEL="warn") as (process, edge):
        attacker = {"X-Forwarded-For": "203.0.113.7"}
        edge.ask("GET", VALIDATE, attacker)
        same(edge.ask("GET", VALIDATE, attacker).status, 429, "the attacker before")
        began = time.monotonic()
        with desk.growth(64, process) as growth:
            answered = _flood(edge, count, seconds)
        took = time.monotonic() - began
        same(edge.ask("GET", VALIDATE, attacker).status, 429, "the attacker after")
    return f"{answered:,} addresses in {took:.0f} s; {growth.told()}"


@check("17", "a flood of connections from all over 127.0.0.0/8 keeps memory flat", own=True)
def a_flood_of_connections_stays_flat(desk):
    count = 1500 if desk.quick else 8000
    with desk.single(RATE_LIMIT_PER_MINUTE="60", RATE_LIMIT_CREATE_PER_MINUTE="10", LOG_LEVEL="warn") as (process, edge):
        statuses, end = {}, time.monotonic() + (6 if desk.quick else 20)
        body = json.dumps({"fingerprint": secrets.token_hex(8)}).encode()
        request = (b"POST %b HTTP/1.1\r\nHost: x\r\nOrigin: %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
                   % (CREATE.encode(), edge.origin.encode(), len(body), body))
        with desk.growth(64, process) as growth:
            for n in range(count):
                if time.monotonic() > end:
                    break
                # A quarter of all comes from one loud address.
                others = f"127.{random.randint(10, 250)}.{random.randrange(256)}.{random.randint(1, 254)}"
                source = "127.9.9.9" if n % 4 == 0 else others
                with socket.create_connection((edge.host, edge.port), 10, (source, 0)) as plain:
                    plain.sendall(request)
                    status = int((plain.recv(4096).split(b" ", 2) + [b"0", b"0"])[1])
                statuses[status] = statuses.get(status, 0) + 1
        assert set(statuses) <= {200, 429, 403}, statuses
        assert statuses.get(429, 0) > sum(statuses.values()) // 8, f"the loud address was not limited: {statuses}"
    return f"{statuses}; {growth.told()}"
