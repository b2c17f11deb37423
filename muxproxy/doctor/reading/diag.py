"""The kernel's own list of TCP sockets (netlink's sock_diag, as ss asks it), decoded as little as it takes.

Why no library: pyroute2 0.9.7 makes an object of every message, 111 us each, so that 100,000 TIME_WAITs
took it 11 s, after 0.3 s for its import; its undecoded messages are what recv() gives. iter_unpack() over
them takes 0.1 s. A TIME_WAIT is a tuple here and then a number of its flow, and the kernel filters by
state, so that the rest can be listed again and again beside 100,000 of them.

Structures: linux/inet_diag.h, linux/tcp.h.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

STATES = (
    "",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
)
_BIT = {name: 1 << number for number, name in enumerate(STATES) if name}
TIME_WAIT, LISTEN = _BIT["TIME_WAIT"], _BIT["LISTEN"]
LIVE = sum(_BIT.values()) - TIME_WAIT - LISTEN - _BIT["CLOSE"]

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_ERROR, _DONE = 2, 3
_INFO, _SKMEMINFO = 2, 7  # attributes INET_DIAG_INFO and INET_DIAG_SKMEMINFO
_WITH_INFO, _WITH_MEMORY = 1 << (_INFO - 1), 1 << (_SKMEMINFO - 1)
_DROPS = 8  # SK_MEMINFO_DROPS: the ninth of its numbers
_TIMED_OUT = (1, 4)  # idiag_timer: retransmission, and probes of a window that is closed

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_QUERY = struct.Struct("=BBBxI48x")  # inet_diag_req_v2, its sockid all zeros: any
# inet_diag_msg, behind the header: family, state, timer, retransmits, sport, (dport, src, dst), cookie,
# expires, receive and send queue, uid, inode.
_MESSAGE = struct.Struct("=16xBBBB2s34s4xQIIIII")
_ATTRIBUTE = struct.Struct("=HH")
# tcp_info: rto is at 8; unacked 24; last_data_sent 44, last_data_recv 52; rtt 68; total_retrans 100;
# data_segs_out 156.
_TCP_INFO = struct.Struct("=24xI16xI4xI12xI28xI52xI")

Key = bytes  # dport, src, dst, as the kernel has them: 34 bytes


class Socket(NamedTuple):
    """One that is not in TIME_WAIT."""

    state: str
    family: int
    local_port: int
    key: Key
    cookie: int  # never used twice while the machine runs
    queue: int  # LISTEN: how many wait for accept(); else bytes
    backlog: int  # LISTEN: how many may; else bytes
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


class Diag:
    """One netlink socket; every question is one dump for each family. Raises OSError."""

    def __init__(self) -> None:
        self._netlink = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG
        )
        self._netlink.settimeout(10)
        self._buffer = bytearray(1 << 18)  # the kernel fills 32 KiB of it at a time

    def close(self) -> None:
        self._netlink.close()

    def __enter__(self) -> Diag:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def live(self) -> list[Socket]:
        return self._sockets(LIVE, _WITH_INFO)

    def listening(self) -> list[Socket]:
        return self._sockets(LISTEN, _WITH_MEMORY)

    def time_waits(self) -> Iterator[tuple[int, list[TimeWait]]]:
        """By family."""
        for family in (socket.AF_INET, socket.AF_INET6):
            found: list[TimeWait] = []
            for data in self._dump(family, TIME_WAIT, 0):
                found += time_waits(data)
            yield family, found

    def _sockets(self, states: int, attributes: int) -> list[Socket]:
        found: list[Socket] = []
        for family in (socket.AF_INET, socket.AF_INET6):
            for data in self._dump(family, states, attributes):
                found += sockets(data)
        return found

    def _dump(self, family: int, states: int, attributes: int) -> Iterator[bytes]:
        """Datagrams, each of whole messages."""
        body = _QUERY.pack(family, socket.IPPROTO_TCP, attributes, states)
        self._netlink.send(
            _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0) + body
        )
        with memoryview(self._buffer) as buffer:
            while True:
                data = bytes(buffer[: self._netlink.recv_into(buffer)])
                if code := (end := ended(data, states == TIME_WAIT)):
                    raise OSError(code, f"sock_diag: {os.strerror(code)}")
                yield data
                if end == 0:
                    return


def ended(data: bytes, is_uniform: bool) -> int | None:
    """None: more will come; 0: this was the end; else why not, as errno. The end is a message of its own,
    behind the last sockets or alone. `is_uniform`: all sockets are as long as the first, and need not be
    walked through."""
    size = _HEADER.unpack_from(data)[0]
    starts = [(0, size)] if is_uniform and len(data) % size == 0 else _messages(data)
    for at, _ in starts:
        kind = _HEADER.unpack_from(data, at)[1]
        if kind == _DONE:
            return 0
        if kind == _ERROR:
            return -int(struct.unpack_from("=i", data, at + _HEADER.size)[0])
    return None


def time_waits(data: bytes) -> list[TimeWait]:
    """All of a datagram are as long as the first, or each is looked at by itself."""
    size = _HEADER.unpack_from(data)[0]
    if size >= _MESSAGE.size and len(data) % size == 0:
        found = list(struct.iter_unpack(f"=I16x2s34s4xQI{size - 72}x", data))
        if all(each[0] == size for each in found):
            return found
    return [
        (end - at, *_MESSAGE.unpack_from(data, at)[4:8])
        for at, end in _messages(data)
        if end - at >= _MESSAGE.size
    ]


def sockets(data: bytes) -> Iterator[Socket]:
    for at, end in _messages(data):
        if end - at < _MESSAGE.size:  # the end of the dump
            return
        family, state, timer, tries, port, key, cookie, _, queue, backlog, uid, inode = _MESSAGE.unpack_from(
            data, at
        )
        busy, rtt, retransmitted, sent, dropped = False, 0, 0, 0, 0
        for kind, where, size in _attributes(data, at + _MESSAGE.size, end):
            if kind == _INFO and size >= _TCP_INFO.size:
                unacked, since_said, since_heard, rtt, retransmitted, sent = _TCP_INFO.unpack_from(
                    data, where
                )
                busy = bool(unacked) or (sent > 0 and since_said < since_heard)
            elif kind == _SKMEMINFO and size >= 4 * (_DROPS + 1):
                dropped = int(struct.unpack_from("=I", data, where + 4 * _DROPS)[0])
        name = STATES[state] if state < len(STATES) else "SYN_RECV"  # 12: TCP_NEW_SYN_RECV
        yield Socket(
            name,
            family,
            int.from_bytes(port, "big"),
            key,
            cookie,
            queue,
            backlog,
            uid,
            inode,
            tries > 0 and timer in _TIMED_OUT,
            busy and name == "ESTABLISHED",
            rtt,
            retransmitted,
            sent,
            dropped,
        )


def _messages(data: bytes) -> Iterator[tuple[int, int]]:
    """Where each begins and ends."""
    at = 0
    while at + _HEADER.size <= len(data):
        length = _HEADER.unpack_from(data, at)[0]
        if length < _HEADER.size or at + length > len(data):
            return
        yield at, at + length
        at += (length + 3) & ~3


def _attributes(data: bytes, at: int, end: int) -> Sequence[tuple[int, int, int]]:
    """Kind, where its value begins, and its size."""
    found = []
    while at + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < 4:
            break
        found.append((kind, at + 4, length - 4))
        at += (length + 3) & ~3
    return found


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
