"""TLS in the edge itself: what is older than 1.2, or no TLS at all, gets nothing."""
import shutil
import socket
import ssl
import subprocess
import warnings

from client import Visitor
from report import Skip, check, same


def _certificate(folder):
    tool = shutil.which("openssl")
    if tool is None:
        raise Skip("there is no openssl to make a certificate with")
    certificate, key = folder / "tls-cert.pem", folder / "tls-key.pem"
    subprocess.run([tool, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj",
                    "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
                   check=True, capture_output=True, timeout=20)
    return certificate, key


def _spoken(edge, certificate, version, ciphers=None):
    """The version that was agreed on when only `version` is offered; None if there was none."""
    context = ssl.create_default_context(cafile=str(certificate))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    # Else this side's OpenSSL would refuse old ones by itself.
    context.set_ciphers(ciphers or "ALL:@SECLEVEL=0")
    try:
        with socket.create_connection((edge.host, edge.port), 5) as plain, context.wrap_socket(plain, server_hostname=edge.host) as secure:
            return secure.version()
    except (ssl.SSLError, OSError):
        return None


@check("tls", "with a certificate the edge speaks TLS 1.2 and 1.3 only, and tells browsers to stay with it", own=True)
def old_tls_is_refused(desk):
    certificate, key = _certificate(desk.folder)
    with desk.single(TLS_CERT=str(certificate), TLS_KEY=str(key)) as (process, edge):
        assert process.url.startswith("https://"), f"it listens on {process.url}"
        edge.context = ssl.create_default_context(cafile=str(certificate))
        version = ssl.TLSVersion
        found = {name: _spoken(edge, certificate, getattr(version, name)) for name in ("TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3")}
        same(found, {"TLSv1": None, "TLSv1_1": None, "TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"})
        for weak in ("AES128-SHA", "DES-CBC3-SHA", "ECDHE-ECDSA-AES128-SHA", "NULL-SHA256"):
            try:
                same(_spoken(edge, certificate, version.TLSv1_2, f"{weak}:@SECLEVEL=0"), None, weak)
            except ssl.SSLError:
                pass  # this side does not even know it any more
        with socket.create_connection((edge.host, edge.port), 5) as plain:
            plain.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            try:
                received = plain.recv(4096)
            except OSError:
                received = b""
        assert b" 200 " not in received, f"plain HTTP got {received[:60]!r}"
        visitor = Visitor(edge).begin()
        assert "strict-transport-security" in visitor.created.headers, "no Strict-Transport-Security"
        same([name for name, *_ in visitor.say("hello").events()][-1], "end", "a message")
    return "1.0, 1.1, plain HTTP and 4 weak suites refused; a message over TLS has its reply"
