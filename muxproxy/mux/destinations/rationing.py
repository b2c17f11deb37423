"""What all destinations of a backend share besides places, where other workers share it, too: how many may
wait, and how many tunnels there may be. Lent by need, as base/lending/rations.py says.

In a hall one destination's queue may be as long as what all leave free of what is lent (hall.py). Who finds
more than that waiting, but not more than if all of the backend's were lent here, is undecided for a moment;
so a destination that hangs fills the same part of max_waiting, whichever shards its clients are on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush

from muxproxy.config.limits import QUEUED, TUNNELS
from muxproxy.mux.admission.gate import Gate
from muxproxy.mux.base.lending.rations import QueueRation, Ration, newest
from muxproxy.mux.base.pool import Pool
from muxproxy.mux.base.refusing import Refusing
from muxproxy.mux.deadlines import INF
from muxproxy.mux.destinations.hall import SharedHall
from muxproxy.mux.destinations.lending import Lending
from muxproxy.mux.exchange import Exchange


class HallRation(QueueRation):
    """Of those that wait, wherever they are to go."""

    __slots__ = ("_hall", "_pools")

    def __init__(
        self, front: Refusing, hall: SharedHall, pools: Callable[[], Iterator[Pool]], bound: int
    ) -> None:
        self._hall = hall
        self._pools = pools
        super().__init__(front, front.gate, QUEUED, bound)

    def standing(self) -> int:
        return self._hall.waiting()

    def missing(self) -> int:
        """While anybody is undecided: for the longest queue to be as long as it is."""
        return 0 if self._since == INF else max(0, self._hall.needs() - self.most())

    def keeps_beyond(self, gate: Gate, now: float) -> bool:
        return self._hall.would_do(gate, self._bound) and self.keeps(now)

    def settle(self, now: float) -> None:
        self._hall.set_bound(self.most())

    def turn_away(self, now: float) -> None:
        """The newest, where more wait than may; those last of which a server knows."""
        for is_asked in (False, True):
            self._turn_away(is_asked, now)

    def _turn_away(self, is_asked: bool, now: float) -> None:
        line: list[tuple[float, int, Exchange, Pool]] = []
        for pool in self._pools():
            if pool.gate.waiting:
                self._put(line, pool, is_asked)
        while line:
            _, _, exchange, pool = heappop(line)
            if not self._hall.exceeds(pool.gate):
                continue  # nor do those before it
            assert exchange.queue is not None
            exchange.queue.remove(exchange)
            pool.gate.waiting -= 1
            pool.put_out(exchange, now)
            self._put(line, pool, is_asked)

    def _put(self, line: list[tuple[float, int, Exchange, Pool]], pool: Pool, is_asked: bool) -> None:
        exchange = newest(pool.lines(is_asked=is_asked), self._since)
        if exchange is not None:
            heappush(line, (-exchange.since, id(pool), exchange, pool))


class TunnelRation(Ration):
    """Of tunnels, by the places that they have. Those that are too many wait anyhow."""

    __slots__ = ("_lending",)

    def __init__(self, front: Refusing, lending: Lending, bound: int) -> None:
        self._lending = lending
        super().__init__(front, TUNNELS, bound)

    def used(self) -> int:
        return self._lending.places.tunnels()

    def missing(self) -> int:
        return self._lending.places.tunnels_missing()

    def settle(self, now: float) -> None:
        self._lending.set_tunnels(self.most(), now)
