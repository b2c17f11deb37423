"""Who is next, and who has waited too long: a FIFO with O(1) removal from anywhere, linked by the exchanges.

One timeout for all in it, so the first is always the first to expire. Knows nothing of what is waited for.
(Rejected: an OrderedDict, which hashes each exchange twice; compiled, that was a tenth of an HTTP request.)
"""

from __future__ import annotations

from collections.abc import Callable

from muxproxy.mux.deadlines import INF, Deadlines
from muxproxy.mux.exchange import WAITING, Exchange, Line


def _since(exchange: Exchange) -> float:
    return exchange.since


class Queue(Line):
    """Times are the loop's, in seconds. `on_expired(exchange, now)` gets each that waited `timeout`,
    already out. `first`, the oldest, and `size` are for all to read."""

    __slots__ = ("_deadlines", "_on_expired", "first", "last", "size", "timeout")

    def __init__(
        self, timeout: float, deadlines: Deadlines, on_expired: Callable[[Exchange, float], None]
    ) -> None:
        self.timeout = timeout
        self.deadline = INF
        self.wake = INF
        self.first: Exchange | None = None
        self.last: Exchange | None = None
        self.size = 0
        self._deadlines = deadlines
        self._on_expired = on_expired

    def __len__(self) -> int:
        return self.size

    def all(self) -> list[Exchange]:
        """Oldest first."""
        everything: list[Exchange] = []
        exchange = self.first
        while exchange is not None:
            everything.append(exchange)
            exchange = exchange.queue_after
        return everything

    def push(self, exchange: Exchange, now: float) -> None:
        """(NEW | SENT) => WAITING, at the end."""
        exchange.move(WAITING)
        exchange.since = now
        self._link(exchange, self.last, None)
        if self.deadline == INF:
            self.deadline = now + self.timeout
            self._deadlines.watch(self)

    def push_back(self, *exchanges: Exchange) -> None:
        """Where their age puts them, as a rule in front: they have waited their turn once already."""
        for exchange in exchanges:
            if exchange.state != WAITING:
                exchange.move(WAITING)
        first = self.first
        if first is None or exchanges[-1].since <= first.since:
            for exchange in reversed(exchanges):
                self._link(exchange, None, self.first)
        else:
            self._merge(list(exchanges))
        self.deadline = min(self.deadline, exchanges[0].since + self.timeout)
        self._deadlines.watch(self)

    def _link(self, exchange: Exchange, before: Exchange | None, after: Exchange | None) -> None:
        """Between these two, which stand together; None: at that end."""
        exchange.queue = self
        exchange.queue_before = before
        exchange.queue_after = after
        if before is None:
            self.first = exchange
        else:
            before.queue_after = exchange
        if after is None:
            self.last = exchange
        else:
            after.queue_before = exchange
        self.size += 1

    def _merge(self, exchanges: list[Exchange]) -> None:
        last = self.last
        if last is not None and last.since > exchanges[0].since:
            exchanges = sorted([*self.all(), *exchanges], key=_since)
            self.first = self.last = None
            self.size = 0
        for exchange in exchanges:
            self._link(exchange, self.last, None)

    def pop(self) -> Exchange:
        exchange = self.first
        assert exchange is not None
        self.remove(exchange)
        return exchange

    def remove(self, exchange: Exchange) -> None:
        assert exchange.queue is self
        before, after = exchange.queue_before, exchange.queue_after
        if before is None:
            self.first = after
        else:
            before.queue_after = after
            exchange.queue_before = None
        if after is None:
            self.last = before
        else:
            after.queue_before = before
            exchange.queue_after = None
        exchange.queue = None
        self.size -= 1

    def oldest(self) -> float | None:
        """When the first began to wait."""
        first = self.first
        return None if first is None else first.since

    def on_deadline(self, now: float) -> None:
        while True:
            first = self.first
            if first is None:
                self.deadline = INF
                return
            if first.since + self.timeout > now:
                self.deadline = first.since + self.timeout
                return
            self._on_expired(self.pop(), now)

    def on_bug(self, now: float) -> None:
        """Ours: one could not be told that its time is up. The others' time goes on (P7)."""
        oldest = self.oldest()
        self.deadline = INF
        if oldest is not None:
            self.deadline = oldest + self.timeout
            self._deadlines.watch(self)

    def close(self) -> None:
        """Off the wheel; whoever still waits must have been taken out before."""
        self._deadlines.forget(self)
