"""Tells Frontdesk who is signed in. Python 3.8 or newer, nothing to install.

In the shop:   token = identity_token(os.environ["IDENTITY_SECRET"], "customer-17", {"name": "Ada"})
To try it:     IDENTITY_SECRET=... python3 sign.py customer-17 '{"name":"Ada"}' [site]
"""
import base64
import hashlib
import hmac
import json
import os
import sys
import time


def identity_token(secret, customer, claims=None, site="default"):
    """`claims`: what of the customer n8n shall know."""
    def encode(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    now = int(time.time())
    # What stands last wins: a claim can't replace these.
    payload = {**(claims or {}), "sub": customer, "aud": site, "iat": now, "exp": now + 300}
    message = encode(b'{"alg":"HS256","typ":"JWT"}') + b"." + encode(json.dumps(payload).encode())
    return (message + b"." + encode(hmac.new(secret.encode(), message, hashlib.sha256).digest())).decode()


if __name__ == "__main__":
    claims = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
    print(identity_token(os.environ["IDENTITY_SECRET"], sys.argv[1], claims, *sys.argv[3:4]))
