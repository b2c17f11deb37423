"""The pool of connections with many exchanges in flight.

What base/pool.py does, with three differences: a connection has room for many, so the least loaded one is
taken; a client that is owed replies in order stays where it is (ordered/client.py); and who needs a
connection alone (PIN) gets one emptied for it (alone.py).
"""

from __future__ import annotations

from operator import attrgetter
from typing import Final

from muxproxy.mux.admission.queue import Queue
from muxproxy.mux.base.lending.allowance import SHED
from muxproxy.mux.base.server import Server, coming
from muxproxy.mux.base.upstream import APART, OPEN, Upstream
from muxproxy.mux.deadlines import INF
from muxproxy.mux.exchange import WAITING, ClientRole, Exchange
from muxproxy.mux.shared.alone import Alone
from muxproxy.mux.shared.upstream import SharedUpstream
from muxproxy.protocols.contract import ANYWHERE, PIN, Reason

# What bringing a connection into another state costs, in exchanges in flight: a round trip in which it stands
# still. Below it, who needs that state joins the fewer of a longer queue.
SWITCH: Final = 16
# So many more may be in flight where others of the same client are: its replies come, and are written to it,
# together. Spread over four connections, eight calls that came in one read took four writes to be answered.
TOGETHER: Final = 16
# TAGGED: and so many more where others are gathered, be they anybody's, which will be written in this turn,
# if they are no more than so many bytes: fewer connections are written and read, and no small one goes behind
# a large one (P5). Less than TOGETHER, or a client's calls would part where several connections gather.
GATHERS: Final = 8
LITTLE: Final = 16 * 1024


_in_flight = attrgetter("in_flight")


def _load(upstream: Upstream) -> int:
    return upstream.load()


def _is_shed(upstream: Upstream) -> bool:
    return upstream.retiring == SHED


class SharedPool(Alone):
    in_order = False  # a client that is owed replies gets the next one from the same connection

    def _on_open(self, upstream: Upstream, now: float) -> None:
        assert isinstance(upstream, SharedUpstream)
        upstream.server.open.append(upstream)
        if self.some_stop:  # with this one there may be somebody who serves in their stead
            for server in self.servers:
                if server.stopping and self.others_serve(server):
                    self.retire_all(server, "server is about to stop", now)

    def _places(self) -> int:
        return self.max_in_flight

    def _place_for(self, exchange: Exchange, now: float) -> Upstream | None:
        client = exchange.client
        assert client is not None
        if (
            (client.first is exchange or not self.in_order)
            and client.pinned is None
            and not exchange.marks & PIN
        ):  # as nearly always
            if client.slow and self.suspects:
                apart = self._place_apart(exchange.weight)
                if apart is not None:
                    return apart
            return None if self.queue.size else self._least_loaded(exchange, now)
        # Room that has just come free, in the middle of a chunk of replies, is for those who wait (P4).
        stay = self._must_stay(exchange)
        if stay is not None:
            is_common = stay.owner is None and not self._is_reserved(stay)
            waits = stay.is_awaited() or (is_common and self.queue.size)
            return stay if stay.has_room(exchange.weight) and not waits else None
        if exchange.marks & PIN:
            return self._place_alone(exchange)
        return None if self.queue.size else self._least_loaded(exchange, now)

    def _least_loaded(self, exchange: Exchange, now: float) -> Upstream | None:
        """With what it takes to bring it into the state that is needed."""
        needs = exchange.needs
        client = exchange.client
        # Only where it is owed something.
        with_it = None if client is None or client.first is exchange else client.upstream
        best: SharedUpstream | None = None
        in_order = self.in_order
        least = self.max_in_flight
        most = max(0, least - exchange.weight)  # that may be in flight where it is to go
        for server in self.servers if len(self.servers) < 2 else self._by_load(now):
            if best is not None:
                break
            opened: list[SharedUpstream] = server.open
            for upstream in opened:
                cost = load = upstream.in_flight
                if upstream.needs is not needs:
                    cost += SWITCH
                if upstream is with_it:
                    cost -= TOGETHER
                elif not in_order and 0 < upstream.gathered_bytes < LITTLE:
                    cost -= GATHERS
                if (
                    (cost < least or best is None)
                    and load <= most
                    and upstream.owner is None
                    and not upstream.retiring
                    and not upstream.read_paused
                    and not upstream.suspect
                    and not (upstream.reserved and self._is_reserved(upstream))
                ):
                    best, least = upstream, cost
        if best is None:
            return self._least_suspect(exchange.weight, now) if self.suspects else None
        if not best.in_flight and now < best.server.doubted_until and best.is_left(now):
            return self._least_loaded(exchange, now)
        if best.needs is not needs and best.before is needs and not exchange.marks & ANYWHERE:
            self._dial_another(now)
        return best

    def _place_apart(self, weight: int) -> SharedUpstream | None:
        """Whoever has held up a connection stays with its like, while there are such."""
        return min(
            (u for u in self._suspects_with_room(weight) if u.suspect == APART), key=_in_flight, default=None
        )

    def _least_suspect(self, weight: int, now: float) -> SharedUpstream | None:
        """All that have room owe and are silent: the least loaded of them, unless another one will do."""
        may_wait = not self.gate.is_full() or self._is_place_coming(now)
        if may_wait and self.has_other(now):
            return None
        return min(self._suspects_with_room(weight), key=_in_flight, default=None)

    def _suspects_with_room(self, weight: int) -> list[SharedUpstream]:
        silent: list[SharedUpstream] = [u for server in self.servers for u in server.open if u.suspect]
        return [u for u in silent if u.owner is None and u.has_room(weight) and not self._is_reserved(u)]

    def is_pressed(self, now: float) -> bool:
        """Who is in flight on a shared connection that is silent waits, too, and not alone."""
        return self.suspects > 0 or super().is_pressed(now)

    def has_other(self, now: float) -> bool:
        if coming(self.servers, self.max_connections - len(self.upstreams), now):
            return True
        return any(
            upstream.owner is None
            and not (upstream.suspect or upstream.retiring or upstream.read_paused or upstream.reserved)
            for server in self.servers
            for upstream in server.open
        )

    def _by_load(self, now: float) -> list[Server]:
        """Least in flight first, ties in turn; one without a connection gets its first for those to come."""
        servers = self.servers
        turn = self._turn = (self._turn + 1) % len(servers)
        servers = servers[turn:] + servers[:turn]
        if len(self.upstreams) < self.max_connections:
            for server in servers:
                if not server.connections and server.may_dial(now):
                    self._dial(server, now)
                    break
        if self.some_stop:
            servers = [s for s in servers if not s.stopping or not self.others_serve(s)]
        return sorted(servers, key=_in_flight)

    def retire_all(self, server: Server, why: str, now: float) -> None:
        opened: list[SharedUpstream] = list(server.open)
        for each in opened:
            if not each.retiring:
                each.on_last_call(why)
                self.release(each, now)

    def _why_not_reusable(self, upstream: Upstream, now: float) -> str:
        why = super()._why_not_reusable(upstream, now)
        if not why and upstream.server.stopping and self.others_serve(upstream.server):
            why = "server is about to stop"
        return why

    def to_end(self, excess: int) -> list[Upstream]:
        """The least loaded, which get nothing new; whose session has one alone ends it first."""
        busy = sorted(super().to_end(excess), key=_load)
        return sorted(busy, key=_is_shed, reverse=True)[:excess]

    def _dial_another(self, now: float) -> None:
        """States should not take turns on one connection while the bound allows two."""
        full = len(self.upstreams) >= self.max_connections
        if not full and not any(server.connecting for server in self.servers):
            server = self._server_to_dial(now)
            if server is not None:
                self._dial(server, now)

    def _must_stay(self, exchange: Exchange) -> SharedUpstream | None:
        """Its client's own connection, or the one that owes it replies: its order is its own."""
        client = exchange.client
        assert client is not None
        if client.pinned is not None:
            assert isinstance(client.pinned, SharedUpstream)
            return client.pinned
        upstream = client.upstream
        if not self.in_order or upstream is None or upstream.state != OPEN:
            return None
        assert isinstance(upstream, SharedUpstream)
        return upstream if client.first is not exchange and upstream.load() and not upstream.owner else None

    def _common_queue(self, exchange: Exchange) -> Queue:
        if exchange.marks & PIN and not exchange.lost_at:
            return self._alone_queue(exchange)
        return self.retry_queue if exchange.lost_at else self.queue

    def queues(self) -> list[Queue]:
        queues = super().queues()
        for upstream in self.upstreams:
            if isinstance(upstream, SharedUpstream) and upstream.queue is not None:
                queues.append(upstream.queue)
        return queues

    def _queue_for(self, exchange: Exchange) -> Queue:
        stay = self._must_stay(exchange)
        if stay is None:
            return self._common_queue(exchange)
        if stay.queue is None:
            stay.queue = Queue(self.queue.timeout, self.fine, self.on_expired)
        return stay.queue

    def take_back(
        self, owner: ClientRole | None, unwritten: list[Exchange], waiting: list[Exchange]
    ) -> list[Exchange]:
        lost = self._lost_with(owner, unwritten + waiting)
        if lost:
            self.gate.waiting -= sum(exchange in lost for exchange in waiting)
            unwritten = [exchange for exchange in unwritten if exchange not in lost]
            waiting = [exchange for exchange in waiting if exchange not in lost]
        for exchange in unwritten:
            exchange.upstream = None
        first = self._first_of_each(unwritten + waiting)
        self.gate.waiting += len(first) - len(waiting)
        first.sort(key=lambda exchange: exchange.since)
        for common in (self.queue, self.pin_queue, self.retry_queue, self.stream_queue):
            theirs = [exchange for exchange in first if self._common_queue(exchange) is common]
            if theirs:
                common.push_back(*theirs)
        return lost

    def _lost_with(self, owner: ClientRole | None, exchanges: list[Exchange]) -> list[Exchange]:
        """Of these, those that mean nothing without the connection that `owner` had alone."""
        return []

    def _first_of_each(self, exchanges: list[Exchange]) -> list[Exchange]:
        """Of these, those that need not wait for another one of the same client; the others are held."""
        return exchanges

    def abandon(self, exchange: Exchange, reason: Reason, now: float) -> None:
        ends_reservation = exchange.state == WAITING and exchange.marks & PIN
        super().abandon(exchange, reason, now)
        if ends_reservation and self.queue.size:
            self.world.soon(lambda: self.serve(now))

    def on_expired(self, exchange: Exchange, now: float) -> None:
        super().on_expired(exchange, now)
        if exchange.marks & PIN and self.queue.size:
            self.serve(now)

    def release(self, upstream: Upstream, now: float) -> None:
        if upstream.owner is not None:  # what its session has left there is not to be lost (P2)
            self._fill(upstream, now)
            if not upstream.load():
                upstream.expect_by(now + self.clients_config.hold_timeout)
        else:
            super().release(upstream, now)
        # With it a pin may have come free or have been taken, which opens or ends a reservation elsewhere.
        if self.gate.waiting:
            self.serve(now)

    def _assign(self, upstream: Upstream, now: float) -> None:
        if upstream.suspect and not upstream.load():
            assert isinstance(upstream, SharedUpstream)
            upstream.trust(APART)
        self._fill(upstream, now)
        if not upstream.load():
            upstream.expect_by(now + self._idle_timeout(upstream))
            if self.yields:
                self.allowance.on_idle(now)

    def on_idle_deadline(self, upstream: Upstream, now: float) -> None:
        """Who has a connection alone and says nothing may, unless others wait for one (P5)."""
        owner = upstream.owner
        if owner is None:
            super().on_idle_deadline(upstream, now)
        elif owner.is_silent_by_design():
            upstream.deadline = INF
        elif self.pin_queue.size and self.pinned >= self.pinned_limit:
            upstream.close("owner silent while others wait", now)
        else:
            upstream.expect_by(now + self.clients_config.hold_timeout)

    def on_closing(self, upstream: Upstream, now: float) -> None:
        owner = upstream.owner
        assert isinstance(upstream, SharedUpstream)
        upstream.trust()
        super().on_closing(upstream, now)
        if owner is not None:
            owner.on_pin_lost(now)

    def _fill(self, upstream: Upstream, now: float) -> None:
        """As many as have room on a shared connection: its own waiters and all others', oldest first."""
        assert isinstance(upstream, SharedUpstream)
        while self.gate.waiting:
            exchange = self._next_for(upstream, now)
            if exchange is None or not upstream.has_room(exchange.weight):
                return
            queue = exchange.queue
            assert queue is not None
            if queue is self.pin_queue or queue is self.stream_queue:
                upstream.reserved = False
            queue.remove(exchange)
            self._send_waiting(exchange, upstream, now)

    def _next_for(self, upstream: SharedUpstream, now: float) -> Exchange | None:
        """Who is next on this connection, and still in its queue."""
        if self.retry_queue.size and upstream.owner is None:
            retry = self._next_retry(upstream)
            if retry is not None:
                return retry
        own = None if upstream.queue is None else upstream.queue.first
        is_common = upstream.owner is None and not self._is_reserved(upstream)
        if is_common and upstream.suspect and self.queue.size:
            is_common = not self.has_other(now)
        other = self.queue.first if is_common else None
        if own is not None and (other is None or own.since <= other.since):
            return own
        if own is None and upstream.owner is None and not upstream.load():
            alone = self._next_alone()
            if alone is not None and (other is None or alone.since <= other.since):
                return alone
        return other

    def _send_waiting(self, exchange: Exchange, upstream: Upstream, now: float) -> None:
        super()._send_waiting(exchange, upstream, now)
        if exchange.client is not None:
            exchange.client.proceed(now)

    def serve(self, now: float) -> None:
        for server in self.servers:
            opened: list[SharedUpstream] = list(server.open)
            for upstream in opened:
                if upstream.state == OPEN:
                    self._fill(upstream, now)
        self.grow(now)
