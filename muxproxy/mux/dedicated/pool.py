"""The pool of DEDICATED sessions: each has a connection of its own, so a place comes free only when one ends.

What base/pool.py does, with one difference: min_connections are spares, connected ahead of the next sessions,
not a floor under the whole. A spare that is taken is dialled again at once if the bound allows it (P1). One
that its server ends unused is not: servers may count these against our host, as MySQL does, which blocks it
after max_connect_errors. The next one is tried after a pause, alone, and each pause is twice the last one, so
that their number is no more than the logarithm of the time; all are back when a session has had one.
"""

from __future__ import annotations

from typing import Final

from muxproxy.config.model import Backend
from muxproxy.mux.base.accounts import Parts
from muxproxy.mux.base.pool import Pool
from muxproxy.mux.base.server import coming
from muxproxy.mux.base.upstream import Upstream
from muxproxy.mux.deadlines import INF, Timed
from muxproxy.mux.exchange import Exchange

_MOST_DOUBLINGS: Final = 30  # of the pause: 24 years of 0.7 s


class _Pause(Timed):
    """Between two tries of a spare."""

    __slots__ = ("_pool",)

    def __init__(self, pool: DedicatedPool) -> None:
        self._pool = pool
        self.deadline = INF
        self.wake = INF

    def on_deadline(self, now: float) -> None:
        self.deadline = INF
        self._pool.on_pause_over(now)

    def on_bug(self, now: float) -> None:
        """Ours: a dial raised, perhaps. Who connects next tries again."""


class DedicatedPool(Pool):
    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.spares_lost = 0  # times that spares ended unused, since a session has had one
        self._pause = _Pause(self)  # its deadline: no spare is dialled before

    def _set_up(self, backend: Backend) -> None:
        super()._set_up(backend)
        self.tunnel_timeout = backend.clients.idle_timeout
        self.session_timeout = backend.tcp.session_timeout  # 0: for ever

    def is_visited(self) -> bool:
        return False

    def submit(self, exchange: Exchange, now: float) -> None:
        super().submit(exchange, now)
        if exchange.upstream is not None:
            self.spares_lost = 0
            self._pause.deadline = INF
        self.warm(now)

    def _place_for(self, exchange: Exchange, now: float) -> Upstream | None:
        """A spare that its server has closed is nobody's, though only the kernel may know it yet."""
        while True:
            spare = super()._place_for(exchange, now)
            if spare is None or spare.wire is None or not self.world.has_left(spare.wire):
                return spare
            spare.on_lost("", now)

    def on_bytes_ahead(self, exchange: Exchange, now: float) -> None:
        """(NEW | WAITING): bytes have come before it has a connection."""

    def _is_place_coming(self, now: float) -> bool:
        """Only who is beyond max_connections waits for a place; the others wait for a connect. With
        max_waiting = 0 nobody would ever get a session otherwise, but by a spare."""
        free = self.max_connections - len(self.upstreams)
        return self.gate.waiting < coming(self.servers, free, now)

    def warm(self, now: float) -> None:
        """Keep min_connections spares beyond what those who wait will take, while servers can be reached."""
        least = self.config.min_connections
        if not least or self.draining or self._pause.deadline != INF:
            return
        if self.spares_lost:
            least = 1
        spares = sum(len(server.idle) + server.connecting for server in self.servers) - self.gate.waiting
        while spares < least and self._room() > 0:
            server = self._server_to_dial(now)
            if server is None:
                return
            self._dial(server, now)
            spares += 1

    def on_spare_lost(self, upstream: Upstream, now: float) -> None:
        """Its server ended it before it was anybody's."""
        if self._pause.deadline != INF or not self.config.min_connections:
            return  # together with another
        if not self.spares_lost:
            where = {"backend": self.name, "server": str(upstream.server)}
            age = round(now - upstream.dialled, 3)
            self.world.log("server ends spare connections", level="warning", **where, age=age)
        self.spares_lost += 1
        self._pause.deadline = now + self.config.backoff_max * 2.0 ** min(
            self.spares_lost - 1, _MOST_DOUBLINGS
        )
        self.fine.watch(self._pause)

    def on_pause_over(self, now: float) -> None:
        """One spare, to see."""
        self.warm(now)

    def to_end(self, excess: int) -> list[Upstream]:
        """Each ends with its session."""
        return []

    def _kept(self) -> int:
        """Each that ends tries the server that has none."""
        return 0

    def unacknowledged_timeout(self) -> float:
        """A server may read as slowly as it likes while its session is not idle for too long."""
        return self.client_idle_timeout

    def _idle_timeout(self, upstream: Upstream) -> float:
        return min(self.config.idle_timeout, self.config.max_lifetime or INF)

    def on_idle_deadline(self, upstream: Upstream, now: float) -> None:
        """A spare is replaced before its server, or a firewall between, is tired of its silence."""
        upstream.close("idle_timeout", now)

    def _why_not_reusable(self, upstream: Upstream, now: float) -> str:
        """Asked only when it has just connected: every session is a new share for the least loaded server."""
        return upstream.retiring
