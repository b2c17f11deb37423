"""What a pool has, what its clients, connections and servers may ask of it, and how its exchanges end: each
once, counted (P3).

pool.py is who gets what, refusing.py says why somebody gets nothing; here is the state that it is decided on,
and what operators see of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from muxproxy.config.address import parse_server
from muxproxy.config.limits import CLIENTS, PINNED, QUEUED
from muxproxy.config.model import Backend, Node
from muxproxy.metrics.histogram import Histogram
from muxproxy.metrics.snapshot import LimitSnapshot
from muxproxy.mux.admission.gate import Gate
from muxproxy.mux.admission.memory import Memory
from muxproxy.mux.admission.offenders import Offenders
from muxproxy.mux.admission.queue import Queue
from muxproxy.mux.base.voice import Voice
from muxproxy.mux.deadlines import Deadlines
from muxproxy.mux.exchange import ABANDONED, DONE, REPLYING, SENT, WAITING, ClientRole, Exchange
from muxproxy.mux.ports import Secure, Wire, World
from muxproxy.protocols.contract import BROKEN, Frame, Protocol, Reason

_OK: Final = Reason.OK
_OVERLOAD: Final = (
    Reason.QUEUE_FULL,
    Reason.CLIENTS_FULL,
    Reason.DRAINING,
    Reason.QUEUE_TIMEOUT,
    Reason.NO_SERVER,
)


class Parts(NamedTuple):
    """What a pool is made of. `fine` and `slow`: wheels of short and long grains, for all pools. The last two
    make its clients and its connections, which are the sharing's own, so that their kind has no name here."""

    backend: Backend
    protocol: Protocol
    world: World
    fine: Deadlines
    slow: Deadlines
    new_client: Callable[[Any, Wire | None, float], Any]  # (pool, wire, now)
    new_upstream: Callable[[Any, Any, float], Any]  # (pool, server, now)


class AllPins:
    """Sessions of several pools that have a connection alone: so many together (destinations/front.py)."""

    __slots__ = ("bound", "line", "used")

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.used = 0
        self.line: dict[Accounts, None] = {}  # pools where somebody waits for it

    def left(self) -> int:
        return self.bound - self.used

    def count(self, more: int) -> None:
        self.used += more
        if more < 0 and self.line:
            self.on_left()

    def on_left(self) -> None:
        """Those in line may go on, soon."""
        raise NotImplementedError

    def is_due(self) -> bool:
        """They will."""
        raise NotImplementedError


class Accounts:
    """Times are the loop's, in seconds."""

    def __init__(self, parts: Parts) -> None:
        backend, protocol, world, fine = parts.backend, parts.protocol, parts.world, parts.fine
        self._parts = parts
        self.name = backend.name
        self.protocol = protocol
        self.max_connections = backend.upstream.max_connections  # that it may have now: allowance.py
        self.potential = 0  # that it may have as soon as it wants more, where that takes no time
        self.carries_tunnels = False  # all that go there are, and may be no more than max_tunnels
        self.yields = False  # what comes free is too many, or others ask for it
        self.world = world
        self.fine = fine
        self.slow = parts.slow
        self.memory = Memory(Node().memory, fine)  # its own, until its worker says which
        self.clients: dict[ClientRole, None] = {}  # and not a set: what happens to all happens in order
        self.leads_clients = True  # False: `clients` has others', too, and what is for all is not its to do
        self.queue = Queue(backend.queue.timeout, fine, self.on_expired)
        # Those that need a connection alone, apart, so that they never stand in front of those that do not
        # (P4).
        self.pin_queue = Queue(backend.queue.timeout, fine, self.on_expired)
        # Those that lost their connection and may be sent once more, on one that was dialled since (P9).
        self.retry_queue = Queue(backend.queue.timeout, fine, self.on_expired)
        # Large requests, which need one alone while they come in, where connections are shared.
        self.stream_queue = Queue(backend.queue.timeout, fine, self.on_expired)
        # What is bounded of the backend, beside places: in all, and how much of it this pool may have now
        # (rations.py).
        self.bounds = self._bounds(backend)
        self.most_clients = self.bounds[CLIENTS]
        self.gate = Gate(self.bounds[QUEUED])
        self.pinned = 0  # that a session has for as long as it likes
        self.all_pins: AllPins | None = None  # with those of other pools
        self.most_pins = self.bounds[PINNED]
        self.pinned_limit = 0
        self._set_up(backend)
        self.offenders = Offenders()
        self.draining = False
        self.gentle_until = 0.0  # draining while others accept: until then only who is silent is closed
        self.resolve_error = ""
        self.lenient_until = 0.0  # what it is lent has to come from a predecessor first (rations.py)
        self.handshaking = 0  # clients, by TLS: they count, and the heart has not met them
        self.voice: Voice | None = None  # what clients make it say is bounded
        self.asked = ""  # the host that requests name, where its servers are called otherwise
        self.names: dict[str, str] = {}  # address -> the host as it was written, which TLS checks
        # Clients whose replies are written together, at the end of the chunk that brings them; None: at once.
        self.corked: list[ClientRole] | None = None
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

    def _set_up(self, backend: Backend) -> None:
        """All numbers that come from the configuration, at first and whenever it changes."""
        self.config = backend.upstream
        self.clients_config = backend.clients
        # What every client and request asks: to look it up costs a compiled heart a call each.
        self.response_buffer = backend.clients.response_buffer
        self.reply_timeout = backend.upstream.reply_timeout
        self.max_in_flight = backend.upstream.max_in_flight
        self.client_idle_timeout = backend.clients.idle_timeout
        # of what is opaque, without a byte in either direction
        self.tunnel_timeout = backend.http.tunnel_timeout
        self.never_waits = backend.queue.max_waiting == 0
        self.gate.most = backend.queue.max_waiting
        self.bounds = self._bounds(backend)
        self.allow(self.max_connections)

    def _bounds(self, backend: Backend) -> dict[str, int]:
        """As config/limits.py numbers(), for what this sharing has."""
        pins = max(1, backend.upstream.max_connections // 2)
        return {
            CLIENTS: backend.clients.max_connections,
            QUEUED: backend.queue.max_waiting,
            PINNED: pins,
        }

    # -- what pool.py supplies (and server.py and upstream.py say what else they ask of it) ----------

    def submit(self, exchange: Exchange, now: float) -> None:
        """NEW => (SENT | WAITING | DONE: refused)"""
        raise NotImplementedError

    def retry(self, exchange: Exchange, now: float) -> None:
        """SENT => WAITING for a connection that is dialled from here on: P9."""
        raise NotImplementedError

    def serve(self, now: float) -> None:
        """Somebody came to wait, or a pin came free, without a release: look for a place that is free."""
        raise NotImplementedError

    def grow(self, now: float) -> None:
        """Dial for those who wait, up to the bound (P1)."""
        raise NotImplementedError

    def warm(self, now: float) -> None:
        """Keep min_connections, while servers can be reached."""
        raise NotImplementedError

    def missing(self) -> int:
        """Connections that those who wait could do with, besides those that are being made."""
        raise NotImplementedError

    def maybe_drained(self) -> None:
        raise NotImplementedError

    def keeps_client(self, client: Any, data: bytes, now: float) -> bool:
        """One more is connected than this pool may have. False: it is refused; else it will `enter`, or be
        turned away."""
        raise NotImplementedError

    def keep_early(self, client: Any, data: bytes) -> None:
        """It is one of those, and was heard."""
        raise NotImplementedError

    def forget_client(self, client: Any) -> None:
        """It has left: it may be one of those."""
        raise NotImplementedError

    def on_expired(self, exchange: Exchange, now: float) -> None:
        """WAITING => DONE: it waited [queue] timeout."""
        raise NotImplementedError

    def refuse_full(self, exchange: Exchange, now: float) -> None:
        """(NEW | WAITING) => DONE: as many wait as may."""
        raise NotImplementedError

    # -- how exchanges end -------------------------------------------------------------------------

    def on_offence(self, client: ClientRole, now: float) -> None:
        """It was cut, for others waited."""
        self.count_event("cut_in_the_way")
        if client.wire is not None:
            self.offenders.add(self.world.identity(client.wire), now)

    def grace(self, client: ClientRole, now: float) -> float:
        """How long it may hold up others: less than hold_timeout if its like was cut again and again."""
        grace = self.clients_config.hold_timeout
        if self.offenders and client.wire is not None:
            grace *= self.offenders.share(self.world.identity(client.wire), now)
        return grace

    def admit_clients(self, most: int) -> None:
        """So many may be connected from now on."""
        self.most_clients = most

    def allow(self, connections: int) -> None:
        """It may have so many from now on."""
        self.max_connections = connections
        self.pinned_limit = self._pinned_limit()

    def count_pin(self, more: int) -> None:
        self.pinned += more
        if self.all_pins is not None:
            self.all_pins.count(more)

    def pins_left(self) -> int:
        """So many more may be had alone now."""
        left = self.pinned_limit - self.pinned
        return left if self.all_pins is None else min(left, self.all_pins.left())

    def _pinned_limit(self) -> int:
        return min(self.most_pins, max(1, max(self.max_connections, self.potential) // 2))

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

    def served(self) -> int:
        """Exchanges, since start."""
        return self.unqueued + self.dequeued

    def sockets(self) -> int:
        """Towards its servers, of every kind."""
        raise NotImplementedError

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

    def may_tell(self, now: float) -> bool:
        """A line about a server is not one too many."""
        return self.voice is None or self.voice.may_speak(now)

    def fault(self, reason: Reason, text: str) -> None:
        """Why the client breaks off that will be counted with `reason`."""
        self.faults[reason] = text

    def all_events(self) -> dict[str, int]:
        return self.events

    def secure(self, address: str) -> Secure | None:
        """How the server there is spoken to."""
        tls = self.config.tls
        if tls is None:
            return None
        name = tls.server_name or self.asked or self.names.get(address) or parse_server(address).host
        return Secure(tls, name, self.name, self.protocol.name)

    def limits_snapshot(self) -> dict[str, LimitSnapshot]:
        return {}

    def count_closed(self, why: str) -> None:
        self.closed[why] = self.closed.get(why, 0) + 1

    def abandon(self, exchange: Exchange, reason: Reason, now: float) -> None:
        """Its client is gone: (NEW | WAITING) => DONE, (SENT | REPLYING) => (ABANDONED | DONE)."""
        upstream = exchange.upstream
        is_tunnel = upstream is not None and upstream.is_tunnel()
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
            retry_after = self.gate.retry_after(self.served(), now)
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

    def turn_away(self, wire: Wire, text: str, now: float, reason: Reason = Reason.DENIED) -> None:
        """Of one who may not connect: told, if it costs nothing, and not waited for (P10)."""
        self.count(reason)
        self.fault(reason, text)
        frame = self.refusal(reason, f"{self.name}: {text}", None, True, now)
        if frame.marks & BROKEN:
            self.world.reset(wire)
            return
        self.bytes_to_clients += len(frame.data)
        wire.write(frame.data)
        wire.close()
