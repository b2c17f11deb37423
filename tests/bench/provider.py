"""`python -m tests.bench.provider dubbo|tcp PORT...`: the origin of the echo suites.

A Dubbo provider answers each frame, whole, with status 20 and a body of the same size; a plain one sends back
whatever comes. Several ports, so that the kernel's list of sockets tells who is connected.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from tests.bench.frames import Collector, Dubbo

BACKLOG = 4096


class DubboSession(asyncio.Protocol):
    def __init__(self) -> None:
        self.wire = Dubbo(1024)  # it only answers: the size does not matter
        self.collector = Collector(self.wire)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        data, spans = self.collector.take(data)
        if spans:
            pieces = [piece for at, end in spans for piece in self.wire.reply(data, at, end)]
            self.transport.write(b"".join(pieces))


class PlainSession(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


SESSIONS = {"dubbo": DubboSession, "tcp": PlainSession}


async def serve(protocol: str, ports: list[int]) -> None:
    loop = asyncio.get_running_loop()
    for port in ports:
        await loop.create_server(SESSIONS[protocol], "127.0.0.1", port, backlog=BACKLOG)
    await loop.create_future()  # until SIGTERM


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], [int(port) for port in sys.argv[2:]]))
