"""The rows of the table of attacks that other tests hold, and whether those tests are there."""
from desk import ROOT

# row, case, the test's name; a path is a file of tests.
HELD = [
    ("2", "algorithms pinned, claims required", "forged_tokens_are_refused"),
    ("6", "no text ends an event: any text, read by an independent parser", "no_text_breaks_the_framing"),
    ("9", "no markup is left of a message", "no_tag_is_left"),
    ("9", "no markup of a reply becomes HTML", "widget/test/markdown.test.js"),
    ("13", "tokens and fingerprints by clock and key", "time_and_fingerprint_decide"),
    ("17", "an IPv6 subscriber is one caller", "a_subscriber_is_one_caller"),
    ("18", "analytics: kill -9 in mid-write loses and doubles nothing", "a_killed_writer_loses_nothing_and_counts_nothing_twice"),
    ("18", "analytics: a full disk leaves nothing half done, and heals", "a_batch_that_fails_leaves_nothing_and_the_next_call_heals"),
    ("18", "analytics: each fact once, whatever dies", "services/analytics/tests/flow.rs"),
    ("19", "NATS goes and comes", "a_restart_of_nats_is_a_pause"),
    ("19", "without NATS: refused at once", "without_nats_submit_refuses_at_once"),
    ("20", "n8n's silences, limit by limit", "patience_has_limits"),
    ("21", "times by a clock of the test", "a_ticket_opens_for_a_minute_and_reopens_for_as_long_as_the_token"),
    ("22", "kill -9 of an edge", "a_killed_edge_loses_nothing"),
    ("22", "kill -9 of a worker", "a_killed_worker_ends_its_reply_once"),
    ("23", "dependencies: cargo deny", "deny.toml"),
]
ROWS = 24


def _file_of(test):
    """Where a test is, from the root of the repository; None if there is none."""
    if "." in test:
        return test if (ROOT / test).is_file() else None
    for folder in ("services", "shared"):
        for path in sorted((ROOT / folder).rglob("*.rs")):
            if f"fn {test}(" in path.read_text(encoding="utf-8"):
                return str(path.relative_to(ROOT))
    return None


def tell(report):
    """Lists them. One that is gone is a failure, and so is a row that nothing holds."""
    for row, says, test in HELD:
        file = _file_of(test)
        known = {"row": row, "name": test, "says": f"{says}: {test if file in (None, test) else f'{file}, {test}'}"}
        report.add(known, "held" if file else "failed", "" if file else "there is no such test any more", 0)
    held = {row["row"] for row in report.rows}
    for row in (str(number) for number in range(1, ROWS + 1)):
        if row not in held:
            report.add({"row": row, "name": "held", "says": "this row of the table"}, "failed", "nothing holds it", 0)
