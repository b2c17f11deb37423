"""The hands of a client: everything is passed on, and a bug ends what it touched."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import Sharing
from muxproxy.worker.visit import AT_ONCE, Visit
from tests.toys import Toy
from tests.worker.hands import Bench, perform


def test_a_request_and_its_reply_pass() -> None:
    async def scene(bench: Bench) -> None:
        ann = await bench.asks(b"hello +5\nworld")
        server = await bench.accepted()
        assert await server.gets(14) == b"hello +5\nworld"
        await server.sends(b"hello +4\nback")
        assert await ann.gets(13) == b"hello +4\nback"
        await ann.sends(b"again\n")
        assert await server.gets(6) == b"again\n"
        assert bench.statistics()["upstream_sockets"] == 1

    perform(scene)


def test_a_body_larger_than_every_buffer_passes_both_ways_and_stops_where_nobody_reads() -> None:
    size = 8 * 1024 * 1024

    async def scene(bench: Bench) -> None:
        ann = await bench.asks(b"up +%d\n" % size)
        data = bytes(range(256)) * (size // 256)
        sending = bench.engine._loop.create_task(ann.sends(data))
        server = await bench.accepted()
        assert await server.gets(12 + 1024) == b"up +8388608\n" + data[:1024]
        # nobody reads now, and the client cannot send more than all the buffers between hold
        await bench.until(lambda: bench.pool.bytes_from_clients > 256 * 1024)
        assert not sending.done()
        assert await server.gets(size - 1024) == data[1024:]
        await sending
        replying = bench.engine._loop.create_task(server.sends(b"up +%d\n" % size + data))
        assert await ann.gets(12 + size) == b"up +8388608\n" + data
        await replying
        await bench.until(lambda: bench.outcomes() == {"ok": 1})

    perform(scene)


def test_the_low_water_mark_is_a_quarter_of_response_buffer_and_not_sixteen_bytes() -> None:
    async def scene(bench: Bench) -> None:
        await bench.asks(b"up +100000\n" + b"x" * AT_ONCE)  # more than comes at once: it has a transport
        await bench.until(lambda: len(bench.pool.clients) == 1)
        (brain,) = bench.pool.clients
        await bench.until(lambda: not isinstance(brain.wire, Visit))
        assert brain.wire.get_write_buffer_limits() == (2500, 10_000)

    perform(scene, response_buffer=10_000)


def test_a_client_that_finishes_or_resets_has_left() -> None:
    async def scene(bench: Bench) -> None:
        ann, bob = await bench.asks(b"ann\n"), await bench.asks(b"bob\n")
        servers = [await bench.accepted(), await bench.accepted()]
        for server in servers:
            await server.gets(4)
        ann.finishes()
        bob.resets()
        await bench.until(lambda: bench.outcomes() == {"client_left": 2})
        await bench.until(lambda: bench.statistics()["clients"] == 0)
        assert bench.engine.client_sockets == 0

    perform(scene)


def test_a_half_closed_session_goes_on_in_the_other_direction() -> None:
    async def scene(bench: Bench) -> None:
        ann = await bench.asks(b"question")
        server = await bench.accepted()
        ann.finishes()
        assert await server.gets_end() == b"question"
        await server.sends(b"answer")
        server.closes()
        assert await ann.gets_end() == b"answer"

    perform(scene, Sharing.DEDICATED)


def test_a_refusal_arrives_whole_though_the_client_is_still_sending() -> None:
    async def scene(bench: Bench) -> None:
        ann = await bench.asks(b"!bad\n" + b"x" * 200_000)
        assert await ann.gets_end() == b"no bad_request bye | malformed !bad\n"

    perform(scene)


@pytest.mark.inside  # the pool's submit is replaced: only there a bug finds an exchange that nobody has yet
def test_our_own_bug_ends_the_client_it_touched_and_nothing_else() -> None:
    async def scene(bench: Bench) -> None:
        bob = await bench.asks(b"bob\n")
        server = await bench.accepted()
        submit = bench.pool.submit

        def raises(exchange, now):
            raise ZeroDivisionError("a bug of ours")

        bench.pool.submit = raises
        ann = await bench.asks(b"ann\n")
        assert await ann.gets_end() == b""
        bench.pool.submit = submit
        (traceback,) = bench.bugs()
        assert "a bug of ours" in traceback
        bench.logged.clear()
        await server.gets(4)
        await server.sends(b"bob\n")
        assert await bob.gets(4) == b"bob\n"
        assert bench.outcomes() == {"internal": 1, "ok": 1}

    perform(scene)


def test_a_bug_of_ours_in_a_session_ends_its_client_and_nothing_else() -> None:
    async def scene(bench: Bench) -> None:
        bob = await bench.asks(b"bob\n")
        server = await bench.accepted()
        ann = await bench.asks(b"ann bug\n")
        assert await ann.gets_end() == b""
        (traceback,) = bench.bugs()
        assert "a bug of ours" in traceback
        bench.logged.clear()
        await server.gets(4)
        await server.sends(b"bob\n")
        assert await bob.gets(4) == b"bob\n"
        assert bench.outcomes() == {"ok": 1}

    perform(scene, Toy(Sharing.EXCLUSIVE, sessions=True))
