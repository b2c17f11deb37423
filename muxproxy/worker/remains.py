"""What the kernel has received on a connection that has broken, and nobody has read yet.

A server may answer an upload early and close (413): its RST meets our next write, which fails, and uvloop
ends the transport at once, with the whole answer unread. Linux keeps what came before an RST.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

SIZE = 256 * 1024  # bytes at a time, as uvloop reads
# Bytes in all. More than a receive buffer holds (net.ipv4.tcp_rmem, 6 MiB by default).
MOST = 16 * 1024 * 1024


class Keeper:
    """A transport whose peer's bytes are not what its socket has."""

    __slots__ = ()

    def unread(self) -> Iterator[bytes]:
        raise NotImplementedError


def unread(wire: asyncio.BaseTransport) -> Iterator[bytes]:
    """For connection_lost(), whose descriptor is still open. Ends where the bytes do, whatever ended them."""
    if isinstance(wire, Keeper):
        yield from wire.unread()
        return
    named = wire.get_extra_info("socket")
    if named is None or named.fileno() < 0:
        return
    sock = socket.SocketType(named.family, socket.SOCK_STREAM, 0, named.fileno())
    try:
        left = MOST
        while left > 0:
            data = sock.recv(SIZE, socket.MSG_DONTWAIT)
            if not data:
                return
            left -= len(data)
            yield data
    except OSError:  # nothing more, or the error that ended it
        return
    finally:
        sock.detach()
