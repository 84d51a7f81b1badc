"""Row 20, and row 6 from n8n to the visitor: an upstream that is broken, or means harm."""
import concurrent.futures
import secrets
import time

from client import Visitor
from n8n import FRAMES, INSIDE
from report import check, same

# The settings of the desk: 5 s to the first text, 4 s of silence, 12 s in all; the rest is for a busy machine.
DEADLINE = 17
# By the contract: what each becomes for the visitor.
CASES = {
    "hang": {"upstream_timeout"},
    "drip": {"upstream_timeout"},
    "status=500": {"upstream_unreachable"},
    "status=404": {"upstream_error", "upstream_unreachable"},
    "status=401": {"upstream_unauthorized"},
    "reset": {"upstream_error"},
    "cut": {"upstream_error"},
    "garbage": {"upstream_invalid", "upstream_error", "upstream_empty"},
    "html": {"upstream_unreachable"},
    "error": {"upstream_error"},
    "endless": {"too_large"},
    "longline": {"too_large", "upstream_invalid"},
    "redirect": {"upstream_error", "upstream_unreachable", "upstream_invalid"},
    "bomb": {"too_large", "upstream_error"},
}
# 14 at once, each within the limit of a line (6 MiB and 64 KiB of escaped text for a reply of 1 MiB).
WORKER_BOUND = 96


def _ask(edge, marker):
    visitor, began = Visitor(edge).begin(), time.monotonic()
    told = visitor.say(f"[[{marker}]] {secrets.token_hex(4)}", timeout=DEADLINE + 10)
    return told, time.monotonic() - began


@check("20", "whatever n8n does, the visitor gets one typed failure in time, and nothing of its insides", own=True)
def a_hostile_n8n_ends_in_a_typed_failure(desk):
    deployment, wrong, slowest = desk.spread(), [], 0.0
    with desk.growth(WORKER_BOUND, deployment["worker"]) as worker, desk.growth(32) as edge:
        with concurrent.futures.ThreadPoolExecutor(len(CASES)) as pool:
            asked = {marker: pool.submit(_ask, desk.edge, marker) for marker in CASES}
        for marker, future in asked.items():
            told, seconds = future.result()
            slowest = max(slowest, seconds)
            ends = [(name, data) for name, _, data in told.events() if name in ("end", "failed")]
            codes = [data.get("code") for _, data in ends]
            if told.status != 200 or len(ends) != 1 or ends[0][0] != "failed" or codes[0] not in CASES[marker]:
                wrong.append(f"{marker}: {told.said} {codes or [name for name, *_ in told.events()][-2:]}")
            if seconds > DEADLINE:
                wrong.append(f"{marker}: {seconds:.1f} s")
            for inside in (INSIDE, "Traceback", "postgres", "127.0.0.1"):
                if inside in told.body.decode("utf-8", "replace"):
                    wrong.append(f"{marker}: shows {inside}")
    assert not wrong, "; ".join(wrong)
    same(desk.n8n.canary, 0, "redirects that were followed")
    told = Visitor(desk.edge).begin().say("hello")
    same([name for name, *_ in told.events()][-1], "end", "the next honest message")
    peak = deployment["worker"].memory("VmHWM")
    return (f"{len(CASES)} of {len(CASES)} typed, slowest {slowest:.1f} s (bound {DEADLINE}); worker {worker.told()}, "
            f"peak {peak:.0f} MB; edge {edge.told()}")


@check("6", "no text of n8n ends an event, adds one or sets an id", own=True)
def no_text_breaks_out_of_an_event(desk):
    told = Visitor(desk.edge).begin().say("[[frames]]", timeout=15)
    events = told.events()
    same({name for name, *_ in events}, {"begin", "chunk", "end"}, "kinds of events")
    same("".join(data["content"] for name, _, data in events if name == "chunk"), "".join(FRAMES), "the text")
    assert all("evil" not in (event_id or "") for _, event_id, _ in events), "an id from the text"
    same(sum(name == "end" for name, *_ in events), 1, "ends")
    told = Visitor(desk.edge).begin().say("[[badutf8]]", timeout=15)
    events = told.events()
    assert {name for name, *_ in events} <= {"begin", "chunk", "end", "failed"}, events
    same(sum(name in ("end", "failed") for name, *_ in events), 1, "ends after bytes that are no UTF-8")
    told.body.decode("utf-8")
    return f"{len(FRAMES)} kinds of text and cut UTF-8: the same text, no event more"


@check("20", "the workflow is called with its key and a token for this message, and hears no credentials of the browser", own=True)
def n8n_hears_what_it_may(desk):
    visitor, word = Visitor(desk.edge).begin(), secrets.token_hex(6)
    same(visitor.say(word).status, 200)
    told = next(told for told in reversed(desk.n8n.requests) if told.get("chatInput") == word)
    text = str(told)
    assert visitor.token not in text and visitor.fingerprint not in text, "the browser's credentials reach n8n"
    same(told["session"]["client_ip"], None, "client_ip")
    assert told["jwt_token"].count(".") == 2, "no jwt_token"
    return "no session token, no fingerprint, no address"
