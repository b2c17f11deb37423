"""The echo suites' caller and provider against each other, without a proxy."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from tests.bench import caller, provider
from tests.bench.frames import Dubbo


async def call(session: type[asyncio.Protocol], protocol: str, size: int, in_flight: int) -> dict[str, float]:
    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", 0)
    async with server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return await caller.run(caller.WIRES[protocol](size), address, 3, in_flight, 0.05)


@pytest.mark.parametrize("size", [200, 64 * 1024])
@pytest.mark.parametrize(("protocol", "in_flight"), [("dubbo", 1), ("dubbo", 8), ("tcp", 1)])
def test_every_call_is_answered_with_its_own_reply(protocol, in_flight, size):
    outcome = uvloop.run(call(provider.SESSIONS[protocol], protocol, size, in_flight))
    assert outcome["done"] >= 3 * in_flight
    assert outcome["errors"] == 0


class Refusing(provider.DubboSession):
    """Answers the first call of a connection with an error status, and ends at the second."""

    refused = False

    def data_received(self, data: bytes) -> None:
        if self.refused:
            self.transport.abort()
            return
        self.refused = True
        reply = bytearray(b"".join(Dubbo.reply(data, 0, len(data))))
        reply[3] = 100
        self.transport.write(bytes(reply))


def test_calls_that_are_refused_and_calls_without_a_reply_are_errors():
    assert uvloop.run(call(Refusing, "dubbo", 200, 1)) | {"microseconds": 0} == {
        "done": 0, "microseconds": 0, "p50": 0, "p99": 0, "errors": 6,
    }  # a table  # fmt: skip
