"""Certificates for tests, made by OpenSSL's own program, once per run of the tests: a CA and what it has
signed, another CA that nobody trusts, and what is wrong in one point each.

    made("server")      names localhost, origin.internal and 127.0.0.1; PEM files: .cert, .key, .ca

`end()` gives a socket of a test's own the far end of a TLS connection, step by step and without a thread.
"""

from __future__ import annotations

import atexit
import shutil
import ssl
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

_GOOD = "DNS:localhost,DNS:origin.internal,IP:127.0.0.1"
# name -> alternative names, days that are left, and who signs: "ca", "stranger" or itself
_KINDS = {
    "server": (_GOOD, 30, "ca"),
    "other": (_GOOD, 30, "ca"),  # another one of the same kind
    "soon": (_GOOD, 5, "ca"),
    "expired": (_GOOD, -1, "ca"),
    "misnamed": ("DNS:elsewhere.internal", 30, "ca"),
    "self-signed": (_GOOD, 30, "self"),
    "client": ("DNS:app.internal", 30, "ca"),
    "stranger": (_GOOD, 30, "stranger"),
}


class Made(NamedTuple):
    cert: str
    key: str
    ca: str  # who must be trusted, so that it is


def _openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


@cache
def folder() -> Path:
    path = Path(tempfile.mkdtemp(prefix="muxproxy-certificates-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    for ca in ("ca", "stranger-ca"):
        _signed_by_itself(path, ca, "basicConstraints=critical,CA:TRUE", 30)
    return path


def _signed_by_itself(path: Path, name: str, extension: str, days: int) -> None:
    _openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-keyout", str(path / f"{name}.key"), "-out", str(path / f"{name}.pem"), "-subj", f"/CN={name}"),
        *("-days", str(days), "-addext", extension),
    )


@cache
def made(kind: str) -> Made:
    names, days, signer = _KINDS[kind]
    path = folder()
    cert, key = path / f"{kind}.pem", path / f"{kind}.key"
    ca = {"ca": "ca", "stranger": "stranger-ca", "self": kind}[signer]
    if signer == "self":
        _signed_by_itself(path, kind, f"subjectAltName={names}", days)
    else:
        request, extension = path / f"{kind}.csr", path / f"{kind}.ext"
        extension.write_text(f"subjectAltName={names}\n")
        _openssl(
            *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", str(key), "-out", str(request), "-subj", f"/CN={kind}"),
        )
        _openssl(
            *("x509", "-req", "-in", str(request), "-out", str(cert), "-days", str(days)),
            *("-CA", str(path / f"{ca}.pem"), "-CAkey", str(path / f"{ca}.key"), "-CAcreateserial"),
            *("-extfile", str(extension)),
        )
    return Made(str(cert), str(key), str(path / f"{ca}.pem"))


def server_context(kind: str = "server", *, asks_for: str = "") -> ssl.SSLContext:
    """`asks_for`: of whose CA a client's certificate must be."""
    one = made(kind)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(one.cert, one.key)
    if asks_for:
        context.load_verify_locations(made(asks_for).ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(trusts: str = "server", *, shows: str = "") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(made(trusts).ca)
    if shows:
        context.load_cert_chain(*made(shows)[:2])
    return context
