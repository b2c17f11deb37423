"""The latency suites' client against a server that answers well, in parts, wrongly, or not to the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from tests.bench import http, pinger, redis
from tests.bench.pinger import Wire

WIRE = Wire(b"ask\n", b"answer\n")


class Answering(asyncio.Protocol):
    """Answers each request whole."""

    served = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        for _ in range(data.count(WIRE.request)):
            self.served += 1
            self.answer()

    def answer(self) -> None:
        self.transport.write(b"an " + WIRE.ending)


class InParts(Answering):
    def answer(self) -> None:
        self.transport.write(b"an ")
        asyncio.get_running_loop().call_soon(self.transport.write, WIRE.ending)


class WrongAfterTheFirst(Answering):
    def answer(self) -> None:
        self.transport.write(b"an answer\n" if self.served == 1 else b"another!!\n")


class LeavingAfterTheFirst(Answering):
    def answer(self) -> None:
        if self.served > 1:
            self.transport.close()
        else:
            super().answer()


@pytest.fixture
def serve() -> Iterator:
    """Starts a server in a thread of its own, since the client blocks; returns its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    servers = []

    def start(session: type[asyncio.Protocol]) -> str:
        starting = asyncio.run_coroutine_threadsafe(loop.create_server(session, "127.0.0.1", 0), loop)
        servers.append(starting.result(10))
        return f"127.0.0.1:{servers[-1].sockets[0].getsockname()[1]}"

    yield start
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    for server in servers:
        server.close()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize("session", [Answering, InParts])
def test_every_request_is_clocked_and_every_reply_is_taken_whole(serve, session, connections):
    told = pinger.run(WIRE, serve(session), connections, 0.02)
    assert told["done"] >= connections
    assert told["errors"] == 0
    assert 0 < told["p50"] <= told["p99"]


@pytest.mark.parametrize("connections", [1, 4])
def test_another_reply_is_an_error(serve, connections):
    told = pinger.run(WIRE, serve(WrongAfterTheFirst), connections, 0.02)
    assert told["errors"] == told["done"]


@pytest.mark.parametrize("connections", [1, 4])
def test_a_connection_that_is_closed_ends_the_measurement(serve, connections):
    with pytest.raises(SystemExit, match="closed"):
        pinger.run(WIRE, serve(LeavingAfterTheFirst), connections, 5)


def test_percentiles_are_of_all_requests_in_microseconds():
    told = pinger.figures([number * 1000 for number in range(1, 101)], 0, 2_000_000)
    assert told == {"done": 100, "microseconds": 2000.0, "p50": 51.0, "p99": 100.0, "errors": 0}


def test_what_is_waited_for_is_what_the_origins_answer():
    assert http.BODY.encode().endswith(pinger.WIRES["http"].ending)
    assert f"{7:064}\r\n".encode().endswith(pinger.WIRES["redis"].ending)
    assert pinger.WIRES["redis"].request == redis.encode("GET", f"key:{7:012}")
