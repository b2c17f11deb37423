"""Connections that were meant for somebody else (`to = "original"`): the kernel has led them here, and knows
where they were to go.

An nftables `redirect` (or DNAT) rewrites the address, which connection tracking remembers: SO_ORIGINAL_DST.
TPROXY leaves it: the accepted socket's own address is where its client meant to connect. Who connected to the
listener itself meant nobody else: to lead him on would lead him here, for ever.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Final, cast

from muxproxy.config.destination import Destination
from muxproxy.config.sources import Sources
from muxproxy.mux.base.pool import Pool
from muxproxy.mux.destinations.front import Front
from muxproxy.worker.door import Door, Shut, is_own
from muxproxy.worker.engine import Engine
from muxproxy.worker.listener import Listener
from muxproxy.worker.tls.contexts import Secured

# linux/netfilter_ipv4.h and linux/netfilter_ipv6/ip6_tables.h: the same number at both levels
_SO_ORIGINAL_DST: Final = 80
_IPV4 = struct.Struct("!2xH4s8x")  # struct sockaddr_in
_IPV6 = struct.Struct("!2xH4x16s4x")  # struct sockaddr_in6
DIRECT: Final = "it connected to muxproxy itself, and no rule of the kernel's led it here: where to?"

Address = tuple[str, int]


def original(sock: socket.SocketType) -> Address | None:
    """What connection tracking says of a connection whose address was rewritten; None: it knows of none."""
    with contextlib.suppress(OSError):
        if sock.family == socket.AF_INET:
            port, packed = _IPV4.unpack(sock.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, _IPV4.size))
        else:
            port, packed = _IPV6.unpack(sock.getsockopt(socket.IPPROTO_IPV6, _SO_ORIGINAL_DST, _IPV6.size))
        return socket.inet_ntop(sock.family, packed), port
    return None


def meant(
    sock: socket.SocketType, bound: Address, is_own: Callable[[str], bool] = is_own
) -> Destination | None:
    """Where it was to go; None: here. `bound`: where we listen, which may be everywhere."""
    here = cast(Address, sock.getsockname()[:2])
    host, port = original(sock) or here
    if (host, port) == here and port == bound[1]:
        everywhere = bound[0] in ("0.0.0.0", "::")
        if host == bound[0] or (everywhere and is_own(host)):
            return None
    return Destination(host, port)


class OriginalListener(Listener):
    def __init__(
        self,
        engine: Engine,
        front: Front,
        fd: int,
        sources: Sources | None = None,
        secured: Secured | None = None,
    ) -> None:
        super().__init__(engine, front, fd, sources, secured)
        self._front = front
        self._bound = cast(Address, self._socket.getsockname()[:2])

    def _take_in(self, descriptor: int) -> None:
        pool, door = self._led(descriptor)
        self._take(descriptor, pool, door)

    def _led(self, descriptor: int) -> tuple[Pool, Door | None]:
        """Whose client it is, and who asks whether it may be."""
        front = self._front
        sock = socket.SocketType(self._family, socket.SOCK_STREAM, 0, descriptor)
        try:
            destination = meant(sock, self._bound)
        except OSError:  # it is gone already
            return front, Shut("it is gone")
        finally:
            sock.detach()
        if destination is None:
            return front, Shut(DIRECT)
        pool = front.lead(destination, self._engine.time())
        if pool is None:
            return front, Shut(f"{destination}: {front.why}", front.refused)
        return pool, self._door
