"""What is said in `[upstream.tls]` and `[clients.tls]`, and the files it names, as OpenSSL takes it.

A worker makes its contexts here; whoever reads a configuration does, too, so that a file that is missing,
broken or of another pair is a problem of that key and not one of the first connect.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from muxproxy.config.identity import Identity
from muxproxy.config.model import Backend, ClientsTls, UpstreamTls
from muxproxy.config.tls.certificates import days_left
from muxproxy.errors import Problem

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
# What a protocol is called in a handshake (RFC 7301). The others have no name there, unless it is written.
ALPN = {"http": ["http/1.1"]}
_PASSWORD = "its key has a passphrase: muxproxy asks nobody; write it without"


class TlsFileError(ValueError):
    """`key`: whose file it is."""

    def __init__(self, key: str, rule: str) -> None:
        super().__init__(rule)
        self.key = key


def upstream_context(tls: UpstreamTls, protocol: str) -> ssl.SSLContext:
    """Raises TlsFileError."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT, tls, protocol)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif tls.ca_file:
        _trust(context, tls.ca_file)
    else:
        _trust_the_system(context)
    if tls.cert_file:
        _show(context, tls.cert_file, tls.key_file)
    return context


def clients_context(tls: ClientsTls, protocol: str) -> ssl.SSLContext:
    """Raises TlsFileError."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, tls, protocol)
    _show(context, tls.cert_file, tls.key_file)
    if tls.ca_file:
        _trust(context, tls.ca_file)
        context.verify_mode = ssl.CERT_REQUIRED if tls.ask == "required" else ssl.CERT_OPTIONAL
    return context


def _context(role: int, tls: UpstreamTls | ClientsTls, protocol: str) -> ssl.SSLContext:
    context = ssl.SSLContext(role)
    context.minimum_version = _VERSIONS[tls.min_version]
    # A server that wants to shake hands again in the middle (TLS 1.2) is told no: nobody needs it, and a
    # client that asks for it costs us a key exchange each time (P10).
    context.options |= ssl.OP_NO_RENEGOTIATION
    names = [tls.alpn] if tls.alpn else ALPN.get(protocol)
    if names is not None:
        context.set_alpn_protocols(names)
    return context


def _trust_the_system(context: ssl.SSLContext) -> None:
    """In a folder OpenSSL looks for the one that it needs, when it needs it; a bundle it reads to its end,
    for 50 ms (measured, 144 of them), which is too long where clients wait."""
    folder = ssl.get_default_verify_paths().capath
    if folder and "SSL_CERT_FILE" not in os.environ and _is_hashed(Path(folder)):
        context.load_verify_locations(capath=folder)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)


def _is_hashed(folder: Path) -> bool:
    """As by c_rehash: `5ed36f99.0`."""
    try:
        return any(name.endswith(".0") for name in os.listdir(folder))
    except OSError:
        return False


def _trust(context: ssl.SSLContext, path: str) -> None:
    _readable("ca_file", path)
    try:
        context.load_verify_locations(cafile=path)
    except (ssl.SSLError, OSError) as error:
        raise TlsFileError("ca_file", f"has no certificate that can be read ({_words(error)})") from None
    # An operator who writes one certificate means it, be it a root's or not.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def _show(context: ssl.SSLContext, cert: str, key: str) -> None:
    where = "key_file" if key else "cert_file"
    _readable("cert_file", cert)
    if key:
        _readable("key_file", key)
    asked: list[bool] = []

    def password() -> str:  # or OpenSSL asks the terminal
        asked.append(True)
        return ""

    try:
        context.load_cert_chain(cert, key or None, password)
    except (ssl.SSLError, OSError) as error:
        if asked:
            raise TlsFileError(where, _PASSWORD) from None
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            raise TlsFileError(where, f"is not the key of the certificate in {cert}") from None
        if not key or not _has(cert, "CERTIFICATE"):
            what = "certificate" if key else "certificate and key"
            raise TlsFileError("cert_file", f"has no {what} that can be read ({_words(error)})") from None
        raise TlsFileError("key_file", f"has no key that can be read ({_words(error)})") from None


def _has(path: str, what: str) -> bool:
    return f"-----BEGIN {what}-----".encode() in Path(path).read_bytes()


def _readable(key: str, path: str) -> None:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise TlsFileError(key, f"cannot be read: {error.strerror}") from None


def _words(error: Exception) -> str:
    """OpenSSL's, without the place in its source."""
    return (
        str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)
        .lower()
        .replace("_", " ")
    )


def files(tls: UpstreamTls | ClientsTls) -> tuple[str, ...]:
    """What is read; a change of these is a change of `tls`."""
    return tuple(file for file in (tls.ca_file, tls.cert_file, tls.key_file) if file)


def unusable(backend: Backend) -> Iterator[Problem]:
    """Of what is named there. A key that was wrong by itself is left out of the model."""
    clients, upstream = backend.clients.tls, backend.upstream.tls
    if clients is not None:
        yield from _problem(backend, "clients.tls", clients)
    if upstream is not None:
        yield from _problem(backend, "upstream.tls", upstream)


def _problem(backend: Backend, place: str, tls: UpstreamTls | ClientsTls) -> Iterator[Problem]:
    try:
        if isinstance(tls, UpstreamTls):  # the system's CAs are no file of the operator's
            upstream_context(tls if tls.ca_file else replace(tls, verify=False), backend.protocol)
        else:
            clients_context(tls, backend.protocol)
    except TlsFileError as error:
        yield Problem(backend.file, f"{place}.{error.key}", json.dumps(getattr(tls, error.key)), str(error))


def unreadable(backend: Backend, user: str, who: Identity | None) -> Iterator[Problem]:
    """Files that workers cannot read, though we can: warnings. `who`: `user` in numbers; None: as we are."""
    for place, tls in (("clients.tls", backend.clients.tls), ("upstream.tls", backend.upstream.tls)):
        for key in ("ca_file", "cert_file", "key_file") if tls is not None and who is not None else ():
            path = getattr(tls, key)
            if path and not _may_read(Path(path), who):
                rule = f"workers run as {user}, who cannot read it: chgrp it to a group of his and chmod g+r"
                yield Problem(backend.file, f"{place}.{key}", json.dumps(path), rule)


def _may_read(path: Path, who: Identity | None) -> bool:
    """True, too, where there is none: that is told elsewhere."""
    if who is None or who.uid == 0:
        return True
    try:
        real = path.resolve(strict=True)
        return _allows(real.stat(), who, 4) and all(_allows(each.stat(), who, 1) for each in real.parents)
    except (OSError, RuntimeError):
        return True


def _allows(status: os.stat_result, who: Identity, bit: int) -> bool:
    """`bit`: 4 to read, 1 to go through a directory. Of owner, group, others the first that one is counts."""
    shift = 6 if status.st_uid == who.uid else 3 if status.st_gid in (who.gid, *who.groups) else 0
    return bool(status.st_mode >> shift & bit)


def days(path: str, now: float) -> float:
    """That are left of the certificate which is shown, the first in the file. `now`: seconds since 1970."""
    return days_left(Path(path).read_bytes(), now)
