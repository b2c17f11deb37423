"""A worker's engine with one pool of toys, on a real uvloop loop, between real clients and a real server on
loopback.

    async def scene(bench: Bench) -> None:
        ann = await bench.client()
        await ann.sends(b"hello\n")
        server = await bench.accepted()
        ...

    perform(scene, Sharing.EXCLUSIVE, max_connections=1)

Clients and servers are plain sockets: what the hands do is seen from the far end, as the kernel shows it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from muxproxy.config.model import UpstreamTls
from muxproxy.config.sources import Sources
from muxproxy.mux.base.statistics import statistics
from muxproxy.mux.sharings import new_pool
from muxproxy.protocols.contract import Protocol, Sharing
from muxproxy.worker.engine import Engine
from muxproxy.worker.listener import Accepting, Listener
from tests.certificates import client_context, made, server_context
from tests.configured import backend
from tests.toys import Toy

PATIENCE = 10.0  # seconds for what must happen; nothing here waits for so long unless it fails
MORE_TURNS = 1000
TLS = False  # servers speak it: conftest.py has some scenes played both ways


class End:
    """Our test's end of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock

    async def sends(self, data: bytes) -> None:
        async with asyncio.timeout(PATIENCE):
            await asyncio.get_running_loop().sock_sendall(self.sock, data)

    def says(self, data: bytes) -> None:
        """At once, with no turn of the loop before or behind it."""
        assert self.sock.send(data) == len(data)

    async def gets(self, size: int) -> bytes:
        """Exactly so many bytes, fewer only at the end of the stream."""
        data = b""
        async with asyncio.timeout(PATIENCE):
            while len(data) < size:
                chunk = await asyncio.get_running_loop().sock_recv(self.sock, size - len(data))
                if not chunk:
                    break
                data += chunk
        return data

    async def gets_end(self) -> bytes:
        """Everything up to FIN; raises ConnectionResetError at an RST."""
        data = b""
        async with asyncio.timeout(PATIENCE):
            while chunk := await asyncio.get_running_loop().sock_recv(self.sock, 65536):
                data += chunk
        return data

    def finishes(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def closes(self) -> None:
        self.sock.close()

    def resets(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()


class TlsEnd(End):
    """Likewise, of one that speaks TLS: what it sends and gets is what is inside of the records."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, is_server: bool) -> None:
        super().__init__(sock)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # records are written one by one
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if is_server else "localhost"
        self.tls = context.wrap_bio(self.incoming, self.outgoing, is_server, name)
        self._over = False
        self.was_cut = False  # it ended without a close_notify

    async def shakes(self) -> None:
        try:
            await self._until_done(self.tls.do_handshake)
        except ssl.SSLEOFError:
            self._over = self.was_cut = True

    async def sends(self, data: bytes) -> None:
        self.tls.write(data)
        await super().sends(self.outgoing.read())

    def says(self, data: bytes) -> None:
        self.tls.write(data)
        super().says(self.outgoing.read())

    async def gets(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size and not self._over:
            data += await self._chunk(size - len(data))
        return bytes(data)

    async def gets_end(self) -> bytes:
        data = bytearray()
        while not self._over:
            data += await self._chunk(65536)
        return bytes(data)

    async def _chunk(self, size: int) -> bytes:
        try:
            chunk: bytes = await self._until_done(lambda: self.tls.read(size))
        except ssl.SSLZeroReturnError:
            chunk = b""
        except ssl.SSLEOFError:  # as when it was aborted
            chunk, self.was_cut = b"", True
        self._over = not chunk
        return chunk

    async def _until_done(self, step: Callable[[], Any]) -> Any:
        """Of OpenSSL's, with what that needs from the far end. Without a close_notify an end is an error."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    result = step()
                except ssl.SSLWantReadError:
                    result = None
                    await self.tells()
                    data = await loop.sock_recv(self.sock, 1 << 18)
                    self.incoming.write(data) if data else self.incoming.write_eof()
                    continue
                await self.tells()
                return result

    async def tells(self) -> None:
        if self.outgoing.pending:
            await asyncio.get_running_loop().sock_sendall(self.sock, self.outgoing.read())

    def finishes(self) -> None:
        self.says_end()
        super().finishes()

    def closes(self) -> None:
        self.says_end()
        super().closes()

    def says_end(self) -> None:
        with contextlib.suppress(ssl.SSLError, OSError):
            self.tls.unwrap()
        with contextlib.suppress(OSError):
            self.sock.send(self.outgoing.read())


class Bench:
    def __init__(self, protocol: Protocol, keys: dict[str, Any]) -> None:
        self.client_context = client_context()
        self.sources: Sources | None = None
        self.server_context: ssl.SSLContext | None = None  # another than the usual
        if TLS:
            keys = {"tls": UpstreamTls(ca_file=made("server").ca, server_name="localhost"), **keys}
        self.logged: list[tuple[str, str, dict[str, Any]]] = []
        self.origin = listening()
        self.address = f"127.0.0.1:{self.origin.getsockname()[1]}"
        self.engine = Engine(asyncio.get_running_loop(), lambda *line: self.logged.append(line))
        self.pool = new_pool(
            backend((self.address,), keys), protocol, self.engine, self.engine.fine, self.engine.slow
        )
        self.front = listening()
        self.accepting: Accepting | None = None
        self._ends: list[End] = []

    async def open(self, limit: int = 1000) -> None:
        tls = self.pool.clients_config.tls
        secured = None if tls is None else self.engine.contexts.of("toys", "toy", tls)
        listener = Listener(self.engine, self.pool, os.dup(self.front.fileno()), self.sources, secured)
        self.accepting = Accepting(self.engine, [listener], limit)
        self.accepting.open()
        self.pool.set_servers([self.address], self.engine.time())

    async def client(self) -> End:
        """A client that has connected; it may still stand in the kernel's backlog."""
        sock = socket.socket()
        is_by_tls = self.pool.clients_config.tls is not None
        end = self.keep(TlsEnd(sock, self.client_context, is_server=False) if is_by_tls else End(sock))
        async with asyncio.timeout(PATIENCE):
            await asyncio.get_running_loop().sock_connect(end.sock, self.front.getsockname())
        if isinstance(end, TlsEnd):
            await end.shakes()
        return end

    async def asks(self, data: bytes) -> End:
        end = await self.client()
        await end.sends(data)
        return end

    async def accepted(self) -> End:
        """The next connection that has come to the server."""
        async with asyncio.timeout(PATIENCE):
            sock, _ = await asyncio.get_running_loop().sock_accept(self.origin)
        if self.pool.config.tls is None:
            return self.keep(End(sock))
        end = TlsEnd(sock, self.server_context or server_context(), is_server=True)
        self.keep(end)
        await end.shakes()
        return end

    def statistics(self) -> Any:
        return statistics(self.pool, self.engine.time())

    def outcomes(self) -> dict[str, int]:
        return {k: n for reasons in self.statistics()["outcomes"].values() for k, n in reasons.items() if n}

    async def until(self, condition: Callable[[], bool]) -> None:
        """Turns of the loop until it is so. Where all the time went while it stood still (a busy machine, a
        test that asks the kernel), it gets some more: what hangs will hang in these, too."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():  # noqa: ASYNC110 - the heart has states, and no events to wait for
                    await asyncio.sleep(0)
        except TimeoutError:
            for _ in range(MORE_TURNS):
                if condition():
                    return
                await asyncio.sleep(0)
            raise

    def bugs(self) -> list[str]:
        return [fields["traceback"] for level, event, fields in self.logged if event == "bug"]

    def keep(self, end: End) -> End:
        self._ends.append(end)
        return end

    async def close(self) -> None:
        for end in self._ends:
            end.sock.close()
        assert self.accepting is not None
        self.accepting.close()
        self.front.close()
        self.origin.close()
        for client in self.pool.clients:
            if client.wire is not None:
                client.wire.abort()
        await self.until(lambda: not self.pool.clients)
        for upstream in list(self.pool.upstreams):
            upstream.close("the test is over", self.engine.time())
        try:
            await self.until(lambda: not self.pool.upstreams and not self.pool.clients)
        except TimeoutError as late:
            for one in self.pool.upstreams:
                late.add_note(f"left: {one.state} {one.retiring!r} {one.wire} {one.deadline}")
            late.add_note(f"connects: {list(self.engine.dialler.under_way)}; log: {self.logged}")
            raise


def listening(backlog: int = 1024) -> socket.socket:
    sock = socket.create_server(("127.0.0.1", 0), backlog=backlog)
    sock.setblocking(False)
    return sock


def perform(
    scene: Callable[[Bench], Awaitable[None]],
    protocol: Protocol | Sharing = Sharing.EXCLUSIVE,
    *,
    limit: int = 1000,
    **keys: Any,
) -> None:
    """Run `scene` on a fresh uvloop loop. Our bugs are failures, unless the scene has taken them from the
    log."""

    async def main() -> None:
        bench = Bench(Toy(protocol) if isinstance(protocol, Sharing) else protocol, keys)
        await bench.open(limit)
        try:
            await scene(bench)
        finally:
            await bench.close()
        assert bench.bugs() == []

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def descriptor_exists(fd: int) -> bool:
    return os.path.exists(f"/proc/self/fd/{fd}")
