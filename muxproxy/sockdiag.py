"""The kernel's own list of TCP sockets: netlink's sock_diag, asked as ss asks it.

Here is the conversation; what is made of a message is its reader's: stage/census.py counts states ten times a
second, doctor/reading/diag.py names ends, ages and owners, and the tests' judge of P1 has its own.

Why no library: pyroute2 0.9.7 makes an object of every message, 111 us each, so that 100,000 TIME_WAITs took
it 11 s, after 0.3 s for its import; its undecoded messages are what recv() gives.

Structures: linux/netlink.h, linux/inet_diag.h.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from typing import Self

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
    "SYN_RECV",  # TCP_NEW_SYN_RECV: the same to whoever looks
)
BIT = {name: 1 << number for number, name in enumerate(STATES[:-1]) if name}

HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
# Where a message has what, from its beginning; inet_diag_msg begins behind the header.
AT_STATE = 17
# inet_diag_req_v2: family, protocol, attributes, states; its sockid: source and destination port, and any
# of the rest.
_QUERY = struct.Struct("=BBBxI")
_PORTS = struct.Struct("!HH44x")
_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY
_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_ERROR, _DONE = 2, 3
_CODE = struct.Struct("=i")


class SockDiag:
    """One netlink socket, of the network namespace in which it was made. Raises OSError, here and at dump(),
    where the kernel has no sock_diag, or its use is refused."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._netlink = socket.socket(socket.AF_NETLINK, kind, _SOCK_DIAG)
        self._netlink.settimeout(10)
        self._buffer = bytearray(1 << 18)  # the kernel fills 32 KiB of it at a time
        self._is_dumping = False

    def close(self) -> None:
        self._netlink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def dump(
        self, family: int, states: int, *, attributes: int = 0, source: int = 0, destination: int = 0
    ) -> Iterator[bytes]:
        """Of these states (bits), and ports if they are not 0: datagrams, each of whole messages."""
        while (
            self._is_dumping
        ):  # one that somebody did not read to its end: EBUSY, and its rest would be ours
            self._receive()
        body = _QUERY.pack(family, socket.IPPROTO_TCP, attributes, states) + _PORTS.pack(source, destination)
        header = HEADER.pack(HEADER.size + len(body), _BY_FAMILY, _REQUEST_DUMP, 1, 0)
        self._netlink.send(header + body)
        self._is_dumping = True
        while self._is_dumping:
            yield self._receive()

    def _receive(self) -> bytes:
        with memoryview(self._buffer) as buffer:
            data = bytes(buffer[: self._netlink.recv_into(buffer)])
        end = ended(data)
        self._is_dumping = end is None
        if end:
            raise OSError(end, f"sock_diag: {os.strerror(end)}")
        return data


def ended(data: bytes) -> int | None:
    """None: more will come; 0: this was the end; else why not, as errno. The end is a message of its own,
    behind the last sockets or alone."""
    for at in (0,) if uniform(data) else [at for at, _ in messages(data)]:
        kind = HEADER.unpack_from(data, at)[1]
        if kind in (_DONE, _ERROR):
            return -int(_CODE.unpack_from(data, at + HEADER.size)[0])
    return None


def uniform(data: bytes) -> int:
    """How long each message is, where all are as long as the first and of its type, and need not be walked
    through; else 0."""
    size: int = HEADER.unpack_from(data)[0]
    number, rest = divmod(len(data), max(size, 1))
    if rest or any(data[at::size] != data[at : at + 1] * number for at in range(6)):
        return 0
    return size


def messages(data: bytes) -> Iterator[tuple[int, int]]:
    """Where each begins and ends."""
    at = 0
    while at + HEADER.size <= len(data):
        length = HEADER.unpack_from(data, at)[0]
        if length < HEADER.size or at + length > len(data):
            return
        yield at, at + length
        at += (length + 3) & ~3


def is_socket(data: bytes, at: int) -> bool:
    """This message, or the end of the dump?"""
    return bool(HEADER.unpack_from(data, at)[1] == _BY_FAMILY)
