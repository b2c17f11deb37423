"""The pool of a protocol that limits some requests (limits.py): a place under the limit first, then one in
the pool. It is free again when the connection owes nothing for it, be that its reply or its end.
"""

from __future__ import annotations

from typing import cast

from muxproxy.config.model import Backend
from muxproxy.metrics.snapshot import LimitSnapshot
from muxproxy.mux.base.client import Client
from muxproxy.mux.base.server import Server
from muxproxy.mux.base.upstream import CLOSING, Upstream
from muxproxy.mux.deadlines import Deadlines
from muxproxy.mux.exchange import DONE, Exchange
from muxproxy.mux.ports import Wire, World
from muxproxy.mux.shared.pool import SharedPool
from muxproxy.mux.tagged.client import TaggedClient
from muxproxy.mux.tagged.limits import NONE, Limits
from muxproxy.mux.tagged.upstream import ByTag
from muxproxy.protocols.contract import LAST, ONEWAY, Frame, Reason, TaggedProtocol


class LimitedPool(SharedPool):
    protocol: TaggedProtocol

    def __init__(
        self, backend: Backend, protocol: TaggedProtocol, world: World, fine: Deadlines, slow: Deadlines
    ) -> None:
        super().__init__(backend, protocol, world, fine, slow)
        self.limits = Limits(
            protocol.limits, backend.queue.max_waiting, fine, super().submit, self._refuse_limited
        )

    def submit(self, exchange: Exchange, now: float) -> None:
        """NEW => (WAITING for its limit | as SharedPool.submit)"""
        number = self.protocol.limit_of(exchange.note)
        if number < 0 or self.limits.enter(exchange, number, now):
            super().submit(exchange, now)

    def _refuse_limited(self, exchange: Exchange, reason: Reason, text: str, now: float) -> None:
        client = cast(Client, exchange.client)
        client.refuse(exchange, reason, f"{self.name}: {text}", now)

    def new_client(self, wire: Wire, now: float) -> Client:
        return LimitedClient(self, wire, now)

    def take_out(self, exchange: Exchange) -> None:
        if not self.limits.take_out(exchange):
            super().take_out(exchange)

    def abandon(self, exchange: Exchange, reason: Reason, now: float) -> None:
        super().abandon(exchange, reason, now)
        if exchange.state == DONE:
            self.free_place(exchange, now)

    def free_place(self, exchange: Exchange, now: float) -> None:
        if exchange.limit != NONE:
            self.limits.free(exchange, now)

    def _new_upstream(self, server: Server, now: float) -> Upstream:
        return LimitedByTag(self, server, now)

    def limits_snapshot(self) -> dict[str, LimitSnapshot]:
        return self.limits.snapshot()


class LimitedClient(TaggedClient):
    pool: LimitedPool

    __slots__ = ()

    def refuse(self, exchange: Exchange, reason: Reason, text: str, now: float) -> None:
        super().refuse(exchange, reason, text, now)
        upstream = exchange.upstream
        if upstream is None or upstream.state >= CLOSING or exchange.marks & ONEWAY:
            self.pool.free_place(exchange, now)  # else its server is still at it

    def deliver(self, exchange: Exchange, frame: Frame, now: float) -> None:
        super().deliver(exchange, frame, now)
        if exchange.marks & ONEWAY:
            self.pool.free_place(exchange, now)


class LimitedByTag(ByTag):
    pool: LimitedPool

    __slots__ = ()

    def _on_reply(self, exchange: Exchange, frame: Frame, now: float) -> None:
        super()._on_reply(exchange, frame, now)
        if frame.marks & LAST:
            self.pool.free_place(exchange, now)

    def _forget(self, exchange: Exchange, now: float) -> None:
        super()._forget(exchange, now)
        self.pool.free_place(exchange, now)

    def lose(self, owed: list[Exchange], reason: Reason, text: str, now: float) -> None:
        super().lose(owed, reason, text, now)
        for exchange in owed:
            if exchange.state == DONE:  # else it is tried again, and keeps its place
                self.pool.free_place(exchange, now)
