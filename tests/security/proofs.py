"""Row 12, first part: proofs of possession (RFC 9449) that do not fit their request."""
import json
import secrets
import time

from client import Visitor
from es256 import Key, b64, sha256
from report import check, same

VALIDATE, MESSAGE, TICKET = "/api/v1/session/validate", "/api/v1/chat/message", "/api/v1/chat/ticket"


def bound(desk, edge=None):
    """A visitor whose session is bound to a key."""
    visitor = Visitor(edge or desk.edge, key=Key()).begin()
    same(visitor.token_type, "DPoP", "token_type of a session that was created with a public_key")
    return visitor


def _call(visitor, proof, scheme="DPoP", method="GET", path=VALIDATE, body=None):
    headers = {"Authorization": f"{scheme} {visitor.token}", "X-Fingerprint": visitor.fingerprint}
    if proof is not None:
        headers["DPoP"] = proof
    if body is not None:
        headers["Content-Type"] = "application/json"
    return visitor.edge.ask(method, path, headers, body)


@check("12", "a key-bound session needs a proof with each call, and Bearer is not enough")
def a_bound_token_is_useless_alone(desk):
    visitor = bound(desk)
    same(_call(visitor, visitor.proof("GET", VALIDATE)).status, 200, "the honest call")
    same(_call(visitor, None).said, (401, "proof_required"), "no proof")
    same(_call(visitor, None, scheme="Bearer").said, (401, "proof_required"), "as Bearer")
    same(_call(visitor, visitor.proof("GET", VALIDATE), scheme="Bearer").said, (401, "proof_required"), "as Bearer with a proof")
    for path in ("/api/v1/session/refresh", TICKET):
        same(_call(visitor, None, method="POST", path=path).said, (401, "proof_required"), path)
    return "stolen from a log or a proxy, the token opens nothing"


@check("12", "a proof that does not fit its request, token or key is 401 proof_invalid")
def proofs_that_do_not_fit_are_refused(desk):
    visitor, stranger = bound(desk), Key()
    public, now = visitor.edge.public, int(time.time())
    good = lambda **changed: visitor.proof("GET", VALIDATE, **changed)
    head = lambda **changed: visitor.proof("GET", VALIDATE, header=changed)
    signed = good()
    cases = {
        "not a token": "x", "empty": "", "two dots": "..",
        "typ JWT": head(typ="JWT"), "no typ": head(typ=None), "alg none": head(alg="none"), "alg HS256": head(alg="HS256"),
        "alg RS256": head(alg="RS256"), "no jwk": head(jwk=None), "a jwk that is none": head(jwk={"kty": "EC"}),
        "another curve": head(jwk={**visitor.key.jwk, "crv": "P-384"}), "a symmetric jwk": head(jwk={"kty": "oct", "k": "eA"}),
        "a point off the curve": head(jwk={**visitor.key.jwk, "y": visitor.key.jwk["x"]}),
        "with the private key": head(jwk={**visitor.key.jwk, "d": b64(b"\1" * 32)}),
        "another's key": good(key=stranger),
        "another's signature": visitor.proof("GET", VALIDATE, key=stranger, header={"jwk": visitor.key.jwk}),
        "htm POST": good(htm="POST"), "htm in small letters": good(htm="get"), "no htm": good(htm=None),
        "htu of another host": good(htu="https://evil.example" + VALIDATE), "htu of another path": good(htu=public + TICKET),
        "htu in http or https": good(htu=("http" if public.startswith("https") else "https") + public[public.index(":"):] + VALIDATE),
        "htu with // in it": good(htu=public + "/" + VALIDATE), "htu is a path": good(htu=VALIDATE), "no htu": good(htu=None),
        "iat 5 minutes ago": good(iat=now - 300), "iat 5 minutes ahead": good(iat=now + 300), "no iat": good(iat=None),
        "iat as text": good(iat=str(now)), "no jti": good(jti=None), "an empty jti": good(jti=""),
        "a jti of 4 kB": good(jti="j" * 4000),
        "ath of another token": good(ath=b64(sha256(b"x"))), "no ath": good(ath=None),
        "bh of another body": good(bh=b64(sha256(b"x"))), "no bh": good(bh=None),
        "a cut signature": signed[:-4], "no signature": signed.rsplit(".", 1)[0] + ".",
        "zero signature": signed.rsplit(".", 1)[0] + "." + b64(b"\0" * 64),
        "DER signature": signed.rsplit(".", 1)[0] + "." + b64(b"\x30\x44" + b"\2\x20" + b"\1" * 32 + b"\2\x20" + b"\1" * 32),
        "a session token": visitor.token,
    }
    wrong = []
    for what, proof in cases.items():
        told = _call(visitor, proof)
        if told.said != (401, "proof_invalid") and (what, told.said) != ("empty", (401, "proof_required")):
            wrong.append(f"{what}: {told.said}")
        if what.startswith("iat 5") and not told.json().get("server_time"):
            wrong.append(f"{what}: no server_time")
    assert not wrong, f"{len(wrong)} of {len(cases)}: " + "; ".join(wrong)
    same(_call(visitor, good(iat=now - 30)).status, 200, "30 s of skew")
    return f"{len(cases)} of {len(cases)} refused; a proof about time gets server_time"


@check("12", "a signed message can't be edited: body, path, method")
def signed_requests_can_not_be_edited(desk):
    visitor = bound(desk)
    body = json.dumps({"message": "one shoe", "message_id": secrets.token_hex(8)}).encode()
    edited = body.replace(b"one shoe", b"ten shoe")
    same(_call(visitor, visitor.proof("POST", MESSAGE, body), method="POST", path=MESSAGE, body=edited).said,
         (401, "proof_invalid"), "another body")
    for path in ("/api/v1/chat//message", "/api/v1/chat/%6dessage", "/api/v1/chat/./message", "/api/v1/x/../chat/message",
                 "//api/v1/chat/message", "/API/v1/chat/message", "/api/v1/chat/message/", "/api/v1/chat/cancel"):
        told = _call(visitor, visitor.proof("POST", MESSAGE, body), method="POST", path=path, body=body)
        assert told.status in (400, 401, 404), f"{path}: {told.said}"
    told = _call(visitor, visitor.proof("POST", MESSAGE, body), method="POST", path=MESSAGE, body=body)
    same(told.status, 200, "the honest one")
    # The query is not part of `htu`: an honest proof is good whatever stands there, and only once.
    told = _call(visitor, visitor.proof("GET", VALIDATE), path=f"{VALIDATE}?b=1&a=2")
    same(told.status, 200, "with a query")
    return "body swap, 8 spellings of the path: refused"


@check("12", "another's key can't take over a session, at refresh neither")
def a_session_keeps_its_key(desk):
    visitor, stranger = bound(desk), Key()
    refresh = "/api/v1/session/refresh"
    told = _call(visitor, visitor.proof("POST", refresh, key=stranger), method="POST", path=refresh)
    same(told.said, (401, "proof_invalid"), "a stranger's refresh")
    told = _call(visitor, visitor.proof("POST", refresh), method="POST", path=refresh)
    same((told.status, told.json().get("token_type")), (200, "DPoP"), "the honest refresh")
    visitor.token = told.json()["token"]
    same(_call(visitor, None, scheme="Bearer").said, (401, "proof_required"), "the new token alone")
    private = {**stranger.jwk, "d": b64(stranger.secret.to_bytes(32, "big"))}
    for what, jwk in (("a private key", private), ("another curve", {**stranger.jwk, "crv": "P-384"}),
                      ("a point off the curve", {**stranger.jwk, "y": stranger.jwk["x"]}), ("RSA", {"kty": "RSA", "n": "AQAB", "e": "AQAB"})):
        told = Visitor(desk.edge).create(public_key=jwk)
        same(told.said, (400, "invalid_request"), f"create with {what}")
    return "refresh keeps the key; 4 bad keys refused at creation"
