"""The rows of the table that other tests hold, and whether those tests are there."""
import re

from desk import ROOT

# row, case, file, test
HELD = [
    ("2", "algorithms pinned, claims required", "services/edge/src/token.rs", "forged_tokens_are_refused"),
    ("6", "no text ends an event: proptest with an independent parser", "services/edge/src/sse.rs", "no_text_breaks_the_framing"),
    ("9", "markup of a visitor", "services/edge/src/clean.rs", "no_tag_is_left"),
    ("9", "markup of a reply", "widget/test/markdown.test.js", None),
    ("13", "secrets compared in constant time", "services/edge/src/token.rs", "time_and_fingerprint_decide"),
    ("17", "bounded buckets, old ones untouched", "services/edge/src/limits.rs", "newcomers_past_the_cap_share_a_bucket_until_the_sweep"),
    ("18", "analytics: each fact once, whatever dies", "services/analytics/tests/flow.rs", None),
    ("19", "NATS goes and comes", "services/frontdesk/tests/it/crash.rs", "a_restart_of_nats_is_a_pause"),
    ("19", "without NATS: refused at once", "shared/bus/tests/contract.rs", "without_nats_submit_refuses_at_once"),
    ("20", "n8n, case by case", "services/worker/tests/n8n.rs", "patience_has_limits"),
    ("21", "expiry by an injected clock", "services/edge/src/token.rs", "a_ticket_opens_for_a_minute_and_reopens_for_as_long_as_the_token"),
    ("22", "kill -9 of an edge", "services/frontdesk/tests/it/crash.rs", "a_killed_edge_loses_nothing"),
    ("22", "kill -9 of a worker", "services/frontdesk/tests/it/crash.rs", "a_killed_worker_ends_its_reply_once"),
    ("23", "dependencies: cargo deny", "deny.toml", None),
]


def tell(report):
    """Lists them; one that is gone is a failure."""
    for row, says, file, test in HELD:
        path = ROOT / file
        there = path.is_file() and (test is None or re.search(rf"fn {test}\b", path.read_text(encoding="utf-8")))
        known = {"row": row, "name": test or file, "says": f"{says}: {file}{' ' + test if test else ''}"}
        report.add(known, "held" if there else "failed", "" if there else "there is no such test any more", 0)
