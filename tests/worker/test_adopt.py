"""An accepted descriptor becomes uvloop's transport, which closes it."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from muxproxy.worker.adopt import Adoption
from tests.worker.hands import PATIENCE, descriptor_exists


class Echo(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True


def pair(family: int) -> tuple[socket.socket, socket.socket]:
    if family == socket.AF_UNIX:
        return socket.socketpair()
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.create_server((host, 0), family=family) as server:
        theirs = socket.create_connection(server.getsockname()[:2])
        ours, _ = server.accept()
    return ours, theirs


def perform(scene: Callable[[Adoption, list[dict]], Awaitable[None]]) -> None:
    async def main() -> None:
        troubles: list[dict] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: troubles.append(context))
        async with asyncio.timeout(PATIENCE):
            await scene(Adoption(loop), troubles)
        gc.collect()
        assert troubles == []

    uvloop.run(main())


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_several_are_told_apart_and_each_is_closed_by_its_transport(family: int) -> None:
    async def scene(adoption: Adoption, troubles: list[dict]) -> None:
        loop = asyncio.get_running_loop()
        pairs = [pair(family) for _ in range(3)]
        hands = [Echo() for _ in pairs]
        descriptors = []
        for (ours, _), echo in zip(pairs, hands, strict=True):
            descriptors.append(ours.detach())
            adoption.adopt(descriptors[-1], family, echo)
            assert echo.transport is None  # in the next turn
        for number, (_, theirs) in enumerate(pairs):
            theirs.setblocking(False)
            await loop.sock_sendall(theirs, b"%d" % number)
            assert await loop.sock_recv(theirs, 10) == b"%d" % number
        for (_, theirs), echo, descriptor in zip(pairs, hands, descriptors, strict=True):
            assert descriptor_exists(descriptor)
            theirs.close()
            while not echo.is_lost:  # noqa: ASYNC110 - a few turns of the loop
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not descriptor_exists(descriptor)

    perform(scene)


def test_one_that_is_aborted_as_soon_as_it_is_made_is_lost_once() -> None:
    class Hasty(Echo):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            transport.abort()

    async def scene(adoption: Adoption, troubles: list[dict]) -> None:
        ours, theirs = pair(socket.AF_INET)
        echo = Hasty()
        adoption.adopt(ours.detach(), socket.AF_INET, echo)
        while not echo.is_lost:  # noqa: ASYNC110 - a few turns of the loop
            await asyncio.sleep(0)
        theirs.settimeout(PATIENCE)
        assert theirs.recv(10) == b""
        theirs.close()

    perform(scene)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # uvloop: a handle not closed
def test_what_is_no_descriptor_of_an_open_socket_is_told_at_once() -> None:
    async def scene(adoption: Adoption, troubles: list[dict]) -> None:
        with pytest.raises(OSError, match="Bad file descriptor"):
            adoption.adopt(1_000_000, socket.AF_INET, Echo())

    perform(scene)
