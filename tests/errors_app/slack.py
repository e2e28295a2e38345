"""Slack as far as a notice meets it: hooks.slack.com behind a proxy, on this machine.

Nothing of the client is replaced. It is told of a proxy and of a certificate authority by the
environment, as a company tells it of its own; so it calls the address that is written into its
library, checks the certificate for that name, and hands over what it would hand over to Slack.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from executions_app import clock

HOST: Final = "hooks.slack.com"


@dataclass
class Slack:
    """What arrived, by path; `status` is what is answered, `asked_for` what the proxy was asked."""

    authority: Path
    port: int = 0
    status: int = 200
    asked_for: list[str] = field(default_factory=list)
    messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """How a process is told of the proxy, and whose certificates count."""
        return {
            "HTTPS_PROXY": f"http://127.0.0.1:{self.port}",
            "REQUESTS_CA_BUNDLE": str(self.authority),
        }


@contextmanager
def slack(folder: Path, *, host: str = HOST) -> Iterator[Slack]:
    """Slack for the time of the block, with a certificate for `host`."""
    authority, chain = _certificates(folder, host)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(chain)
    here = Slack(authority)

    class Web(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            said = b"ok" if here.status == 200 else b"no_service"
            if here.status == 200:
                here.messages.append((self.path, json.loads(body)))
            self.send_response(here.status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    class Proxy(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            here.asked_for.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.close_connection = True
            try:
                with tls.wrap_socket(self.connection, server_side=True) as tunnel:
                    Web(tunnel, self.client_address, self.server)
            except OSError:
                return  # the client wants nothing of this certificate

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        server.daemon_threads = True
        here.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        yield here
        server.shutdown()


def _certificates(folder: Path, host: str) -> tuple[Path, Path]:
    """The certificate of an authority, and a file with a key and the certificate of `host`."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name, name = _name("an authority of this test"), _name(host)
    root = (
        _unsigned(root_name, root_name, root_key.public_key(), root_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(is_root=True), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    leaf = (
        _unsigned(name, root_name, key.public_key(), root_key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(is_root=False), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    authority, chain = folder / "authority.pem", folder / "host.pem"
    authority.write_bytes(root.public_bytes(pem))
    chain.write_bytes(secret + leaf.public_bytes(pem))
    return authority, chain


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, by: Any
) -> x509.CertificateBuilder:
    now = clock.now()
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by), critical=False)
    )


def _usage(*, is_root: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_root,
        key_cert_sign=is_root,
        crl_sign=is_root,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
