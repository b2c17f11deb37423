"""How many TCP sockets of a port there are, by state, as the kernel counts them (netlink's sock_diag).

Ten times a second beside 28,000 TIME_WAITs: so only states are read, a datagram at a time where all of its
messages are as long as the first. Structures: linux/inet_diag.h.
"""

from __future__ import annotations

import os
import socket
import struct
from collections import Counter

STATES = {
    1: "ESTABLISHED",
    2: "SYN_SENT",
    3: "SYN_RECV",
    4: "FIN_WAIT1",
    5: "FIN_WAIT2",
    6: "TIME_WAIT",
    8: "CLOSE_WAIT",
    9: "LAST_ACK",
    11: "CLOSING",
}
_TIME_WAIT = 1 << 6
_OTHERS = sum(1 << number for number in STATES) - _TIME_WAIT

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
# inet_diag_req_v2: family, protocol, extensions, pad, states; its sockid: source and destination port.
_QUERY = struct.Struct("=BBBxI")
_PORTS = struct.Struct("!HH44x")
_STATE = 17  # idiag_state, from the beginning of a message


class Census:
    """One netlink socket, in the namespace in which it was made."""

    def __init__(self) -> None:
        self._netlink = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG
        )
        self._netlink.settimeout(5)
        self._buffer = bytearray(1 << 18)

    def close(self) -> None:
        self._netlink.close()

    def count(self, *, source: int = 0, destination: int = 0) -> dict[str, int]:
        """Of these ports, 0 for any; IPv4. TIME_WAITs apart: what is in one dump is then of one length."""
        counts: Counter[int] = Counter()
        for states in (_TIME_WAIT, _OTHERS):
            body = _QUERY.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, states)
            body += _PORTS.pack(source, destination)
            header = _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0)
            self._netlink.send(header + body)
            while not take(self._receive(), counts):
                pass
        return {name: counts[number] for number, name in STATES.items() if counts[number]}

    def _receive(self) -> bytes:
        with memoryview(self._buffer) as buffer:
            return bytes(buffer[: self._netlink.recv_into(buffer)])


def take(data: bytes, counts: Counter[int]) -> bool:
    """Count one datagram's sockets; true when it was the last. Raises OSError."""
    size = _HEADER.unpack_from(data)[0]
    number = len(data) // size
    if (
        number > 1
        and len(data) == number * size
        and all(data[at::size] == data[at : at + 1] * number for at in range(6))  # length and type
    ):
        counts.update(data[_STATE::size])
        return False
    at = 0
    while at < len(data):
        size, kind, *_ = _HEADER.unpack_from(data, at)
        if kind == _DONE:
            return True
        if kind == _ERROR:
            code = -int(struct.unpack_from("=i", data, at + _HEADER.size)[0])
            raise OSError(code, f"sock_diag: {os.strerror(code)}")
        counts[data[at + _STATE]] += 1
        at += (size + 3) & ~3
    return False
