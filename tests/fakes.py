"""Fakes of the world around the heart: wires that record, peers at their far ends, and a world whose time
is a number. A `Stage` has one pool and plays the event loop for it. Everything that happens is a call, in the
order of the test:

    stage = Stage(Toy(Sharing.EXCLUSIVE), max_connections=1)
    ann = stage.client()
    ann.sends(b"hello\n")
    server = stage.connects()           # the oldest connect that the heart has asked for succeeds
    assert server.got() == b"hello\n"
    server.sends(b"hello yourself\n")
    assert ann.got() == b"hello yourself\n"

Each such call is one turn of the loop: what the heart put off to the turn's end is done before the call
returns, and so is what must wait for its next turn; except inside `with stage.turn():`, which makes one
turn of several. The wires behave as uvloop's do, in the points that the heart can notice: a write may pause
the writer at once, a closed wire is gone one turn later, a paused reader finds later what came meanwhile, and
a write after write_eof() is an error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from muxproxy.budget import Report
from muxproxy.config.model import Backend
from muxproxy.metrics.snapshot import BackendSnapshot
from muxproxy.mux.base.client import Client
from muxproxy.mux.base.pool import Pool
from muxproxy.mux.base.statistics import statistics
from muxproxy.mux.base.upstream import OPEN, Upstream
from muxproxy.mux.deadlines import INF, Deadlines
from muxproxy.mux.sharings import new_pool
from muxproxy.mux.work import Working
from muxproxy.protocols.contract import Protocol, Sharing
from tests.configured import backend
from tests.toys import Toy

REQUEST_HIGH_WATER = 64 * 1024  # as worker/upstream.py sets it
FINE_GRAIN, SLOW_GRAIN = 0.01, 0.25  # as worker/engine.py has them


class RecordingWire:
    """muxproxy.mux.ports.Wire: our end of a socket. `peer` is the far end, `brain` the heart's half of it."""

    def __init__(self, world: FakeWorld, high: int = REQUEST_HIGH_WATER) -> None:
        self.world = world
        self.brain: Any = None  # Client or Upstream
        self.high = high
        self.writes: list[bytes] = []  # as they were handed over
        self.buffer = b""  # what the peer has not taken
        self.received = bytearray()  # what the peer has taken
        self.kept_back = b""  # what an abort kept from it
        self.takes = True  # the peer reads
        self.reading = True
        self.eof = False
        self.closing = False
        self.aborted = False
        self.was_reset = False
        self.finished = False  # its FIN was sent at once
        self.identity = "somebody"
        self.has_left = False  # the peer has closed it, and nobody has read that yet
        self.refuses = ""  # the error of the next write: the peer's RST has come, and nobody has read it
        self.unanswered = 0  # tries in a row that the peer's machine did not answer
        self.silent = 0.0  # seconds since it was heard, if it owes an answer
        self.asked_every = 0.0
        self.lost = False  # the connection has ended, its socket is not gone yet
        self.gone = False  # the brain has been told
        self._paused_writer = False
        self._inbox: deque[bytes] = deque()  # what the peer has sent and nobody has read; b"": its FIN

    # -- what the heart calls ---------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        assert not self.eof, "write() after write_eof(): uvloop raises"
        assert not self.lost, "write() after connection_lost(): uvloop raises"
        if self.aborted or self.gone or not data:
            return
        if self.refuses and not self.buffer:  # as uvloop: closing at once, connection_lost in the next turn
            self.closing = self.aborted = True
            self.world.soon(lambda: self.break_off(self.refuses))
            return
        self.writes.append(data)
        self.world.journal.append(self)
        if self.takes and not self.buffer:
            self.received += data
            return
        self.buffer += data
        if len(self.buffer) > self.high and not self._paused_writer:
            self._paused_writer = True
            self.brain.on_write_paused(self.world.now)

    def writelines(self, parts: list[bytes | memoryview]) -> None:
        self.write(b"".join(parts))

    def write_eof(self) -> None:
        self.eof = True

    def close(self) -> None:
        if not self.closing:
            is_client = isinstance(self.brain, Client)
            assert not (is_client and any(self._inbox)), "close() over what it sent: the kernel resets it"
            self.closing = True
            if not self.buffer:
                self._lose()

    def abort(self) -> None:
        if not self.aborted:
            self.closing = self.aborted = True
            self.kept_back, self.buffer = self.buffer, b""
            self._lose()

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        if not self.reading:
            self.reading = True
            self.world.soon(self._read_on)

    def get_write_buffer_size(self) -> int:
        return len(self.buffer)

    # -- what the peer does -----------------------------------------------------------------------------

    def bring(self, data: bytes) -> None:
        if data:
            self._inbox.append(data)
            self._read_on()

    def bring_eof(self) -> None:
        self._inbox.append(b"")
        self._read_on()

    def break_off(self, error: str = "") -> None:
        """The peer reset the connection. What it had sent before that is read all the same
        (worker/remains.py): of a server always, of a client if it may have left with its last words."""
        self.closing = self.aborted = True
        self.buffer = b""
        self._lose(error)
        brain = self.brain
        is_server = isinstance(brain, Upstream)
        if is_server or (isinstance(brain, Client) and brain.wants_remains()):
            if is_server:
                brain.on_breaking(self.world.now)
            while self._inbox and (data := self._inbox.popleft()):
                brain.on_data(data, self.world.now)
        if is_server:
            self.lost = True
            brain.on_lost(error, self.world.now)

    def take(self, size: int | None = None) -> None:
        """The peer reads `size` bytes of what it left in the buffer: all by default."""
        size = len(self.buffer) if size is None else size
        self.received += self.buffer[:size]
        self.buffer = self.buffer[size:]
        if self._paused_writer and len(self.buffer) <= self.high // 4 and not self.aborted:
            self._paused_writer = False
            self.brain.on_write_resumed(self.world.now)
        if self.closing and not self.buffer and not self.aborted:
            self._lose()

    def unread(self) -> int:
        return len(self._inbox)  # chunks that came while the reader is paused

    def unread_bytes(self) -> int:
        return sum(map(len, self._inbox))

    def _read_on(self) -> None:
        while self._inbox and self.reading and not self.closing:
            data = self._inbox.popleft()
            if data:
                self.brain.on_data(data, self.world.now)
                continue
            brain = self.brain
            told = brain.on_eof if isinstance(brain, Client) else brain.on_server_eof
            if not told(self.world.now):
                self.close()

    def _lose(self, error: str = "") -> None:
        self.world.soon(lambda: self._tell_gone(error))

    def _tell_gone(self, error: str) -> None:
        if not self.gone:
            self.gone = True
            if isinstance(self.brain, Client):
                self.brain.on_closed(self.world.now)
            else:
                self.world.sockets.discard(self.brain)
                self.brain.on_closed(error, self.world.now)


class FakeWorld:
    """muxproxy.mux.ports.World. `sockets` is its own count of upstream sockets, which judges P1."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.fine = Deadlines(FINE_GRAIN, self.alarm)
        self.slow = Deadlines(SLOW_GRAIN, self.alarm)
        self.sockets: set[Upstream] = set()  # from dial() until on_closed()
        self.dials: list[Upstream] = []  # connects under way, oldest first
        self.hung_up: list[Upstream] = []  # given up by the heart, on_closed not told yet
        self.lingering_connects = False  # True: a connect that was given up stays until the test ends it
        self.reports: list[Report] = []  # to who lends places
        self.rations: list[tuple[str, Report]] = []  # likewise, of its other numbers
        self.drained_pools: list[Pool] = []
        self.lines: list[tuple[str, dict[str, object]]] = []
        self.journal: list[RecordingWire] = []  # whose turn it was to write, in the order of time
        self.random = 0.0
        self._later: deque[Callable[[], None]] = deque()
        self._busy: deque[Working] = deque()
        self._armed = INF
        self._timers: list[tuple[float, Callable[[], None]]] = []

    def dial(self, address: str, upstream: Upstream) -> None:
        assert upstream.server.address == address
        self.sockets.add(upstream)
        self.dials.append(upstream)

    def hang_up(self, upstream: Upstream) -> None:
        if upstream in self.dials:
            self.dials.remove(upstream)
            self.hung_up.append(upstream)
            if not self.lingering_connects:
                self.soon(lambda: self.end_connect(upstream, "given up"))

    def end_connect(self, upstream: Upstream, error: str) -> None:
        if upstream in self.dials:
            self.dials.remove(upstream)
        else:
            self.hung_up.remove(upstream)
        self.sockets.discard(upstream)
        upstream.on_closed(error, self.now)

    def reset(self, wire: Any) -> None:
        wire.was_reset = True
        wire.abort()

    def write_last(self, wire: Any, data: bytes) -> None:
        wire.write(data)

    def finish(self, wire: Any) -> None:
        wire.finished = True

    def has_left(self, wire: Any) -> bool:
        return bool(wire.has_left)

    def hearing(self, wire: Any) -> tuple[int, float]:
        return wire.unanswered, wire.silent

    def ask(self, wire: Any, every: float) -> None:
        wire.asked_every = every

    def identity(self, wire: Any) -> str:
        return str(wire.identity)

    def unsent(self, wire: Any) -> int:
        return wire.get_write_buffer_size()

    def soon(self, callback: Callable[[], None]) -> None:
        self._later.append(callback)

    def postpone(self, working: Working) -> None:
        assert working not in self._busy
        self._busy.append(working)

    def later(self, delay: float, callback: Callable[[], None]) -> None:
        self._timers.append((self.now + delay, callback))
        self.alarm(self.now + delay)

    def alarm(self, at: float) -> None:
        self._armed = min(self._armed, at)

    def on_share(self, pool: Pool) -> None:
        self.reports.append(pool.allowance.report())

    def on_ration(self, pool: Pool, key: str) -> None:
        self.rations.append((key, pool.rations[key].report()))

    def drained(self, pool: Pool) -> None:
        self.drained_pools.append(pool)

    def jitter(self) -> float:
        return self.random

    def log(self, event: str, *, level: str = "info", **fields: object) -> None:
        self.lines.append((event, fields))

    # -- what the test does -----------------------------------------------------------------------------

    def end_turn(self) -> None:
        while self._later:
            self._later.popleft()()

    def next_turn(self) -> bool:
        """Of those that had more to do than is one's share of a turn. False: there are none."""
        busy = len(self._busy)
        self.now += 0.001 * (busy > 0)
        for _ in range(busy):
            self._busy.popleft().go_on(self.now)
        self.end_turn()
        return busy > 0

    def next_turns(self) -> int:
        """As many as it takes. Returns how many."""
        turns = 0
        while self.next_turn():
            turns += 1
            assert turns < 100_000, "work without end"
        return turns

    def pass_time(self, seconds: float) -> None:
        """As worker/engine.py: nobody is looked at before an alarm that was asked for."""
        end = self.now + seconds
        while self._armed <= end:
            self.now = max(self.now, self._armed)
            self._armed = INF
            due = [timer for timer in self._timers if timer[0] <= self.now]
            self._timers = [timer for timer in self._timers if timer[0] > self.now]
            for _, callback in due:
                callback()
            for at, _ in self._timers:
                self.alarm(at)
            for wheel in (self.fine, self.slow):
                wheel.tick(self.now)
                self.alarm(wheel.next_deadline())
            self.end_turn()
        self.now = end


class Peer:
    """The far end of one of our sockets."""

    def __init__(self, stage: Stage, wire: RecordingWire) -> None:
        self.stage = stage
        self.wire = wire
        self.has_finished = False  # it has sent its FIN, and can send no more
        self._seen = 0

    def got(self) -> bytes:
        """What has come since this was last asked."""
        seen, self._seen = self._seen, len(self.wire.received)
        return bytes(self.wire.received[seen:])

    def sends(self, data: bytes) -> None:
        if not self.wire.closing and not self.has_finished:
            with self.stage.turn():
                self.wire.bring(data)

    def closes(self) -> None:
        """FIN, after what it has sent."""
        if not self.wire.closing and not self.has_finished:
            self.has_finished = True
            with self.stage.turn():
                self.wire.bring_eof()

    def breaks_off(self, error: str = "Connection reset by peer") -> None:
        if not self.wire.closing:
            with self.stage.turn():
                self.wire.break_off(error)

    def stops_reading(self) -> None:
        self.wire.takes = False

    def reads(self, size: int | None = None) -> None:
        """Some of what waits for it; without `size` all of it, and from now on everything."""
        self.wire.takes = size is None
        with self.stage.turn():
            self.wire.take(size)

    @property
    def is_open(self) -> bool:
        return not self.wire.closing

    @property
    def is_paused(self) -> bool:
        """Nobody reads what it sends."""
        return not self.wire.reading


class Stage:
    """One pool in a fake world. Keywords are keys of the configuration, wherever in it they stand."""

    def __init__(
        self,
        protocol: Protocol | Sharing,
        *,
        servers: tuple[str, ...] = ("one:1",),
        config: Backend | None = None,
        **keys: Any,
    ) -> None:
        if isinstance(protocol, Sharing):
            protocol = Toy(protocol)
        self.world = FakeWorld()
        self.keys = keys
        self.config = backend(servers, keys) if config is None else config
        self.pool = new_pool(self.config, protocol, self.world, self.world.fine, self.world.slow)
        self.request_high = REQUEST_HIGH_WATER
        self.one_turn_each = False  # True: work that waits for the next turn (P10) is next_turns()' to do
        self._depth = 0
        if servers:
            with self.turn():
                self.pool.set_servers(list(servers), self.world.now)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """All that happens within is one turn of the event loop."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if not self._depth:
            self.world.end_turn()
            if not self.one_turn_each:
                self.world.next_turns()

    def configure(self, *servers: str, **keys: Any) -> None:
        """A reload changes these keys, and the servers if there are any here."""
        self.keys |= keys
        self.config = backend(servers or self.config.upstream.servers, self.keys)
        with self.turn():
            self.pool.configure(self.config, self.world.now)
            if servers:
                removed = {server.address for server in self.pool.servers} - set(servers)
                self.pool.set_servers(list(servers), self.world.now, removed=removed)

    def client(self, data: bytes = b"") -> Peer:
        """A client connects; it has sent `data` when it is accepted."""
        wire = RecordingWire(self.world, self.config.clients.response_buffer)
        with self.turn():
            brain = wire.brain = self.pool.new_client(wire, self.world.now)
            brain.on_opened(self.world.now, data)
        return Peer(self, wire)

    def asks(self, data: bytes) -> Peer:
        """A new client that sends at once."""
        (peer := self.client()).sends(data)
        return peer

    def connects(self, upstream: Upstream | None = None) -> Peer:
        """A connect under way succeeds: the oldest, or that of `upstream`."""
        upstream = upstream or self.world.dials[0]
        self.world.dials.remove(upstream)
        wire = RecordingWire(self.world, self.request_high)
        wire.brain = upstream
        with self.turn():
            upstream.on_connected(wire, self.world.now)
        return Peer(self, wire)

    def reconnects(self) -> Peer:
        """The next connect succeeds, after the pauses of a server that has ended one without a word."""
        while not self.dials:
            self.passes(0.01)
        peer = self.connects()
        while peer.wire.brain.state < OPEN:
            self.passes(0.01)
        return peer

    def refuses(self, upstream: Upstream | None = None, error: str = "Connection refused") -> None:
        """A connect under way fails: the oldest, or that of `upstream`."""
        with self.turn():
            self.world.end_connect(upstream or self.world.dials[0], error)

    def server(self, request: bytes, reply: bytes) -> Peer:
        """A connection that has served one exchange already and is idle."""
        ann = self.asks(request)
        server = self.connects()
        assert server.got() == request
        server.sends(reply)
        assert ann.got() == reply
        ann.closes()
        return server

    def passes(self, seconds: float) -> None:
        self.world.pass_time(seconds)
        if not self.one_turn_each:
            self.world.next_turns()  # of work that a deadline has begun

    @property
    def dials(self) -> list[Upstream]:
        return self.world.dials

    def statistics(self) -> BackendSnapshot:
        return statistics(self.pool, self.world.now)

    def outcomes(self) -> dict[str, int]:
        """Reason -> exchanges that ended so; those that never happened left out."""
        return {
            label: count
            for reasons in self.statistics()["outcomes"].values()
            for label, count in reasons.items()
            if count
        }
