"""Bots: an answered challenge is good once and for one caller; an honest browser meets none."""
import concurrent.futures
import hashlib
import secrets

from client import BROWSER, Visitor
from report import check, same

CREATE = "/api/v1/session/create"


def _create(edge, source, answer=None, headers=None):
    sent = {"X-Challenge-Response": answer} if answer is not None else {}
    return edge.ask("POST", CREATE, {**sent, **(headers or {})}, {"fingerprint": secrets.token_hex(16)}, source=source)


def _work(challenge):
    """The counter that a browser would find."""
    counter, zeros = 0, challenge["difficulty"]
    while int.from_bytes(hashlib.sha256(f"{challenge['challenge']}:{counter}".encode()).digest(), "big") >> (256 - zeros):
        counter += 1
    return f"{challenge['challenge']}:{counter}"


@check("bots", "a challenge can't be guessed, reused, passed on or answered in parallel", own=True)
def challenges_are_answered_once(desk):
    settings = {"BOT_RULES": "enforce", "BOT_CHALLENGE_AT": "0", "CHALLENGE_DIFFICULTY": "12"}
    with desk.single(**settings) as (_, edge):
        ask = lambda source="127.0.4.1": _create(edge, source)
        told = ask()
        same(told.said, (403, "challenge_required"), "a creation where everybody is challenged")
        challenge = told.json()["challenge"]
        same(challenge["type"], "pow")
        easy = {**challenge, "difficulty": 1}
        good = _work(challenge)
        if _work(easy) == good:
            easy["difficulty"] = 0
        text = challenge["challenge"]
        forged = {"nothing": "", "no counter": text, "a counter that is none": f"{text}:x", "too little work": _work(easy),
                  "another challenge": good.replace(text, "A" * len(text)), "a changed challenge": good.replace(text, text[:-1] + "_"),
                  "10 kB": f"{text}:{'1' * 10_000}", "a counter below zero": f"{text}:-1", "a provider's answer": "turnstile:x"}
        for what, answer in forged.items():
            same(_create(edge, "127.0.4.1", answer).said, (403, "challenge_required"), what)
        same(_create(edge, "127.0.4.2", good).said, (403, "challenge_required"), "from another address")
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            statuses = list(pool.map(lambda _: _create(edge, "127.0.4.1", good).status, range(20)))
        same(statuses.count(200), 1, "of 20 parallel answers")
    return f"{len(forged) + 1} answers refused; of 20 copies of a good one 1 is taken"


@check("bots", "an honest browser meets no challenge, one that contradicts itself does, one in the honeypot is refused", own=True)
def honest_browsers_meet_no_challenge(desk):
    with desk.single(BOT_RULES="enforce") as (_, edge):
        visitor = Visitor(edge, source="127.0.4.3")
        same(visitor.create().status, 200, "an honest browser")
        said = [visitor.say(f"where is my order {n}?").status for n in range(4)]
        same(said, [200] * 4, "its messages")
        # Headless by its own word, and of another version than its hints say.
        liar = {"User-Agent": BROWSER["User-Agent"].replace("Chrome/142", "HeadlessChrome/99")}
        same(_create(edge, "127.0.4.4", headers=liar).said, (403, "challenge_required"), "a browser that contradicts itself")
        trapped = {"fingerprint": secrets.token_hex(16), "signals": {"webdriver": False, "form_ms": 4200, "honeypot": "x"}}
        same(edge.ask("POST", CREATE, body=trapped, source="127.0.4.5").said, (403, "bot_detected"), "the honeypot")
    return "5 honest requests let through, a liar challenged, the honeypot refused"
