"""Row 13: whether the time of a refusal tells how far a guess got. After dudect (Reparaz and others, 2017).

A figure and no proof: on a shared machine only a gross difference is a failure. That secrets are compared in constant
time, tests of the code say.
"""
import math
import statistics
import time

from client import Visitor
from es256 import hs256
from jwt import VALIDATE, parts
from report import check

GROSS = 2.0


def _welch(a, b):
    """Welch's t of two samples, without their slowest twentieth: those are the scheduler's."""
    a, b = (sorted(samples)[: int(len(samples) * 0.95)] for samples in (a, b))
    spread = math.sqrt(statistics.variance(a) / len(a) + statistics.variance(b) / len(b))
    return (statistics.fmean(a) - statistics.fmean(b)) / spread if spread else 0.0


@check("13", "the time of a refusal does not tell how far a guess got (median ratio below 2)", own=True)
def refusals_take_the_same_time(desk):
    visitor = Visitor(desk.edge).begin()
    header, claims, signature = parts(visitor.token)
    head, body, _ = visitor.token.split(".")
    flip = lambda at: signature[:at] + ("A" if signature[at] != "A" else "B") + signature[at + 1:]
    secret = desk.secrets["JWT_SECRET_KEY"]
    own = visitor.fingerprint
    near = own[:-1] + ("0" if own[-1] != "0" else "1")
    far = ("0" if own[0] != "0" else "1") + own[1:]
    kinds = {
        "signature wrong at its first byte": (f"{head}.{body}.{flip(0)}", own),
        "signature wrong near its end": (f"{head}.{body}.{flip(40)}", own),
        "another key": (hs256(header, claims, "another-key-that-is-long-enough-0123456789"), own),
        "right key, wrong audience": (hs256(header, {**claims, "aud": "n8n"}, secret), own),
        "fingerprint wrong at its first byte": (visitor.token, far),
        "fingerprint wrong at its last byte": (visitor.token, near),
    }
    times, line, end = {kind: [] for kind in kinds}, desk.edge.line(), time.monotonic() + (4 if desk.quick else 15)
    for _ in range(300 if desk.quick else 1500):
        if time.monotonic() > end:
            break
        # In turn, so that whatever else the machine does falls on all alike.
        for kind, (token, fingerprint) in kinds.items():
            headers = {"Authorization": f"Bearer {token}", "X-Fingerprint": fingerprint}
            began = time.perf_counter_ns()
            line.request("GET", VALIDATE, headers=headers)
            response = line.getresponse()
            response.read()
            times[kind].append(time.perf_counter_ns() - began)
            assert response.status == 401, f"{kind}: {response.status}"
    line.close()
    pairs = [("signature wrong at its first byte", "signature wrong near its end"),
             ("another key", "right key, wrong audience"),
             ("fingerprint wrong at its first byte", "fingerprint wrong at its last byte")]
    lines, worst = [], 1.0
    for a, b in pairs:
        first, second = statistics.median(times[a]), statistics.median(times[b])
        ratio = max(first, second) / min(first, second)
        worst = max(worst, ratio)
        t = _welch(times[a], times[b])
        lines.append(f"{a} / {b}: medians {first / 1000:.0f} / {second / 1000:.0f} us, ratio {ratio:.3f}, t = {t:+.1f}")
    medians = [statistics.median(samples) for samples in times.values()]
    lines.append(f"{len(times['another key'])} rounds; slowest to fastest of all {len(kinds)} kinds {max(medians) / min(medians):.2f} x")
    assert worst < GROSS, "\n".join(lines)
    return "\n".join(lines)
