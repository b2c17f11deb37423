"""The pool of EXCLUSIVE connections: what base/pool.py does, and connections that rest.

Some servers close a connection right behind a reply without having said so. A connection on which so many
replies have come that this may be is nobody's for a moment: base/server.py says when and for how long.
"""

from __future__ import annotations

from muxproxy.config.limits import PINNED, upgraded_limit
from muxproxy.config.model import Backend
from muxproxy.mux.base.pool import Pool
from muxproxy.mux.base.server import Server
from muxproxy.mux.base.upstream import Upstream
from muxproxy.mux.exchange import Exchange
from muxproxy.mux.exclusive.client import ExclusiveClient
from muxproxy.mux.ports import Wire


class ExclusivePool(Pool):
    def new_client(self, wire: Wire, now: float) -> ExclusiveClient:
        # As its table says (sharings.py), but made where a compiler knows the class: for a connection per
        # request, with a third of the instructions.
        return ExclusiveClient(self, wire, now)

    def _bounds(self, backend: Backend) -> dict[str, int]:
        return super()._bounds(backend) | {PINNED: upgraded_limit(backend)}

    def _pinned_limit(self) -> int:
        is_written = self._parts.backend.http.max_upgraded is not None
        return self.most_pins if is_written else super()._pinned_limit()

    def _pin_key(self) -> str:
        is_all = self.pinned_limit >= self.max_connections
        if self.all_pins is not None and self.all_pins.left() <= 0:
            is_all = False
        return "[upstream] max_connections" if is_all else "[http] max_upgraded"

    # -- exchanges in ------------------------------------------------------------------------------

    def _places_coming(self, now: float) -> int:
        return super()._places_coming(now) + sum(len(server.resting) for server in self.servers)

    def _from_rest(self, exchange: Exchange, now: float) -> Upstream | None:
        """While nothing speaks against a new server, who may be sent again need not wait for its first rests,
        unless others wait (P4)."""
        if not self.gate.waiting and exchange.is_replayable():
            for server in self.servers:
                resting: list[Upstream] = server.resting
                while resting and not server.endings:
                    upstream = resting[-1]
                    if not upstream.is_left(now):
                        self._stop_resting(upstream)
                        return upstream
        return None

    # -- places in ---------------------------------------------------------------------------------

    def on_idle_deadline(self, upstream: Upstream, now: float) -> None:
        if upstream.resting:
            self._on_rested(upstream, now)
        else:
            super().on_idle_deadline(upstream, now)

    def on_closing(self, upstream: Upstream, now: float) -> None:
        self._stop_resting(upstream)
        super().on_closing(upstream, now)

    def _rests(self, upstream: Upstream, now: float) -> bool:
        """Its server may be about to close it: nobody's for now (server.py)."""
        server = upstream.server
        if upstream.served > server.lasts:
            if upstream.served == server.lasts + 1:
                self._on_outlived(server, now)
            return False
        if not server.endings and self._is_next_repeatable():
            return False
        upstream.resting = True
        server.resting.append(upstream)
        upstream.expect_by(now + server.rest())
        self.count_event("rests")
        if self.gate.waiting:
            self.grow(now)
        return True

    def _is_next_repeatable(self) -> bool:
        """May who is next be sent again if the connection turns out to be closed? (P9)"""
        head = self.queue.first
        return (
            head is not None and head.is_replayable() and not (self.pin_queue.size or self.retry_queue.size)
        )

    def _stop_resting(self, upstream: Upstream) -> None:
        if upstream.resting:
            upstream.resting = False
            upstream.server.resting.remove(upstream)

    def _on_rested(self, upstream: Upstream, now: float) -> None:
        if upstream.is_left(now):
            return
        self._stop_resting(upstream)
        self._to_next(upstream, now)
        self._on_outlived(upstream.server, now)

    def _on_outlived(self, server: Server, now: float) -> None:
        if server.on_outlived():
            resting: list[Upstream] = list(server.resting)
            for upstream in resting:
                self._stop_resting(upstream)
                self._to_next(upstream, now)

    def _to_next(self, upstream: Upstream, now: float) -> None:
        why = self._why_not_reusable(upstream, now)
        if why:
            upstream.close(why, now)
        else:
            self._assign(upstream, now)
