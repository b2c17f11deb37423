"""Who is next, and who has waited too long: a FIFO with O(1) removal from anywhere, linked by the exchanges.

One timeout for all in it, so the first is always the first to expire; but for a while after that has changed:
who waits already waits as long as it was told. Knows nothing of what is waited for.
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

    __slots__ = ("_before", "_deadlines", "_on_expired", "first", "last", "size", "timeout")

    def __init__(
        self, timeout: float, deadlines: Deadlines, on_expired: Callable[[Exchange, float], None]
    ) -> None:
        self.timeout = timeout  # of who comes now
        # (until, timeout), oldest first: who came before `until`, and not before an earlier one, has another
        self._before: tuple[tuple[float, float], ...] = ()
        self.deadline = INF
        self.wake = INF
        self.first: Exchange | None = None
        self.last: Exchange | None = None
        self.size = 0
        self._deadlines = deadlines
        self._on_expired = on_expired

    def __len__(self) -> int:
        return self.size

    def set_timeout(self, timeout: float, now: float) -> None:
        """For who comes from now on."""
        if timeout != self.timeout:
            self._forget(now)
            self._before = (*self._before, (now, self.timeout))
            self.timeout = timeout
            self._look_at(self._next_due())

    def told(self, since: float) -> float:
        """How long who came then may wait."""
        for until, timeout in self._before:
            if since < until:
                return timeout
        return self.timeout

    def _due(self, exchange: Exchange) -> float:
        return exchange.since + self.told(exchange.since)

    def _next_due(self) -> float:
        """INF: nobody waits."""
        exchange, due = self.first, INF
        while exchange is not None:
            due = min(due, self._due(exchange))
            if not self._is_told_other(exchange):
                break  # those behind it came later, and have the same timeout
            exchange = exchange.queue_after
        return due

    def _is_told_other(self, exchange: Exchange) -> bool:
        return len(self._before) > 0 and exchange.since < self._before[-1][0]

    def _forget(self, now: float) -> None:
        """Nobody can be left who was told that."""
        self._before = tuple(each for each in self._before if sum(each) > now)

    def _look_at(self, deadline: float) -> None:
        if deadline < self.deadline:
            self.deadline = deadline
            self._deadlines.watch(self)

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
        due = now + self.timeout
        if due < self.deadline:
            self.deadline = due
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
        self._look_at(min(map(self._due, exchanges)))

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
        if self._before:
            self._on_any_deadline(now)
            return
        while True:
            first = self.first
            if first is None:
                self.deadline = INF
                return
            if first.since + self.timeout > now:
                self.deadline = first.since + self.timeout
                return
            self._on_expired(self.pop(), now)

    def _on_any_deadline(self, now: float) -> None:
        """Not the first alone may be due."""
        while due := self._all_due(now):
            for exchange in due:
                if exchange.queue is self:  # else it went when another was told
                    self.remove(exchange)
                    self._on_expired(exchange, now)
        self._forget(now)
        self.deadline = self._next_due()

    def _all_due(self, now: float) -> list[Exchange]:
        found: list[Exchange] = []
        exchange = self.first
        while exchange is not None:
            if self._due(exchange) <= now:
                found.append(exchange)
            elif not self._is_told_other(exchange):
                break
            exchange = exchange.queue_after
        return found

    def on_bug(self, now: float) -> None:
        """Ours: one could not be told that its time is up. The others' time goes on (P7)."""
        self.deadline = INF
        self._look_at(self._next_due())

    def close(self) -> None:
        """Off the wheel; whoever still waits must have been taken out before."""
        self._deadlines.forget(self)
