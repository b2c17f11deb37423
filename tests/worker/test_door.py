"""Who has just connected, and may he: asked of the kernel, on this machine's own addresses."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from muxproxy.config.sources import Sources
from muxproxy.worker import door
from muxproxy.worker.listener import Listener
from tests.worker.hands import Bench, End, perform


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("192.0.2.1", False),  # RFC 5737: nobody's
        ("2001:db8::1", False),
        ("fe80::1%lo", False),
        ("224.0.0.1", False),
    ],
)
def test_the_kernel_knows_which_addresses_are_its_own(host: str, expected: bool) -> None:
    assert door.is_own(host) is expected


def test_where_the_kernel_cannot_be_asked_nobody_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(door.socket, "socket", refuse)
    assert door.is_own("127.0.0.1") is False


def at_the_door(words: tuple[str, ...], source: str) -> tuple[bytes, dict[str, int], int]:
    """One client from `source`: what it gets, what is counted, how many clients there were."""
    got: list[tuple[bytes, dict[str, int], int]] = []

    async def scene(bench: Bench) -> None:
        listener = Listener(bench.engine, bench.pool, os.dup(bench.front.fileno()), Sources(words))
        assert bench.accepting is not None
        bench.accepting.close()
        listener.open()
        sock = socket.socket()
        sock.bind((source, 0))
        ann = bench.keep(End(sock))
        await asyncio.get_running_loop().sock_connect(sock, bench.front.getsockname())
        clients = 0
        if words == ("this machine",):
            await bench.until(lambda: len(bench.pool.clients) > 0)
            clients = len(bench.pool.clients)
            ann.closes()
            data = b""
        else:
            data = await ann.gets_end()
        await bench.until(lambda: bench.engine.client_sockets == 0)
        assert bench.bugs() == []
        got.append((data, bench.outcomes(), clients))
        listener.close()

    perform(scene)
    return got[0]


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.77"])
def test_who_comes_from_this_machine_is_let_in(source: str) -> None:
    data, _, clients = at_the_door(("this machine",), source)
    assert (data, clients) == (b"", 1)


def test_another_is_told_counted_and_no_client() -> None:
    data, outcomes, _ = at_the_door(("192.0.2.0/24",), "127.0.0.77")
    assert data == b"no denied bye | toys: 127.0.0.77 may not connect: [clients] from = 192.0.2.0/24\n"
    assert outcomes == {"denied": 1}


def test_a_bug_at_the_door_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise RuntimeError("a bug")

    monkeypatch.setattr(door.Door, "turns_away", fail)

    async def scene(bench: Bench) -> None:
        listener = Listener(
            bench.engine, bench.pool, os.dup(bench.front.fileno()), Sources(("this machine",))
        )
        assert bench.accepting is not None
        bench.accepting.close()
        listener.open()
        ann = await bench.client()
        assert await ann.gets_end() == b""
        assert not bench.pool.clients
        assert len(bench.bugs()) == 1
        listener.close()
        bench.logged.clear()

    perform(scene)
