"""Who is next, and who has waited too long: a FIFO with O(1) removal from anywhere.

One timeout for all in it, so the head is always the first to expire. Knows nothing of what is waited for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from muxproxy.mux.deadlines import INF, Deadlines
from muxproxy.mux.exchange import WAITING, Exchange, Line


class Queue(Line):
    """Times are the loop's, in seconds. `on_expired(exchange, now)` gets each that waited `timeout`,
    already out."""

    def __init__(
        self, timeout: float, deadlines: Deadlines, on_expired: Callable[[Exchange, float], None]
    ) -> None:
        self.timeout = timeout
        self.deadline = INF
        self.wake = INF
        self._deadlines = deadlines
        self._on_expired = on_expired
        # Public, so that the hot path asks whether it is empty without a call. OrderedDict, not dict: popping
        # a dict's first key again and again scans the holes it leaves.
        self.entries: OrderedDict[Exchange, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self.entries)

    def push(self, exchange: Exchange, now: float) -> None:
        """(NEW | SENT) => WAITING, at the end."""
        exchange.move(WAITING)
        exchange.since = now
        exchange.queue = self
        self.entries[exchange] = None
        if self.deadline == INF:
            self.deadline = now + self.timeout
            self._deadlines.watch(self)

    def push_back(self, *exchanges: Exchange) -> None:
        """Where their age puts them, as a rule in front: they have waited their turn once already."""
        entries = self.entries
        in_front = not entries or exchanges[-1].since <= next(iter(entries)).since
        for exchange in exchanges:
            if exchange.state != WAITING:
                exchange.move(WAITING)
            exchange.queue = self
            entries[exchange] = None
        if in_front:
            for exchange in reversed(exchanges):
                entries.move_to_end(exchange, last=False)
        else:
            for exchange in sorted(entries, key=lambda each: each.since):
                entries.move_to_end(exchange)
        self.deadline = min(self.deadline, exchanges[0].since + self.timeout)
        self._deadlines.watch(self)

    def head(self) -> Exchange | None:
        return next(iter(self.entries), None)

    def pop(self) -> Exchange:
        exchange, _ = self.entries.popitem(last=False)
        exchange.queue = None
        return exchange

    def remove(self, exchange: Exchange) -> None:
        del self.entries[exchange]
        exchange.queue = None

    def oldest(self) -> float | None:
        """When the head began to wait."""
        head = self.head()
        return None if head is None else head.since

    def on_deadline(self, now: float) -> None:
        while self.entries:
            head = next(iter(self.entries))
            if head.since + self.timeout > now:
                self.deadline = head.since + self.timeout
                return
            self._on_expired(self.pop(), now)
        self.deadline = INF

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
