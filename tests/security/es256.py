"""JOSE by hand, for tests only: base64url, HS256, and ES256 over a P-256 that is neither fast nor safe from timing.

A library would refuse to make what an attacker makes. SEC 1 and FIPS 186-4 for the curve, RFC 7515 for the form.
"""
import base64
import hashlib
import hmac
import json
import secrets

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def sha256(data):
    return hashlib.sha256(data).digest()


def part(value):
    """One part of a token; text goes in as it is, so that a test can write what no JSON writer writes."""
    return b64(value.encode() if isinstance(value, str) else json.dumps(value, separators=(",", ":")).encode())


def hs256(header, claims, secret):
    signed = f"{part(header)}.{part(claims)}"
    return f"{signed}.{b64(hmac.digest(secret.encode(), signed.encode(), 'sha256'))}"


def _add(a, b):
    """Affine addition; None is the point at infinity."""
    if a is None or b is None:
        return a or b
    if a[0] == b[0]:
        if (a[1] + b[1]) % P == 0:
            return None
        slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, P)
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


# 2**i times G: a multiplication then takes 128 additions.
_POWERS = [G]
for _ in range(255):
    _POWERS.append(_add(_POWERS[-1], _POWERS[-1]))


def _times_g(k):
    point = None
    for i in range(256):
        if k >> i & 1:
            point = _add(point, _POWERS[i])
    return point


class Key:
    """A P-256 key pair."""

    def __init__(self):
        self.secret = secrets.randbelow(N - 1) + 1
        x, y = _times_g(self.secret)
        self.jwk = {"kty": "EC", "crv": "P-256", "x": b64(x.to_bytes(32, "big")), "y": b64(y.to_bytes(32, "big"))}

    def sign(self, data):
        digest = int.from_bytes(sha256(data), "big")
        while True:
            k = secrets.randbelow(N - 1) + 1
            r = _times_g(k)[0] % N
            s = pow(k, -1, N) * (digest + r * self.secret) % N
            if r and s:
                return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def jwt(self, header, claims):
        signed = f"{part(header)}.{part(claims)}"
        return f"{signed}.{b64(self.sign(signed.encode()))}"
