"""The pool of ORDERED connections: what shared/pool.py does, and two things beside.

What a client has in flight stays in its order, wherever it goes; and those that listen to the same share a
connection that a client of our own has for them (feed.py).
"""

from __future__ import annotations

from typing import Any

from muxproxy.config.model import Backend
from muxproxy.mux.admission.memory import HEAVY
from muxproxy.mux.admission.queue import Queue
from muxproxy.mux.base.accounts import Parts
from muxproxy.mux.exchange import ClientRole, Exchange
from muxproxy.mux.ordered.client import OrderedClient
from muxproxy.mux.ordered.feed import FeedClient
from muxproxy.mux.shared.pool import SharedPool
from muxproxy.protocols.contract import LISTEN, PIN


class OrderedPool(SharedPool):
    in_order = True

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.feeds: dict[Any, FeedClient] = {}  # by the connection state that their listeners need

    def configure(self, backend: Backend, now: float) -> None:
        super().configure(backend, now)
        for feed in self.feeds.values():
            feed.configure(now)

    def submit(self, exchange: Exchange, now: float) -> None:
        """NEW => (NEW: held | SENT | WAITING | DONE: refused)"""
        client = exchange.client
        assert isinstance(client, OrderedClient)
        if client.holds(exchange, now):
            return
        if exchange.marks & LISTEN:
            self._listen(exchange, client, now)
            return
        # As Pool.submit: called through super() it costs every command 4 % more of what Python does for it.
        exchange.since = now
        upstream = self._place_for(exchange, now)
        if upstream is not None:
            self.unqueued += 1
            upstream.send(exchange, now)
        else:
            self._wait(exchange, now)

    def _listen(self, exchange: Exchange, client: OrderedClient, now: float) -> None:
        """NEW => (WAITING for the server's acknowledgement | DONE)"""
        gate = self.gate  # as in Pool._wait
        if gate.waiting >= gate.max_waiting and gate.is_full() and not self.line.keeps_beyond(gate, now):
            self.refuse_full(exchange, now)
            return
        if gate.waiting >= gate.let_in:
            self.line.keeps(now)
        feed = self.feeds.get(exchange.needs)
        if feed is None:
            feed = self.feeds[exchange.needs] = FeedClient(self, exchange.needs, now)
        feed.ask(exchange, client, now)
        if client.session is not None and client.session.size > HEAVY:
            self.memory.add(client)

    def lines(self, *, is_asked: bool = False) -> list[Queue]:
        if is_asked:
            return [feed.asking for feed in self.feeds.values()]
        return super().lines() + [feed.unasked for feed in self.feeds.values()]

    def put_out(self, exchange: Exchange, now: float) -> None:
        client = exchange.client
        if isinstance(client, OrderedClient) and exchange.marks & LISTEN:
            assert client.feed is not None
            client.feed.put_out(exchange, client, now)
        else:
            super().put_out(exchange, now)

    # -- a connection is gone ----------------------------------------------------------------------

    def _lost_with(self, owner: ClientRole | None, exchanges: list[Exchange]) -> list[Exchange]:
        """All of its pin, if that had begun (P2)."""
        if owner is None:
            return []
        assert isinstance(owner, OrderedClient)
        if owner.pin_start is None or owner.pin_start in exchanges:
            return []
        return [exchange for exchange in exchanges if exchange.marks & PIN]

    def _first_of_each(self, exchanges: list[Exchange]) -> list[Exchange]:
        by_client: dict[OrderedClient, list[Exchange]] = {}
        for exchange in exchanges:
            client = exchange.client
            assert isinstance(client, OrderedClient)
            by_client.setdefault(client, []).append(exchange)
        for client, theirs in by_client.items():
            client.take_back(theirs[0], theirs[1:])
        return [theirs[0] for theirs in by_client.values()]

    # -- what operators see ------------------------------------------------------------------------

    def listening(self) -> dict[str, int]:
        totals: dict[str, int] = {}
        for feed in self.feeds.values():
            for name, number in feed.statistics().items():
                totals[name] = totals.get(name, 0) + number
        return totals

    def pushed(self) -> dict[str, int]:
        if not self.feeds:
            return {}
        return {
            "messages": sum(feed.messages for feed in self.feeds.values()),
            "interrupted": sum(feed.interrupted for feed in self.feeds.values()),
            "cut": self.cut_listeners,
        }
