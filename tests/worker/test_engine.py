"""The world of the heart on a real loop: connects, resets, what is unsent, one timer, and our own bugs."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from muxproxy.mux.deadlines import INF, Timed
from muxproxy.mux.work import Working
from muxproxy.worker.engine import BUSY_PER_TURN, Engine
from tests.system.sockdiag import SockDiag
from tests.worker.hands import PATIENCE, Bench, perform


def sockets_to(port: int) -> int:
    """Sockets of this process towards the port, as the kernel has them: each once, though a list that is read
    while others come and go may show one twice."""
    ours = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            ours.add(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:  # the descriptor of listdir itself
            continue
    with SockDiag() as kernel:
        return len({f"socket:[{each.inode}]" for each in kernel.sockets(f"127.0.0.1:{port}")} & ours)


def test_a_refused_connect_is_told_with_its_reason() -> None:
    async def scene(bench: Bench) -> None:
        address = bench.origin.getsockname()
        bench.origin.close()
        bench.origin = socket.socket()
        bench.origin.bind(address)  # and does not listen: a port that is free may be anybody's next
        ann = await bench.asks(b"ann\n")
        assert await ann.gets(12) == b"no no_server"
        assert bench.statistics()["servers"][0]["last_error"] == "Connection refused"

    perform(scene, timeout=0.5)


@pytest.mark.inside  # the pool's on_closed is replaced
def test_a_connect_that_hangs_is_given_up_and_its_place_given_back_when_its_socket_is_gone() -> None:
    async def scene(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        port = bench.origin.getsockname()[1]
        bench.origin.listen(0)  # a backlog of one, and it is full
        filler = socket.create_connection(("127.0.0.1", port))
        seen: list[int] = []
        original = bench.pool.on_closed

        def on_closed(*args):
            seen.append(sockets_to(port))
            original(*args)

        bench.pool.on_closed = on_closed
        ann = await bench.asks(b"ann\n")
        await bench.until(lambda: bench.pool.connects == 1)
        await bench.until(lambda: len(seen) >= 1)
        assert seen[0] == 1  # P1: the filler's own, and not the one that was given up
        assert bench.statistics()["servers"][0]["last_error"] == "connect timeout"
        filler.close()
        (accepted, _), _ = await asyncio.gather(loop.sock_accept(bench.origin), asyncio.sleep(0))
        accepted.close()
        asked = b""
        while not asked:  # on a busy machine a connect may succeed and be given up in the same turn
            server = await bench.accepted()
            asked = await server.gets(4)
        assert asked == b"ann\n"
        await server.sends(b"ann\n")
        assert await ann.gets(4) == b"ann\n"

    perform(scene, connect_timeout=0.1, max_connections=1, timeout=8.0, backoff_max=0.1)


def test_a_server_may_stand_on_a_unix_socket(tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        path = str(tmp_path / "origin.sock")
        origin = socket.socket(socket.AF_UNIX)
        origin.bind(path)
        origin.listen()
        origin.setblocking(False)
        bench.pool.set_servers([f"unix:{path}"], bench.engine.time())
        bench.origin.close()
        bench.origin = origin
        ann = await bench.asks(b"ann bye\n")
        server = await bench.accepted()
        assert await server.gets(8) == b"ann bye\n"
        await server.sends(b"ann\n")
        assert await ann.gets_end() == b"ann\n"

    perform(scene)


@asynccontextmanager
async def wire_and_peer(
    protocol: Callable[[], asyncio.Protocol] = asyncio.Protocol,
) -> AsyncIterator[tuple[asyncio.Transport, socket.socket]]:
    """A transport of ours and the far end of it, over TCP; both are gone afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    with peer:
        transport, _ = await asyncio.get_running_loop().create_connection(protocol, sock=ours)
        peer.setblocking(False)
        try:
            yield transport, peer
        finally:
            transport.abort()  # uvloop would wait for it for ever when the loop is closed


def with_engine(scene) -> list[tuple]:
    logged: list[tuple] = []

    async def main() -> None:
        engine = Engine(asyncio.get_running_loop(), lambda *line: logged.append(line))
        async with asyncio.timeout(PATIENCE):
            await scene(engine)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    return logged


def test_what_the_peer_has_not_taken_is_unsent_be_it_ours_or_the_kernels() -> None:
    async def scene(engine: Engine) -> None:
        loop = asyncio.get_running_loop()
        async with wire_and_peer() as (transport, peer):
            assert engine.unsent(transport) == 0
            size = 32 * 1024 * 1024
            transport.write(b"x" * size)
            buffered = transport.get_write_buffer_size()
            assert buffered > 0
            before = engine.unsent(transport)
            assert before > buffered  # the kernel's send queue counts
            taken = 0
            while taken < size // 2:
                taken += len(await loop.sock_recv(peer, 1 << 20))
            assert engine.unsent(transport) < before
            transport.abort()
            assert engine.unsent(transport) >= 0

    with_engine(scene)


def test_who_has_left_is_known_though_nobody_reads() -> None:
    async def scene(engine: Engine) -> None:
        async with wire_and_peer() as (transport, peer):
            transport.pause_reading()
            peer.send(b"more")
            assert not engine.has_left(transport)
            peer.close()
            while not engine.has_left(transport):  # noqa: ASYNC110 - there is no event, nobody reads
                await asyncio.sleep(0)  # a busy machine's kernel may deliver the FIN a little later

    with_engine(scene)


def test_a_client_is_known_by_its_process_or_else_by_its_address() -> None:
    async def scene(engine: Engine) -> None:
        async with wire_and_peer() as (transport, _):
            assert engine.identity(transport) == "127.0.0.1"
        await asyncio.sleep(0.01)
        assert engine.identity(transport) == ""
        ours, peer = socket.socketpair()
        with peer:
            loop = asyncio.get_running_loop()
            unix, _ = await loop.create_unix_connection(asyncio.Protocol, sock=ours)
            assert engine.identity(unix) == f"process {os.getpid()}"
            unix.abort()

    with_engine(scene)


def test_what_a_closed_wire_has_not_sent_is_no_error() -> None:
    async def scene(engine: Engine) -> None:
        async with wire_and_peer() as (transport, _):
            pass
        await asyncio.sleep(0.01)  # let the loop close the handle: there is no event to wait for
        engine.unsent(transport)
        engine.reset(transport)

    with_engine(scene)


def test_reset_is_an_error_that_the_peer_can_see_and_close_is_not() -> None:
    async def scene(engine: Engine) -> None:
        loop = asyncio.get_running_loop()
        async with wire_and_peer() as (transport, peer):
            transport.write(b"half")
            assert await loop.sock_recv(peer, 100) == b"half"
            engine.reset(transport)
            with pytest.raises(ConnectionResetError):
                await loop.sock_recv(peer, 100)
        async with wire_and_peer() as (transport, peer):
            transport.write(b"whole")
            transport.close()
            assert await loop.sock_recv(peer, 100) == b"whole"
            assert await loop.sock_recv(peer, 100) == b""

    with_engine(scene)


def test_the_last_words_arrive_with_and_without_a_fin_behind_them() -> None:
    async def scene(engine: Engine) -> None:
        loop = asyncio.get_running_loop()
        for end in ("close", "write_eof"):
            async with wire_and_peer() as (transport, peer):
                engine.write_last(transport, b"bye")
                getattr(transport, end)()
                assert await loop.sock_recv(peer, 100) == b"bye"
                assert await loop.sock_recv(peer, 100) == b""

    with_engine(scene)


def test_a_fin_goes_at_once_and_not_when_the_loop_turns_again() -> None:
    async def scene(engine: Engine) -> None:
        for said in (b"bye", b""):
            async with wire_and_peer() as (transport, peer):
                transport.write(said)
                engine.finish(transport)
                with socket.socket(fileno=os.dup(peer.fileno())) as now:  # no turn of the loop in between
                    assert now.recv(100) == said
                    assert not said or now.recv(100) == b""
                transport.close()
                engine.finish(transport)  # of one that is closing: nothing happens

    with_engine(scene)


class Egg(Timed):
    def __init__(self, deadline: float, rings) -> None:
        self.deadline = deadline
        self.wake = INF
        self.rings = rings

    def on_deadline(self, now: float) -> None:
        self.deadline = INF
        self.rings(now)

    def on_bug(self, now: float) -> None: ...


def test_one_timer_serves_all_deadlines_of_both_wheels_and_none_rings_early() -> None:
    async def scene(engine: Engine) -> None:
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        rang: list[str] = []

        def ring(name: str, deadline: float):
            def rings(now: float) -> None:
                assert now >= deadline
                rang.append(name)
                if len(rang) == 3:
                    done.set()

            return rings

        now = loop.time()
        for name, delay, wheel in (
            ("slow", 0.06, engine.slow),
            ("late", 0.05, engine.fine),
            ("soon", 0.02, engine.fine),
        ):
            wheel.watch(Egg(now + delay, ring(name, now + delay)))
        await done.wait()
        assert rang == ["soon", "late", "slow"]

    with_engine(scene)


class Sleeper(asyncio.Protocol):
    """Behind the first bytes that it is told, the loop stands still."""

    def __init__(self, told: list[bytes], meanwhile: Callable[[], None]) -> None:
        self.told = told
        self.meanwhile = meanwhile

    def data_received(self, data: bytes) -> None:
        self.told.append(data)
        if len(self.told) == 1:
            self.meanwhile()
            time.sleep(0.1)


def test_what_came_while_the_process_stood_still_is_read_before_anybodys_time_is_up() -> None:
    async def scene(engine: Engine) -> None:
        told: list[bytes] = []
        done = asyncio.Event()

        def rings(now: float) -> None:
            told.append(b"time is up")
            done.set()

        def meanwhile() -> None:
            engine.fine.watch(Egg(engine.time() + 0.02, rings))
            peer.send(b"in time")

        async with wire_and_peer(lambda: Sleeper(told, meanwhile)) as (_, peer):
            peer.send(b"first")
            await done.wait()
        assert told == [b"first", b"in time", b"time is up"]

    with_engine(scene)


def test_a_bug_behind_one_deadline_is_logged_and_the_others_still_ring() -> None:
    async def scene(engine: Engine) -> None:
        done = asyncio.Event()

        def fails(now: float) -> None:
            raise ZeroDivisionError("a bug of ours")

        now = asyncio.get_running_loop().time()
        for rings in (fails, lambda now: done.set()):
            engine.fine.watch(Egg(now + 0.01, rings))
        await done.wait()

    logged = with_engine(scene)
    assert [(level, event) for level, event, _ in logged] == [("error", "bug")]


def test_a_bug_while_a_connect_ends_does_not_keep_its_place() -> None:
    async def scene(bench: Bench) -> None:
        bench.pool.set_servers(["nonsense"], bench.engine.time())
        await bench.asks(b"ann\n")
        await bench.until(lambda: bench.pool.connect_failures > 0)
        assert all("parse_server" in traceback for traceback in bench.bugs())
        bench.pool.set_servers([bench.address], bench.engine.time())
        server = await bench.accepted()
        assert await server.gets(4) == b"ann\n"
        bench.logged.clear()

    perform(scene)


def test_a_connect_that_is_given_up_before_it_has_begun_gives_its_place_back() -> None:
    async def scene(bench: Bench) -> None:
        bench.pool.set_servers(["127.0.0.1:1"], bench.engine.time())
        bench.pool.warm(bench.engine.time())
        assert len(bench.pool.upstreams) == 1
        bench.pool.set_servers([], bench.engine.time())  # in the same turn
        await bench.until(lambda: not bench.pool.upstreams)

    perform(scene, max_connections=1, min_connections=1)


def test_a_connect_that_is_given_up_when_it_has_just_succeeded_gives_its_place_back() -> None:
    async def scene(bench: Bench) -> None:
        for _ in range(20):
            bench.pool.set_servers([bench.address], bench.engine.time())
            await bench.accepted()  # on this side it may have succeeded, or be about to
            bench.pool.set_servers([], bench.engine.time())
            await bench.until(lambda: not bench.pool.upstreams)

    perform(scene, max_connections=1, min_connections=1)


def test_those_with_work_left_go_on_in_turns_a_few_in_each_turn_of_the_loop() -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        engine = Engine(loop, lambda *line: None)
        turns: list[str] = []

        class Busy(Working):
            def __init__(self, name: str, times: int) -> None:
                super().__init__()
                self.name, self.times = name, times
                engine.postpone(self)

            def go_on(self, now: float) -> None:
                turns.append(self.name)
                self.times -= 1
                if self.times:
                    engine.postpone(self)

        names = [str(number) for number in range(BUSY_PER_TURN + 2)]
        for name in names:
            Busy(name, 2)
        assert turns == []
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(turns) <= 2 * BUSY_PER_TURN  # and somebody else's turn is now
        await asyncio.sleep(0.01)
        assert turns == names * 2

    uvloop.run(scene())
