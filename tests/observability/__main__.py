"""Checks what observability/ ships against what Frontdesk really shows. See scripts/test-observability.sh."""
import os
import pathlib
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
# A process, a visitor and an n8n are those of the attacks; the pictures are the operator's tool.
sys.path[1:1] = [str(HERE.parent / "security"), str(HERE.parents[1] / "observability")]

import desk  # noqa: E402
import live  # noqa: E402
import shipped  # noqa: E402
import stack  # noqa: E402

TALK = 20


def run(name, check, *given):
    """One check: what it found wrong is told, all of it."""
    began = time.monotonic()
    try:
        wrong = list(check(*given))
    except (KeyError, OSError, ValueError) as error:
        wrong = [f"{type(error).__name__}: {error}"]
    print(f"{'FAILED' if wrong else 'ok':6} {name} ({time.monotonic() - began:.1f} s)", flush=True)
    for each in wrong:
        print(f"       {each}", flush=True)
    return not wrong


def checks_of(module):
    return [(name.removeprefix("check_").replace("_", " "), check) for name, check in vars(module).items() if name.startswith("check_")]


def main():
    # So that what was started is ended, on Ctrl-C too.
    desk.end_in_order_on("SIGINT", "SIGTERM", "SIGHUP")
    passed = [run(name, check) for name, check in checks_of(shipped)]
    exporter = os.environ.get("NATS_EXPORTER")
    if not exporter:
        print("note   figures of NATS: what prometheus-nats-exporter said once (NATS_EXPORTER names a real one)")
    with stack.Stack(os.environ["FRONTDESK_BIN"], os.environ["PROMETHEUS"], exporter) as watched:
        replies = watched.chat(TALK)
        watched.look_at_analytics()
        watched.settle()
        print(f"note   {replies} replies in {TALK} s", flush=True)
        passed += [run(name, check, watched) for name, check in checks_of(live)]
    failed = passed.count(False)
    print(f"\n{len(passed) - failed} passed, {failed} failed")
    return 1 if failed or not replies else 0


if __name__ == "__main__":
    sys.exit(main())
