#!/usr/bin/env python3
"""A scripted stand-in for an OpenAI-compatible model server. Standard library only, loopback only.

  POST /v1/chat/completions   streaming and plain
  GET  /v1/models
  GET  /log                   {"requests": [...]}: what it was asked, oldest first, and what became of each
  DELETE /log                 forgets that
  GET  /healthz

What it answers is written in the visitor's message, e.g. "hello [[n=20]] [[delay=50]]":

  [[n=N]]         N tokens "tok1 tok2 .." (default 8)    [[delay=MS]]   pause between tokens (default 50)
  [[first=MS]]    pause before the first token           [[burst=K]]    K tokens per write
  [[echo]]        the message itself, word by word       [[long=N]]     tokens of N characters each
  [[utf8]]        emoji, CJK, combining marks            [[nl]]         newlines, quotes, NUL
  [[html]]        HTML and Markdown                      [[empty]]      no token at all
  [[tool=NAME]]   first calls that tool (any if NAME is not offered), with some text before it
  [[status=CODE]] an HTTP error before any token         [[die=K]]      drops the connection after K tokens
  [[err=K]]       an error object after K tokens         [[hang=K]]     sends nothing more after K tokens

Only what follows the last line "=== New message ===" counts, if there is one (n8n/workflows/support-agent.json
puts the conversation so far before it).
"""
import argparse
import json
import re
import select
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKENS = {
    "utf8": ["Grüße ", "aus ", "Köln ", "— ", "日本語", "テスト", " 😀", "👩‍👩‍👧‍👦", " 🇩🇪", " é", " e\u0301", " \u2028x", " 𝄞", " עברית", " fin"],
    "nl": ["line one\n", "line two\r\n", "\n\n", "\ttab ", '"quoted" ', "back\\slash ", "\u0000nul ", "</script> ", '{"a":1}\n', "end"],
    "html": ["<b>bold</b> ", "**md** ", "[link](https://shop.example/p/1) ", "<img src=x onerror=alert(1)> ", "`code` ", "end"],
}
NEW_MESSAGE = "=== New message ===\n"
LOG, LOCK = [], threading.Lock()
KEEP = 500  # requests in the log


def text_of(content):
    """A message's content is a string, or a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or [] if isinstance(part, dict))


def tokens_for(marks, prompt):
    if "empty" in marks:
        return []
    for name, tokens in TOKENS.items():
        if name in marks:
            return [tokens[i % len(tokens)] for i in range(int(marks.get("n", len(tokens))))]
    if "echo" in marks:
        return re.findall(r"\S+\s*", re.sub(r"\[\[.*?\]\]", "", prompt)) or [" "]
    count = range(int(marks.get("n", 8)))
    if "long" in marks:
        return [("%d:" % i).ljust(int(marks["long"]), "x") for i in count]
    return ["tok%d " % (i + 1) for i in count]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "fake-model", ""

    def log_message(self, *_):
        pass  # the request log below says more

    def reply(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/healthz":
            self.reply(200, {"status": "ok"})
        elif self.path == "/v1/models":
            self.reply(200, {"object": "list", "data": [{"id": "fake-model", "object": "model", "owned_by": "tests"}]})
        elif self.path == "/log":
            with LOCK:
                self.reply(200, {"requests": LOG})
        else:
            self.reply(404, {"error": {"message": "not found"}})

    def do_DELETE(self):
        with LOCK:
            LOG.clear()
        self.reply(200, {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != "/v1/chat/completions":
            self.reply(404, {"error": {"message": "not found"}})
            return
        request = json.loads(body)
        messages = [{"role": m.get("role"), "content": text_of(m.get("content"))} for m in request["messages"]]
        prompt = next((m["content"] for m in reversed(messages) if m["role"] == "user"), "").split(NEW_MESSAGE)[-1]
        record = {
            "stream": bool(request.get("stream")), "model": request.get("model"), "prompt": prompt[:1000],
            "messages": [{"role": m["role"], "content": m["content"][:4000]} for m in messages],
            "tools": [(t.get("function") or t).get("name") for t in request.get("tools") or []],
            "start": time.time(), "sent": 0, "outcome": "running", "took_ms": None,
        }
        with LOCK:
            LOG.append(record)
            del LOG[:-KEEP]
        outcome = "broke"
        try:
            outcome = self.answer(request, messages, prompt, record)
        except (BrokenPipeError, ConnectionResetError):
            outcome = "client went away"
            self.close_connection = True
        finally:
            with LOCK:
                record.update(outcome=outcome, took_ms=int((time.time() - record["start"]) * 1000))
            print(json.dumps(record, ensure_ascii=False), flush=True)

    def pause(self, milliseconds):
        """Sleeps, and notices when the client leaves."""
        until = time.monotonic() + milliseconds / 1000
        while True:
            if select.select([self.connection], [], [], 0)[0] and self.connection.recv(1, socket.MSG_PEEK) == b"":
                raise BrokenPipeError
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(0.02, left))

    def put(self, data):
        """One HTTP chunk."""
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def answer(self, request, messages, prompt, record):
        marks = {name: value or "1" for name, value in re.findall(r"\[\[(\w+)(?:=([^\]]*))?\]\]", prompt)}
        first, delay = float(marks.get("first", 0)), float(marks.get("delay", 50))
        if "status" in marks:
            self.pause(first)
            self.reply(int(marks["status"]), {"error": {"message": "scripted failure", "type": "fake", "code": "fake"}})
            return "answered " + marks["status"]

        tokens, tool = tokens_for(marks, prompt), None
        if "tool" in marks and record["tools"] and messages[-1]["role"] != "tool":
            tool = marks["tool"] if marks["tool"] in record["tools"] else record["tools"][0]
            tokens = ["Let ", "me ", "look. "]
        call = {"id": "call_1", "type": "function", "function": {"name": tool, "arguments": json.dumps({"input": "1+1"})}}
        finish = "tool_calls" if tool else "stop"
        usage = {"prompt_tokens": 7, "completion_tokens": len(tokens), "total_tokens": 7 + len(tokens)}
        base = {"id": "chatcmpl-fake", "created": int(time.time()), "model": request.get("model") or "fake-model"}

        if not request.get("stream"):
            self.pause(first + delay * len(tokens))
            message = {"role": "assistant", "content": "".join(tokens), **({"tool_calls": [call]} if tool else {})}
            record["sent"] = len(tokens)
            self.reply(200, {**base, "object": "chat.completion", "usage": usage,
                             "choices": [{"index": 0, "finish_reason": finish, "message": message}]})
            return "finished"

        def event(value):
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            return ("data: %s\n\n" % text).encode()

        def delta(value, finish_reason=None):
            return event({**base, "object": "chat.completion.chunk",
                          "choices": [{"index": 0, "delta": value, "finish_reason": finish_reason}]})

        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.put(delta({"role": "assistant", "content": ""}))
        self.pause(first)
        trouble = next((name for name in ("die", "err", "hang") if name in marks), None)
        upto = min(int(marks[trouble]), len(tokens)) if trouble else len(tokens)
        burst, waiting = int(marks.get("burst", 1)), b""
        for i, token in enumerate(tokens[:upto], 1):
            waiting += delta({"content": token})
            record["sent"] = i
            if i % burst == 0 or i == upto:
                self.put(waiting)
                waiting = b""
                self.pause(delay)

        if trouble == "die":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return "connection dropped"
        if trouble == "hang":
            self.pause(600_000)
            return "hung"
        if trouble == "err":
            self.put(event({"error": {"message": "scripted failure", "type": "server_error", "code": "fake"}}))
        else:
            if tool:
                self.put(delta({"tool_calls": [{"index": 0, **call}]}))
            self.put(delta({}, finish))
            self.put(event({**base, "object": "chat.completion.chunk", "choices": [], "usage": usage}))
            self.put(event("[DONE]"))
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()
        return "error sent" if trouble == "err" else "finished"


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0 (the default): any free one")
    server = Server(("127.0.0.1", parser.parse_args().port), Handler)
    print("listening on http://127.0.0.1:%d" % server.server_address[1], flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
