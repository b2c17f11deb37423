"""A worker that serves words, not a protocol: a client says one, gets the worker's pid and is hung up on.

    pid        that is all
    hold       no pid, but "released" when the worker drains
    garbage    then the worker writes garbage on its control channel
    hush       then the worker closes its control channel and lives on
    stubborn   from now on the worker ignores Drain
    deaf       then the worker's loop stops for ever: it answers nobody, and only a signal ends it

Started as `fake_worker.py [--exit STATUS [--hold FOLDER]] --control-fd N`. With --exit it ends before it is
ready; with --hold each life leaves a file in the folder, and the third does not end while that is there.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time

from muxproxy.messages import Applied, Apply, Ask, Configure, Drain, Drained, Lend, Log, Ready, Reconnect
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
        self.channel.send(Log("info", "fake worker accepts", {"listeners": len(descriptors)}))
        self.channel.send(Ready())

    def on_ask(self, message: Ask) -> dict:
        held = len(self.held)
        return {"held": held, "backends": {name: {"clients": held} for name in self.names}}

    def on_lend(self, message: Lend) -> None: ...

    def on_apply(self, message: Apply) -> None:
        self.channel.send(Applied(message.serial))

    def on_reconnect(self, message: Reconnect) -> None:
        self.channel.send(Log("info", "fake worker reconnects", {"backend": message.backend}))

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
        if data == b"hold":
            worker.held.append(self.transport)
            return
        self.transport.write(b"%d\n" % os.getpid())  # before anything that may end us
        self.transport.close()
        match data:
            case b"garbage":
                worker.channel._transport.write(b"\xff" * 64)
            case b"hush":
                worker.on_supervisor_gone = lambda: None
                worker.channel._transport.abort()
            case b"stubborn":
                worker.stubborn = True
            case b"deaf":
                while True:
                    signal.pause()


async def main() -> None:
    worker = FakeWorker()
    worker.channel = await open_control(int(sys.argv[sys.argv.index("--control-fd") + 1]), worker)
    await asyncio.Event().wait()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    if "--hold" in sys.argv:
        folder = sys.argv[sys.argv.index("--hold") + 1]
        open(f"{folder}/{os.getpid()}", "w").close()
        while os.path.exists(folder) and len(os.listdir(folder)) > 2:
            time.sleep(0.01)
    if "--exit" in sys.argv:
        sys.exit(int(sys.argv[sys.argv.index("--exit") + 1]))
    asyncio.run(main())
