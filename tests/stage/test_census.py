"""Sockets by state: each message of a datagram is counted once, whatever its length, and the kernel's are."""

from __future__ import annotations

import socket

import pytest

from muxproxy.stage.census import Census, states_of
from tests.test_sockdiag import DONE, message


@pytest.mark.parametrize("more", [(0, 0, 0), (8, 8, 8), (0, 8, 0), (8, 0, 16), (0, 88, 0)])
def test_each_message_is_counted_once(more: tuple[int, ...]) -> None:
    data = b"".join(message(state, each) for state, each in zip((6, 6, 1), more, strict=True))
    assert states_of(data) == bytes((6, 6, 1))
    assert states_of(message(8) + DONE) == b"\x08"
    assert states_of(DONE) == b""


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
