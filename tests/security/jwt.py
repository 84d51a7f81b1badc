"""Row 1: forged session tokens of every kind."""
import json
import time

from client import Visitor
from es256 import Key, b64, hs256, part, unb64
from report import check, same

VALIDATE = "/api/v1/session/validate"


def parts(token):
    header, claims, signature = token.split(".")
    return json.loads(unb64(header)), json.loads(unb64(claims)), signature


def _strangers(visitor):
    """What anybody can make, without our key: `(what, token)`."""
    header, claims, signature = parts(visitor.token)
    body = visitor.token.split(".")[1]
    head = visitor.token.split(".")[0]
    key = Key()
    yield "nothing", "."
    yield "two parts", f"{head}.{body}"
    yield "four parts", visitor.token + ".x"
    yield "five parts, as of a JWE", "a.b.c.d.e"
    yield "no signature", f"{head}.{body}."
    yield "another key", hs256(header, claims, "another-key-that-is-long-enough-0123456789")
    yield "an empty key", hs256(header, claims, "")
    for alg in ("none", "None", "NONE", "nOnE", "", None, 0):
        bare = {**header, "alg": alg}
        yield f"alg {alg!r} without a signature", f"{part(bare)}.{body}."
        yield f"alg {alg!r} with a signature", f"{part(bare)}.{body}.{signature}"
    for alg in ("HS384", "HS512", "RS256", "PS256", "ES256", "ES384", "EdDSA", "hs256"):
        yield f"alg {alg}", f"{part({**header, 'alg': alg})}.{body}.{signature}"
    yield "ES256 by a key of its own", key.jwt({"alg": "ES256", "typ": "JWT", "jwk": key.jwk}, claims)
    pem = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n"
    yield "HS256 with a public key as secret", hs256(header, claims, pem)
    for kid in ("../../../../dev/null", "' OR '1'='1", "http://127.0.0.1/key", "k" * 10_000, "/etc/hostname", "\0"):
        yield f"kid {kid[:20]!r}", hs256({**header, "kid": kid}, claims, "")
    for name, value in (("jwk", key.jwk), ("jku", "http://127.0.0.1:9/jwks"), ("x5u", "http://127.0.0.1:9/c"), ("x5c", ["MIIB"]),
                        ("crit", ["exp"]), ("zip", "DEF"), ("enc", "A256GCM")):
        yield f"{name} in the header", hs256({**header, name: value}, claims, "another-key-that-is-long-enough-0123456789")
    # The last of 43 characters holds 4 bits of the signature and 2 that mean nothing: both must count.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(signature[-1])
    for bits in (1, 2, 3, 4, 32):
        yield f"tail bits {bits}", f"{head}.{body}.{signature[:-1]}{alphabet[last ^ bits]}"
    yield "padded", visitor.token + "="
    yield "white space inside", visitor.token.replace(".", ". ", 1)
    yield "another session", f"{head}.{part({**claims, 'sub': 'sess_1767168909_9f86d081884c7d65'})}.{signature}"
    yield "a later end", f"{head}.{part({**claims, 'exp': claims['exp'] + 3600})}.{signature}"
    yield "not JSON", f"{b64(b'{')}.{body}.{signature}"
    yield "10 kB", "A" * 10_000
    yield "a deep header", f"{b64(b'[' * 5000)}.{body}.{signature}"


def _insiders(visitor, secret):
    """Signed with the right key, and still not ours."""
    header, claims, _ = parts(visitor.token)
    sign = lambda **changed: hs256(header, {**claims, **changed}, secret)
    for name in ("iss", "aud", "sub", "exp", "fph"):
        yield f"without {name}", hs256(header, {key: value for key, value in claims.items() if key != name}, secret)
        yield f"{name} is null", sign(**{name: None})
        yield f"{name} is an object", sign(**{name: {}})
    yield "another issuer", sign(iss="elsewhere")
    yield "n8n's audience", sign(aud="n8n")
    yield "two audiences", sign(aud=["frontdesk-edge", "n8n"])
    yield "an issuer in a list", sign(iss=["frontdesk"])
    yield "not a session", sign(sub="admin")
    yield "a site that is none", sign(site="elsewhere")
    yield "exp as text", sign(exp="9999999999")
    yield "exp as a fraction of nothing", sign(exp=-1)
    yield "nbf ahead", sign(nbf=int(time.time()) + 3600)
    duplicate = json.dumps(claims)[:-1] + f',"sub":"{claims["sub"]}"}}'
    yield "a claim twice", hs256(header, duplicate, secret)
    yield "HS512 with the right key", hs256({**header, "alg": "HS512"}, claims, secret)


def _answers(visitor, tokens):
    """The distinct answers to forged tokens, each with who got it, and the slowest."""
    answers, slowest = {}, 0.0
    for what, token in tokens:
        told = visitor.edge.ask("GET", VALIDATE, {"Authorization": f"Bearer {token}", "X-Fingerprint": visitor.fingerprint})
        body = told.json()
        face = (told.status, json.dumps({name: value for name, value in body.items() if name != "request_id"}, sort_keys=True))
        answers.setdefault(face, []).append(what)
        slowest = max(slowest, told.seconds)
    return answers, slowest


@check("1", "forged tokens all get the same 401, whoever made them")
def forged_tokens_get_one_answer(desk):
    visitor = Visitor(desk.edge).begin()
    assert visitor.ask("GET", VALIDATE).status == 200, "the honest token is good"
    tokens = list(_strangers(visitor))
    insiders = list(_insiders(visitor, desk.secrets["JWT_SECRET_KEY"])) if desk.own else []
    if desk.quick and not desk.own:
        tokens = tokens[::3]
    answers, slowest = _answers(visitor, tokens + insiders)
    (status, body), *_ = max(answers, key=lambda face: len(answers[face])), None
    others = {face: who for face, who in answers.items() if face != (status, body)}
    assert not others, "; ".join(f"{who[:6]} got {face[0]} {face[1][:120]}" for face, who in others.items())
    same((status, json.loads(body).get("code")), (401, "token_invalid"))
    signed = f"{len(insiders)} of them signed with the right key, " if insiders else ""
    return f"{len(tokens) + len(insiders)} of {len(tokens) + len(insiders)} refused alike, {signed}slowest {slowest * 1000:.0f} ms"


@check("1", "an expired token is 401 token_expired with the server's time", own=True)
def expired_tokens_are_told_so(desk):
    visitor = Visitor(desk.edge).begin()
    header, claims, _ = parts(visitor.token)
    old = hs256(header, {**claims, "exp": int(time.time()) - 1}, desk.secrets["JWT_SECRET_KEY"])
    told = desk.edge.ask("GET", VALIDATE, {"Authorization": f"Bearer {old}", "X-Fingerprint": visitor.fingerprint})
    same(told.said, (401, "token_expired"))
    assert told.json().get("server_time"), "server_time is missing"
    return "no leeway: a second late is late"


@check("1", "a token counts only in one Authorization header, with its fingerprint")
def tokens_have_one_place(desk):
    visitor = Visitor(desk.edge).begin()
    own = {"X-Fingerprint": visitor.fingerprint}
    cases = [
        ("no token", VALIDATE, own, (401, "unauthorized")),
        ("in the query", f"{VALIDATE}?token={visitor.token}", own, (401, "unauthorized")),
        ("in a cookie", VALIDATE, {**own, "Cookie": f"token={visitor.token}"}, (401, "unauthorized")),
        ("as Basic", VALIDATE, {**own, "Authorization": f"Basic {visitor.token}"}, (401, "unauthorized")),
        ("empty", VALIDATE, {**own, "Authorization": "Bearer "}, (401, None)),
        ("no fingerprint", VALIDATE, {"Authorization": f"Bearer {visitor.token}"}, (401, "fingerprint_mismatch")),
        ("another fingerprint", VALIDATE, {"Authorization": f"Bearer {visitor.token}", "X-Fingerprint": "0" * 32},
         (401, "fingerprint_mismatch")),
        ("an empty fingerprint", VALIDATE, {"Authorization": f"Bearer {visitor.token}", "X-Fingerprint": ""},
         (401, "fingerprint_mismatch")),
    ]
    for what, path, headers, (status, code) in cases:
        told = desk.edge.ask("GET", path, headers)
        assert told.status == status and code in (None, told.code), f"{what}: {told.said}"
        assert "www-authenticate" in told.headers, f"{what}: no WWW-Authenticate"
    twice = (f"GET {VALIDATE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {visitor.token}\r\nAuthorization: Bearer x\r\n"
             f"X-Fingerprint: {visitor.fingerprint}\r\nConnection: close\r\n\r\n")
    received, _ = desk.edge.raw(twice.encode())
    assert received.startswith((b"HTTP/1.1 401", b"HTTP/1.1 400")), f"two headers: {received[:40]!r}"
    return f"{len(cases) + 1} ways refused"


@check("1", "a ticket opens streams of its session and nothing else")
def tickets_open_streams_only(desk):
    visitor = Visitor(desk.edge).begin()
    ticket = visitor.ask("POST", "/api/v1/chat/ticket").json()["ticket"]
    told = desk.edge.ask("GET", VALIDATE, {"Authorization": f"Bearer {ticket}", "X-Fingerprint": visitor.fingerprint})
    same(told.said, (401, "token_invalid"), "as a token")
    told = desk.edge.ask("GET", f"{visitor.stream_path}?ticket={visitor.token}")
    same(told.said, (401, "token_invalid"), "a token as a ticket")
    other = Visitor(desk.edge).begin()
    told = desk.edge.ask("GET", f"{other.stream_path}?ticket={ticket}")
    same(told.said, (403, "session_mismatch"), "another session's stream")
    return "as a token, as another's ticket: refused"
