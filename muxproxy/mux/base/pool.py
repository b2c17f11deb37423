"""One backend: its clients, its few upstream connections (P1), its queue, and who gets what (P4).

`submit` brings an exchange in, `release` brings a free place in; whichever comes second makes the match.
Growing is by demand: a connection is dialled when somebody waits and the bound allows it, never to replace
one that is free.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from muxproxy.mux.admission.queue import Queue
from muxproxy.mux.base.accounts import Parts
from muxproxy.mux.base.changing import REMOVED, TOO_OLD, Changing
from muxproxy.mux.base.client import Client
from muxproxy.mux.base.lending.allowance import SHED
from muxproxy.mux.base.lookout import Lookout
from muxproxy.mux.base.server import Server, coming
from muxproxy.mux.base.upstream import OPEN, Upstream
from muxproxy.mux.deadlines import INF
from muxproxy.mux.exchange import Exchange
from muxproxy.mux.ports import Dialler, Wire
from muxproxy.protocols.contract import PIN

MANY: Final = 4  # connections of which one is spared for a server that cannot be reached
_BALANCE_EVERY = 64  # releases between two looks at how connections spread over servers


class Pool(Changing):
    """Times are the loop's, in seconds."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.lookout = Lookout(self)
        self.dialler: Dialler = self.world

    def new_client(self, wire: Wire, now: float) -> Client:
        client: Client = self._parts.new_client(self, wire, now)
        return client

    def is_visited(self) -> bool:
        """Clients may leave when they have their reply: a connection is no session."""
        return True

    # -- exchanges in ------------------------------------------------------------------------------

    def submit(self, exchange: Exchange, now: float) -> None:
        exchange.since = now
        upstream = self._place_for(exchange, now)
        if upstream is not None:
            self.unqueued += 1
            upstream.send(exchange, now)
        else:
            self._wait(exchange, now)

    def _wait(self, exchange: Exchange, now: float) -> None:
        """NEW => (WAITING | DONE: refused)"""
        gate = self.gate
        if gate.waiting >= gate.max_waiting and gate.is_full() and not self._may_have_one(now):
            self.allowance.want(now, refused=True)
            if not self.line.keeps_beyond(gate, now):
                self.refuse_full(exchange, now)
                return
        if gate.waiting >= gate.let_in:
            self.line.keeps(now)
        gate.waiting += 1
        self._queue_for(exchange).push(exchange, now)
        is_full = len(self.upstreams) >= self.max_connections
        if is_full and self.max_connections < self.config.max_connections:
            self.allowance.want(now)
        if exchange.marks & PIN and self.pinned >= self.most_pins:
            self.pins.want(now)
        if exchange.marks & PIN and self.all_pins is not None:
            self.all_pins.line[self] = None
        if not is_full or self.pin_queue.size or self.stream_queue.size:
            self.grow(now)

    def _place_for(self, exchange: Exchange, now: float) -> Upstream | None:
        if exchange.marks & PIN and self.pins_left() <= 0:
            return None
        servers = self.servers
        if len(servers) == 1 and now >= servers[0].doubted_until:
            idle: list[Upstream] = servers[0].idle
            if idle:
                return idle.pop()
            return self._from_rest(exchange, now) if servers[0].resting else None
        return self._idle_connection(now) or self._from_rest(exchange, now)

    def _from_rest(self, exchange: Exchange, now: float) -> Upstream | None:
        """A connection that rests, if `exchange` may have one (server.py)."""
        return None

    def _idle_connection(self, now: float) -> Upstream | None:
        """Off its server's list, and as far as the kernel knows alive if its server is in doubt."""
        while True:
            upstream = self._least_loaded_idle(now)
            if upstream is None or now >= upstream.server.doubted_until or not upstream.is_left(now):
                return upstream

    def _least_loaded_idle(self, now: float) -> Upstream | None:
        """Least in flight, ties in turn, among servers with a connection that waits."""
        servers = self.servers
        count = len(servers)
        best: Server | None = None
        for i in range(self._turn, self._turn + count):
            server = servers[i % count]
            if server.idle and (best is None or server.in_flight < best.in_flight):
                best = server
                turn = i + 1
        if best is None:
            return None
        self._turn = turn % count
        # P4 took the connection at hand; the next one shall find the server without any at hand, too.
        if len(self.upstreams) < self.max_connections:
            for server in servers:
                if not server.connections and server.may_dial(now):
                    self._dial(server, now)
                    break
        idle: list[Upstream] = best.idle
        return idle.pop()

    def _may_have_one(self, now: float) -> bool:
        """A place is coming, or is to be had at once."""
        hall = self.gate.hall
        if hall is not None and hall.is_crowded():
            return False
        if self._is_place_coming(now):
            return True
        return self.never_waits and self.allowance.borrow(now) and self._is_place_coming(now)

    def _is_place_coming(self, now: float) -> bool:
        """Where nobody may wait for a place, who waits for a connect does not: none would ever be made."""
        return self.never_waits and self.gate.waiting < self._places_coming(now)

    def _places_coming(self, now: float) -> int:
        return coming(self.servers, self.max_connections - len(self.upstreams), now) * self._places()

    def _queue_for(self, exchange: Exchange) -> Queue:
        return self.pin_queue if exchange.marks & PIN else self.queue

    def retry(self, exchange: Exchange, now: float) -> None:
        """The place of the one that it lost is there for that."""
        exchange.lost_at = self.connects
        self.retried += 1
        self.gate.waiting += 1
        self.retry_queue.push(exchange, now)
        self.serve(now)

    def _next_retry(self, upstream: Upstream) -> Exchange | None:
        """Who may be sent again on this connection, the latest lost: the earlier ones may go on older ones,
        too."""
        for exchange in reversed(self.retry_queue.all()):
            if exchange.lost_at < upstream.serial and (not exchange.marks & PIN or self.pins_left() > 0):
                return exchange
        return None

    # -- places in ---------------------------------------------------------------------------------

    def release(self, upstream: Upstream, now: float) -> None:
        if upstream.retiring or now > upstream.retire_at or len(self.servers) != 1:
            why = upstream.retiring = self._why_not_reusable(upstream, now)
            if why:
                if not upstream.load():
                    upstream.close(why, now)
                return
        if upstream.served >= upstream.server.lasts and self._rests(upstream, now):
            return
        self._assign(upstream, now)

    def _rests(self, upstream: Upstream, now: float) -> bool:
        """It is nobody's for now (server.py)."""
        return False

    def _assign(self, upstream: Upstream, now: float) -> None:
        exchange = self._next(upstream) if self.gate.waiting else None
        if exchange is not None:
            self._send_waiting(exchange, upstream, now)
        else:
            upstream.server.idle.append(upstream)
            upstream.expect_by(now + self._idle_timeout(upstream))
            if self.yields:
                self.allowance.on_idle(now)

    def _next(self, upstream: Upstream) -> Exchange | None:
        """The oldest waiter that this connection, which is free, would serve."""
        if self.retry_queue.size:
            exchange = self._next_retry(upstream)
            if exchange is not None:
                self.retry_queue.remove(exchange)
                return exchange
        queue = self.queue
        pins = self.pin_queue
        if pins.size and self.pins_left() > 0:
            head = queue.oldest()
            if head is None or (pins.oldest() or 0.0) <= head:
                return pins.pop()
        return queue.pop() if queue.size else None

    def _send_waiting(self, exchange: Exchange, upstream: Upstream, now: float) -> None:
        self.gate.waiting -= 1
        self.dequeued += 1
        self.queue_wait.observe(now - exchange.since)
        upstream.send(exchange, now)

    def serve(self, now: float) -> None:
        passed: list[Upstream] = []  # nobody of those who wait may have these
        while self.gate.waiting:
            upstream = self._idle_connection(now)
            if upstream is None:
                break
            exchange = self._next(upstream)
            if exchange is None:
                passed.append(upstream)
            else:
                self._send_waiting(exchange, upstream, now)
        for upstream in reversed(passed):
            if upstream.state == OPEN:
                upstream.server.idle.append(upstream)
        self.grow(now)

    def _idle_timeout(self, upstream: Upstream) -> float:
        """Ours, or a little less than the server's own, so that it is we who close (the keep-alive race)."""
        hint = upstream.replies.idle_hint
        if hint is None:
            return self.config.idle_timeout
        return min(self.config.idle_timeout, hint - 1.0 if hint > 2.0 else hint / 2.0)

    def _why_not_reusable(self, upstream: Upstream, now: float) -> str:
        if upstream.retiring:
            return upstream.retiring
        if now > upstream.retire_at:
            return TOO_OLD
        self._releases += 1
        if self._releases % _BALANCE_EVERY == 0 and self._is_overfed(upstream.server, now):
            return "rebalance"
        return ""

    def _is_overfed(self, server: Server, now: float) -> bool:
        """At the bound, with two connections more than a server that could take one: a server that came
        back, or a new address, must get its share. Not one that cannot be reached: nobody gains by that."""
        if len(self.upstreams) < self.max_connections:
            return False
        return any(
            server.connections - other.connections >= 2 and other.reached and other.may_dial(now)
            for other in self.servers
        )

    # -- connections -------------------------------------------------------------------------------

    def _waiting(self) -> int:
        """Those for whom a connection would be dialled."""
        pins = max(0, min(self.pin_queue.size, self.pins_left())) if self.pin_queue.size else 0
        return self.queue.size + self.retry_queue.size + self.stream_queue.size + pins

    def missing(self) -> int:
        pins = max(
            0, min(self.pin_queue.size, self.most_pins - self.pinned)
        )  # were there connections for them
        if pins and self.all_pins is not None:
            pins = max(0, min(pins, self.all_pins.left()))
        waiting = self.queue.size + self.retry_queue.size + self.stream_queue.size + pins
        return -(-waiting // self._places()) - sum(server.coming() for server in self.servers)

    def to_end(self, excess: int) -> list[Upstream]:
        return [u for u in self.upstreams if u.state == OPEN and u.owner is None and u.retiring in ("", SHED)]

    def grow(self, now: float) -> None:
        if self.draining and not self.gate.waiting:
            return
        missing = self._waiting()
        places = self._places()
        connecting = sum(server.coming() for server in self.servers) if missing else 0
        while connecting * places < missing and (room := self._room()) > 0:
            server = self._server_to_dial(now)
            if server is None or (server.reached and room <= self._kept()):
                return
            self._dial(server, now)
            connecting += 1

    def _room(self) -> int:
        """Connections that may be opened (P1)."""
        return self.max_connections - len(self.upstreams)

    def _kept(self) -> int:
        """Of many places one is kept while a server has none: that it is back must be found out, and no
        connection that works is closed for that."""
        if len(self.servers) < 2 or self.max_connections < MANY:
            return 0
        return int(any(not server.reached and not server.connections for server in self.servers))

    def _places(self) -> int:
        """Exchanges that a new connection takes."""
        return 1

    def warm(self, now: float) -> None:
        least = min(self.config.min_connections, self.max_connections)
        while not self.draining and len(self.upstreams) < least:
            server = self._server_to_dial(now)
            if server is None or (server.reached and self._room() <= self._kept()):
                return
            self._dial(server, now)

    def _server_to_dial(self, now: float) -> Server | None:
        """Fewest connections, ties in turn."""
        servers = self.servers
        count = len(servers)
        best: Server | None = None
        for i in range(self._turn, self._turn + count):
            server = servers[i % count]
            if server.may_dial(now) and (best is None or server.connections < best.connections):
                best = server
        return best

    def _dial(self, server: Server, now: float) -> None:
        self.connects += 1
        if not server.connections:
            server.reached = False  # until this one is through
        upstream: Upstream = self._parts.new_upstream(self, server, now)
        self.upstreams[upstream] = None
        server.connections += 1
        server.connecting += 1
        self.fine.watch(upstream)
        self.lookout.start(now)
        self.dialler.dial(server.address, upstream)

    def on_connected(self, upstream: Upstream, now: float) -> None:
        server = upstream.server
        server.on_attempt_over()
        server.reached = True
        if server.closes and upstream.mute:
            server.accepts = upstream.dialled >= server.failed_at
        elif server.failures:
            server.on_back()
        if server.gone:
            upstream.close(REMOVED, now)
            return
        if server.stopping and self.others_serve(server):
            upstream.close("server has not stopped yet", now)
            return
        if self.config.max_lifetime:
            # spread over a tenth, or connections opened together would end together
            upstream.retire_at = now + self.config.max_lifetime * (0.9 + 0.1 * self.world.jitter())
        self._on_open(upstream, now)
        self.release(upstream, now)
        if self.yields:
            self.allowance.shed(now)
        self.on_worth_a_try(now)  # a server in doubt was probed by this one alone

    def on_worth_a_try(self, now: float) -> None:
        self.grow(now)
        self.warm(now)
        if self.gate.waiting and self.allowance.lender is not None:
            self.allowance.want(now)

    def _on_open(self, upstream: Upstream, now: float) -> None: ...

    def on_closing(self, upstream: Upstream, now: float) -> None:
        server = upstream.server
        if upstream in server.idle:
            server.idle.remove(upstream)
        if upstream in server.open:
            server.open.remove(upstream)
        upstream.unpin()
        if self.yields:
            self.allowance.shed(now)

    def on_closed(self, upstream: Upstream, connected: bool, error: str, now: float) -> None:
        self.on_closing(upstream, now)
        server = upstream.server
        self.fine.forget(upstream)
        self.upstreams.pop(upstream, None)
        server.connections -= 1
        if not connected:
            server.on_attempt_over()
        if error:
            self.on_failed(upstream, error, now)
        if self.yields or self.allowance.lender is not None:
            self.allowance.on_gone(now)
        if self.draining and not self.upstreams:
            self.maybe_drained()
        self.serve(now)
        self.warm(now)

    def on_failed(self, upstream: Upstream, error: str, now: float, *, closes: bool = False) -> None:
        server = upstream.server
        server.reached = False
        self.connect_failures += 1
        if not server.failures:
            server.is_told = self.may_tell(now)
        if not server.failures and server.is_told:
            event = "server closes what it accepts" if closes else "server cannot be reached"
            where = {"backend": self.name, "server": str(server)}
            self.world.log(event, level="warning", **where, error=error)
        server.on_failed(error, upstream.dialled, now, closes=closes)

    def others_serve(self, server: Server) -> bool:
        return any(other is not server and other.can_serve() for other in self.servers)

    def on_stopping(self) -> None:
        self.some_stop = any(server.stopping for server in self.servers)

    def look_at(self, server: Server, now: float) -> None:
        is_full = self.draining or len(self.upstreams) >= self.max_connections
        if not is_full and not server.connecting and self.others_serve(server):
            self._dial(server, now)

    def on_idle_deadline(self, upstream: Upstream, now: float) -> None:
        why = self._why_not_reusable(upstream, now)
        staying = sum(each.state <= OPEN for each in self.upstreams)
        if why or upstream.replies.idle_hint is not None or staying > self.config.min_connections:
            upstream.close(why or "idle_timeout", now)
        else:
            upstream.expect_by(now + self.config.idle_timeout)

    def set_servers(
        self, addresses: list[str], now: float, error: str = "", removed: Collection[str] = ()
    ) -> None:
        """The addresses that the configured names mean now. Connections to others are used for name_grace:
        many name servers give a few of many, other ones each time. Then they end when they owe nothing; to
        those that are `removed`, for no name that is configured gives them, at once."""
        self.resolve_error = error
        known = {server.address: server for server in self.servers}
        wanted = dict.fromkeys(addresses)
        self.servers = [known.pop(a) if a in known else Server(self, a) for a in wanted]
        for server in self.servers:
            server.absent_since = INF
        self._turn = 0
        for server in known.values():
            if wanted and server.address not in removed and not server.is_absent(now):
                self.servers.append(server)
                continue
            server.gone = True
            self.fine.forget(server)
        self._end_all((u for u in self.upstreams if u.server.gone), REMOVED, now)
        self.serve(now)
        self.on_worth_a_try(now)

    # -- the end ---------------------------------------------------------------------------------------

    def drain(self, now: float, gentle_until: float = 0.0) -> None:
        """Accept nothing new, finish what is owed. `gentle_until`: others accept, so there is time: nobody is
        closed before who may be asking, which one that is silent for LULL hardly is."""
        self.draining = True
        self.gentle_until = gentle_until
        self.protocol.drain()
        self.crowd.settle(now)  # in a drain no client is left undecided
        for client in list(self.clients):
            client.drain(now)
        self.maybe_drained()

    def close_connections(self, why: str, now: float) -> bool:
        """Once its clients have left. True: no socket is left either."""
        if self.clients:
            return False
        for upstream in list(self.upstreams):
            upstream.close(why, now)
        return not self.upstreams

    def maybe_drained(self) -> None:
        if self.draining and not self.clients:
            self.world.drained(self)

    def cut_off(self, now: float) -> int:
        """The time to drain is up. Returns how many exchanges are cut."""
        return sum(client.cut_off(now) for client in list(self.clients))
