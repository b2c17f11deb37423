"""The pool of the sharings with many exchanges in flight: ORDERED and TAGGED.

What pool.py does, with three differences: a connection has room for many, so the least loaded one is taken;
a client that is owed replies in order stays where it is (ordered.py); and who needs a connection alone (PIN)
gets one emptied for it.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, cast

from msgspec import structs

from muxproxy.config.model import Backend
from muxproxy.mux.admission.memory import HEAVY
from muxproxy.mux.admission.queue import Queue
from muxproxy.mux.base.client import Client
from muxproxy.mux.base.server import Server, coming
from muxproxy.mux.base.upstream import APART, OPEN, Upstream
from muxproxy.mux.deadlines import INF, Deadlines
from muxproxy.mux.exchange import WAITING, Exchange
from muxproxy.mux.ordered.client import OrderedClient
from muxproxy.mux.ordered.feed import FeedClient
from muxproxy.mux.ports import Wire, World
from muxproxy.mux.shared.alone import Alone
from muxproxy.mux.shared.avoided import Avoided
from muxproxy.mux.shared.upstream import ByOrder
from muxproxy.mux.tagged.client import TaggedClient
from muxproxy.mux.tagged.upstream import ByTag
from muxproxy.protocols.contract import ANYWHERE, LISTEN, PIN, Protocol, Reason, Sharing, TaggedProtocol

# What bringing a connection into another state costs, in exchanges in flight: a round trip in which it stands
# still. Below it, who needs that state joins the fewer of a longer queue.
SWITCH = 16


_in_flight = attrgetter("in_flight")


class SharedPool(Alone):
    def __init__(
        self, backend: Backend, protocol: Protocol, world: World, fine: Deadlines, slow: Deadlines
    ) -> None:
        super().__init__(backend, protocol, world, fine, slow)
        self._is_ordered = protocol.sharing is Sharing.ORDERED
        if protocol.sharing is Sharing.TAGGED:
            size = max(backend.clients.request_buffer, cast(TaggedProtocol, protocol).request_buffer)
            self.clients_config = structs.replace(backend.clients, request_buffer=size)
        self.batch_commands, self.batch_delay = protocol.batch
        # when a connection that owes is looked at: has it said anything?
        self.first_look = min(backend.upstream.suspect_after, backend.upstream.reply_timeout)
        self.suspects = 0  # connections that had not
        self.feeds: dict[Any, FeedClient] = {}  # by the connection state that their listeners need
        self.messages = 0  # that came for listeners
        self.interrupted = 0  # times that listeners may have missed something

    def all_events(self) -> dict[str, int]:
        if self.sharing is not Sharing.TAGGED:
            return self.events
        return self.events | cast(TaggedProtocol, self.protocol).counters

    def listening(self) -> dict[str, int]:
        totals: dict[str, int] = {}
        for feed in self.feeds.values():
            for name, number in feed.statistics().items():
                totals[name] = totals.get(name, 0) + number
        return totals

    def pushed(self) -> dict[str, int]:
        if not self.feeds:
            return {}
        return {"messages": self.messages, "interrupted": self.interrupted, "cut": self.cut_listeners}

    def new_client(self, wire: Wire, now: float) -> Client:
        kind = TaggedClient if self.sharing is Sharing.TAGGED else OrderedClient
        return kind(self, wire, now)

    def _new_upstream(self, server: Server, now: float) -> Upstream:
        kind = ByTag if self.sharing is Sharing.TAGGED else ByOrder
        return kind(self, server, now)

    def _on_open(self, upstream: Upstream, now: float) -> None:
        assert isinstance(upstream, ByOrder)
        upstream.server.open.append(upstream)
        if self.some_stop:  # with this one there may be somebody who serves in their stead
            for server in self.servers:
                if server.stopping and self.others_serve(server):
                    self._retire_all(server, "server is about to stop", now)

    def _places(self) -> int:
        return self.config.max_in_flight

    def submit(self, exchange: Exchange, now: float) -> None:
        """NEW => (NEW: held | SENT | WAITING | DONE: refused)"""
        if self._is_ordered:
            client = exchange.client
            assert isinstance(client, OrderedClient)
            if client.holds(exchange, now):
                return
            if exchange.marks & LISTEN:
                self._listen(exchange, client, now)
                return
        exchange.since = now
        upstream = self._place_for(exchange, now)
        if upstream is not None:
            self.unqueued += 1
            upstream.send(exchange, now)
        else:
            self._wait(exchange, now)

    def submit_own(self, exchange: Exchange, now: float) -> None:
        """Of a FeedClient: as any other, but nothing holds it."""
        super().submit(exchange, now)

    def _listen(self, exchange: Exchange, client: OrderedClient, now: float) -> None:
        """NEW => (WAITING for the server's acknowledgement | DONE)"""
        if self.gate.is_full():
            self._refuse_full(exchange, now)
            return
        feed = self.feeds.get(exchange.needs)
        if feed is None:
            feed = self.feeds[exchange.needs] = FeedClient(self, exchange.needs, now)
        feed.ask(exchange, client, now)
        if client.session is not None and client.session.size > HEAVY:
            self.memory.add(client)

    def _place_for(self, exchange: Exchange, now: float) -> Upstream | None:
        client = exchange.client
        assert client is not None
        if (
            (client.first is exchange or not self._is_ordered)
            and client.pinned is None
            and not exchange.marks & PIN
        ):  # as nearly always
            if client.slow and self.suspects:
                apart = self._place_apart(exchange.weight)
                if apart is not None:
                    return apart
            return None if self.queue.entries else self._least_loaded(exchange, now)
        # Room that has just come free, in the middle of a chunk of replies, is for those who wait (P4).
        stay = self._must_stay(exchange)
        if stay is not None:
            is_common = stay.owner is None and not self._is_reserved(stay)
            waits = stay.is_awaited() or (is_common and len(self.queue))
            return stay if stay.has_room(exchange.weight) and not waits else None
        if exchange.marks & PIN:
            return self._place_alone(exchange)
        return None if self.queue.entries else self._least_loaded(exchange, now)

    def _least_loaded(self, exchange: Exchange, now: float) -> Upstream | None:
        """With what it takes to bring it into the state that is needed."""
        needs = exchange.needs
        best: ByOrder | None = None
        least = self.config.max_in_flight
        most = least - exchange.weight  # that may be in flight where it is to go
        for server in self.servers if len(self.servers) < 2 else self._by_load(now):
            if best is not None:
                break
            for upstream in server.open:
                cost = load = upstream.in_flight
                if upstream.needs is not needs:
                    cost += SWITCH
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

    def _place_apart(self, weight: int) -> ByOrder | None:
        """Whoever has held up a connection stays with its like, while there are such."""
        return min(
            (u for u in self._suspects_with_room(weight) if u.suspect == APART), key=_in_flight, default=None
        )

    def _least_suspect(self, weight: int, now: float) -> ByOrder | None:
        """All that have room owe and are silent: the least loaded of them, unless another one will do."""
        may_wait = not self.gate.is_full() or self._is_place_coming(now)
        if may_wait and self._is_other(now):
            return None
        return min(self._suspects_with_room(weight), key=_in_flight, default=None)

    def _suspects_with_room(self, weight: int) -> list[ByOrder]:
        silent = [u for server in self.servers for u in server.open if u.suspect]
        return [u for u in silent if u.owner is None and u.has_room(weight) and not self._is_reserved(u)]

    def is_pressed(self, now: float) -> bool:
        """Who is in flight on a shared connection that is silent waits, too, and not alone."""
        return self.suspects > 0 or super().is_pressed(now)

    def _is_other(self, now: float) -> bool:
        """Is there a connection that is not silent, though it may have no room now, or can there be one?"""
        if coming(self.servers, self.config.max_connections - len(self.upstreams), now):
            return True
        return any(
            upstream.owner is None
            and not (upstream.suspect or upstream.retiring or upstream.read_paused or upstream.reserved)
            for server in self.servers
            for upstream in server.open
        )

    def on_suspect(self, upstream: Avoided, now: float) -> None:
        """What it has not written need not stand behind what is stuck; and who waits for no other than silent
        ones may have to make do with them."""
        if self._is_other(now):
            back = upstream.take_unwritten()
            # What its client would have sent there behind these goes with them, or would overtake them (P2).
            clients = {exchange.client for exchange in back}
            queue = upstream.queue
            behind = [] if queue is None else [each for each in queue.entries if each.client in clients]
            for exchange in behind:
                if queue is not None:
                    queue.remove(exchange)
            self.take_back(None, back, behind)
        self.serve(now)

    def _by_load(self, now: float) -> list[Server]:
        """Least in flight first, ties in turn; one without a connection gets its first for those to come."""
        servers = self.servers
        turn = self._turn = (self._turn + 1) % len(servers)
        servers = servers[turn:] + servers[:turn]
        if len(self.upstreams) < self.config.max_connections:
            for server in servers:
                if not server.connections and server.may_dial(now):
                    self._dial(server, now)
                    break
        if self.some_stop:
            servers = [s for s in servers if not s.stopping or not self.others_serve(s)]
        return sorted(servers, key=_in_flight)

    def on_last_call(self, upstream: ByTag, why: str, now: float) -> None:
        """Its server is about to stop: none of its connections gets more, unless no other server can serve.
        That one alone is replaced even then: behind the address another may stand by now."""
        server = upstream.server
        server.on_last_call(now, cast(TaggedProtocol, self.protocol).stop_timeout)
        upstream.on_last_call(why, now)
        if self.others_serve(server):
            self._retire_all(server, why, now)

    def _retire_all(self, server: Server, why: str, now: float) -> None:
        for each in list(server.open):
            if isinstance(each, ByTag) and not each.retiring:
                each.on_last_call(why, now)
                self.release(each, now)

    def _why_not_reusable(self, upstream: Upstream, now: float) -> str:
        why = super()._why_not_reusable(upstream, now)
        if not why and upstream.server.stopping and self.others_serve(upstream.server):
            why = "server is about to stop"
        return why

    def _dial_another(self, now: float) -> None:
        """States should not take turns on one connection while the bound allows two."""
        full = len(self.upstreams) >= self.config.max_connections
        if not full and not any(server.connecting for server in self.servers):
            server = self._server_to_dial(now)
            if server is not None:
                self._dial(server, now)

    def _must_stay(self, exchange: Exchange) -> ByOrder | None:
        """Its client's own connection, or the one that owes it replies: its order is its own."""
        client = exchange.client
        assert client is not None
        if client.pinned is not None:
            assert isinstance(client.pinned, ByOrder)
            return client.pinned
        upstream = client.upstream
        if self.sharing is not Sharing.ORDERED or upstream is None or upstream.state != OPEN:
            return None
        assert isinstance(upstream, ByOrder)
        return upstream if client.first is not exchange and upstream.load() and not upstream.owner else None

    def _common_queue(self, exchange: Exchange) -> Queue:
        if exchange.marks & PIN and not exchange.lost_at:
            return self._alone_queue(exchange)
        return self.retry_queue if exchange.lost_at else self.queue

    def _queue_for(self, exchange: Exchange) -> Queue:
        stay = self._must_stay(exchange)
        if stay is None:
            return self._common_queue(exchange)
        if stay.queue is None:
            stay.queue = Queue(self.queue.timeout, self.fine, self._on_expired)
        return stay.queue

    def take_back(
        self, owner: Client | None, unwritten: list[Exchange], waiting: list[Exchange]
    ) -> list[Exchange]:
        """A connection is gone: SENT or WAITING for it => (WAITING with all others | NEW: held behind an
        earlier one of the same client). Returns those that mean nothing elsewhere: `owner`'s pin had begun
        (P2)."""
        first = unwritten + waiting
        lost: list[Exchange] = []
        if isinstance(owner, OrderedClient) and owner.pin_start not in (None, *first):
            lost = [exchange for exchange in first if exchange.marks & PIN]
            self.gate.waiting -= sum(exchange in lost for exchange in waiting)
            unwritten = [exchange for exchange in unwritten if exchange not in lost]
            waiting = [exchange for exchange in waiting if exchange not in lost]
            first = unwritten + waiting
        for exchange in unwritten:
            exchange.upstream = None
        if self.sharing is Sharing.ORDERED:
            by_client: dict[Client, list[Exchange]] = {}
            for exchange in first:
                assert exchange.client is not None
                by_client.setdefault(exchange.client, []).append(exchange)
            first = [exchanges[0] for exchanges in by_client.values()]
            for client, exchanges in by_client.items():
                assert isinstance(client, OrderedClient)
                client.take_back(exchanges[0], exchanges[1:])
        self.gate.waiting += len(first) - len(waiting)
        first.sort(key=lambda exchange: exchange.since)
        for common in (self.queue, self.pin_queue, self.retry_queue, self.stream_queue):
            theirs = [exchange for exchange in first if self._common_queue(exchange) is common]
            if theirs:
                common.push_back(*theirs)
        return lost

    def abandon(self, exchange: Exchange, reason: Reason, now: float) -> None:
        ends_reservation = exchange.state == WAITING and exchange.marks & PIN
        super().abandon(exchange, reason, now)
        if ends_reservation and self.queue.entries:
            self.world.soon(lambda: self.serve(now))

    def _on_expired(self, exchange: Exchange, now: float) -> None:
        super()._on_expired(exchange, now)
        if exchange.marks & PIN and self.queue.entries:
            self.serve(now)

    def expire_listener(self, exchange: Exchange, now: float) -> None:
        """Of one that waits in its FeedClient, for a connection that many would have alone."""
        super()._on_expired(exchange, now)

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
            assert isinstance(upstream, ByOrder)
            upstream.trust(APART)
        self._fill(upstream, now)
        if not upstream.load():
            upstream.expect_by(now + self._idle_timeout(upstream))

    def on_idle_deadline(self, upstream: Upstream, now: float) -> None:
        """Who has a connection alone and says nothing may, unless others wait for one (P5)."""
        owner = upstream.owner
        if owner is None:
            super().on_idle_deadline(upstream, now)
        elif isinstance(owner, FeedClient):
            upstream.deadline = INF
        elif len(self.pin_queue) and self.pinned >= self.pinned_limit:
            upstream.close("owner silent while others wait", now)
        else:
            upstream.expect_by(now + self.clients_config.hold_timeout)

    def on_closing(self, upstream: Upstream, now: float) -> None:
        owner = upstream.owner
        assert isinstance(upstream, ByOrder)
        upstream.trust()
        super().on_closing(upstream, now)
        if isinstance(owner, OrderedClient):
            owner.on_pin_lost(now)

    def _fill(self, upstream: Upstream, now: float) -> None:
        """As many as have room on a shared connection: its own waiters and all others', oldest first."""
        assert isinstance(upstream, ByOrder)
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

    def _next_for(self, upstream: ByOrder, now: float) -> Exchange | None:
        """Who is next on this connection, and still in its queue."""
        if self.retry_queue.entries and upstream.owner is None:
            retry = self._next_retry(upstream)
            if retry is not None:
                return retry
        own = None if upstream.queue is None else upstream.queue.head()
        is_common = upstream.owner is None and not self._is_reserved(upstream)
        if is_common and upstream.suspect and self.queue.entries:
            is_common = not self._is_other(now)
        other = self.queue.head() if is_common else None
        if own is not None and (other is None or own.since <= other.since):
            return own
        if own is None and upstream.owner is None and not upstream.load():
            alone = self._next_alone()
            if alone is not None and (other is None or alone.since <= other.since):
                return alone
        return other

    def _send_waiting(self, exchange: Exchange, upstream: Upstream, now: float) -> None:
        super()._send_waiting(exchange, upstream, now)
        if isinstance(exchange.client, (OrderedClient, TaggedClient)):
            exchange.client.proceed(now)

    def serve(self, now: float) -> None:
        for server in self.servers:
            for upstream in list(server.open):
                if upstream.state == OPEN:
                    self._fill(upstream, now)
        self.grow(now)
