"""Places of max_connections that only some sessions get: those that begin with certain bytes ([tcp] reserve).

Such a session is a word about another one, which may be what all the places are full of: PostgreSQL's cancel
requests come on connections of their own. What a client is shows in its first bytes, and until they have come
it waits as all do, or, where the queue is full, for a moment. All others, spares too, leave these places.
"""

from __future__ import annotations

from typing import Final

from muxproxy.config.limits import COMMON
from muxproxy.config.model import Backend
from muxproxy.mux.base.accounts import Parts
from muxproxy.mux.base.lending.rations import Ration
from muxproxy.mux.base.upstream import Upstream
from muxproxy.mux.dedicated.pool import DedicatedPool
from muxproxy.mux.dedicated.upstream import DedicatedUpstream
from muxproxy.mux.exchange import NEW, WAITING, Exchange
from muxproxy.protocols.contract import PIN

MOMENT: Final = 0.1  # seconds in which the first bytes of a client that finds the queue full can come


class CommonRation(Ration):
    """Of the places that all may have, where other workers have some of them. Who finds none waits anyhow."""

    __slots__ = ("_sessions",)

    def __init__(self, pool: ReservingPool, bound: int) -> None:
        self._sessions = pool  # the same as `_pool`, which the base sees as less
        super().__init__(pool, COMMON, bound)

    def used(self) -> int:
        return self._sessions.common_used()

    def missing(self) -> int:
        pool = self._sessions
        return pool.queue.size if pool.common_used() >= pool.most_common else 0

    def settle(self, now: float) -> None:
        before, self._sessions.most_common = self._sessions.most_common, self.most()
        if self._sessions.most_common > before:
            self._sessions.serve(now)


class ReservingPool(DedicatedPool):
    """A session that may have a reserved place is marked PIN, and waits in `pin_queue`."""

    def __init__(self, parts: Parts) -> None:
        self.most_common = 0
        super().__init__(parts)
        self._commons = self.rations[COMMON] = CommonRation(self, self.bounds[COMMON])
        self.most_common = self.bounds[COMMON]  # places that all may have

    def _bounds(self, backend: Backend) -> dict[str, int]:
        common = backend.upstream.max_connections - backend.tcp.reserve
        return super()._bounds(backend) | {COMMON: common}

    def common_used(self) -> int:
        return len(self.upstreams) - self._reserved()

    # -- whose it is -------------------------------------------------------------------------------

    def on_bytes_ahead(self, exchange: Exchange, now: float) -> None:
        """(NEW | WAITING): bytes have come before it has a connection."""
        if exchange.marks & PIN or exchange.state not in (NEW, WAITING):
            return
        if not self.protocol.is_reserved(b"".join([exchange.data, *(exchange.more or ())])):
            return
        exchange.marks |= PIN
        if exchange.queue is not None:
            exchange.queue.remove(exchange)
            self.pin_queue.push_back(exchange)
        else:
            self.gate.waiting += 1
            self.pin_queue.push(exchange, now)
        self.count_event("reserved")
        self.serve(now)

    def _wait(self, exchange: Exchange, now: float) -> None:
        if exchange.marks & PIN or not self.gate.is_full() or self._is_place_coming(now):
            super()._wait(exchange, now)
            if not exchange.marks & PIN and self.common_used() >= self.most_common:
                self._commons.want(now)
        else:
            self.world.later(MOMENT, lambda: self._on_moment(exchange, now + MOMENT))

    def _on_moment(self, exchange: Exchange, now: float) -> None:
        """NEW => as Pool.submit, if it still is: what it has said makes no difference."""
        if exchange.state == NEW and exchange.client is not None:
            super()._wait(exchange, now)

    # -- places ------------------------------------------------------------------------------------

    def _reserved(self) -> int:
        """Sockets of sessions that may have a reserved place: they are nobody else's loss."""
        return sum(isinstance(each, DedicatedUpstream) and each.is_reserved for each in self.upstreams)

    def _is_common_free(self, unused: int = 0) -> bool:
        """May another session of those that have no claim begin? `unused`: at hand for it."""
        unused += sum(len(server.idle) + server.connecting for server in self.servers)
        return self.common_used() - unused < self.most_common

    def _place_for(self, exchange: Exchange, now: float) -> Upstream | None:
        if self.pin_queue.size or not (exchange.marks & PIN or self._is_common_free()):
            return None
        return super()._place_for(exchange, now)

    def _next(self, upstream: Upstream) -> Exchange | None:
        if self.pin_queue.size:
            return self.pin_queue.pop()
        return self.queue.pop() if self.queue.size and self._is_common_free(1) else None

    def _is_place_coming(self, now: float) -> bool:
        return self.common_used() < self.most_common and super()._is_place_coming(now)

    def _room(self) -> int:
        """Sockets that may be opened now: for those with a claim, and what is left of the common ones."""
        claims = self.pin_queue.size
        common = self.most_common - self.common_used()
        return min(self.max_connections - len(self.upstreams), max(0, common) + claims)
