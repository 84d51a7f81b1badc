"""Row 12, second part: the same signed request again, in parallel, on two edges."""
import json
import secrets
import threading

from client import Visitor
from es256 import Key
from report import check, same

MESSAGE = "/api/v1/chat/message"


def _volley(visitor, edges, method, path, body, headers, copies):
    """Sends copies at the same moment, on kept connections that are open before; the answers."""
    answers, gate = [], threading.Barrier(copies)

    def one(edge):
        line = edge.line()
        line.connect()
        gate.wait(10)
        answers.append(edge.ask(method, path, headers, body, line=line))
        line.close()

    threads = [threading.Thread(target=one, args=(edges[n % len(edges)],), daemon=True) for n in range(copies)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    same(len(answers), copies, "answers")
    return answers


@check("12", "of 50 parallel copies of a signed request on two edges exactly one is taken")
def parallel_copies_are_taken_once(desk):
    visitor = Visitor(desk.edge, key=Key()).begin()
    same(visitor.token_type, "DPoP", "token_type of a session that was created with a public_key")
    edges = [desk.edge, *([desk.other] if desk.other else [])]
    copies = 50 if desk.own else 10
    for method, path, body in (("POST", MESSAGE, {"message": "one shoe", "message_id": secrets.token_hex(8)}),
                               ("POST", "/api/v1/chat/ticket", None), ("GET", "/api/v1/session/validate", None)):
        data = json.dumps(body).encode() if body else b""
        headers = {**visitor.credentials(method, path, data), **({"Content-Type": "application/json"} if body else {})}
        answers = _volley(visitor, edges, method, path, data or None, headers, copies)
        taken = sum(answer.status == 200 for answer in answers)
        replayed = sum(answer.said == (401, "proof_replayed") for answer in answers)
        same((taken, replayed), (1, copies - 1), f"{path}: taken and proof_replayed")
        late = [edge.ask(method, path, headers, data or None).said for edge in edges]
        same(late, [(401, "proof_replayed")] * len(edges), f"{path}: once more")
    return f"3 routes x {copies} copies on {len(edges)} edge(s): 1 taken each, the others proof_replayed"


@check("12", "parallel copies of an unsigned message run the workflow once", own=True)
def parallel_messages_run_once(desk):
    visitor = Visitor(desk.edge).begin()
    body = json.dumps({"message": "hello", "message_id": secrets.token_hex(8)}).encode()
    headers = {**visitor.credentials("POST", MESSAGE, body), "Content-Type": "application/json"}
    before = desk.n8n.asked
    answers = _volley(visitor, [desk.edge, desk.other], "POST", MESSAGE, body, headers, 50)
    same({answer.status for answer in answers}, {200}, "each copy gets the reply")
    same(desk.n8n.asked - before, 1, "runs of the workflow")
    ends = {[name for name, *_ in answer.events()][-1] for answer in answers}
    same(ends, {"end"}, "how they end")
    return "50 copies on two edges: 50 replies, 1 run"
