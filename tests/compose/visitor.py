"""A visitor who does what the widget does when a line breaks: asks again under the same id, and goes on where it was."""
import http.client
import json
import secrets
import time

# A browser's own, or the edge takes us for a program.
HEADERS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Accept-Language": "en-GB,en;q=0.9",
    "Content-Type": "application/json",
}
# Where a try ended that another one may mend.
TRY_AGAIN = {502, 503, 504}
PATIENCE = 60


class Broken(Exception):
    """What a visitor must never see."""


class Reply:
    """What came of one message."""

    def __init__(self):
        self.chunks, self.times, self.last_id, self.end, self.tries, self.began = [], [], None, None, 0, False

    @property
    def text(self):
        return "".join(self.chunks)

    def take(self, event, data):
        if event == "begin":
            self.began = True
        elif event == "chunk":
            if data["index"] != len(self.chunks):
                raise Broken(f"chunk {data['index']} came as the {len(self.chunks)}th")
            self.chunks.append(data["content"])
            self.times.append(time.monotonic())
        elif event in ("end", "failed"):
            if event == "end" and data["chunks"] != len(self.chunks):
                raise Broken(f"the end tells of {data['chunks']} chunks, {len(self.chunks)} came")
            self.end = (event, data.get("finish_reason") or data.get("code"))
        elif event == "gap":
            raise Broken(f"a gap: {data}")


class Visitor:
    """One session."""

    def __init__(self, port, origin):
        self.port, self.origin, self.fingerprint = port, origin, secrets.token_hex(16)
        answer = self.until_answered("POST", "/api/v1/session/create", {"fingerprint": self.fingerprint})
        self.session, self.token = answer["session_id"], answer["token"]

    def headers(self):
        sent = {**HEADERS, "Origin": self.origin, "X-Fingerprint": self.fingerprint}
        return {**sent, "Authorization": f"Bearer {self.token}"} if hasattr(self, "token") else sent

    def until_answered(self, method, path, body):
        """JSON of a 200, however often that takes."""
        until, said = time.monotonic() + PATIENCE, None
        while time.monotonic() < until:
            line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            try:
                line.request(method, path, json.dumps(body), self.headers())
                response = line.getresponse()
                answer = response.read()
                if response.status == 200:
                    return json.loads(answer)
                said = (response.status, answer[:300])
                if response.status not in TRY_AGAIN:
                    break
            except (OSError, http.client.HTTPException) as error:
                said = error
            finally:
                line.close()
            time.sleep(0.2)
        raise Broken(f"{method} {path}: {said}")

    def say(self, text, traceparent=None):
        """Says something and waits for its end, through as many lines as it takes."""
        reply, until = Reply(), time.monotonic() + PATIENCE
        message = json.dumps({"message": text, "message_id": secrets.token_hex(8)})
        headers = {**self.headers(), "Accept": "text/event-stream"}
        if traceparent:
            headers["traceparent"] = traceparent
        said = None
        while reply.end is None:
            if time.monotonic() > until:
                raise Broken(f"no end after {PATIENCE} s and {reply.tries} tries, last: {said}")
            reply.tries += 1
            if reply.last_id:
                headers["Last-Event-ID"] = reply.last_id
            said = self.listen("POST", "/api/v1/chat/message", message, headers, reply)
            if reply.end is None:
                time.sleep(0.2)
        return reply

    def hear_again(self, message_id):
        """A reply of earlier, from what is kept of it."""
        reply = Reply()
        path = f"/api/v1/chat/stream/{self.session}?message_id={message_id}"
        self.listen("GET", path, None, {**self.headers(), "Accept": "text/event-stream"}, reply)
        return reply

    def listen(self, method, path, body, headers, reply):
        """One line: what comes goes into the reply. The answer's status, or what was wrong with the line."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=35)
        try:
            line.request(method, path, body, headers)
            response = line.getresponse()
            if response.status != 200:
                said = (response.status, response.read()[:300])
                # Busy is who asks again while the edge hasn't heard yet that the reply ended.
                if response.status not in TRY_AGAIN:
                    raise Broken(f"{method} {path}: {said}")
                return said
            event, identity, data = None, None, None
            while reply.end is None:
                read = response.readline()
                if not read:
                    return "the stream ended"
                name, _, value = read.decode().rstrip("\n").partition(": ")
                if name == "event":
                    event = value
                elif name == "id":
                    identity = value
                elif name == "data":
                    data = json.loads(value)
                elif not name and event:
                    reply.take(event, data)
                    reply.last_id = identity or reply.last_id
                    event = identity = None
            return 200
        except (OSError, http.client.HTTPException) as error:
            return error
        finally:
            line.close()
