"""What a check is, how its result is told, and the report."""
import json
import time
import traceback


class Skip(Exception):
    """A check that can't be run here, and why."""


CHECKS = []


def check(row, says, *, own=False, whole=False):
    """Registers a check. Its name is the one that SECURITY.md gives.

    `row` is its row in the table of attacks (1 to 24) or a word, `says` what must hold. `own`: it needs processes that were started here.
    `whole`: it takes too long for --quick. The function takes the desk, returns the figure to tell, and fails by an
    AssertionError.
    """

    def register(function):
        CHECKS.append({"row": row, "says": says, "own": own, "whole": whole, "run": function, "name": function.__name__})
        return function

    return register


class Report:
    def __init__(self, target, quick):
        self.target, self.quick, self.rows, self.began = target, quick, [], time.monotonic()

    def run(self, checks, desk, deadline):
        for known in checks:
            self.add(known, *self._judge(known, desk, deadline))

    def _judge(self, known, desk, deadline):
        if known["own"] and not desk.own:
            return "skipped", "needs processes that are started here", 0
        if known["whole"] and self.quick:
            return "skipped", "--quick", 0
        if time.monotonic() > deadline:
            # Where we started everything, nothing but a fault takes so long; elsewhere limits may.
            return "failed" if desk.own else "skipped", "the time was up", 0
        began = time.monotonic()
        try:
            result, figure = "passed", known["run"](desk)
        except Skip as why:
            result, figure = "skipped", str(why)
        except AssertionError as why:
            result, figure = "failed", str(why) or traceback.format_exc(limit=-1)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            result, figure = "failed", f"{type(error).__name__}: {error} ({where.filename.rsplit('/', 1)[-1]}:{where.lineno})"
        return result, figure or "", time.monotonic() - began

    def add(self, known, result, figure, seconds):
        row = {"row": known["row"], "check": known["name"], "says": known["says"], "result": result, "figure": figure,
               "seconds": round(seconds, 1)}
        self.rows.append(row)
        mark = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip", "held": "held"}[result]
        detail = f"skipped ({figure})" if result == "skipped" else figure
        print(f"{mark} {row['row']:>5}  {row['says']}", flush=True)
        for line in detail.splitlines()[:12]:
            print(f"            {line[:400]}", flush=True)

    def count(self, result):
        return sum(row["result"] == result for row in self.rows)

    def summary(self):
        return f"{self.count('passed')} passed, {self.count('failed')} failed, {self.count('skipped')} skipped"

    def write(self, path):
        if path.endswith(".json"):
            text = json.dumps({"target": self.target, "quick": self.quick, "summary": self.summary(), "rows": self.rows}, indent=1)
        else:
            cell = lambda text: str(text).replace("|", "\\|").replace("\n", "; ")
            lines = [f"# Attacks on {self.target}", "", self.summary(), "", "| row | case | result | figure | s |",
                     "| --- | --- | --- | --- | --- |"]
            lines += [f"| {row['row']} | {cell(row['says'])} (`{row['check']}`) | {row['result']} | {cell(row['figure'])} | "
                      f"{row['seconds']} |" for row in self.rows]
            text = "\n".join(lines)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text + "\n")


def same(found, expected, what=""):
    """Asserts equality with a sentence."""
    assert found == expected, f"{what + ': ' if what else ''}{found!r} instead of {expected!r}"


def table(cases, run):
    """Runs `run(*case)` for each named case and fails with all that went wrong. Returns how many there were."""
    wrong = []
    for name, *case in cases:
        try:
            run(*case)
        except AssertionError as why:
            wrong.append(f"{name}: {why}")
    total = len(cases)
    assert not wrong, f"{len(wrong)} of {total} wrong: " + "; ".join(wrong[:8])
    return total


