"""The pool of a protocol that limits some requests (limits.py): a place under the limit first, then one in
the pool. It is free again when the connection owes nothing for it, be that its reply or its end.
"""

from __future__ import annotations

from typing import cast

from muxproxy.budget import Share
from muxproxy.config.limits import LIMITED
from muxproxy.config.model import Backend
from muxproxy.metrics.snapshot import LimitSnapshot
from muxproxy.mux.admission.queue import Queue
from muxproxy.mux.base.accounts import Parts
from muxproxy.mux.base.lending.rations import QueueRation, Ration
from muxproxy.mux.base.server import Server
from muxproxy.mux.base.upstream import CLOSING
from muxproxy.mux.exchange import DONE, Exchange
from muxproxy.mux.ports import Wire
from muxproxy.mux.tagged.client import TaggedClient
from muxproxy.mux.tagged.limits import NONE, Limits, Turnstile
from muxproxy.mux.tagged.pool import TaggedPool
from muxproxy.mux.tagged.upstream import TaggedUpstream
from muxproxy.protocols.contract import LAST, NO_LIMIT, ONEWAY, Frame, Reason, TaggedProtocol


class LimitedPool(TaggedPool):
    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.limits = Limits(
            self._tagged.limits,
            parts.backend.queue.max_waiting,
            parts.fine,
            super().submit,
            self._refuse_limited,
            self._want,
        )
        self._limit_line = LimitQueueRation(self, parts.backend.queue.max_waiting)
        self.rations[LIMITED] = self._limit_line
        self._actives: dict[Turnstile, ActiveRation] = {}
        self._add_actives(is_lent=False)

    def _add_actives(self, *, is_lent: bool) -> None:
        """Of limits that are new. `is_lent`: by somebody, who will say how many of it are ours."""
        for turnstile in self.limits.turnstiles:
            if turnstile not in self._actives:
                ration = self._actives[turnstile] = ActiveRation(self, turnstile)
                if is_lent:
                    ration.is_lent, ration.share.most = True, 0
                self.rations[ration.key] = ration

    def _bounds(self, backend: Backend) -> dict[str, int]:
        tagged = cast(TaggedProtocol, self.protocol)
        limits = {f"{LIMITED} {limit.name}": limit.places for limit in tagged.limits}
        return super()._bounds(backend) | {LIMITED: backend.queue.max_waiting} | limits

    def configure(self, backend: Backend, now: float) -> None:
        super().configure(backend, now)
        self.limits.configure(self._tagged.limits, now)
        self._add_actives(is_lent=self._limit_line.is_lent)

    def _want(self, turnstile: Turnstile | None, now: float) -> None:
        if turnstile is None:
            self._limit_line.keeps(now)
        else:
            self._actives[turnstile].want(now)

    def submit(self, exchange: Exchange, now: float) -> None:
        """NEW => (WAITING for its limit | as TaggedPool.submit)"""
        number = self._tagged.limit_of(exchange.note)
        if number < 0 or self.limits.enter(exchange, number, now):
            super().submit(exchange, now)

    def _refuse_limited(self, exchange: Exchange, reason: Reason, text: str, now: float) -> None:
        assert exchange.client is not None
        exchange.client.refuse(exchange, reason, f"{self.name}: {text}", now)

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

    def limits_snapshot(self) -> dict[str, LimitSnapshot]:
        return self.limits.snapshot()


class LimitQueueRation(QueueRation):
    """Of those that wait for limits."""

    __slots__ = ("_limits",)

    def __init__(self, pool: LimitedPool, bound: int) -> None:
        self._limits = pool.limits
        super().__init__(pool, pool.limits.gate, LIMITED, bound)

    def queues(self, *, is_asked: bool) -> list[Queue]:
        return [] if is_asked else [turnstile.queue for turnstile in self._limits.turnstiles]

    def refuse(self, exchange: Exchange, now: float) -> None:
        self._limits.refuse_full(exchange, now)


class ActiveRation(Ration):
    """Of the places of one limit. Those that are too many wait anyhow."""

    __slots__ = ("_limits", "_turnstile")

    def __init__(self, pool: LimitedPool, turnstile: Turnstile) -> None:
        self._limits = pool.limits
        self._turnstile = turnstile
        limit = turnstile.limit
        super().__init__(pool, f"{LIMITED} {limit.name}", limit.places)

    def used(self) -> int:
        return self._turnstile.active

    def missing(self) -> int:
        return self._turnstile.queue.size

    def most(self) -> int:
        return NO_LIMIT if self._bound == NO_LIMIT else super().most()

    def configure(self, bound: int, now: float) -> None:
        if bound == NO_LIMIT:  # it was removed: who lends forgets it, and so begins anew if it comes again
            self.share = Share()
        super().configure(bound, now)

    def settle(self, now: float) -> None:
        self._limits.on_places(self._turnstile, self.most(), now)


class LimitedClient(TaggedClient):
    __slots__ = ("_limits",)

    def __init__(self, pool: LimitedPool, wire: Wire | None, now: float) -> None:
        super().__init__(pool, wire, now)
        self._limits = pool  # the same as `pool`, which the base sees as less

    def refuse(self, exchange: Exchange, reason: Reason, text: str, now: float) -> None:
        super().refuse(exchange, reason, text, now)
        upstream = exchange.upstream
        if upstream is None or upstream.state >= CLOSING or exchange.marks & ONEWAY:
            self._limits.free_place(exchange, now)  # else its server is still at it

    def deliver(self, exchange: Exchange, frame: Frame, now: float) -> None:
        super().deliver(exchange, frame, now)
        if exchange.marks & ONEWAY:
            self._limits.free_place(exchange, now)


class LimitedUpstream(TaggedUpstream):
    __slots__ = ("_limits",)

    def __init__(self, pool: LimitedPool, server: Server, now: float) -> None:
        super().__init__(pool, server, now)
        self._limits = pool  # as above

    def _on_reply(self, exchange: Exchange, frame: Frame, now: float) -> None:
        super()._on_reply(exchange, frame, now)
        if frame.marks & LAST:
            self._limits.free_place(exchange, now)

    def _forget(self, exchange: Exchange, now: float) -> None:
        super()._forget(exchange, now)
        self._limits.free_place(exchange, now)

    def lose(self, owed: list[Exchange], reason: Reason, text: str, now: float) -> None:
        super().lose(owed, reason, text, now)
        for exchange in owed:
            if exchange.state == DONE:  # else it is tried again, and keeps its place
                self._limits.free_place(exchange, now)
