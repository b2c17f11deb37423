"""An upstream connection with one exchange at most: the ledger of those that share none."""

from __future__ import annotations

from muxproxy.mux.base.server import Server
from muxproxy.mux.base.upstream import PoolOfUpstreams, Upstream
from muxproxy.mux.exchange import Exchange


class SingleUpstream(Upstream):
    """`current`: the exchange whose connection it is, or None."""

    __slots__ = ("current",)

    def __init__(self, pool: PoolOfUpstreams, server: Server, now: float) -> None:
        super().__init__(pool, server, now)
        self.current: Exchange | None = None

    def load(self) -> int:
        return 0 if self.current is None else 1

    def is_shared(self) -> bool:
        return False

    def take_owed(self) -> list[Exchange]:
        exchange, self.current = self.current, None
        if exchange is None:
            return []
        exchange.upstream = None
        self.server.in_flight -= 1
        return [exchange]
