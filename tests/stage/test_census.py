"""Sockets by state: each message of a datagram is counted once, whatever its length, and the kernel's are."""

from __future__ import annotations

import errno
import socket
import struct
from collections import Counter

import pytest

from muxproxy.stage.census import Census, take

DONE = struct.pack("=IHHIIi", 20, 3, 2, 1, 0, 0)


def message(state: int, more: int = 0) -> bytes:
    """One socket's, with so many bytes of attributes."""
    return struct.pack("=IHHIIBB", 88 + more, 20, 2, 1, 0, 2, state) + bytes(70 + more)


@pytest.mark.parametrize("more", [(0, 0, 0), (8, 8, 8), (0, 8, 0), (8, 0, 16)])
def test_each_message_is_counted_once(more: tuple[int, ...]) -> None:
    data = b"".join(message(state, each) for state, each in zip((6, 6, 1), more, strict=True))
    counts: Counter[int] = Counter()
    assert take(data, counts) is False
    assert take(message(8) + DONE, counts) is True
    assert counts == {6: 2, 1: 1, 8: 1}


def test_what_only_looks_alike_is_walked_through() -> None:
    """Three times the first's length in all, and yet two messages."""
    counts: Counter[int] = Counter()
    take(message(6) + message(1, 88), counts)
    assert counts == {6: 1, 1: 1}


def test_a_refusal_is_an_error_with_its_number() -> None:
    refusal = struct.pack("=IHHIIi", 36, 2, 0, 1, 0, -errno.EPERM) + bytes(16)
    with pytest.raises(OSError, match="sock_diag") as error:
        take(refusal, Counter())
    assert error.value.errno == errno.EPERM


def test_the_kernel_counts_a_ports_sockets_at_either_end() -> None:
    census = Census()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        pairs = [(socket.create_connection(("127.0.0.1", port)), server.accept()[0]) for _ in range(5)]
        for near, far in pairs[:2]:
            near.close()
            far.close()
        assert census.count(destination=port) == {"ESTABLISHED": 3, "TIME_WAIT": 2}
        assert census.count(source=port) == {"ESTABLISHED": 3}
        for pair in pairs[2:]:
            for each in pair:
                each.close()
    census.close()
