"""A thousand sessions through sixteen places: every byte of each, and never a seventeenth socket (P1, P2).

The server answers with the length and the hash of all that it was told, and only after FIN.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from contextlib import ExitStack, suppress

import pytest

from tests.sizes import size
from tests.system.process import raise_descriptor_limit, wait_for
from tests.system.proxy import Proxy
from tests.system.sockdiag import Sampler
from tests.system.tcp.daemons import Digest

BOUND = 16
ONE_BY_ONE = size(500, 2_000)
AT_ONCE = 200
EACH = size(3, 5)  # sessions of each of those at once
PATTERN = bytes(range(256)) * 8192  # 2 MiB
SIZES = (0, 1, 100, 1_460, 65_536, 65_537, 300_000)
GREETING = 8  # bytes
PATIENCE = 60.0


async def session(proxy: Proxy, number: int, greeting: int = 0, last: asyncio.Event | None = None) -> bytes:
    """One session of bytes that no other has; returns what the server said before them.

    It says its last word when `last` is set.
    """
    said = b"<%d>" % number + PATTERN[number % 251 :][: SIZES[number % len(SIZES)]]
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    try:
        writer.write(said)
        if last is not None:
            await last.wait()
        writer.write_eof()
        told = await asyncio.wait_for(reader.read(), PATIENCE)
        assert told[greeting:] == b"%d %s" % (len(said), hashlib.sha256(said).hexdigest().encode())
        return told[:greeting]
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize("spares", [0, 4])
def test_hundreds_of_sessions_one_by_one_and_two_hundred_at_once_need_sixteen_places(spares: int) -> None:
    async def one_by_one() -> None:
        for number in range(ONE_BY_ONE):
            await session(proxy, number)

    async def several(first: int, full: asyncio.Event) -> None:
        for number in range(first, first + EACH):
            await session(proxy, number, last=full)

    async def at_once() -> None:
        full = asyncio.Event()
        clients = asyncio.gather(*(several(number * EACH, full) for number in range(AT_ONCE)))
        async with asyncio.timeout(PATIENCE):
            while sampler.now().held < BOUND:  # noqa: ASYNC110 - the sampler has no events
                await asyncio.sleep(0.02)
        full.set()
        await clients

    raise_descriptor_limit()
    with (
        Digest(seconds=0.002) as server,
        Proxy(
            server.address,
            protocol="tcp",
            upstream={"max_connections": BOUND, "min_connections": spares},
            queue={"max_waiting": AT_ONCE, "timeout": "30s"},
        ) as proxy,
        Sampler(server.address) as sampler,
    ):
        asyncio.run(one_by_one())
        alone = sampler.now()
        asyncio.run(at_once())
        total = ONE_BY_ONE + AT_ONCE * EACH
        wait_for(
            lambda: (backend := proxy.backend())["clients"] == 0 and backend["upstream_sockets"] == spares,
            within=10,
            what="the last session's end, and spares in its place",
        )
        backend, tally = proxy.backend(), sampler.result()
        assert proxy.outcomes() == {"ok": total}
        counted = server.results()
    print(alone, tally, counted)
    assert tally.samples > 100
    assert alone.held <= 2 + spares
    assert tally.held == BOUND  # all places were used, and never one more
    assert counted["most"] <= BOUND
    assert backend["waiting"] == 0


def test_a_server_that_speaks_first_is_heard_by_every_session_though_it_spoke_to_a_spare() -> None:
    async def all_of_them() -> list[bytes]:
        return await asyncio.gather(*(session(proxy, number, GREETING) for number in range(300)))

    with (
        Digest(greets=True) as server,
        Proxy(
            server.address,
            protocol="tcp",
            upstream={"max_connections": BOUND, "min_connections": 4},
            queue={"timeout": "30s"},
        ) as proxy,
        Sampler(server.address) as sampler,
    ):
        greetings = asyncio.run(all_of_them())
        assert proxy.outcomes() == {"ok": 300}
        tally = sampler.result()
    assert all(greeting.isdigit() for greeting in greetings)
    assert len(set(greetings)) == 300  # P2: no two sessions on one connection
    assert tally.held <= BOUND


def connected(proxy: Proxy) -> socket.socket:
    return socket.create_connection((proxy.host, proxy.port), PATIENCE)


def end_of(sock: socket.socket) -> str:
    try:
        return f"{len(sock.recv(100))} bytes and FIN"
    except ConnectionResetError:
        return "RST"


def end_of_another(proxy: Proxy) -> str:
    try:
        with connected(proxy) as sock:
            return end_of(sock)
    except ConnectionResetError:  # before connect() has returned
        return "RST"


@pytest.mark.parametrize(("refuse", "end"), [("rst", "RST"), ("fin", "0 bytes and FIN")])
def test_who_gets_no_place_in_time_sees_the_end_that_the_operator_chose(refuse: str, end: str) -> None:
    with (
        Digest() as server,
        Proxy(
            server.address,
            protocol="tcp",
            upstream={"max_connections": 2},
            queue={"max_waiting": 2, "timeout": "3s"},  # both wait while the next comes, on any machine
            tcp={"refuse": refuse},
        ) as proxy,
        Sampler(server.address) as sampler,
        ExitStack() as stack,
    ):
        holding = [stack.enter_context(connected(proxy)) for _ in range(2)]
        wait_for(lambda: proxy.backend()["in_flight"] == 2, within=10, what="both places are taken")
        waiting = [stack.enter_context(connected(proxy)) for _ in range(2)]
        for sock in waiting:
            # More than is kept of it: not read, and so answered with RST if it were closed carelessly.
            assert sock.send(b"x" * 1_000_000, socket.MSG_DONTWAIT) > 100_000
        wait_for(lambda: proxy.backend()["waiting"] == 2, within=10, what="two wait")
        assert end_of_another(proxy) == end  # the queue is full
        assert [end_of(sock) for sock in waiting] == [end, end]
        for sock in holding:
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(100).startswith(b"0 ")
        wait_for(lambda: proxy.outcomes().get("ok") == 2, within=10, what="the end of who had a place")
        assert proxy.outcomes() == {"queue_full": 1, "queue_timeout": 2, "ok": 2}
        assert sampler.result().held == 2
