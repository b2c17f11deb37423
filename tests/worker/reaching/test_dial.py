"""Connects on real sockets: what has come of each is told once, later, and leaves no descriptor behind."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop

from muxproxy.config.model import UpstreamTls
from muxproxy.mux.ports import Secure, UpstreamBrain, Wire
from muxproxy.worker import life
from muxproxy.worker.engine import Engine
from muxproxy.worker.reaching import dial
from tests.certificates import made
from tests.worker.hands import PATIENCE, Bench, listening
from tests.worker.hands import perform as play

NOTHING_LISTENS = "Connection refused"


class Brain(UpstreamBrain):
    """`told`: with how many descriptors are open then, over those before the dial."""

    def __init__(self, tls: UpstreamTls | None = None) -> None:
        super().__init__()
        self.wire = None
        self.told: list[tuple[str, int]] = []
        self.before = descriptors()
        self.is_given_up = False
        self.options: list[int] = []
        self._tls = tls

    def tell(self, what: str) -> None:
        self.told.append((what, descriptors() - self.before))

    def keepalive(self) -> tuple[float, float]:
        return 15.0, 60.0

    def secure(self) -> Secure | None:
        return None if self._tls is None else Secure(self._tls, "localhost", "toys", "toy")

    def on_reached(self, now: float) -> None: ...

    def on_connected(self, wire: Wire, now: float) -> None:
        if self.is_given_up:
            wire.abort()
            return
        self.wire = wire
        sock = cast(asyncio.Transport, wire).get_extra_info("socket")
        if sock.family != socket.AF_UNIX:
            names = (socket.TCP_NODELAY, socket.TCP_KEEPIDLE, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
            self.options = [sock.getsockopt(socket.IPPROTO_TCP, name) for name in names]
        self.tell("connected")

    def on_server_eof(self, now: float) -> bool:
        return False

    def on_lost(self, error: str, now: float) -> None: ...

    def on_closed(self, error: str, now: float) -> None:
        self.tell(error)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def perform(scene: Callable[[Engine], Awaitable[None]]) -> list[Any]:
    logged: list[Any] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: logged.append(context))
        await _make_a_first_one(loop)
        async with asyncio.timeout(PATIENCE):
            await scene(Engine(loop, lambda *line: logged.append(line)))

    uvloop.run(main())
    return logged


async def _make_a_first_one(loop: asyncio.AbstractEventLoop) -> None:
    """For its first stream uvloop opens a descriptor of its own."""
    ours, theirs = socket.socketpair()
    with theirs:
        transport, _ = await loop.create_unix_connection(asyncio.Protocol, sock=ours)
        transport.abort()
        await turns()


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - there is no event but what is waited for
        await asyncio.sleep(0)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def place(sock: socket.socket) -> str:
    return "{}:{}".format(*sock.getsockname())


@contextmanager
def closed_port() -> Iterator[str]:
    """A port that is free may be anybody's next: this one is bound, and nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield place(bound)


@contextmanager
def full(count: int = 1) -> Iterator[list[socket.socket]]:
    """Listeners that take nobody for now: the kernel drops what comes, and it is sent again in a second."""
    listeners = [listening(backlog=0) for _ in range(count)]
    fillers = [socket.create_connection(each.getsockname()) for each in listeners]
    try:
        yield listeners
    finally:
        for each in listeners + fillers:
            each.close()


@pytest.mark.inside  # a brain of ours: no interpreted class may be a compiled brain
def test_who_is_refused_is_told_a_turn_later() -> None:
    async def scene(engine: Engine) -> None:
        with closed_port() as address:
            brain = Brain()
            engine.dial(address, brain)
            assert brain.told == []
            await until(lambda: brain.told)
            await turns()
            assert brain.told == [(NOTHING_LISTENS, 0)]

    assert perform(scene) == []


@pytest.mark.inside  # a brain of ours: no interpreted class may be a compiled brain
@pytest.mark.parametrize("how", ["no path", "a file"])
def test_who_is_refused_on_a_unix_socket_is_told_why(how: str, tmp_path: Path) -> None:
    path = tmp_path / "origin.sock"
    if how == "a file":
        path.touch()

    async def scene(engine: Engine) -> None:
        brain = Brain()
        engine.dial(f"unix:{path}", brain)
        assert brain.told == []
        await turns()
        wanted = errno.ENOENT if how == "no path" else errno.ECONNREFUSED
        assert brain.told == [(os.strerror(wanted), 0)]

    assert perform(scene) == []


@pytest.mark.inside  # a brain of ours: no interpreted class may be a compiled brain
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_a_connection_has_its_options_and_is_closed_by_its_transport(family: int, tmp_path: Path) -> None:
    async def scene(engine: Engine) -> None:
        with socket.socket(family) as server:
            if family == socket.AF_UNIX:
                server.bind(str(tmp_path / "origin.sock"))
                address = f"unix:{tmp_path}/origin.sock"
            else:
                server.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
                host, port = server.getsockname()[:2]
                address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            server.listen()
            brain = Brain()
            engine.dial(address, brain)
            await until(lambda: brain.told)
            assert brain.told == [("connected", 1)]
            assert brain.options == ([] if family == socket.AF_UNIX else [1, 15, life.PROBES, 60_000])
            assert not engine.dialler.under_way
            assert brain.wire is not None
            brain.wire.abort()
            await until(lambda: len(brain.told) > 1)
            await turns()
            assert brain.told[1:] == [("", 0)]

    assert perform(scene) == []


def test_what_a_machine_answers_only_later_is_waited_for() -> None:
    """A second: that is when the kernel asks again."""

    async def scene(bench: Bench) -> None:
        pool, engine = bench.pool, bench.engine
        pool.set_servers([], engine.time())  # of who was dialled at first
        await bench.until(lambda: not pool.upstreams)
        with full(2) as (refuses, takes):
            pool.set_servers([place(refuses), place(takes)], engine.time())
            pool.warm(engine.time())
            assert len(engine.dialler.under_way) == 2
            await turns()
            assert len(engine.dialler.under_way) == 2
            refuses.close()
            takes.accept()[0].close()
            await bench.until(lambda: bench.statistics()["servers"][0]["last_error"])
            await bench.until(lambda: any(each.wire is not None for each in pool.upstreams))
            (refused, taken) = bench.statistics()["servers"]
            assert (refused["last_error"], taken["last_error"]) == (NOTHING_LISTENS, "")
            pool.set_servers([], engine.time())
            await bench.until(lambda: not pool.upstreams)

    patient = {"connect_timeout": PATIENCE, "backoff_min": PATIENCE, "backoff_max": PATIENCE}
    play(scene, max_connections=2, min_connections=2, **patient)


@pytest.mark.inside  # a brain of ours: no interpreted class may be a compiled brain
def test_who_is_given_up_while_connecting_is_closed_at_once_and_told_a_turn_later() -> None:
    async def scene(engine: Engine) -> None:
        with full() as (server,):
            for _ in range(3):  # the descriptor's number is the next one's, too
                brain = Brain()
                engine.dial(place(server), brain)
                assert descriptors() - brain.before >= 1
                await turns(1)
                engine.hang_up(brain)
                engine.hang_up(brain)  # as often as one likes
                assert descriptors() == brain.before
                assert brain.told == []
                assert not engine.dialler.under_way
                await turns()
                assert brain.told == [(dial.GIVEN_UP, 0)]

    assert perform(scene) == []


@pytest.mark.inside  # a brain of ours: no interpreted class may be a compiled brain
@pytest.mark.parametrize("tls", [False, True])
def test_who_is_given_up_when_just_connected_is_closed_and_told_once(tls: bool) -> None:
    async def scene(engine: Engine) -> None:
        loop = asyncio.get_running_loop()
        with listening() as server:
            brain = Brain(UpstreamTls(ca_file=made("server").ca) if tls else None)
            engine.dial(place(server), brain)
            assert not engine.dialler.under_way
            brain.is_given_up = True
            engine.hang_up(brain)
            sock, _ = await loop.sock_accept(server)
            with sock:
                await until(lambda: brain.told)
                await turns()
                assert len(brain.told) == 1
                assert not engine._shaking
                sock.settimeout(PATIENCE)
                try:
                    while sock.recv(65536):  # by TLS a greeting may have gone out
                        pass
                except ConnectionResetError:
                    pass

    assert perform(scene) == []


@pytest.mark.inside  # a brain of ours: no interpreted class may be a compiled brain
def test_who_is_given_up_when_already_refused_is_told_once() -> None:
    async def scene(engine: Engine) -> None:
        with closed_port() as address:
            brain = Brain()
            engine.dial(address, brain)
            engine.hang_up(brain)
            await turns()
            assert brain.told == [(NOTHING_LISTENS, 0)]

    assert perform(scene) == []


@pytest.mark.inside  # a brain of ours: no interpreted class may be a compiled brain
def test_no_descriptor_left_is_a_connect_that_failed() -> None:
    async def scene(engine: Engine) -> None:
        with listening() as server:
            brain = Brain()
            with limited(descriptors=True):
                engine.dial(place(server), brain)
            assert brain.told == []
            await turns()
            assert brain.told == [(os.strerror(errno.EMFILE), 0)]

    assert perform(scene) == []


@pytest.mark.inside  # what connect() says is replaced
@pytest.mark.parametrize("error", [errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.EAGAIN])
def test_whatever_else_the_kernel_lacks_is_told_by_its_name(
    error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lacking(socket.SocketType):
        def connect_ex(self, place: Any) -> int:
            return error

    monkeypatch.setattr(dial, "_SOCKET", Lacking)

    async def scene(engine: Engine) -> None:
        brain = Brain()
        engine.dial("127.0.0.1:9", brain)
        await turns()
        assert brain.told == [(os.strerror(error), 0)]

    assert perform(scene) == []


@pytest.mark.inside  # what is replaced is called by compiled code
@pytest.mark.parametrize("where", ["prepare", "adopt", "watch"])
def test_a_bug_of_ours_on_the_way_leaves_no_descriptor(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(*args: object) -> None:
        raise ZeroDivisionError("a bug of ours")

    async def scene(engine: Engine) -> None:
        with listening() as server, full() as (hangs,):
            if where == "prepare":
                monkeypatch.setattr(life, "prepare", raises)
            elif where == "adopt":
                engine.dialler._adopt = raises
            else:
                engine.dialler._judge = raises
            brain = Brain()
            engine.dial(place(hangs if where == "watch" else server), brain)
            await turns()
            assert brain.told == [("internal error: ZeroDivisionError", 0)]
            assert not engine.dialler.under_way

    (bug,) = perform(scene)
    assert "a bug of ours" in bug[2]["traceback"]


@pytest.mark.inside  # a brain of ours: no interpreted class may be a compiled brain
def test_a_name_is_not_looked_up_here() -> None:
    async def scene(engine: Engine) -> None:
        brain = Brain()
        engine.dial("localhost:80", brain)
        await turns()
        assert brain.told == [("internal error: ValueError", 0)]

    (bug,) = perform(scene)
    assert "a name, where an address is dialled" in bug[2]["traceback"]


@pytest.mark.parametrize("how", ["refused", "given up while connecting", "given up at once", "no descriptor"])
def test_what_fails_leaves_no_descriptor_and_gives_its_place_back(how: str) -> None:
    async def scene(bench: Bench) -> None:
        pool, engine = bench.pool, bench.engine
        wanted = {"refused": NOTHING_LISTENS, "no descriptor": os.strerror(errno.EMFILE)}
        with full() as (hangs,), closed_port() as refuses:
            address = {"refused": refuses, "given up while connecting": place(hangs)}.get(how, bench.address)
            pool.set_servers([], engine.time())  # of who was dialled at first
            await bench.until(lambda: not pool.upstreams)
            for _ in range(5):
                before = descriptors()
                with limited(descriptors=how == "no descriptor"):
                    pool.set_servers([address], engine.time())
                    pool.warm(engine.time())
                assert len(pool.upstreams) == 1  # nothing is told inside of the call
                if how in wanted:
                    await bench.until(lambda: bench.statistics()["servers"][0]["last_error"] == wanted[how])
                elif how == "given up while connecting":
                    await turns()
                pool.set_servers([], engine.time())
                await bench.until(lambda: not pool.upstreams)
                assert not engine.dialler.under_way
                assert descriptors() == before

    play(scene, max_connections=1, min_connections=1, backoff_min=0.001, backoff_max=0.001)


@contextmanager
def limited(*, descriptors: bool) -> Iterator[None]:
    """This process has no descriptor left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open("/dev/null", os.O_RDONLY)
    os.close(free)
    if descriptors:
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
