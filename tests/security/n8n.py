"""An n8n that means harm: a server on the loopback that does what `[[markers]]` in the visitor's text say.

  (none)          a streamed answer of five words    [[hang]]      takes the request and never answers
  [[drip]]        one byte of a line each 0.2 s      [[status=N]]  an HTTP error with a page full of insides
  [[reset]]       a TCP reset in the middle          [[cut]]       a close without the last HTTP chunk
  [[garbage]]     random bytes                       [[html]]      a page with 200
  [[endless]]     1 GB of text                       [[longline]]  1 GB without a line end
  [[redirect]]    302 to the canary                  [[bomb]]      gzip, hundreds of times larger when unpacked
  [[frames]]      text that would end an event       [[error]]     an error line with a provider's secret
  [[echo]]        the visitor's text                 [[badutf8]]   bytes that are no UTF-8, cut over packets
"""
import gzip
import json
import random
import re
import socket
import threading
import time

# What must never get from an upstream to a visitor or into a log.
INSIDE = "INSIDE-7f3c9a-provider-key"
# 60 MB of lines. Packed once, at the start: n8n's limits of time are short here.
BOMB = gzip.compress((b'{"type":"item","content":"' + b"x" * 1000 + b'"}\n') * 60_000, 6)
FRAMES = ["a\r\n\r\nevent: end\ndata: {}\n\n", "\ndata: x\n\n", "\nid: evil:9\n\n", "\0\x0b\x1b[31m", "\u2028\u2029\x85", "retry: 1\n\n: c"]


def line(kind, **fields):
    told = {"type": kind, **fields, "metadata": {"nodeId": "n", "nodeName": "Agent", "itemIndex": 0, "runIndex": 0, "timestamp": 1}}
    return json.dumps(told).encode() + b"\n"


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


class N8n:
    """Running from the start to `close`. `asked` counts the requests, `canary` those that a redirect brought."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/webhook/hostile"
        self.asked, self.canary, self.requests, self.open = 0, 0, [], True
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.open = False
        self.listener.close()

    def _accept(self):
        while self.open:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        connection.settimeout(30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with connection, connection.makefile("rb") as reader:
                while self.open and self._one(connection, reader):
                    pass
        except OSError:
            pass

    def _one(self, connection, reader):
        first, size = reader.readline(), 0
        if not first:
            return False
        while (header := reader.readline()).strip():
            name, _, value = header.partition(b":")
            if name.lower() == b"content-length":
                size = int(value)
        body = reader.read(size)
        if b"/canary" in first:
            self.canary += 1
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            return True
        self.asked += 1
        try:
            told = json.loads(body)
        except ValueError:
            told = {}
        self.requests = [*self.requests[-200:], told]
        text = told.get("chatInput") or ""
        marker = re.search(r"\[\[(\w+)(?:=(\d+))?\]\]", text)
        name, number = (marker[1], marker[2]) if marker else ("say", None)
        return getattr(self, f"_{name}")(connection, text, number)

    def _start(self, connection, headers=b""):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\n"
                           b"Transfer-Encoding: chunked\r\n" + headers + b"\r\n")

    def _whole(self, connection, items):
        """A proper streamed answer."""
        self._start(connection)
        lines = [line("begin"), *(line("item", content=item) for item in items), line("end")]
        connection.sendall(b"".join(chunk(each) for each in lines) + b"0\r\n\r\n")
        return True

    def _say(self, connection, text, number):
        return self._whole(connection, ["one ", "two ", "three ", "four ", "five"])

    def _echo(self, connection, text, number):
        return self._whole(connection, [text])

    def _frames(self, connection, text, number):
        return self._whole(connection, FRAMES)

    def _hang(self, connection, text, number):
        self._until_gone(connection)
        return False

    def _until_gone(self, connection):
        connection.settimeout(30)
        try:
            while connection.recv(4096):
                pass
        except OSError:
            pass

    def _drip(self, connection, text, number):
        self._start(connection)
        for byte in line("item", content="x" * 500):
            connection.sendall(chunk(bytes([byte])))
            time.sleep(0.2)
        return False

    def _status(self, connection, text, number):
        page = f"<html>Traceback: postgres://admin:{INSIDE}@db.internal/n8n</html>".encode()
        connection.sendall(b"HTTP/1.1 %s X\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b" % (number.encode(), len(page), page))
        return True

    def _html(self, connection, text, number):
        page = f"<!doctype html><title>{INSIDE}</title>".encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b" % (len(page), page))
        return True

    def _error(self, connection, text, number):
        self._start(connection)
        lines = [line("begin"), line("error", content=f"401 from the model: {INSIDE}")]
        connection.sendall(b"".join(chunk(each) for each in lines) + b"0\r\n\r\n")
        return True

    def _begin(self, connection):
        self._start(connection)
        connection.sendall(chunk(line("begin")) + chunk(line("item", content="Hel")))
        time.sleep(0.1)

    def _reset(self, connection, text, number):
        self._begin(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        return False

    def _cut(self, connection, text, number):
        self._begin(connection)
        return False

    def _garbage(self, connection, text, number):
        self._start(connection)
        connection.sendall(chunk(random.Random(7).randbytes(50_000)) + b"0\r\n\r\n")
        return True

    def _badutf8(self, connection, text, number):
        whole = line("item", content="@")
        before, after = whole.split(b"@")
        self._start(connection)
        for packet in (line("begin"), before + b"\xf0\x9f", b"\xffdata: x\n\n", b"\xc3" + after, line("end")):
            connection.sendall(chunk(packet))
            time.sleep(0.02)
        connection.sendall(b"0\r\n\r\n")
        return True

    def _flood(self, connection, packet):
        sent = 0
        while sent < 1 << 30:
            connection.sendall(packet)
            sent += len(packet)
        return False

    def _endless(self, connection, text, number):
        self._start(connection)
        return self._flood(connection, chunk(line("item", content="x" * 1000) * 60))

    def _longline(self, connection, text, number):
        self._start(connection)
        connection.sendall(chunk(b'{"type":"item","content":"'))
        return self._flood(connection, chunk(b"x" * 65536))

    def _redirect(self, connection, text, number):
        to = self.url.replace("/webhook/hostile", "/canary/latest/meta-data").encode()
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: " + to + b"\r\nContent-Length: 0\r\n\r\n")
        return True

    def _bomb(self, connection, text, number):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
                           b"Content-Length: %d\r\n\r\n" % len(BOMB))
        connection.sendall(BOMB)
        return True
