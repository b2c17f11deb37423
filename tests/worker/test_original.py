"""Where a connection was meant to go, as the kernel tells it; nobody is led back to where he came from.

Rules of nftables need a network namespace of one's own and a right: tests/system/transparent has them. Here
the kernel's answers are played.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest

from muxproxy.worker.original import meant, original


class Accepted:
    """A socket as far as it is asked. `rewritten`: what connection tracking says."""

    def __init__(self, here: tuple[str, int], rewritten: tuple[str, int] | None = None) -> None:
        self.family = socket.AF_INET6 if ":" in here[0] else socket.AF_INET
        self._here = here
        self._rewritten = rewritten

    def getsockname(self) -> tuple[Any, ...]:
        return (*self._here, 0, 0) if self.family == socket.AF_INET6 else self._here

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert option == 80
        if self._rewritten is None:
            raise FileNotFoundError
        host, port = self._rewritten
        packed = socket.inet_pton(self.family, host)
        if self.family == socket.AF_INET:
            assert (level, size) == (socket.SOL_IP, 16)
            return struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", port, packed)
        assert (level, size) == (socket.IPPROTO_IPV6, 28)
        return struct.pack("=H", socket.AF_INET6) + struct.pack("!HI16sI", port, 7, packed, 0)


def at(
    here: tuple[str, int], rewritten: tuple[str, int] | None, bound: tuple[str, int], own: str = ""
) -> str:
    accepted: Any = Accepted(here, rewritten)
    return str(meant(accepted, bound, lambda host: host == own))


V4, V6 = ("127.0.0.1", 15001), ("::1", 15001)


@pytest.mark.parametrize(
    ("here", "rewritten", "bound", "expected"),
    [
        (V4, ("10.0.0.5", 6379), V4, "10.0.0.5:6379"),
        (V6, ("fd00::5", 6379), V6, "[fd00::5]:6379"),
        (V4, ("10.0.0.5", 15001), V4, "10.0.0.5:15001"),
        (("10.0.0.5", 6379), None, ("0.0.0.0", 15001), "10.0.0.5:6379"),  # TPROXY
        (("fd00::5", 6379), None, ("::", 15001), "[fd00::5]:6379"),
        (("10.0.0.5", 15001), None, ("0.0.0.0", 15001), "10.0.0.5:15001"),
    ],
)
def test_it_is_where_the_client_meant_to_connect(
    here: tuple[str, int], rewritten: tuple[str, int] | None, bound: tuple[str, int], expected: str
) -> None:
    assert at(here, rewritten, bound) == expected


@pytest.mark.parametrize("rewritten", [None, V4])
def test_who_connected_to_the_listener_itself_meant_nobody(rewritten: tuple[str, int] | None) -> None:
    assert at(V4, rewritten, V4) == "None"
    assert at(V4, rewritten, ("0.0.0.0", 15001), own="127.0.0.1") == "None"


def test_of_a_real_connection_that_nobody_has_led_here_nothing_is_known() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
    ):
        accepted, _ = listener.accept()
        with accepted:
            assert original(accepted) in (None, listener.getsockname())
            assert meant(accepted, listener.getsockname()) is None
            assert client.getpeername() == listener.getsockname()
