"""Accepting, and not accepting while descriptors are short: nobody is closed in silence."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from pathlib import Path

import pytest

from muxproxy.worker.listener import Listener
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
            await listener.open()
            listener.pause()
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)  # the backlog takes it
                ann = End(client)
                await ann.sends(b"ann\n")
                await listener.open()
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
        await listener.open()
        listener.close()
        assert bench.accepting is not None
        bench.accepting.close()
        await bench.until(lambda: not os.path.exists(f"/proc/self/fd/{fd}"))
        await bench.client()  # in the backlog of the supervisor's socket
        for _ in range(100):
            await asyncio.sleep(0)
        assert bench.engine.client_sockets == 0

    perform(scene)


def test_accepting_that_cannot_be_resumed_is_tried_again_though_no_client_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("muxproxy.worker.listener._RETRY", 0.01)
    opened = Listener.open
    failures = [1, 2]

    async def fails_twice(listener: Listener) -> None:
        if failures:
            failures.pop()
            raise OSError(errno.EMFILE, "Too many open files")
        await opened(listener)

    async def scene(bench: Bench) -> None:
        ends = [await bench.client() for _ in range(2)]
        await bench.until(lambda: bench.engine.accepting_paused)
        monkeypatch.setattr(Listener, "open", fails_twice)
        for end in ends:
            end.closes()
        await bench.asks(b"later\n")
        server = await bench.accepted()
        assert await server.gets(6) == b"later\n"
        assert failures == []
        assert not bench.engine.accepting_paused

    perform(scene, limit=2)
