"""sock_diag's messages (muxproxy/sockdiag.py), decoded as little as it takes.

iter_unpack() over 100,000 TIME_WAITs takes 0.1 s: one is a tuple here and then a number of its flow, and the
kernel filters by state, so that the rest can be listed again and again beside them.

Structures: linux/inet_diag.h, linux/tcp.h.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator, Sequence

from muxproxy.doctor.reading.sockets import Lister, Socket, TimeWait
from muxproxy.sockdiag import BIT, STATES, SockDiag, messages, uniform

TIME_WAIT, LISTEN = BIT["TIME_WAIT"], BIT["LISTEN"]
LIVE = sum(BIT.values()) - TIME_WAIT - LISTEN - BIT["CLOSE"]

_INFO, _SKMEMINFO = 2, 7  # attributes INET_DIAG_INFO and INET_DIAG_SKMEMINFO
_WITH_INFO, _WITH_MEMORY = 1 << (_INFO - 1), 1 << (_SKMEMINFO - 1)
_DROPS = 8  # SK_MEMINFO_DROPS: the ninth of its numbers
_TIMED_OUT = (1, 4)  # idiag_timer: retransmission, and probes of a window that is closed

# inet_diag_msg, behind the header: family, state, timer, retransmits, sport, (dport, src, dst), cookie,
# expires, receive and send queue, uid, inode.
_MESSAGE = struct.Struct("=16xBBBB2s34s4xQIIIII")
_ATTRIBUTE = struct.Struct("=HH")
# tcp_info: rto is at 8; unacked 24; last_data_sent 44, last_data_recv 52; rtt 68; total_retrans 100;
# data_segs_out 156.
_TCP_INFO = struct.Struct("=24xI16xI4xI12xI28xI52xI")


class Diag(Lister):
    """Every question is one dump for each family."""

    def __init__(self) -> None:
        self._kernel = SockDiag()

    def close(self) -> None:
        self._kernel.close()

    def live(self) -> list[Socket]:
        return self._sockets(LIVE, _WITH_INFO)

    def listening(self) -> list[Socket]:
        return self._sockets(LISTEN, _WITH_MEMORY)

    def time_waits(self) -> Iterator[tuple[int, list[TimeWait]]]:
        for family in (socket.AF_INET, socket.AF_INET6):
            yield family, [each for data in self._dump(family, TIME_WAIT, 0) for each in time_waits(data)]

    def _sockets(self, states: int, attributes: int) -> list[Socket]:
        return [
            each
            for family in (socket.AF_INET, socket.AF_INET6)
            for data in self._dump(family, states, attributes)
            for each in sockets(data)
        ]

    def _dump(self, family: int, states: int, attributes: int) -> Iterator[bytes]:
        try:
            yield from self._kernel.dump(family, states, attributes=attributes)
        except OSError as error:
            if family == socket.AF_INET or error.errno != errno.ENOENT:
                raise  # else a kernel without IPv6, which has no sockets of it


def time_waits(data: bytes) -> list[TimeWait]:
    """Of one datagram."""
    size = uniform(data)
    if size >= _MESSAGE.size:
        return list(struct.iter_unpack(f"=I16x2s34s4xQI{size - 72}x", data))
    return [
        (end - at, *_MESSAGE.unpack_from(data, at)[4:8])
        for at, end in messages(data)
        if end - at >= _MESSAGE.size
    ]


def sockets(data: bytes) -> Iterator[Socket]:
    for at, end in messages(data):
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
        name = STATES[state]
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
