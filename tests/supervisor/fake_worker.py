"""A worker that serves lines instead of a protocol: a client says one word and gets one line back.

    pid        the process's id
    hold       nothing until the worker drains, then "released"
    garbage    the worker writes garbage on its control channel
    hush       the worker closes its control channel and lives on
    stubborn   from now on the worker ignores Drain
    deaf       the worker's loop stops for ever: it answers nobody, and only a signal ends it

Started as `fake_worker.py [--never-ready] --control-fd N`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys

from muxproxy.messages import Ask, Configure, Drain, Drained, Log, Ready
from muxproxy.worker.control import ControlChannel, die_with_parent, open_control


class FakeWorker:
    def __init__(self) -> None:
        self.channel: ControlChannel | None = None
        self.names: list[str] = []
        self.servers: list[asyncio.Server] = []
        self.held: list[asyncio.Transport] = []
        self.stubborn = False
        self.tasks: set[asyncio.Task] = set()

    def on_configure(self, message: Configure) -> None:
        self.names = [backend.name for backend in message.backends]
        descriptors = [fd for listeners in message.listeners.values() for _, fd in listeners]
        self.tasks.add(asyncio.get_running_loop().create_task(self.start(descriptors)))

    async def start(self, descriptors: list[int]) -> None:
        loop = asyncio.get_running_loop()
        for fd in descriptors:
            # With the socket's own backlog: create_server() would call listen() again with a smaller one.
            sock = socket.socket(fileno=fd)
            self.servers.append(await loop.create_server(lambda: Client(self), sock=sock, backlog=1024))
        if "--never-ready" not in sys.argv:
            self.channel.send(Log("info", "fake worker accepts", {"ignores": "SIGINT"}))
            self.channel.send(Ready())

    def on_ask(self, message: Ask) -> dict:
        held = len(self.held)
        return {"held": held, "backends": {name: {"clients": held} for name in self.names}}

    def on_drain(self, message: Drain) -> None:
        if self.stubborn:
            return
        for server in self.servers:
            server.close()
        for transport in self.held:
            transport.write(b"released\n")
        self.channel.send(Drained(0))
        sys.exit(0)

    def on_supervisor_gone(self) -> None:
        os._exit(0)


class Client(asyncio.Protocol):
    def __init__(self, worker: FakeWorker) -> None:
        self.worker = worker

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        worker = self.worker
        reply = b"ok\n"
        match data.decode().strip():
            case "pid":
                reply = b"%d\n" % os.getpid()
            case "hold":
                worker.held.append(self.transport)
                return
            case "garbage":
                worker.channel._transport.write(b"\xff" * 64)
            case "hush":
                worker.on_supervisor_gone = lambda: None
                worker.channel._transport.abort()
            case "stubborn":
                worker.stubborn = True
            case "deaf":
                self.transport.write(reply)
                while True:
                    signal.pause()
        self.transport.write(reply)
        self.transport.close()


async def main() -> None:
    worker = FakeWorker()
    worker.channel = await open_control(int(sys.argv[sys.argv.index("--control-fd") + 1]), worker)
    await asyncio.Event().wait()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    asyncio.run(main())
