"""What a list of TCP sockets tells of each, whoever made it: diag.py by netlink, or procnet.py."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import NamedTuple

from muxproxy.doctor.facts import SOCK_DIAG

Key = bytes  # dport, src, dst, in the network's order: 34 bytes


class Socket(NamedTuple):
    """One that is not in TIME_WAIT."""

    state: str
    family: int
    local_port: int
    key: Key
    cookie: int  # never used twice while the machine runs (procnet.py: by the same two ends)
    queue: int  # LISTEN: how many wait for accept(); else bytes
    backlog: int  # LISTEN: how many may, 0: not told; else bytes
    uid: int
    inode: int  # 0: no process holds it; the kernel is finishing it alone
    is_unanswered: bool
    is_busy: bool = False  # ESTABLISHED: has said something, and nothing has come since
    rtt: int = 0  # microseconds
    retransmitted: int = 0
    sent: int = 0  # segments with data
    dropped: int = 0  # LISTEN


# Length of its message, local port, key, cookie, and in how many milliseconds it ends. No class: there are
# many.
TimeWait = tuple[int, bytes, Key, int, int]


class Ends(NamedTuple):
    source: str
    host: str
    port: int


class Lister:
    """Who makes lists. Raises OSError."""

    by = SOCK_DIAG
    refused = ""  # why it is not sock_diag that makes them

    def live(self) -> list[Socket]:
        raise NotImplementedError

    def listening(self) -> list[Socket]:
        raise NotImplementedError

    def time_waits(self) -> Iterator[tuple[int, list[TimeWait]]]:
        """By family."""
        raise NotImplementedError

    def close(self) -> None:
        pass


def ends(family: int, key: Key) -> Ends:
    """An IPv4 address in IPv6 clothes, as Java and Go have them, is the IPv4 address: its ports are the
    same."""
    source, host = key[2:18], key[18:34]
    return Ends(address(family, source), address(family, host), int.from_bytes(key[:2], "big"))


_MAPPED = bytes(10) + b"\xff\xff"


def address(family: int, raw: bytes) -> str:
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, raw[:4])
    if raw.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, raw[12:16])
    return socket.inet_ntop(socket.AF_INET6, raw)
