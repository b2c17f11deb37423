"""What the kernel knows of a peer's machine, and how it asks: Linux' TCP_INFO, keep-alive, TCP_USER_TIMEOUT.

A socket that is no TCP socket, or is gone already, is asked nothing and tells nothing.
"""

from __future__ import annotations

import contextlib
import math
import socket
import struct

# linux/tcp.h, struct tcp_info: bytes, of which [2] retransmits and [3] probes; then numbers of 32 bits
_RETRANSMITS, _PROBES = 2, 3
_TIMES = struct.Struct("4I")  # since we last sent data, sent an ACK (always 0), got data, got an ACK: ms
_TIMES_AT = 44
_SIZE = 104
_TCP = int(socket.IPPROTO_TCP)  # an int, not an enum to be asked for its value
PROBES = 9  # unanswered, and the kernel gives up by itself; Linux' and Go's default


def prepare(sock: socket.SocketType, every: float, patience: float) -> None:
    """Silent for `every` seconds, it is asked; unacknowledged for `patience` seconds, it is broken off."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(_TCP, socket.TCP_KEEPCNT, PROBES)
        sock.setsockopt(_TCP, socket.TCP_USER_TIMEOUT, min(int(patience * 1000), 2**31 - 1))
    ask(sock, every)


def ask(sock: socket.SocketType, every: float) -> None:
    seconds = min(max(1, math.ceil(every)), 32767)  # MAX_TCP_KEEPIDLE
    with contextlib.suppress(OSError):
        sock.setsockopt(_TCP, socket.TCP_KEEPINTVL, seconds)
        sock.setsockopt(_TCP, socket.TCP_KEEPIDLE, seconds)


def hearing(sock: socket.socket) -> tuple[int, float]:
    """Tries in a row that the peer's kernel has left unanswered, and, if we sent data later than we got any,
    the seconds since it was heard."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
    except OSError:
        return 0, 0.0
    sent, _, got, acknowledged = _TIMES.unpack_from(info, _TIMES_AT)
    silent = min(got, acknowledged) / 1000 if sent <= got else 0.0
    return max(info[_RETRANSMITS], info[_PROBES]), silent
