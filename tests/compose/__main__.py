"""What must hold of a stack that runs. Started by scripts/test-compose.sh, which says where it is."""
import contextlib
import os
import secrets
import statistics
import sys
import threading
import time
import traceback

import stack
from stack import NotRun, until
from visitor import Visitor

CHAT, SHOP, ANALYTICS, GRAFANA, PROMETHEUS, JAEGER = (
    int(os.environ[f"{name}_PORT"]) for name in ("CHAT", "SHOP", "ANALYTICS", "GRAFANA", "PROMETHEUS", "JAEGER"))
ORIGIN = f"http://127.0.0.1:{SHOP}"
# scripts/test-compose.sh looks: an executable that exports traces must export them whole, and where no Jaeger could be
# had the check says so.
TRACES = os.environ["TRACES"]
HAS_RULES = any((stack.FOLDER / "observability/prometheus/rules").glob("*.yml"))


def secret(name):
    return (stack.FOLDER / "secrets" / name).read_text(encoding="ascii").strip()


class Use:
    """Visitors who chat all the time, while something is done to the stack."""

    def __init__(self, may_fail=(), visitors=3):
        self.may_fail, self.stopped, self.replies, self.problems = may_fail, threading.Event(), [], []
        self.threads = [threading.Thread(target=self.chat, daemon=True) for _ in range(visitors)]

    def chat(self):
        try:
            visitor = Visitor(CHAT, ORIGIN)
            while not self.stopped.is_set():
                reply = visitor.say("shipping")
                self.replies.append(reply)
                whole = reply.end == ("end", "stop") and "warehouse" in reply.text
                if not whole and reply.end[1] not in self.may_fail:
                    self.problems.append(f"a reply ended as {reply.end} after {len(reply.chunks)} chunks")
        except Exception as error:  # pylint: disable=broad-except
            self.problems.append(repr(error))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        try:
            until(lambda: len(self.replies) >= len(self.threads), "every visitor got a reply", 60)
        except BaseException:
            self.stopped.set()
            raise
        return self

    def __exit__(self, kind, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join(120)
        if kind is None:
            assert not any(thread.is_alive() for thread in self.threads), "a reply never ended"
            assert not self.problems, self.problems[:5]

    @property
    def told(self):
        whole = sum(reply.end == ("end", "stop") for reply in self.replies)
        again = sum(reply.tries > 1 for reply in self.replies)
        return f"{whole} of {len(self.replies)} replies whole, {again} went on over another line"


# ---- the checks, in their order -------------------------------------------------------------------------------------


def hardened():
    for container in stack.containers():
        name, host = container["Name"], container["HostConfig"]
        assert host["ReadonlyRootfs"], f"{name} may write"
        assert "ALL" in (host["CapDrop"] or []), f"{name} keeps capabilities"
        added = host["CapAdd"] or []
        allowed = ["NET_BIND_SERVICE"] if stack.service(container) == "caddy" else []
        assert [cap.removeprefix("CAP_") for cap in added] == allowed, f"{name} has {added}"
        assert any("no-new-privileges" in option for option in host["SecurityOpt"] or []), name
        user = container["Config"]["User"].partition(":")[0]
        assert user not in ("", "0", "root"), f"{name} is root"
        if stack.service(container) not in stack.ONCE:
            assert host["Memory"] and host["NanoCpus"], f"{name} has no limits"
        for bound in (host["PortBindings"] or {}).values():
            assert all(one["HostIp"] == "127.0.0.1" for one in bound), f"{name} listens for everybody: {bound}"
        values = [line.partition("=")[2] for line in container["Config"]["Env"]]
        hidden = [path.read_text(encoding="ascii").strip() for path in (stack.FOLDER / "secrets").iterdir()]
        assert not set(values) & set(hidden), f"{name} has a secret in its environment"
    return f"{len(stack.containers())} containers"


def the_shop_has_the_chat():
    code, headers, page = stack.status(SHOP, "/")
    assert code == 200 and f'src="http://127.0.0.1:{CHAT}/widget/embed.js"' in page, page[:500]
    assert f"frame-src http://127.0.0.1:{CHAT};" in headers["Content-Security-Policy"]
    code, headers, _ = stack.status(CHAT, "/widget/modern-widget.html")
    assert code == 200 and ORIGIN in headers["Content-Security-Policy"], headers
    assert "Server" not in headers, headers
    assert stack.status(CHAT, "/widget/embed.js")[0] == 200
    assert stack.status(CHAT, "/metrics")[0] == 403, "metrics are shown to everybody"


def foreign_pages_are_refused():
    headers = {"Origin": "https://evil.example", "Content-Type": "application/json"}
    assert stack.status(CHAT, "/api/v1/session/create", "POST", headers)[0] == 403


def chat_is_not_buffered():
    reply = Visitor(CHAT, ORIGIN).say("shipping")
    assert reply.end == ("end", "stop") and reply.tries == 1, (reply.end, reply.tries)
    assert "| Germany | 2–3 days |" in reply.text and reply.text.endswith("not a shop.*"), reply.text
    gaps = [later - sooner for sooner, later in zip(reply.times, reply.times[1:])]
    spread = reply.times[-1] - reply.times[0]
    # The demo says a word each 25 ms. A proxy that collects would give them all at once, or in a few lumps.
    assert spread > 0.6 * 0.025 * len(gaps), f"{len(gaps)} words within {spread:.2f} s"
    assert sum(gap > 0.005 for gap in gaps) > 0.6 * len(gaps), gaps
    return f"{len(reply.chunks)} chunks over {spread:.2f} s, median {statistics.median(gaps) * 1000:.0f} ms apart"


def replicas_of(job):
    active = stack.get(PROMETHEUS, "/api/v1/targets?state=active")["data"]["activeTargets"]
    return [target for target in active if target["labels"]["job"] == job]


def prometheus_scrapes_every_replica():
    expected = {job: len(stack.containers(job)) for job in ("edge", "worker", "analytics")}
    expected["nats"] = 1
    if not TRACES.startswith("no Jaeger"):
        expected["jaeger"] = 1

    def all_up():
        for job, count in expected.items():
            found = replicas_of(job)
            assert len(found) == count, f"{len(found)} of {count} {job}"
            assert all(target["health"] == "up" for target in found), [target["lastError"] for target in found]
        return True
    # It looks up some names only each half minute.
    until(all_up, "Prometheus scrapes all", 90)
    return f"{len(replicas_of('edge'))} edges, {len(replicas_of('worker'))} workers, analytics, NATS, Jaeger"


def alerts_load():
    if not HAS_RULES:
        raise NotRun("there are no rules")
    groups = stack.get(PROMETHEUS, "/api/v1/rules")["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"] if rule["type"] == "alerting"]
    assert rules, "no alert was loaded"
    until(lambda: all(rule["health"] == "ok" for group in stack.get(PROMETHEUS, "/api/v1/rules")["data"]["groups"]
                      for rule in group["rules"]), "every rule can be evaluated", 60)
    return f"{len(rules)} alerts"


def pages_for_who_runs_it():
    assert "<title" in stack.status(ANALYTICS, "/")[2]
    assert stack.status(ANALYTICS, "/api/v1/analytics/summary?range=24h")[0] == 401
    assert stack.get(ANALYTICS, "/api/v1/analytics/summary?range=24h", secret("admin_token"))
    assert stack.get(GRAFANA, "/api/health")["database"] == "ok"
    assert stack.status(JAEGER, "/")[0] == 200


def both_edges_answer():
    with Use(visitors=6) as use:
        until(lambda: len(use.replies) > 20, "there are 20 replies", 60)
    query = "/api/v1/query?query=sum%20by%20(instance)%20(frontdesk_edge_messages_total)"

    def counted():
        result = stack.get(PROMETHEUS, query)["data"]["result"]
        counts = {one["metric"]["instance"]: float(one["value"][1]) for one in result}
        edges = [target["labels"]["instance"] for target in replicas_of("edge")]
        assert all(counts.get(edge, 0) > 0 for edge in edges), counts
        return [int(counts[edge]) for edge in edges]
    return f"messages by edge: {until(counted, 'each edge took messages', 60)}"


def spans_of(trace):
    """The spans of a trace as Jaeger's API has them: id, parent, kind, service, name."""
    found = stack.get(JAEGER, f"/api/traces/{trace}")["data"]
    assert found, "Jaeger does not know the trace"
    spans = []
    for span in found[0]["spans"]:
        tags = {tag["key"]: tag["value"] for tag in span["tags"]}
        parent = next((one["spanID"] for one in span["references"] if one["refType"] == "CHILD_OF"), None)
        service = found[0]["processes"][span["processID"]]["serviceName"]
        spans.append((span["spanID"], parent, tags.get("span.kind"), service, span["operationName"]))
    return spans


def traces_arrive_whole():
    if TRACES != "required":
        raise NotRun(TRACES)
    trace, browser = secrets.token_hex(16), secrets.token_hex(8)
    reply = Visitor(CHAT, ORIGIN).say("shipping", f"00-{trace}-{browser}-01")
    assert reply.end == ("end", "stop"), reply.end

    def whole():
        spans = spans_of(trace)
        ids = {span[0] for span in spans} | {browser}
        kinds = {(span[3], span[2]) for span in spans}
        wanted = {("frontdesk-edge", "server"), ("frontdesk-edge", "producer"), ("frontdesk-worker", "consumer"),
                  ("frontdesk-worker", "client")}
        assert wanted <= kinds, f"lacks {wanted - kinds} in {spans}"
        lost = [span for span in spans if span[1] not in ids]
        assert not lost, f"without their parents: {lost}"
        return spans
    return f"{len(until(whole, 'the trace is whole', 40))} spans, each with its parent"


def scaled_under_use():
    def to(edges, workers):
        began = time.monotonic()
        stack.compose("up", "-d", "--no-build", "--no-recreate", "--scale", f"edge={edges}", "--scale", f"worker={workers}")
        stack.until_well()
        for service, count in (("edge", edges), ("worker", workers)):
            assert len(stack.containers(service)) == count, f"{len(stack.containers(service))} {service}"
        return time.monotonic() - began
    with Use() as use:
        up = to(4, 8)
        prometheus_scrapes_every_replica()
        seen = len(use.replies)
        until(lambda: len(use.replies) > seen + 10, "chats go on", 60)
        down = to(2, 2)
        seen = len(use.replies)
        until(lambda: len(use.replies) > seen + 10, "chats go on", 60)
    return f"2 to 4 edges and 2 to 8 workers in {up:.0f} s, back in {down:.0f} s; {use.told}"


def every_process_may_crash():
    told = []
    for container in sorted(stack.containers(), key=lambda one: one["Name"]):
        service = stack.service(container)
        if service in stack.ONCE:
            continue
        # A workflow that was begun is never run twice: its visitor is told.
        may_fail = {"worker": ("interrupted",), "nats": ("interrupted", "queue_timeout"),
                    "demo": ("interrupted", "upstream_unreachable", "upstream_error", "circuit_open")}.get(service, ())
        with Use(may_fail) as use:
            seconds = stack.crash(container)
            seen = len(use.replies)
            until(lambda: len(use.replies) > seen + 3, "chats go on", 90)
        told.append(f"\n    {container['Name'].lstrip('/'):36} back in {seconds:4.1f} s; {use.told}")
    return "".join(told)


def analytics_is_backed_up():
    name = stack.containers("analytics")[0]["Name"].lstrip("/")
    stack.run("docker", "exec", name, "/frontdesk", "analytics", "backup", "--force", "/var/lib/frontdesk/backup.redb")
    stack.run("docker", "exec", name, "/frontdesk", "analytics", "check", "/var/lib/frontdesk/backup.redb")


def restart_keeps_what_is_kept():
    visitor = Visitor(CHAT, ORIGIN)
    reply = visitor.say("shipping")
    message = reply.last_id.partition(":")[0]

    def recorded():
        first = figures()
        time.sleep(1)
        return (first, stack.streams()) if first == figures() and first["messages"] else None
    before, streams = until(recorded, "analytics has recorded all", 60)
    stack.compose("down")
    stack.compose("up", "-d", "--no-build")
    stack.until_well()
    assert figures() == before, (before, figures())
    assert stack.streams().keys() == streams.keys(), stack.streams()
    assert stack.streams()["SNAP"][0] > 0, stack.streams()
    again = visitor.hear_again(message)
    assert again.text == reply.text and again.end == reply.end, again.text
    assert visitor.say("help").end == ("end", "stop"), "the session is over"
    return f"{streams['SNAP'][0]} records, and of analytics {before}"


def figures():
    """What analytics has counted, of what doesn't change by itself with the time."""
    summary = stack.get(ANALYTICS, "/api/v1/analytics/summary?range=24h", secret("admin_token"))
    return {name: summary[name] for name in ("sessions", "messages", "ended", "chunks", "failed")}


def three_servers():
    told = []
    for server in ("nats", "nats-3"):
        with Use(("interrupted",)) as use:
            seconds = stack.crash(stack.containers(server)[0])
            seen = len(use.replies)
            until(lambda: len(use.replies) > seen + 3, "chats go on", 90)
        told.append(f"\n    {server:6} back in {seconds:4.1f} s; {use.told}")

    # Whom an operator kills, Docker leaves alone: it stays away, as a lost machine does.
    away = stack.containers("nats-2")[0]["Name"]
    with Use(("interrupted",)) as use:
        stack.run("docker", "kill", away)
        seen = len(use.replies)
        until(lambda: len(use.replies) > seen + 10, "chats go on", 90)
        assert Visitor(CHAT, ORIGIN).say("shipping").end == ("end", "stop"), "who comes now is not served"
    state = stack.run("docker", "inspect", "--format", "{{.State.Status}}", away).strip()
    assert state == "exited", f"nats-2 should have been away all the time, and is {state}"
    told.append(f"\n    nats-2 away; {use.told}")
    stack.run("docker", "start", away)
    stack.until_well()

    stood_in = stack.containers("nats")[0]["Config"]["Labels"].get("frontdesk.standin", "")
    if stood_in.startswith("Debian's"):
        # One of its servers may hold for long what the others have taken out: docs/compose.md.
        return "".join(told) + f"\n    not compared what the three hold: it is {stood_in}"

    def alike():
        first, *others = [stack.streams(server) for server in ("nats", "nats-2", "nats-3")]
        assert all(one == first for one in others), (first, others)
        return first
    streams = until(alike, "all three hold the same", 30)
    assert streams and {replicas for _, replicas in streams.values()} == {3} and streams["SNAP"][0] > 0, streams
    held = ", ".join(f"{name} {count}" for name, (count, _) in sorted(streams.items()))
    return "".join(told) + f"\n    each of the three holds {held}"


SINGLE = [hardened, the_shop_has_the_chat, foreign_pages_are_refused, chat_is_not_buffered, pages_for_who_runs_it,
          prometheus_scrapes_every_replica, alerts_load, both_edges_answer, traces_arrive_whole, scaled_under_use,
          every_process_may_crash, analytics_is_backed_up,
          restart_keeps_what_is_kept]
CLUSTER = [hardened, chat_is_not_buffered, three_servers]


def main():
    passed, failed, skipped = 0, 0, 0
    word = sys.argv[2] if len(sys.argv) > 2 else ""
    checks = [check for check in {"single": SINGLE, "cluster": CLUSTER}[sys.argv[1]] if word in check.__name__]
    if not checks:
        print(f"no check has {word} in its name", flush=True)
        sys.exit(2)
    for check in checks:
        name, began = check.__name__.replace("_", " "), time.monotonic()
        try:
            told = check()
        except NotRun as why:
            skipped += 1
            print(f"not run  {name}: {why}", flush=True)
        except Exception:  # pylint: disable=broad-except
            failed += 1
            print(f"FAILED   {name}\n{traceback.format_exc()}", flush=True)
            with contextlib.suppress(Exception):
                print(stack.compose("ps"), flush=True)
        else:
            passed += 1
            print(f"ok       {name} ({time.monotonic() - began:.0f} s){': ' + told if told else ''}", flush=True)
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    sys.exit(1 if failed else 0)


main()
