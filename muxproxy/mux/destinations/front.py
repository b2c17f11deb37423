"""The pool that operators and clients see, of a backend whose requests have destinations: it has none of the
connections, and leads to the pools that do.

`lead` finds or makes the pool of a destination, or says why there is none. What is one backend's and not one
destination's is here once, and its pools have it too: clients, memory, who may wait (hall.py), how exchanges
have ended, places (lending.py). A destination that has nobody and no connection is forgotten after
idle_timeout, or at max_destinations, the longest idle first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, cast
from typing import Protocol as Interface

from muxproxy.budget import Order, Report
from muxproxy.config.destination import Destination, Judge
from muxproxy.config.limits import CLIENTS, QUEUED, TUNNELS, tunnels_limit, upgraded_limit
from muxproxy.config.model import Backend
from muxproxy.mux.base.accounts import Accounts, AllPins, Parts
from muxproxy.mux.base.client import Client
from muxproxy.mux.base.lending.allowance import Allowance
from muxproxy.mux.base.pool import Pool
from muxproxy.mux.base.upstream import Upstream
from muxproxy.mux.base.voice import Voice
from muxproxy.mux.deadlines import INF, Deadlines, Timed
from muxproxy.mux.destinations.dialling import Dialling
from muxproxy.mux.destinations.hall import SharedHall
from muxproxy.mux.destinations.lending import Lending
from muxproxy.mux.destinations.rationing import HallRation, TunnelRation
from muxproxy.mux.destinations.shape import backend_for
from muxproxy.mux.exchange import WAITING, Exchange
from muxproxy.mux.exclusive.pool import ExclusivePool
from muxproxy.protocols.contract import Frame, Reason, Sharing

SWEEP: Final = 5.0  # seconds between two looks for destinations that may be forgotten
AT_A_TIME: Final = 64  # one of so many is forgotten at once where there are max_destinations
MANY: Final = 256  # that are forgotten leave memory worth to be given back
PAUSE: Final = 0.1  # seconds after a look that found none
NOT_ALLOWED: Final = "destination not allowed any more"
FORGOTTEN: Final = "destination forgotten"


class Outside(Interface):
    """What a front may ask of its worker."""

    def new_pool(self, backend: Backend) -> Pool:
        """Of one destination."""

    def look_up(self, pool: Pool) -> None:
        """Tell it the addresses of its servers, now and whenever they change; said again when their names, or
        how long an answer is good for, have changed."""

    def forget(self, pool: Pool) -> None:
        """No more of that."""

    def is_own(self, host: str) -> bool:
        """An address of this machine."""

    def give_back(self) -> None:
        """Much memory has come free."""


class Room:
    """One destination's."""

    __slots__ = ("destination", "pool", "used")

    def __init__(self, destination: Destination, pool: Pool, now: float) -> None:
        self.destination = destination
        self.pool = pool
        self.used = now  # when somebody last asked for it


class _FrontAllowance(Allowance):
    """What the front may have is what it lends on."""

    __slots__ = ("_front", "_told")

    def __init__(self, front: Front) -> None:
        super().__init__(front)
        self._front = front
        self._told = Report(0, 0, 0)

    def begin(self, order: Order) -> None:
        super().begin(order)
        self._front.lending.set_bound(order.most, order.asked, 0.0)

    def on_order(self, order: Order, now: float) -> None:
        self.share.on_order(order)
        self._front.allow(self.share.most)
        self._front.lending.set_bound(self.share.most, self.share.asked, now)

    def report(self) -> Report:
        return self.share.report(self._front.lending.places.lent())

    def on_lent(self, now: float) -> None:
        """What is lent on, or wanted, may have changed: give what nobody wants here and others do; tell."""
        share, places, front = self.share, self._front.lending.places, self._front
        wanted = places.wanted()
        if share.asked and not wanted and places.free() > 0:
            share.give(min(share.asked, places.free()))
            front.allow(share.most)
            places.outside = share.asked
            places.set_bound(share.most)
        more = front.config.max_connections - share.most
        share.wanted = max(0, min(more, wanted - max(0, places.free())))
        report = self.report()
        if report != self._told:
            self._told = report
            front.world.on_share(front)

    def want(self, now: float, *, refused: bool = False) -> None:
        """Its pools say so themselves."""


class _Sweep(Timed):
    __slots__ = ("_front",)

    def __init__(self, front: Front) -> None:
        self._front = front
        self.deadline = INF
        self.wake = INF

    def begin(self, now: float) -> None:
        if self.deadline == INF:
            self.deadline = now + min(SWEEP, self._front.config.idle_timeout)
            self._front.slow.watch(self)

    def on_deadline(self, now: float) -> None:
        self.deadline = INF
        self._front.sweep(now)

    def on_bug(self, now: float) -> None:
        """Ours: the next destination looks again."""


class _PinTurn(Timed):
    __slots__ = ("_front",)

    def __init__(self, front: Front) -> None:
        self._front = front
        self.deadline = INF
        self.wake = INF

    def on_deadline(self, now: float) -> None:
        self.deadline = INF
        self._front.serve_pins(now)

    def on_bug(self, now: float) -> None:
        """Ours: the next one that comes free is another occasion."""


class _Upgrades(AllPins):
    __slots__ = ("_fine", "_turn")

    def __init__(self, front: Front, bound: int, fine: Deadlines) -> None:
        super().__init__(bound)
        self._turn = _PinTurn(front)
        self._fine = fine

    def is_due(self) -> bool:
        return self._turn.deadline != INF

    def on_left(self) -> None:
        if self._turn.deadline == INF:
            self._turn.deadline = 0.0
            self._fine.watch(self._turn)


class Front(ExclusivePool):
    """Times are the loop's, in seconds."""

    def __init__(self, parts: Parts, outside: Outside) -> None:
        self.hall = SharedHall(parts.backend.queue.max_waiting)
        self.upgrades = _Upgrades(self, upgraded_limit(parts.backend), parts.fine)
        super().__init__(parts)
        self.outside = outside
        self.judge = Judge(parts.backend)
        self.rooms: dict[Destination, Room] = {}
        self.voices = Voice()
        self.leaving: list[Pool] = []  # of destinations that are none any more, with clients or sockets left
        self.refused = Reason.DENIED  # why `lead` found nothing, the last time
        self.why = ""
        self.forgotten = 0  # destinations, since start
        self._given_back = 0  # of these, when memory was given back last
        self._look_after = 0.0  # nobody can be forgotten before
        self._sweep = _Sweep(self)
        self.lending = Lending(self.max_connections, self.world, self.fine, self._on_lent)
        self.line = self.rations[QUEUED] = HallRation(self, self.hall, self.pools, self.bounds[QUEUED])
        self._tunnels = self.rations[TUNNELS] = TunnelRation(self, self.lending, self.bounds[TUNNELS])
        self.lending.places.max_tunnels = self._tunnels.most()
        self._own_allowance = self.allowance = _FrontAllowance(self)

    def _on_lent(self, now: float) -> None:
        self._own_allowance.on_lent(now)
        if self._tunnels.missing():
            self._tunnels.want(now)

    def is_visited(self) -> bool:
        return self.protocol.sharing is not Sharing.DEDICATED

    def pools(self) -> Iterator[Pool]:
        for room in self.rooms.values():
            yield room.pool
        yield from self.leaving

    # -- destinations ------------------------------------------------------------------------------

    def lead(self, destination: Destination, now: float) -> Pool | None:
        """The pool of that destination; None: `refused` and `why` say why not."""
        room = self.rooms.get(destination)
        if room is not None:
            room.used = now
            return room.pool
        self.why = self.judge.refuses(destination, is_own=self.outside.is_own)
        if self.why:
            self.refused = Reason.DENIED
            return None
        if len(self.rooms) >= self.config.max_destinations and not self._make_room(now):
            self.refused = Reason.QUEUE_FULL
            self.why = f"{len(self.rooms)} destinations are in use, which is max_destinations"
            return None
        return self._open(destination, now)

    def _open(self, destination: Destination, now: float) -> Pool:
        backend = backend_for(self._parts.backend, destination, self.judge.route(destination))
        pool = self.outside.new_pool(backend)
        pool.potential = backend.upstream.max_connections
        pool.leads_clients = False
        pool.clients = self.clients
        pool.crowd, pool.most_clients = self.crowd, self.most_clients
        pool.line = self.line
        del pool.rations[CLIENTS], pool.rations[QUEUED]  # its own
        pool.memory = self.memory
        pool.offenders = self.offenders
        pool.ended = self.ended
        pool.closed = self.closed
        pool.events = self.events
        pool.faults = self.faults
        pool.queue_wait = self.queue_wait
        pool.draining, pool.gentle_until = self.draining, self.gentle_until
        if self.draining:
            pool.protocol.drain()
        self.hall.enter(pool.gate)
        if self.protocol.sharing is Sharing.EXCLUSIVE and not destination.tunnel:
            pool.all_pins = self.upgrades
        pool.voice = self.voices
        pool.carries_tunnels = destination.tunnel
        pool.asked = destination.host
        self.lending.enter(pool)
        pool.dialler = Dialling(self.world, pool, destination, self.refuses, self.refuse_waiting)
        self.rooms[destination] = Room(destination, pool, now)
        self._sweep.begin(now)
        self.outside.look_up(pool)
        return pool

    def _make_room(self, now: float) -> bool:
        """For another destination, at max_destinations: those that nobody uses go, the longest idle first."""
        if now < self._look_after:
            return False
        busy = self._with_clients()
        idle = [room for room in self.rooms.values() if self._is_idle(room.pool, busy)]
        if not idle:
            self._look_after = now + PAUSE
            return False
        idle.sort(key=_used)
        for room in idle[: 1 + len(self.rooms) // AT_A_TIME]:
            self._part(room, FORGOTTEN, now)
        return True

    def _with_clients(self) -> set[Accounts]:
        return {cast(Client, client).pool for client in self.clients}

    def _is_idle(self, pool: Pool, busy: set[Accounts]) -> bool:
        return not (pool.gate.waiting or pool in busy or any(each.is_busy() for each in pool.upstreams))

    def sweep(self, now: float) -> None:
        busy = self._with_clients()
        life = self.config.idle_timeout
        for room in list(self.rooms.values()):
            if now - room.used >= life and not room.pool.upstreams and self._is_idle(room.pool, busy):
                self._part(room, FORGOTTEN, now)
        self.leaving = [pool for pool in self.leaving if not self._is_gone(pool, busy)]
        if self.forgotten - self._given_back >= MANY:
            self._given_back = self.forgotten
            self.world.soon(self.outside.give_back)
        if self.rooms or self.leaving:
            self._sweep.begin(now)

    def _part(self, room: Room, why: str, now: float) -> None:
        """It is a destination no more: nobody new, what is owed is finished."""
        pool = room.pool
        del self.rooms[room.destination]
        self.forgotten += 1
        self.outside.forget(pool)
        self.leaving.append(pool)
        pool.draining = True
        pool._end_all(list(pool.upstreams), why, now)
        busy = self._with_clients()
        if pool in busy:
            pool.protocol.drain()
            for client in list(self.clients):
                if cast(Client, client).pool is pool:
                    client.drain(now)
        if self._is_gone(pool, busy):
            self.leaving.remove(pool)
        self._sweep.begin(now)

    def _is_gone(self, pool: Pool, busy: set[Accounts]) -> bool:
        """Nothing is left of it; then nothing leads to it any more."""
        if pool.upstreams or pool.gate.waiting or pool in busy or self.lending.places.holds(pool):
            return False
        self.hall.leave(pool.gate)
        self.upgrades.line.pop(pool, None)
        for queue in pool.queues():
            queue.close()
        for timed in (pool.allowance, pool.lookout, *pool.servers):
            self.fine.forget(timed)
        self._add(pool)
        return True

    def _add(self, pool: Pool) -> None:
        """What it has counted stays."""
        self.replied += pool.replied
        self.unqueued += pool.unqueued
        self.dequeued += pool.dequeued
        self.bytes_from_clients += pool.bytes_from_clients
        self.bytes_to_clients += pool.bytes_to_clients
        self.connects += pool.connects
        self.connect_failures += pool.connect_failures
        self.reused += pool.reused
        self.retried += pool.retried
        self.cut_listeners += pool.cut_listeners

    # -- exchanges, where clients are the front's own ----------------------------------------------

    def submit(self, exchange: Exchange, now: float) -> None:
        """NEW => as its destination's pool has it."""
        destination = exchange.needs
        assert isinstance(destination, Destination)
        pool = self.lead(destination, now)
        if pool is None:
            assert exchange.client is not None
            exchange.client.refuse(exchange, self.refused, f"{self.name}: {destination}: {self.why}", now)
            return
        exchange.needs = pool
        pool.submit(exchange, now)

    def take_out(self, exchange: Exchange) -> None:
        pool = exchange.needs
        if exchange.state == WAITING and isinstance(pool, Pool):
            pool.take_out(exchange)

    def served(self) -> int:
        return self.unqueued + self.dequeued + sum(pool.unqueued + pool.dequeued for pool in self.pools())

    def refusal(
        self, reason: Reason, text: str, exchange: Exchange | None, closing: bool, now: float
    ) -> Frame:
        self.gate.waiting = self.hall.waiting()
        try:
            return super().refusal(reason, text, exchange, closing, now)
        finally:
            self.gate.waiting = 0

    def admit_clients(self, most: int) -> None:
        super().admit_clients(most)
        for pool in self.pools():
            pool.admit_clients(most)

    # -- its configuration -------------------------------------------------------------------------

    def _set_up(self, backend: Backend) -> None:
        super()._set_up(backend)
        alone = self.protocol.sharing in (Sharing.EXCLUSIVE, Sharing.DEDICATED)
        self.hall.places = self.config.max_connections * (1 if alone else self.max_in_flight)
        self.upgrades.bound = upgraded_limit(backend)

    def _bounds(self, backend: Backend) -> dict[str, int]:
        return super()._bounds(backend) | {TUNNELS: tunnels_limit(backend)}

    def configure(self, backend: Backend, now: float) -> None:
        super().configure(backend, now)
        self.judge = Judge(backend)
        for room in list(self.rooms.values()):
            if self.judge.refuses(room.destination, is_own=self.outside.is_own):
                self._deny(room, now)
                continue
            route = self.judge.route(room.destination)
            room.pool.configure(backend_for(backend, room.destination, route), now)
            room.pool.potential = room.pool.config.max_connections
            self.outside.look_up(room.pool)
            for server in room.pool.servers:
                if self.refuses(room.destination, server.address):
                    ending = [each for each in room.pool.upstreams if each.server is server]
                    room.pool._end_all(ending, NOT_ALLOWED, now)
        for pool in self.leaving:
            pool.configure(backend_for(backend, Destination("0.0.0.0", 1)), now)
        self.serve_pins(now)

    def serve_pins(self, now: float) -> None:
        """Those who wait for a connection alone, of one destination after the other."""
        line = self.upgrades.line
        for pool in list(line):
            if self.upgrades.left() <= 0:
                return
            del line[pool]
            cast(Pool, pool).serve(now)
            if pool.pin_queue.size:
                line[pool] = None

    def _deny(self, room: Room, now: float) -> None:
        self.refuse_waiting(room.pool, f"{room.destination}: {NOT_ALLOWED}", now)
        self._part(room, NOT_ALLOWED, now)

    def refuses(self, destination: Destination, address: str) -> str:
        """Why that address of the destination may not be dialled."""
        host = address.rpartition(":")[0].strip("[]")
        return self.judge.refuses(destination, host, is_own=self.outside.is_own)

    def refuse_unknown(self, pool: Pool, why: str, now: float) -> None:
        """Its name has no address at all: who waits for one would wait in vain."""
        self.refuse_waiting(pool, why, now, Reason.NO_SERVER)

    def refuse_waiting(self, pool: Pool, why: str, now: float, reason: Reason = Reason.DENIED) -> None:
        for queue in pool.queues():
            for exchange in queue.all():
                if exchange.queue is queue and exchange.client is not None:
                    pool.take_out(exchange)
                    exchange.client.refuse(exchange, reason, f"{self.name}: {why}", now)

    def reconnect(self, now: float, address: str = "") -> None:
        """`address`: a server's, or what clients call the destination."""
        for room in list(self.rooms.values()):
            room.pool.reconnect(now, "" if str(room.destination) == address else address)
        for pool in self.leaving:
            pool.reconnect(now, address)

    # -- its end -----------------------------------------------------------------------------------

    def drain(self, now: float, gentle_until: float = 0.0) -> None:
        for pool in self.pools():
            pool.draining, pool.gentle_until = True, gentle_until
            pool.protocol.drain()
        super().drain(now, gentle_until)

    def end_retiring(self, now: float, until: float = INF) -> int:
        """Clients of destinations that are none any more have had their time as well."""
        ended = sum(pool.end_retiring(now, until) for pool in list(self.pools()))
        leaving = set(self.leaving)
        for client in list(self.clients):
            if cast(Client, client).pool in leaving:
                ended += client.cut_off(now)
        return ended

    def close_connections(self, why: str, now: float) -> bool:
        if self.clients:
            return False
        for pool in self.pools():
            for upstream in list(pool.upstreams):
                upstream.close(why, now)
        return not self.sockets()

    # -- what operators see ------------------------------------------------------------------------

    def sockets(self) -> int:
        return sum(len(pool.upstreams) for pool in self.pools())

    def all_upstreams(self) -> Iterator[Upstream]:
        for pool in self.pools():
            yield from pool.upstreams


def _used(room: Room) -> float:
    return room.used
