"""Raw TCP on real sockets: what one side does to its connection, the other sees on its own."""

from __future__ import annotations

import asyncio

import pytest

from muxproxy.config.model import Tcp
from muxproxy.protocols.tcp import TcpProtocol
from tests.worker.hands import Bench, End, perform

RST, FIN = TcpProtocol(Tcp(refuse="rst")), TcpProtocol(Tcp(refuse="fin"))
PATTERN = bytes(range(256)) * 4096  # 1 MiB


async def session(bench: Bench) -> tuple[End, End]:
    client = await bench.client()
    return client, await bench.accepted()


def test_a_reset_goes_through_from_the_client_to_the_server() -> None:
    async def scene(bench: Bench) -> None:
        ann, server = await session(bench)
        await ann.sends(b"half a reque")
        assert await server.gets(12) == b"half a reque"
        ann.resets()
        with pytest.raises(ConnectionResetError):
            await server.gets(1)
        await bench.until(lambda: bench.statistics()["upstream_sockets"] == 0)
        assert bench.outcomes() == {"client_left": 1}

    perform(scene, RST)


def test_a_reset_goes_through_from_the_server_to_the_client() -> None:
    async def scene(bench: Bench) -> None:
        ann, server = await session(bench)
        await server.sends(b"half a rep")
        assert await ann.gets(10) == b"half a rep"
        server.resets()
        with pytest.raises(ConnectionResetError):
            await ann.gets(1)
        await bench.until(lambda: bench.statistics()["clients"] == 0)
        assert bench.outcomes() == {"server_closed": 1}

    perform(scene, RST)


def test_a_reset_goes_through_though_one_direction_has_ended() -> None:
    async def scene(bench: Bench) -> None:
        ann, server = await session(bench)
        ann.finishes()
        assert await server.gets_end() == b""
        await server.sends(b"half")
        assert await ann.gets(4) == b"half"
        server.resets()
        with pytest.raises(ConnectionResetError):
            await ann.gets(1)

    perform(scene, RST)


async def talks(end: End) -> None:
    while True:
        await end.sends(b"x")
        await asyncio.sleep(0)  # or muxproxy would have no turn of the loop until the socket is full


def test_a_client_that_is_gone_is_a_reset_for_a_server_that_goes_on_talking() -> None:
    async def scene(bench: Bench) -> None:
        ann, server = await session(bench)
        ann.closes()  # FIN, and RST to whatever comes
        assert await server.gets_end() == b""
        talking = talks(server)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await talking
        assert bench.outcomes() == {"client_left": 1}

    perform(scene, RST)


def test_megabytes_pass_both_ways_at_once_and_each_direction_ends_by_itself() -> None:
    async def scene(bench: Bench) -> None:
        ann, server = await session(bench)

        async def says(end: End, times: int) -> None:
            for _ in range(times):
                await end.sends(PATTERN)
            end.finishes()

        _, _, asked, answered = await asyncio.gather(
            says(ann, 5), says(server, 7), server.gets_end(), ann.gets_end()
        )
        assert asked == PATTERN * 5
        assert answered == PATTERN * 7
        await bench.until(lambda: bench.outcomes() == {"ok": 1})
        await bench.until(lambda: bench.statistics()["upstream_sockets"] == 0)

    perform(scene, RST, request_buffer=10_000, response_buffer=10_000)


def test_a_server_that_does_not_read_stops_the_client_and_gets_all_of_it_in_the_end() -> None:
    async def scene(bench: Bench) -> None:
        ann, server = await session(bench)
        sending = asyncio.get_running_loop().create_task(ann.sends(PATTERN * 16))
        await bench.until(lambda: bench.pool.bytes_from_clients > 256 * 1024)
        assert not sending.done()
        sending.add_done_callback(lambda _: ann.finishes())
        assert await server.gets_end() == PATTERN * 16
        server.closes()
        assert await ann.gets_end() == b""

    perform(scene, RST)


def test_all_that_a_waiting_client_says_and_its_fin_reach_the_server_when_a_place_is_free() -> None:
    async def scene(bench: Bench) -> None:
        ann, server = await session(bench)
        bob = await bench.asks(PATTERN)
        bob.finishes()  # though more stands before muxproxy than it keeps
        await bench.until(lambda: bench.statistics()["waiting"] == 1)
        ann.closes()
        server.closes()
        server = await bench.accepted()
        assert await server.gets_end() == PATTERN
        await server.sends(b"answer")
        server.closes()
        assert await bob.gets_end() == b"answer"
        await bench.until(lambda: bench.outcomes() == {"ok": 2})

    perform(scene, RST, max_connections=1, request_buffer=10_000)


def test_a_client_without_a_place_is_reset_or_sees_an_empty_answer_as_the_operator_likes() -> None:
    async def reset(bench: Bench) -> None:
        await session(bench)
        bob = await bench.client()
        with pytest.raises(ConnectionResetError):
            await bob.gets(1)
        await bench.until(lambda: bench.outcomes() == {"queue_timeout": 1})

    async def end(bench: Bench) -> None:
        await session(bench)
        bob = await bench.asks(b"x" * 200_000)  # not read while it waits: closing would make the kernel reset
        assert await bob.gets_end() == b""
        assert bench.outcomes() == {"queue_timeout": 1}

    # Long enough for the first to get its place on a busy machine: it waits for its connect.
    perform(reset, RST, max_connections=1, timeout=0.5)
    perform(end, FIN, max_connections=1, timeout=0.5, request_buffer=10_000)


def test_what_a_server_says_to_a_spare_is_the_beginning_of_a_session() -> None:
    async def scene(bench: Bench) -> None:
        server = await bench.accepted()  # before there is a client
        await server.sends(b"220 welcome\n")
        await bench.until(lambda: any(u._early for u in bench.pool.upstreams))
        ann = await bench.asks(b"HELO\n")
        assert await ann.gets(12) == b"220 welcome\n"
        assert await server.gets(5) == b"HELO\n"

    perform(scene, RST, min_connections=1)


def test_a_session_that_is_cut_for_its_time_is_reset_on_both_sides() -> None:
    async def scene(bench: Bench) -> None:
        ann, server = await session(bench)
        with pytest.raises(ConnectionResetError):
            await ann.gets(1)
        with pytest.raises(ConnectionResetError):
            await server.gets(1)
        assert bench.outcomes() == {"session_timeout": 1}

    perform(scene, RST, session_timeout=0.2)
