"""Attacks Frontdesk and says what held. `scripts/test-security.sh --help` tells how to start it."""
import argparse
import importlib
import os
import pathlib
import sys
import time

import held
from desk import Desk, end_in_order_on
from report import CHECKS, Report

# The files with checks. Cheap ones first; those that look back at everything last.
FILES = """contract origins http_raw jwt proofs replay sessions identity timing limits bots bus_users tls upstream openapi
slow privacy""".split()


def arguments():
    parser = argparse.ArgumentParser(prog="test-security.sh")
    parser.add_argument("--base")
    parser.add_argument("--edge2")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--report")
    parser.add_argument("--only", help="checks whose name or file has this in it")
    return parser.parse_args()


def main():
    given = arguments()
    end_in_order_on("SIGINT", "SIGTERM", "SIGHUP")
    cache = pathlib.Path(os.environ.get("FRONTDESK_TOOLS") or pathlib.Path.home() / ".cache" / "frontdesk-tools")
    for name in FILES:
        importlib.import_module(name)
    openapi = sys.modules["openapi"]
    checks = CHECKS
    if given.only:
        checks = [known for known in checks if given.only in known["name"] or given.only == known["run"].__module__]
        if not checks:
            sys.exit(f"test-security.sh: no check and no file of checks is called {given.only}")
    # Before the clock runs: PyPI's time is not Frontdesk's.
    wanted = not given.quick and any(known["run"].__module__ == "openapi" for known in checks)
    no_schemathesis = openapi.install(cache) if wanted else None
    desk = Desk(os.environ.get("FRONTDESK_BIN"), given.base, given.edge2, given.quick, cache)
    desk.no_schemathesis = no_schemathesis
    report = Report(given.base or "a Frontdesk of its own", given.quick)
    try:
        report.run(checks, desk, time.monotonic() + (60 if given.quick else 300))
        if not given.only:
            held.tell(report)
    finally:
        desk.close()
    if given.report:
        report.write(given.report)
    print(f"\n{time.monotonic() - report.began:.0f} s against {report.target}\n{report.summary()}")
    sys.exit(1 if report.count("failed") else 0)


main()
