"""Who has just connected, and may he? (`[clients] from`, config/sources.py)

An address is this machine's own if the kernel's routing table says so now: addresses come and go while we
run, and a bind() to it would tell nothing where net.ipv4.ip_nonlocal_bind is set. Most are told without a
question: who connects to one of this machine's addresses from this machine comes from the same one.
"""

from __future__ import annotations

import asyncio
import socket
import struct

from muxproxy.config.sources import Sources
from muxproxy.protocols.contract import Reason
from muxproxy.worker.visit import Visit

# linux/netlink.h and linux/rtnetlink.h
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ROUTE = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_RTM_NEWROUTE, _RTM_GETROUTE, _NLM_F_REQUEST, _RTA_DST, _RTN_LOCAL = 24, 26, 1, 1, 2
_TIMEOUT = 1.0  # seconds; the kernel answers within the call that asks


def is_own(host: str) -> bool:
    """False where nobody can say."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return _is_local(family, socket.inet_pton(family, host.partition("%")[0]))
    except OSError:
        return False


def _is_local(family: int, address: bytes) -> bool:
    route = _ROUTE.pack(family, len(address) * 8, 0, 0, 0, 0, 0, 0, 0)
    body = route + _ATTRIBUTE.pack(_ATTRIBUTE.size + len(address), _RTA_DST) + address
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:  # 0: NETLINK_ROUTE
        kernel.settimeout(_TIMEOUT)
        kernel.sendto(
            _HEADER.pack(_HEADER.size + len(body), _RTM_GETROUTE, _NLM_F_REQUEST, 1, 0) + body, (0, 0)
        )
        reply = kernel.recv(65536)
    if len(reply) < _HEADER.size + _ROUTE.size or _HEADER.unpack_from(reply)[1] != _RTM_NEWROUTE:
        return False  # no route leads there
    return bool(_ROUTE.unpack_from(reply, _HEADER.size)[7] == _RTN_LOCAL)


class Door:
    """Of one listener."""

    reason = Reason.DENIED  # of who is turned away

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def turns_away(self, transport: asyncio.Transport | Visit) -> str:
        """Why its peer may not connect; "": it may."""
        peer = transport.get_extra_info("peername")
        if not isinstance(peer, tuple):
            return "one who is gone already cannot be told from others"
        host = str(peer[0])
        name = transport.get_extra_info("sockname")
        here = str(name[0]) if isinstance(name, tuple) else ""
        if self._sources.admit(host, lambda host: host == here or is_own(host)):
            return ""
        return f"{host} may not connect: [clients] from = {self._sources.text}"


class Shut(Door):
    """Of one client, who does not come in."""

    def __init__(self, why: str, reason: Reason = Reason.DENIED) -> None:
        self._why = why
        self.reason = reason

    def turns_away(self, transport: asyncio.Transport | Visit) -> str:
        return self._why
