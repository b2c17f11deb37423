"""A Redis server, asked how many clients it takes. Only one that the configuration names is asked."""

from __future__ import annotations

import socket
from typing import Any, BinaryIO, NamedTuple

from muxproxy.config.address import Address
from muxproxy.config.model import UpstreamTls
from muxproxy.config.tls.files import TlsFileError, upstream_context

TIMEOUT = 2.0  # seconds
_LONGEST = 1 << 20  # bytes of a reply


class CannotBeAskedError(Exception):
    """`str()` says why."""


class Told(NamedTuple):
    maxclients: int
    clients: int | None  # that it has now
    how: str


def ask(address: Address, username: str, password: str, tls: UpstreamTls | None = None) -> Told:
    """By TLS if the backend says so: the password goes nowhere else. Raises CannotBeAskedError."""
    try:
        with _connected(address, tls) as sock, sock.makefile("rwb") as stream:
            if password:
                _said(stream, "AUTH", *([username] if username else []), password)
            info = fields(_said(stream, "INFO", "clients"))
            # This question is one of them.
            now = int(info["connected_clients"]) - 1 if "connected_clients" in info else None
            try:
                told = _said(stream, "CONFIG", "GET", "maxclients")
                return Told(int(told[1]), now, f"CONFIG GET maxclients, asked of {address}")
            except (CannotBeAskedError, LookupError):  # renamed, or not for this user
                return Told(int(info["maxclients"]), now, f"INFO clients, asked of {address}")
    except CannotBeAskedError as error:
        raise CannotBeAskedError(f"{address}: {error}") from None
    except OSError as error:
        raise CannotBeAskedError(f"{address}: {error.strerror or error}") from None
    except TlsFileError as error:
        raise CannotBeAskedError(f"upstream.tls.{error.key} {error}") from None
    except (ValueError, LookupError, TypeError):
        raise CannotBeAskedError(f"{address}: what answers does not say it as Redis does") from None


def _connected(address: Address, tls: UpstreamTls | None) -> socket.socket:
    sock = _plainly(address)
    if tls is None:
        return sock
    with sock:  # of which wrap_socket() takes the descriptor, if all goes well
        name = tls.server_name or address.host or None
        return upstream_context(tls, "redis").wrap_socket(sock, server_hostname=name)


def _plainly(address: Address) -> socket.socket:
    if address.kind == "tcp":
        return socket.create_connection((address.host, address.port), timeout=TIMEOUT)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(TIMEOUT)
    try:
        sock.connect(address.path)
    except OSError:
        sock.close()
        raise
    return sock


def _said(stream: Any, *words: str) -> list[str]:
    parts = [f"*{len(words)}\r\n".encode()]
    for word in words:
        raw = word.encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(raw), raw))
    stream.write(b"".join(parts))
    stream.flush()
    return read(stream)


def read(stream: BinaryIO, depth: int = 0) -> list[str]:
    """The strings of a reply. Raises CannotBeAskedError and ValueError."""
    line = stream.readline(_LONGEST)
    if not line.endswith(b"\r\n"):
        raise CannotBeAskedError("the server closed the connection")
    kind, rest = line[:1], line[1:-2]
    if kind == b"-":
        raise CannotBeAskedError("the server refuses: " + rest.split(b" ")[0].decode(errors="replace"))
    if kind in (b"+", b":"):
        return [rest.decode(errors="replace")]
    size = int(rest)
    if kind == b"$":
        if not 0 <= size <= _LONGEST:
            raise ValueError("no string")
        return [stream.read(size + 2)[:-2].decode(errors="replace")]
    if kind == b"*" and 0 <= size <= 64 and depth < 2:
        return [word for _ in range(size) for word in read(stream, depth + 1)]
    raise ValueError("no reply of Redis")


def fields(told: list[str]) -> dict[str, str]:
    """Of INFO: `name:value` on lines."""
    pairs = (line.partition(":") for line in told[0].splitlines() if ":" in line)
    return {name: value for name, _, value in pairs}
