"""What a pool has, and how its exchanges end: each once, counted, in words that say why (P3).

pool.py is who gets what; here is the state that it is decided on, what operators see of it, and refusals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from muxproxy.config.model import Backend, Node
from muxproxy.metrics.histogram import Histogram
from muxproxy.metrics.snapshot import LimitSnapshot
from muxproxy.mux.admission.gate import Gate
from muxproxy.mux.admission.memory import Memory
from muxproxy.mux.admission.queue import Queue
from muxproxy.mux.base.lookout import Lookout
from muxproxy.mux.base.offenders import Offenders
from muxproxy.mux.base.upstream import OPEN, Upstream
from muxproxy.mux.deadlines import INF, Deadlines
from muxproxy.mux.exchange import ABANDONED, DONE, REPLYING, SENT, STREAM, WAITING, Exchange
from muxproxy.mux.ports import Wire, World
from muxproxy.protocols.contract import BROKEN, LISTEN, PIN, Frame, Protocol, Reason, Sharing

if TYPE_CHECKING:
    from muxproxy.mux.base.client import Client
    from muxproxy.mux.base.patience import Patience
    from muxproxy.mux.base.server import Server

_OK = Reason.OK
_TELL_PINS_EVERY = 60.0  # seconds
_OVERLOAD = (
    Reason.QUEUE_FULL,
    Reason.CLIENTS_FULL,
    Reason.DRAINING,
    Reason.QUEUE_TIMEOUT,
    Reason.NO_SERVER,
)


class Accounts:
    """Times are the loop's, in seconds. `fine` and `slow`: wheels of short and long grains, for all pools."""

    def __init__(
        self, backend: Backend, protocol: Protocol, world: World, fine: Deadlines, slow: Deadlines
    ) -> None:
        self.name = backend.name
        self.protocol = protocol
        self.sharing = protocol.sharing
        self.is_dedicated = protocol.sharing is Sharing.DEDICATED
        self.config = backend.upstream
        self.clients_config = backend.clients
        # of what is opaque, without a byte in either direction
        self.tunnel_timeout = backend.http.tunnel_timeout
        if self.is_dedicated:
            self.tunnel_timeout = backend.clients.idle_timeout
        self.world = world
        self.fine = fine
        self.slow = slow
        self.memory = Memory(Node().memory, fine)  # its own, until its worker says which
        self.clients: set[Client] = set()
        self.upstreams: set[Upstream] = set()  # every one that counts against the bound
        self.servers: list[Server] = []
        self.queue = Queue(backend.queue.timeout, fine, self._on_expired)
        # Those that need a connection alone, apart, so that they never stand in front of those that do not
        # (P4).
        self.pin_queue = Queue(backend.queue.timeout, fine, self._on_expired)
        # Those that lost their connection and may be sent once more, on one that was dialled since (P9).
        self.retry_queue = Queue(backend.queue.timeout, fine, self._on_expired)
        # Shared sharings: large requests, which need one alone while they come in.
        self.stream_queue = Queue(backend.queue.timeout, fine, self._on_expired)
        self.gate = Gate(backend.queue.max_waiting)
        self.lookout = Lookout(self)
        self.pinned = 0  # that a session has for as long as it likes
        self._pins_told = -INF  # when the log last said what holds all of them
        self.pinned_limit = self._pinned_limit(backend)
        self.offenders = Offenders()
        self.draining = False
        self.resolve_error = ""
        # Clients whose replies are written together, at the end of the chunk that brings them; None: at once.
        self.corked: list[Patience] | None = None
        self.some_stop = False  # servers that are about to stop
        self._turn = 0  # where the search for the least loaded server begins
        self._releases = 0
        # what operators see
        self.bytes_from_clients = 0
        self.bytes_to_clients = 0
        self.connects = 0
        self.connect_failures = 0
        self.reused = 0
        self.retried = 0
        self.cut_listeners = 0  # cut because they were subscriber_buffer behind
        self.replied = 0
        self.unqueued = 0  # sent without waiting
        self.dequeued = 0
        self.ended: dict[Reason, int] = {}
        self.closed: dict[str, int] = {}
        self.events: dict[str, int] = {}  # what is no exchange's end and no connection's
        self.faults: dict[Reason, str] = {}  # the last one's own words, for the log
        self.queue_wait = Histogram()

    def on_offence(self, client: Patience, now: float) -> None:
        """It was cut, for others waited."""
        self.count_event("cut_in_the_way")
        if client.wire is not None:
            self.offenders.add(self.world.identity(client.wire), now)

    def grace(self, client: Patience, now: float) -> float:
        """How long it may hold up others: less than hold_timeout if its like was cut again and again."""
        grace = self.clients_config.hold_timeout
        if self.offenders and client.wire is not None:
            grace *= self.offenders.share(self.world.identity(client.wire), now)
        return grace

    def _pinned_limit(self, backend: Backend) -> int:
        upgraded = backend.http.max_upgraded
        return max(1, backend.upstream.max_connections // 2) if upgraded is None else upgraded

    def end(self, exchange: Exchange, reason: Reason) -> None:
        """Any state but ABANDONED => DONE, counted (P3)."""
        exchange.move(DONE)
        exchange.reason = reason
        if reason is _OK:
            self.replied += exchange.weight
        else:
            self.count(reason, exchange.weight)

    def count(self, reason: Reason, weight: int = 1) -> None:
        self.ended[reason] = self.ended.get(reason, 0) + weight

    def is_pressed(self, now: float) -> bool:
        """Somebody could do with the place of a connection that is good for nothing."""
        return self.gate.waiting > 0

    def unacknowledged_timeout(self) -> float:
        """How long a server's machine may take nothing of what it is sent: as long as it may be silent."""
        return self.config.reply_timeout

    def listening(self) -> dict[str, int]:
        """What clients listen to, in numbers."""
        return {}

    def pushed(self) -> dict[str, int]:
        """What became of it since start."""
        return {}

    def count_event(self, name: str) -> None:
        self.events[name] = self.events.get(name, 0) + 1

    def fault(self, reason: Reason, text: str) -> None:
        """Why the client breaks off that will be counted with `reason`."""
        self.faults[reason] = text

    def all_events(self) -> dict[str, int]:
        return self.events

    def limits_snapshot(self) -> dict[str, LimitSnapshot]:
        return {}

    def count_closed(self, why: str) -> None:
        self.closed[why] = self.closed.get(why, 0) + 1

    def abandon(self, exchange: Exchange, reason: Reason, now: float) -> None:
        """Its client is gone: (NEW | WAITING) => DONE, (SENT | REPLYING) => (ABANDONED | DONE)."""
        upstream = exchange.upstream
        is_tunnel = upstream is not None and upstream.is_opaque() and not self.is_dedicated
        if is_tunnel and reason is not Reason.TUNNEL_TIMEOUT:
            reason = _OK  # tunnels end by leaving
        exchange.client = None
        if upstream is not None and exchange.state in (SENT, REPLYING):
            exchange.reason = reason
            upstream.abandon(exchange, now)
            assert exchange.state in (ABANDONED, DONE)
            if reason is _OK:
                self.replied += 1
            else:
                self.count(reason, exchange.weight)
            return
        self.take_out(exchange)
        self.end(exchange, reason)

    def take_out(self, exchange: Exchange) -> None:
        """Out of the queue it may wait in; its state is the caller's to move."""
        if exchange.state == WAITING and exchange.queue is not None:
            exchange.queue.remove(exchange)
            self.gate.waiting -= 1

    def refusal(
        self, reason: Reason, text: str, exchange: Exchange | None, closing: bool, now: float
    ) -> Frame:
        retry_after = 0
        if reason in _OVERLOAD:
            retry_after = self.gate.retry_after(self.unqueued + self.dequeued, now)
        if exchange is None:
            return self.protocol.refusal(reason, text, retry_after=retry_after, closing=closing)
        return self.protocol.refusal(
            reason,
            text,
            note=exchange.note,
            tag=exchange.tag,
            retry_after=retry_after,
            closing=closing,
            weight=exchange.weight,
        )

    def turn_away(self, wire: Wire, text: str, now: float) -> None:
        """Of one who may not connect: told, if it costs nothing, and not waited for (P10)."""
        self.count(Reason.DENIED)
        self.fault(Reason.DENIED, text)
        frame = self.refusal(Reason.DENIED, f"{self.name}: {text}", None, True, now)
        if frame.marks & BROKEN:
            self.world.reset(wire)
            return
        self.bytes_to_clients += len(frame.data)
        wire.write(frame.data)
        wire.close()

    def _refuse_full(self, exchange: Exchange, now: float) -> None:
        bound = f"{self.gate.waiting} requests wait for {self.config.max_connections} connections"
        if self._lacks_pin(exchange.marks & PIN, exchange, now):
            bound = f"taken are all of {self._pins_taken()}"
        text = f"{self.name}: {bound}, max_waiting is {self.gate.max_waiting}{self._server_trouble()}"
        assert exchange.client is not None
        exchange.client.refuse(exchange, Reason.QUEUE_FULL, text, now)

    def _on_expired(self, exchange: Exchange, now: float) -> None:
        self.gate.waiting -= 1
        trouble = self._server_trouble()
        unreachable = trouble and not any(upstream.state == OPEN for upstream in self.upstreams)
        reason = Reason.NO_SERVER if unreachable else Reason.QUEUE_TIMEOUT
        what = f"one of {self.config.max_connections} connections"
        if self._lacks_pin(exchange.marks & (PIN | LISTEN), exchange, now):
            what = f"one of {self._pins_taken()}"
        text = f"{self.name}: waited {self.queue.timeout:g} s for {what}{trouble}"
        assert exchange.client is not None
        exchange.client.refuse(exchange, reason, text, now)

    def _lacks_pin(self, wants_pin: int, exchange: Exchange, now: float) -> bool:
        """It is for want of max_pinned. The log says what holds them, once a minute at most."""
        if not wants_pin or exchange.marks & STREAM or self.pinned < self.pinned_limit:
            return False
        if now >= self._pins_told + _TELL_PINS_EVERY:
            self._pins_told = now
            held, key = self._pin_reasons(), self._pin_key()
            self.world.log(
                "no connection is left to have alone", level="warning", backend=self.name, held=held, key=key
            )
        return True

    def _pins_taken(self) -> str:
        return f"{self.pinned_limit} that clients have alone ({self._pin_reasons()}): raise {self._pin_key()}"

    def _pin_key(self) -> str:
        """Which to raise: one connection always stays with the others."""
        most = self.config.max_connections
        if self.sharing is Sharing.EXCLUSIVE:
            key = "[http] max_upgraded"
        else:
            key, most = "[upstream] max_pinned", max(1, most - 1)
        return key if self.pinned_limit < most else "[upstream] max_connections"

    def _pin_reasons(self) -> str:
        """What those that are not shared are used for: only if somebody waited for one in vain."""
        reasons: dict[str, int] = {}
        for upstream in self.upstreams:
            if upstream.owner is not None:
                reasons[upstream.pin_reason] = reasons.get(upstream.pin_reason, 0) + 1
        return ", ".join(f"{reason} {reasons[reason]}" for reason in sorted(reasons))

    def _server_trouble(self) -> str:
        troubles = [f"{server}: {server.last_error}" for server in self.servers if server.failures]
        if self.resolve_error:
            troubles.append(self.resolve_error)
        return f" ({'; '.join(troubles)})" if troubles else ""

    def waits(self) -> Histogram:
        """Of every exchange that was sent: 0 for those that found a place free."""
        waits = Histogram()
        waits.counts = list(self.queue_wait.counts)
        waits.counts[0] += self.unqueued
        waits.total = self.queue_wait.total
        return waits

    def oldest_wait(self, now: float) -> float:
        queues = (self.queue, self.pin_queue, self.retry_queue, self.stream_queue)
        oldest = min((q.oldest() or INF for q in queues), default=INF)
        return 0.0 if oldest == INF else max(0.0, now - oldest)
