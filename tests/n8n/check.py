#!/usr/bin/env python3
"""Checks on the wire that the workflows do what tests/n8n/README.md and n8n/README.md say.

  scripts/n8n.sh run -- python3 tests/n8n/check.py [-v]
"""
import base64
import hashlib
import hmac
import http.client
import json
import os
import sys
import time
import urllib.parse
import urllib.request

N8N, LLM = (urllib.parse.urlsplit(os.environ[name]) for name in ("N8N_URL", "LLM_URL"))
KEY, SECRET = os.environ["N8N_API_KEY"], os.environ["N8N_JWT_SECRET"]
VERBOSE = "-v" in sys.argv[1:]
failed = 0


def token(session, secret=SECRET, alg="HS256", **claims):
    now = int(time.time())
    payload = {"session_id": session, "message_history": [], "session_metadata": {}, "iss": "frontdesk", "aud": "n8n",
               "iat": now, "exp": now + 60, "site": "default", "identity": None, **claims}
    encode = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")
    signed = encode(json.dumps({"alg": alg, "typ": "JWT"}).encode()) + b"." + encode(json.dumps(payload).encode())
    mac = b"" if alg == "none" else hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    return (signed + b"." + encode(mac)).decode()


class Answer:
    """What came back: status, the lines with their times, whether the body came to its proper end."""

    def __init__(self, path, body, key=KEY, give_up=60):
        began = time.monotonic()
        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["X-API-Key"] = key
        connection = http.client.HTTPConnection(N8N.hostname, N8N.port, timeout=give_up)
        connection.request("POST", "/webhook/" + path, json.dumps(body), headers)
        response = connection.getresponse()
        self.status, self.type = response.status, response.getheader("Content-Type")
        self.raw, self.times, self.whole = b"", [], False
        try:
            while line := response.readline():
                self.raw += line
                self.times.append(time.monotonic() - began)
            self.whole = response.isclosed()
        except (TimeoutError, OSError, http.client.HTTPException):
            pass
        connection.close()
        self.took = time.monotonic() - began
        self.lines = []
        for line in self.raw.splitlines():
            try:
                self.lines.append(json.loads(line))
            except ValueError:
                self.lines.append({"type": "not JSON"})
        self.kinds = [line.get("type") for line in self.lines if isinstance(line, dict)]
        self.text = "".join(line.get("content", "") for line in self.lines if isinstance(line, dict) and line.get("type") == "item")
        if VERBOSE:
            print("    %s %s %s %.2f s %s" % (path, self.status, self.type, self.took, self.raw[:2000].decode("utf-8", "replace")))


def check(what, good, answer=None):
    global failed
    failed += not good
    print("%s  %s" % ("ok  " if good else "FAIL", what), flush=True)
    if not good and answer is not None:
        print("      %s %s whole=%s %s" % (answer.status, answer.kinds, answer.whole, answer.raw[:1500].decode("utf-8", "replace")))


def log(delete=False):
    request = urllib.request.Request(LLM.geturl() + "/log", method="DELETE" if delete else "GET")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as response:
        return json.loads(response.read()).get("requests")


def asked():
    """The messages of the last request to the model."""
    requests = log()
    return requests[-1]["messages"] if requests else []


def message(text, session, **more):
    return {"action": "sendMessage", "chatInput": text, "sessionId": session, "message": text, **more}


def streamed(answer, count):
    return (answer.status == 200 and answer.whole and answer.kinds == ["begin"] + ["item"] * count + ["end"]
            and answer.text == "".join("tok%d " % (i + 1) for i in range(count)))


def refused(answer):
    """An error line, no text, the proper end of the body, and no reason given."""
    return (answer.status == 200 and answer.whole and answer.kinds == ["error"] and not answer.text
            and b"token" not in answer.raw.lower().replace(b"verify visitor token", b""))


# ---- the workflows of tests/n8n/workflows
a = Answer("fd-stream", message("hi [[n=5]] [[delay=200]]", "s-1"))
check("stream: begin, 5 items, end", streamed(a, 5), a)
check("stream: the items come one by one", len(a.times) == 7 and a.times[5] - a.times[1] > 0.5, a)
for path in ("fd-stream", "fd-last", "fd-tool", "fd-limit", "frontdesk-support", "frontdesk-support-memory"):
    for name, key in (("wrong", "wrong"), ("no", None)):
        a = Answer(path, message("hi", "s-1", jwt_token=token("s-1")), key=key)
        check("%s: %s key: 403" % (path, name), a.status == 403 and not a.kinds[1:] and not a.text, a)
a = Answer("fd-stream", message("[[utf8]]", "s-1"))
check("stream: UTF-8 survives", "👩‍👩‍👧‍👦" in a.text and "日本語" in a.text and a.text.endswith("fin"), a)
a = Answer("fd-stream", message("[[die=3]]", "s-1"))
check("the model dies in the middle: begin, 3 items, error, no end", a.whole and a.kinds == ["begin", "item", "item", "item", "error"], a)
a = Answer("fd-stream", message("[[status=500]]", "s-1"))
check("the model answers 500: begin, error", a.whole and a.kinds == ["begin", "error"] and not a.text, a)
a = Answer("fd-stream", message("[[empty]]", "s-1"))
check("the model says nothing: begin, end", a.whole and a.kinds == ["begin", "end"], a)

a = Answer("fd-chat/chat", message("hi [[n=4]]", "s-1"), key=None)
check("chat trigger: begin, 4 items, end", streamed(a, 4), a)

a = Answer("fd-last", message("hi [[n=3]]", "s-1"))
check("last node: one JSON object with output", a.status == 200 and json.loads(a.raw) == {"output": "tok1 tok2 tok3 "}, a)

log(delete=True)
a = Answer("fd-tool", message("[[tool=calculator]] [[n=2]]", "s-1"))
check("tool: two turns", a.whole and a.kinds == ["begin", "item", "item", "item", "end", "begin", "item", "item", "end"], a)
check("tool: the text of both", a.text == "Let me look. tok1 tok2 ", a)
check("tool: its result went to the model", [m["content"] for m in asked() if m["role"] == "tool"] == ['[{"response":"2"}]'])

a = Answer("fd-limit", message("[[n=200]] [[delay=100]]", "s-1"), give_up=6)
check("time limit: error after 3 s, then the body stays open", a.kinds[-1:] == ["error"] and "end" not in a.kinds
      and 2 < a.times[-1] < 8 and not a.whole and a.took - a.times[-1] > 5, a)

# ---- the workflows for users
for path in ("frontdesk-support", "frontdesk-support-memory"):
    a = Answer(path, message("hi [[n=5]]", "sess-a-" + path, jwt_token=token("sess-a-" + path)))
    check("%s: right key, right token: begin, 5 items, end" % path, streamed(a, 5), a)
    print("      first line after %.2f s" % (a.times[0] if a.times else -1))
    log(delete=True)
    for name, sent in (
            ("no", {}), ("empty", {"jwt_token": ""}), ("null", {"jwt_token": None}), ("unreadable", {"jwt_token": "a.b.c"}), ("not a string", {"jwt_token": {"a": 1}}),
            ("wrongly signed", {"jwt_token": token("s-1", secret="x" * 32)}), ("alg none", {"jwt_token": token("s-1", alg="none")}),
            ("expired", {"jwt_token": token("s-1", exp=int(time.time()) - 5)}), ("another audience's", {"jwt_token": token("s-1", aud="frontdesk-edge")}),
            ("no audience's", {"jwt_token": token("s-1", aud=None)}), ("another session's", {"jwt_token": token("s-2")}),
            ("no session's", {"jwt_token": token(None)}), ("an empty session's", {"jwt_token": token(""), "sessionId": ""})):
        a = Answer(path, {**message("hi", "s-1"), **sent})
        check("%s: %s token: an error line, no text" % (path, name), refused(a), a)
    a = Answer(path, {"chatInput": "hi", "jwt_token": token("s-1")})
    check("%s: no sessionId in the body: an error line, no text" % path, refused(a), a)
    check("%s: the model was not asked in any of these" % path, log() == [])

customer = {"id": "c-7", "name": "Ada {x} {{ 1 + 1 }}"}
a = Answer("frontdesk-support", message("hi [[n=1]] {{ 1 + 1 }} {y}", "s-3", metadata={"name": "Mallory"}, jwt_token=token("s-3", identity=customer)))
messages = asked()
check("support: system prompt has the verified customer, as it is", messages[0]["role"] == "system" and json.dumps(customer, separators=(",", ":")) in messages[0]["content"])
check("support: nothing of the claimed metadata", "Mallory" not in json.dumps(messages))
check("support: the message reaches the model as it is", messages[-1]["content"] == "hi [[n=1]] {{ 1 + 1 }} {y}")
a = Answer("frontdesk-support", message("hi [[n=1]]", "s-3", jwt_token=token("s-3")))
check("support: not signed in is said", "customer: not signed in" in asked()[0]["content"] and asked()[-1]["content"] == "hi [[n=1]]")
history = [{"role": "user", "content": "my name is Bob [[n=50]]"}, {"role": "assistant", "content": "Hello Bob"}]
a = Answer("frontdesk-support", message("again [[n=2]]", "s-3", jwt_token=token("s-3", message_history=history)))
check("support: the history goes before the message, as a claim of the visitor", streamed(a, 2) and [m["role"] for m in asked()] == ["system", "user"]
      and asked()[-1]["content"].endswith("Visitor: my name is Bob [[n=50]]\nAgent: Hello Bob\n\n=== New message ===\nagain [[n=2]]"), a)

memory = "frontdesk-support-memory"
Answer(memory, message("my order is 4711 [[n=2]]", "s-m1", jwt_token=token("s-m1")))
Answer(memory, message("which one [[n=1]]", "s-m1", jwt_token=token("s-m1")))
check("memory: within a session earlier turns arrive", [(m["role"], m["content"]) for m in asked()[1:]] == [
    ("user", "my order is 4711 [[n=2]]"), ("assistant", "tok1 tok2 "), ("user", "which one [[n=1]]")])
Answer(memory, message("and me [[n=1]]", "s-m2", jwt_token=token("s-m2")))
check("memory: not across sessions", [m["role"] for m in asked()] == ["system", "user"])
a = Answer(memory, message("what did they say", "s-m1", jwt_token=token("s-m2")))
check("memory: not with another session's token", refused(a), a)

print("%s" % ("all good" if not failed else "%d FAILED" % failed))
sys.exit(1 if failed else 0)
