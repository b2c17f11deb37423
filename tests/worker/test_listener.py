"""Accepting, and not accepting while descriptors are short: nobody is closed in silence."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from muxproxy.protocols.contract import Sharing
from muxproxy.worker.listener import CALM, Listener
from tests.worker.hands import Bench, End, perform


def socket_stands(path: str) -> bool:
    return os.path.exists(path)


def test_who_comes_while_accepting_is_paused_waits_in_the_backlog_and_is_served_later() -> None:
    async def scene(bench: Bench) -> None:
        assert bench.accepting is not None
        first = [await bench.client() for _ in range(3)]
        await bench.until(lambda: bench.accepting.paused == 1 and bench.engine.accepting_paused)
        later = [await bench.asks(b"later\n") for _ in range(3)]
        for _ in range(100):
            await asyncio.sleep(0)
        assert bench.engine.client_sockets == 3
        for end in first:
            end.closes()
        server = await bench.accepted()
        for end in later:
            assert await server.gets(6) == b"later\n"
            await server.sends(b"later\n")
            assert await end.gets(6) == b"later\n"
        events = [event for _, event, _ in bench.logged]
        assert events[:2] == ["accepting paused", "accepting resumed"]

    perform(scene, limit=3, max_connections=1)


def test_accepting_pauses_and_resumes_as_often_as_it_must() -> None:
    async def scene(bench: Bench) -> None:
        assert bench.accepting is not None
        for times in range(1, 6):
            ends = [await bench.client() for _ in range(2)]
            await bench.until(lambda times=times: bench.accepting.paused == times)
            for end in ends:
                end.closes()
            await bench.until(lambda: bench.engine.client_sockets == 0 and not bench.engine.accepting_paused)

    perform(scene, limit=2)


def test_a_pause_leaves_the_path_of_a_unix_socket_and_its_backlog(tmp_path: Path) -> None:
    path = str(tmp_path / "front.sock")

    async def scene(bench: Bench) -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path)
            sock.listen()
            listener = Listener(bench.engine, bench.pool, os.dup(sock.fileno()))
            listener.open()
            listener.pause()
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)  # the backlog takes it
                ann = End(client)
                await ann.sends(b"ann\n")
                listener.open()
                server = await bench.accepted()
                assert await server.gets(4) == b"ann\n"
                await server.sends(b"ann\n")
                assert await ann.gets(4) == b"ann\n"
            listener.close()
            assert socket_stands(path)
            await bench.until(lambda: not bench.pool.clients)

    perform(scene)


def test_a_closed_listener_accepts_nobody_and_gives_its_descriptor_back() -> None:
    async def scene(bench: Bench) -> None:
        fd = os.dup(bench.front.fileno())
        listener = Listener(bench.engine, bench.pool, fd)
        listener.open()
        listener.close()
        assert bench.accepting is not None
        bench.accepting.close()
        await bench.until(lambda: not os.path.exists(f"/proc/self/fd/{fd}"))
        await bench.client()  # in the backlog of the supervisor's socket
        for _ in range(100):
            await asyncio.sleep(0)
        assert bench.engine.client_sockets == 0

    perform(scene)


def failing(accept: Callable[[int], int], *errors: int) -> Callable[[int], int]:
    """accept() as the kernel has it when it fails so: nobody has been taken from the backlog."""
    left = list(errors)

    def fails(listener: int) -> int:
        return -left.pop(0) if left else accept(listener)

    return fails


@pytest.mark.parametrize("sharing", [Sharing.EXCLUSIVE, Sharing.ORDERED])
def test_when_descriptors_run_out_nobody_is_closed_and_accepting_goes_on_a_while_later(
    monkeypatch: pytest.MonkeyPatch, sharing: Sharing
) -> None:
    monkeypatch.setattr("muxproxy.worker.listener._RETRY", 0.01)

    async def scene(bench: Bench) -> None:
        (listener,) = bench.accepting._listeners
        listener._accept = failing(listener._accept, errno.EMFILE, errno.ENFILE)
        ann = await bench.asks(b"ann\n")
        server = await bench.accepted()
        assert await server.gets(4) == b"ann\n"
        await server.sends(b"ann\n")
        assert await ann.gets(4) == b"ann\n"
        assert bench.accepting.paused == 2
        events = [(event, fields.get("error")) for _, event, fields in bench.logged]
        assert events[:2] == [("accepting paused", "Too many open files"), ("accepting resumed", None)]
        assert not bench.engine.accepting_paused

    perform(scene, sharing)


@pytest.mark.parametrize("error", [errno.ECONNABORTED, errno.EAGAIN, errno.EPROTO, errno.EINTR])
def test_one_that_is_gone_before_it_is_accepted_stops_nobody(error: int) -> None:
    async def scene(bench: Bench) -> None:
        (listener,) = bench.accepting._listeners
        listener._accept = failing(listener._accept, error)
        ann = await bench.asks(b"ann\n")
        server = await bench.accepted()
        await server.sends(b"ann\n")
        assert await ann.gets(4) == b"ann\n"
        assert bench.accepting.paused == 0
        assert bench.logged == []

    perform(scene)


def test_a_session_that_cannot_be_taken_in_is_closed_and_counted_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(bench: Bench) -> None:
        def raises(*_: object) -> None:
            raise MemoryError

        with monkeypatch.context() as short:
            short.setattr(bench.engine, "adopt", raises)
            ann = await bench.client()
            assert await ann.gets_end() == b""
            assert bench.engine.client_sockets == 0
        assert len(bench.bugs()) == 1
        bench.logged.clear()
        bob = await bench.asks(b"bob")
        server = await bench.accepted()
        await server.sends(b"bob")
        assert await bob.gets(3) == b"bob"

    perform(scene, Sharing.DEDICATED)


def test_a_client_that_cannot_be_watched_is_closed_and_counted_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(bench: Bench) -> None:
        def raises(descriptor: int) -> None:  # epoll_ctl(2): fs.epoll.max_user_watches
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        await bench.client()
        await bench.until(lambda: bench.engine.lobby.reads == 1)
        with monkeypatch.context() as short:
            short.setattr(bench.engine.lobby, "_register", raises)
            ann = await bench.client()
            assert await ann.gets_end() == b""
        await bench.until(lambda: bench.engine.client_sockets == 1)
        assert bench.engine.lobby.reads == 1
        assert len(bench.bugs()) == 1
        bench.logged.clear()

    perform(scene)


def queued(listening: socket.socket) -> int:
    """Who waits to be accepted: linux/tcp.h, struct tcp_info, tcpi_unacked."""
    info = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int.from_bytes(info[24:28], "little")


def come(listening: socket.socket, count: int) -> list[socket.socket]:
    """So many connect, and all of them stand in the kernel's queue."""
    ends = [socket.create_connection(listening.getsockname()) for _ in range(count)]
    while queued(listening) < count:  # the last ACKs may be on their way
        time.sleep(0.001)
    return ends


def test_a_burst_is_accepted_in_few_turns_and_one_alone_without_a_look_for_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    readable = Listener._on_readable

    def on_readable(listener: Listener) -> None:
        asked.append(listener._batch)
        readable(listener)

    monkeypatch.setattr(Listener, "_on_readable", on_readable)

    async def scene(bench: Bench) -> None:
        ends = come(bench.front, 100)  # in one turn
        await bench.until(lambda: len(bench.pool.clients) == 100)
        assert asked == [1, 2, 4, 8, 16, 16, 16, 16, 16, 16]
        for _ in range(CALM + 4):
            ends.append(socket.create_connection(bench.front.getsockname()))
            await bench.until(lambda: len(bench.pool.clients) == len(ends))
        assert asked[10:] == [5, *(CALM + 1) * [1], 2, 1]
        for end in ends:
            end.close()

    perform(scene)


def test_whoever_is_accepted_when_it_begins_to_drain_is_answered() -> None:
    async def scene(bench: Bench) -> None:
        ann, bob = await bench.asks(b"ann bye\n"), await bench.asks(b"bob\n")
        servers = [await bench.accepted(), await bench.accepted()]
        drained: list[object] = []
        bench.engine.on_drained = drained.append
        bench.accepting.close()
        bench.pool.drain(bench.engine.time())
        for server in servers:
            assert await server.gets(4) in (b"ann ", b"bob\n")
            await server.sends(b"re\n")
        assert await ann.gets_end() == await bob.gets_end() == b"re\n"
        await bench.until(lambda: drained == [bench.pool])

    perform(scene)


def test_accepting_that_cannot_be_resumed_is_tried_again_though_no_client_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("muxproxy.worker.listener._RETRY", 0.01)
    failures = [1, 2]

    class Short:
        """A loop that cannot watch another descriptor, twice."""

        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            self.loop = loop
            self.remove_reader = loop.remove_reader

        def add_reader(self, *watched: Any) -> None:
            if failures:
                failures.pop()
                raise OSError(errno.EMFILE, "Too many open files")
            self.loop.add_reader(*watched)

    async def scene(bench: Bench) -> None:
        ends = [await bench.client() for _ in range(2)]
        await bench.until(lambda: bench.engine.accepting_paused)
        (listener,) = bench.accepting._listeners
        listener._loop = Short(listener._loop)
        for end in ends:
            end.closes()
        await bench.asks(b"later\n")
        server = await bench.accepted()
        assert await server.gets(6) == b"later\n"
        assert failures == []
        assert not bench.engine.accepting_paused

    perform(scene, limit=2)
