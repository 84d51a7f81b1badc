"""Who vouches for a customer: forged, old and foreign identity tokens make nobody."""
import json
import secrets
import time

from client import Visitor
from es256 import Key, hs256, unb64
from report import check, same

HEADER = {"alg": "HS256", "typ": "JWT"}


def _claims_of(token):
    return json.loads(unb64(token.split(".")[1]))


@check("1", "a forged identity token makes an anonymous session, and says why", own=True)
def forged_identities_make_nobody(desk):
    secret, now = secrets.token_hex(24), int(time.time())
    claims = {"sub": "customer-1", "aud": "default", "iat": now, "exp": now + 300, "name": "Ada", "admin": True}
    sign = lambda secret=secret, header=HEADER, **changed: hs256(header, {**claims, **changed}, secret)
    key, good = Key(), sign()
    head, body, signature = good.split(".")
    with desk.single(IDENTITY_SECRET=secret) as (_, edge):
        visitor = Visitor(edge).begin(identity_token=good)
        same(visitor.created.json()["identity"], {"sub": "customer-1", "name": "Ada"}, "the honest one")
        cases = {
            "another key": sign(secret=secrets.token_hex(24)), "an empty key": sign(secret=""),
            "alg none": hs256({"alg": "none"}, claims, "").rsplit(".", 1)[0] + ".", "alg HS512": sign(header={"alg": "HS512"}),
            "ES256 by a key of its own": key.jwt({"alg": "ES256", "jwk": key.jwk}, claims), "not a token": "x.y.z", "empty": "",
            "5 kB": "x" * 5000, "expired": sign(exp=now - 60), "good for an hour": sign(exp=now + 3600), "another site": sign(aud="another"),
            "no audience": hs256(HEADER, {name: value for name, value in claims.items() if name != "aud"}, secret),
            "no end": hs256(HEADER, {name: value for name, value in claims.items() if name != "exp"}, secret),
            "not yet": sign(nbf=now + 300), "no customer": sign(sub=""), "a list of customers": sign(sub=["a", "b"]),
            "a session's token": visitor.token, "no signature": f"{head}.{body}.", "a changed customer": f"{head}.{body[:-4]}AAAA.{signature}",
        }
        wrong = []
        for what, token in cases.items():
            told = Visitor(edge).create(identity_token=token).json()
            if told.get("identity", 0) is not None or not told.get("identity_error"):
                wrong.append(f"{what}: identity {told.get('identity')}, identity_error {told.get('identity_error')}")
        assert not wrong, "; ".join(wrong)
        same(edge.ask("GET", "/api/v1/session/validate", {"Authorization": f"Bearer {good}", "X-Fingerprint": "f" * 32}).status, 401,
             "an identity token as a session's")
        # What n8n believes stands in the signed token alone; what the browser claims stays beside it.
        same(visitor.say("who am I").status, 200)
        same(_claims_of(desk.n8n.requests[-1]["jwt_token"])["identity"], {"sub": "customer-1", "name": "Ada"}, "what n8n is told")
        liar = Visitor(edge).begin(metadata={"identity": {"sub": "customer-1"}}, identity={"sub": "customer-1"})
        body = {"message": "who am I", "context": {"identity": "customer-1"}, "identity": {"sub": "customer-1"}}
        same(liar.ask("POST", "/api/v1/chat/message", body).status, 200)
        same(_claims_of(desk.n8n.requests[-1]["jwt_token"])["identity"], None, "what n8n is told of a liar")
    with desk.single(IDENTITY_SECRET=secret, IDENTITY="required") as (_, edge):
        for what in ("another key", "expired", "empty"):
            same(Visitor(edge).create(identity_token=cases[what]).status, 401, f"IDENTITY=required, {what}")
        same(Visitor(edge).create().status, 401, "IDENTITY=required, none")
    return f"{len(cases)} of {len(cases)} anonymous with identity_error; 401 where IDENTITY=required"
