"""The demo's clients: each checks its own reply, and every request ends as one reply or one named error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from muxproxy.cli.demo.load import Load, judge, quantile
from muxproxy.cli.demo.origin import Connection, Sockets

RIGHT = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\ncontent-length: 5\r\n\r\n/one\n"


@pytest.mark.parametrize(
    ("received", "verdict"),
    [
        (RIGHT, ""),
        (RIGHT + b"x", "somebody else's reply"),
        (RIGHT.replace(b"/one", b"/two"), "somebody else's reply"),
        (RIGHT.replace(b"200 OK", b"503 Service Unavailable"), "status 503"),
        (RIGHT.replace(b"content-length: 5\r\n", b""), "not an HTTP reply with a length"),
        (b"-ERR\r\n\r\n", "not an HTTP reply with a length"),
    ],
)
def test_only_the_very_reply_is_right(received: bytes, verdict: str) -> None:
    assert judge(received, b"/one\n") == verdict


@pytest.mark.parametrize("size", range(len(RIGHT)))
def test_a_reply_is_not_judged_before_it_is_whole(size: int) -> None:
    assert judge(RIGHT[:size], b"/one\n") is None


class Shifted(Connection):
    """Answers each request with the path of another."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data.replace(b"GET /", b"GET /x"))


class Mute(asyncio.Protocol):
    """Closes instead of answering."""

    def data_received(self, data: bytes) -> None:
        self.transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport


def run(server: Callable[[], asyncio.Protocol], seconds: float = 0.2) -> list[dict[str, Any]]:
    """What the load says, from its beginning to its end."""
    loop = uvloop.new_event_loop()
    said: list[dict[str, Any]] = []

    def hear(message: dict[str, Any]) -> None:
        said.append(message)
        if "done" in message:
            loop.stop()

    try:
        listening = loop.run_until_complete(loop.create_server(server, "127.0.0.1", 0))
        port = listening.sockets[0].getsockname()[1]
        Load(loop, hear, port, clients=5, seconds=seconds).begin()
        loop.run_forever()
        listening.close()
        loop.run_until_complete(listening.wait_closed())
    finally:
        loop.close()
    return said


def test_every_request_has_a_connection_of_its_own_and_ends_in_a_reply() -> None:
    sockets = Sockets()
    first, *_, last = run(lambda: Connection(sockets), seconds=1.0)
    done = last["done"]
    assert (done["connected"], done["errors"]) == (0, {})
    assert done["replies"] == sockets.opened > 5
    assert 0 < done["p50"] <= done["p99"] < done["seconds"]
    assert first["tick"]["connected"] == 5  # a later report may fall into the end


@pytest.mark.parametrize(
    ("server", "error"),
    [(lambda: Shifted(Sockets()), "somebody else's reply"), (Mute, "closed before its reply")],
)
def test_a_reply_that_is_not_right_is_an_error(server: Callable[[], asyncio.Protocol], error: str) -> None:
    done = run(server)[-1]["done"]
    assert done["replies"] == 0
    assert done["errors"][error] >= 5
    assert len(done["errors"]) == 1


def test_quantiles_of_nothing_and_of_one() -> None:
    assert (quantile([], 0.5), quantile([3.0], 0.99), quantile([1.0, 2.0], 0.5)) == (0.0, 3.0, 2.0)
