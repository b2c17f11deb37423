"""So many of some requests at a time (contract.Limit); the others wait their turn here, before the pool.

A place is taken before an exchange goes to the pool, and is free when the server is done with it, not when
its client is: a call that was abandoned or answered with an error is still being worked on.

What waits here takes no place in the pool's own queue, so that requests without a limit are neither slowed
nor refused for it. It has a bound of the same size (P7: [queue] max_waiting, of all limits together).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from muxproxy.metrics.snapshot import LimitSnapshot
from muxproxy.mux.admission.gate import Gate
from muxproxy.mux.admission.queue import Queue
from muxproxy.mux.deadlines import Deadlines
from muxproxy.mux.exchange import NEW, WAITING, Exchange
from muxproxy.protocols.contract import NO_LIMIT, Limit, Reason

NONE: Final = -1  # Exchange.limit of one that holds no place and waits for none


class Turnstile:
    """One limit: who is in, and who waits."""

    def __init__(self, limit: Limit, queue: Queue) -> None:
        self.limit = limit
        self.places = limit.places  # of these, that this pool may have now
        self.queue = queue
        self.active = 0
        self.expired = 0
        self.dequeued = 0


class Limits:
    """`go(exchange, now)` gets each whose turn has come; `refuse(exchange, reason, text, now)` each whose
    time is up, and each that finds `max_waiting` before it. `want(turnstile, now)`: more of its places, or
    of those to wait in (None), could be used than are ours."""

    def __init__(
        self,
        limits: Sequence[Limit],
        max_waiting: int,
        deadlines: Deadlines,
        go: Callable[[Exchange, float], None],
        refuse: Callable[[Exchange, Reason, str, float], None],
        want: Callable[[Turnstile | None, float], None],
    ) -> None:
        self.gate = Gate(max_waiting)
        self._deadlines = deadlines
        self._go = go
        self._refuse = refuse
        self._want = want
        self.turnstiles = [self._turnstile(limit) for limit in limits]
        self._freed: list[Turnstile] = []
        self._serving = False  # a loop of _serve is running

    def _turnstile(self, limit: Limit) -> Turnstile:
        return Turnstile(limit, Queue(limit.timeout, self._deadlines, self._on_expired))

    def configure(self, limits: Sequence[Limit], now: float) -> None:
        """Each limit keeps its number: calls have it in their notes. There may be more. How many places of
        each are ours is not said here."""
        for turnstile, limit in zip(self.turnstiles, limits, strict=False):
            turnstile.limit = limit
            turnstile.queue.set_timeout(limit.timeout, now)
        self.turnstiles += [self._turnstile(limit) for limit in limits[len(self.turnstiles) :]]

    def on_places(self, turnstile: Turnstile, places: int, now: float) -> None:
        """So many are ours from now on."""
        turnstile.places = places
        if turnstile.queue.size:
            self._freed.append(turnstile)
            self._serve(now)

    def enter(self, exchange: Exchange, number: int, now: float) -> bool:
        """True: it has a place. False: NEW => (WAITING | DONE)."""
        turnstile = self.turnstiles[number]
        limit = turnstile.limit
        if turnstile.active < turnstile.places and not turnstile.queue.size:
            turnstile.active += 1
            exchange.limit = number
            return True
        gate = self.gate
        if gate.waiting >= gate.let_in:
            self._want(None, now)
        if gate.waiting >= gate.max_waiting:
            exchange.limit = number
            self.refuse_full(exchange, now)
            return False
        gate.waiting += 1
        exchange.limit = number
        turnstile.queue.push(exchange, now)
        if turnstile.places < limit.places:
            self._want(turnstile, now)
        return False

    def refuse_full(self, exchange: Exchange, now: float) -> None:
        """It waits for no limit, and has no place."""
        name, exchange.limit = self.turnstiles[exchange.limit].limit.name, NONE
        text = f"{name}: {self.gate.waiting} requests wait for limits, max_waiting is {self.gate.max_waiting}"
        self._refuse(exchange, Reason.LIMIT_FULL, text, now)

    def take_out(self, exchange: Exchange) -> bool:
        """It waits here, and shall no longer: its state is the caller's to move. False: it does not."""
        if not self.holds(exchange):
            return False
        self.turnstiles[exchange.limit].queue.remove(exchange)
        self.gate.waiting -= 1
        exchange.limit = NONE
        return True

    def holds(self, exchange: Exchange) -> bool:
        """Does it wait here?"""
        return (
            exchange.limit != NONE
            and exchange.state == WAITING
            and exchange.queue is self.turnstiles[exchange.limit].queue
        )

    def free(self, exchange: Exchange, now: float) -> None:
        """The server is done with it, or never saw it: its place is for the oldest who waits."""
        turnstile = self.turnstiles[exchange.limit]
        exchange.limit = NONE
        turnstile.active -= 1
        if not turnstile.queue.size:
            return
        self._freed.append(turnstile)
        self._serve(now)

    def _serve(self, now: float) -> None:
        """Those whose turn it is behind what has come free."""
        if self._serving:
            return
        self._serving = True  # a loop, not a recursion: who goes may be refused at once, and leads back here
        try:
            while self._freed:
                turnstile = self._freed.pop()
                while turnstile.active < turnstile.places and turnstile.queue.size:
                    self._admit(turnstile, now)
        finally:
            self._serving = False

    def _admit(self, turnstile: Turnstile, now: float) -> None:
        """WAITING => NEW, and on."""
        exchange = turnstile.queue.pop()
        self.gate.waiting -= 1
        turnstile.active += 1
        turnstile.dequeued += 1
        exchange.move(NEW)
        self._go(exchange, now)

    def _on_expired(self, exchange: Exchange, now: float) -> None:
        turnstile = self.turnstiles[exchange.limit]
        limit = turnstile.limit
        exchange.limit = NONE
        self.gate.waiting -= 1
        turnstile.expired += 1
        text = f"waited {turnstile.queue.told(exchange.since):g} s for one of {limit.places} places"
        self._refuse(exchange, Reason.LIMIT_TIMEOUT, f"{limit.name}: {text}", now)

    def oldest_wait(self, now: float) -> float:
        waits = [now - (turnstile.queue.oldest() or now) for turnstile in self.turnstiles]
        return max(waits, default=0.0)

    def snapshot(self) -> dict[str, LimitSnapshot]:
        return {
            turnstile.limit.name: {
                "active": turnstile.active,
                "active_max": turnstile.limit.places,
                "waiting": turnstile.queue.size,
                "waited": turnstile.dequeued,
                "expired": turnstile.expired,
            }
            for turnstile in self.turnstiles
            if turnstile.limit.places != NO_LIMIT
        }
