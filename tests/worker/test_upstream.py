"""The hands of an upstream connection: everything is passed on, and its place under the bound is given back
in time."""

from __future__ import annotations

import asyncio

import pytest

from muxproxy.protocols.contract import Sharing
from muxproxy.worker import life
from muxproxy.worker.upstream import REQUEST_HIGH_WATER
from tests.worker.hands import Bench, descriptor_exists, perform


def watch_places(bench: Bench) -> list[bool]:
    """For each place that is given back: was its descriptor still there? (P1: it must not be.)"""
    found: list[bool] = []
    original = bench.pool.on_closed
    descriptors: dict[object, int] = {}
    connected = bench.pool.on_connected

    def on_connected(upstream, now):
        descriptors[upstream] = upstream.wire.get_extra_info("socket").fileno()
        connected(upstream, now)

    def on_closed(upstream, *rest):
        found.append(descriptor_exists(descriptors[upstream]))
        original(upstream, *rest)

    bench.pool.on_connected, bench.pool.on_closed = on_connected, on_closed
    return found


@pytest.mark.inside  # the pool's on_closed is replaced
@pytest.mark.parametrize("how", ["server closes", "server resets", "we close", "we abort"])
def test_a_place_is_given_back_only_when_the_descriptor_is_closed(how: str) -> None:
    async def scene(bench: Bench) -> None:
        places = watch_places(bench)
        ann = await bench.asks(b"ann\n")
        server = await bench.accepted()
        await server.gets(4)
        if how == "server closes":
            server.closes()
        elif how == "server resets":
            server.resets()
        elif how == "we close":
            await server.sends(b"ann close\n")
        else:
            await server.sends(b"!\n")
        await bench.until(lambda: bench.statistics()["upstream_sockets"] == 0)
        assert places == [False]
        assert await ann.gets(2) in (b"an", b"no")

    perform(scene, max_connections=1)


def test_a_fin_on_an_idle_connection_removes_it_before_it_is_used_again() -> None:
    async def scene(bench: Bench) -> None:
        ann = await bench.asks(b"one\n")
        server = await bench.accepted()
        await server.gets(4)
        await server.sends(b"one\n")
        assert await ann.gets(4) == b"one\n"
        server.finishes()
        await bench.until(lambda: bench.statistics()["upstream_sockets"] == 0)
        await ann.sends(b"two\n")
        again = await bench.accepted()
        assert await again.gets(4) == b"two\n"
        assert bench.statistics()["closed"] == {"server closed": 1}

    perform(scene)


def test_a_reset_reaches_the_client_as_a_reason() -> None:
    async def scene(bench: Bench) -> None:
        ann = await bench.asks(b"one\n")
        server = await bench.accepted()
        await server.gets(4)
        server.resets()
        text = b"no server_closed | toys: %s: Connection reset by peer\n" % bench.address.encode()
        assert await ann.gets(len(text)) == text

    perform(scene)


def test_a_server_that_reads_nothing_stops_its_client_at_the_high_water_mark() -> None:
    async def scene(bench: Bench) -> None:
        ann = await bench.asks(b"up +100000000\n")
        sending = asyncio.get_running_loop().create_task(ann.sends(b"x" * 50_000_000))
        await bench.accepted()
        (upstream,) = bench.pool.upstreams
        await bench.until(lambda: upstream.wire is not None)
        await bench.until(lambda: upstream.wire.get_write_buffer_size() > REQUEST_HIGH_WATER)
        assert upstream.wire.get_write_buffer_limits() == (REQUEST_HIGH_WATER // 4, REQUEST_HIGH_WATER)
        assert upstream.wire.get_write_buffer_size() < REQUEST_HIGH_WATER + 512 * 1024
        (client,) = bench.pool.clients
        assert client._read_paused
        assert not sending.done()
        sending.cancel()

    perform(scene, Sharing.EXCLUSIVE)


def test_our_own_bug_ends_the_connection_it_touched_and_tells_its_client() -> None:
    async def scene(bench: Bench) -> None:
        ann, bob = await bench.asks(b"ann\n"), await bench.asks(b"bob\n")
        one, two = await bench.accepted(), await bench.accepted()
        asked = {await one.gets(4): one, await two.gets(4): two}
        brain = next(u for u in bench.pool.upstreams if u.current.data == b"ann\n")

        def raises(data):
            raise ZeroDivisionError("a bug of ours")

        brain.replies.feed = raises
        await asked[b"ann\n"].sends(b"ann\n")
        assert (await ann.gets(11)) == b"no internal"
        assert await asked[b"ann\n"].gets_end() == b""
        assert "a bug of ours" in bench.bugs()[0]
        bench.logged.clear()
        await asked[b"bob\n"].sends(b"bob\n")
        assert await bob.gets(4) == b"bob\n"

    perform(scene)


def test_our_own_bug_before_the_heart_has_been_told_of_a_connection_gives_its_place_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepare, calls = life.prepare, []

    def raises_once(*told):
        calls.append(told)
        if len(calls) == 1:
            raise ZeroDivisionError("a bug of ours")
        prepare(*told)

    monkeypatch.setattr(life, "prepare", raises_once)

    async def scene(bench: Bench) -> None:
        ann = await bench.asks(b"ann\n")
        assert await (await bench.accepted()).gets(4) == b""
        server = await bench.accepted()
        assert await server.gets(4) == b"ann\n"
        await server.sends(b"ann\n")
        assert await ann.gets(4) == b"ann\n"
        assert len(bench.bugs()) == 1
        bench.logged.clear()

    perform(scene, max_connections=1, connect_timeout=0.3)
