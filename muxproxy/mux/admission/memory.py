"""What a worker holds for its clients, in all: one bound, at which who holds most goes first (P7, P10).

One accounting for bytes of every kind: what a framer keeps, what waits, what is parked, what a client does
not read, what it listens to. A client that holds much says so once (`add`); the sum is taken while there is
any, some times a second and never for a request. So it is late by what comes in INTERVAL.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from typing import Protocol as Interface

from muxproxy.mux.deadlines import INF, Deadlines, Timed

# Bytes from which on a client is looked at. All others together: so much for each of [clients]
# max_connections.
HEAVY: Final = 8 * 1024
INTERVAL: Final = 0.1  # seconds
MUCH: Final = 32 * 1024 * 1024  # bytes: below, what an allocator keeps of it is not worth a look
# A tenth of a percent of the time for each client that is looked at, however many there are.
_EACH: Final = 0.001
# What objects cost beside their bytes, or a request of two bytes, or an answer of five, would cost a hundred
# times what it counts for. Of an exchange (280 bytes and its note), and of a frame that is parked with it
# (90), which may be the answer to one of which nothing else is kept.
OBJECTS: Final = 320
PARKED: Final = 400
# Exchanges that are looked at where a client's are weighed: its last, which have not been sent.
LEDGER: Final = 1024


class Holder(Interface):
    is_heavy: bool

    def weight(self) -> int:
        """Bytes that are held for it now."""

    def shares(self) -> tuple[int, int]:
        """Of these, what it has not read, and what is remembered of it; the rest are requests."""

    def shed(self, text: str, now: float) -> None:
        """They are needed: end it, with a word if it can be told."""


class Memory(Timed):
    """Of a worker. `bound`: bytes."""

    def __init__(
        self, bound: int, deadlines: Deadlines, on_relief: Callable[[], None] = lambda: None
    ) -> None:
        """`on_relief`: much was held, and is no longer."""
        self.bound = bound
        self._on_relief = on_relief
        self._most = 0  # that was held since then
        self.held = 0  # when last looked
        self._counted = self._unread = self._remembered = 0  # of that, before anybody was ended
        self.shed = 0  # clients that were ended for it
        self.deadline = INF
        self.wake = INF
        self._deadlines = deadlines
        self._heavy: set[Holder] = set()

    def add(self, holder: Holder) -> None:
        if not holder.is_heavy:
            holder.is_heavy = True
            self._heavy.add(holder)
            if self.deadline == INF:
                self.deadline = 0.0  # as soon as may be
                self._deadlines.watch(self)

    def on_deadline(self, now: float) -> None:
        weights: list[tuple[int, Holder]] = []
        self._unread = self._remembered = 0
        for holder in list(self._heavy):
            weight = holder.weight()
            if weight < HEAVY:
                holder.is_heavy = False
                self._heavy.discard(holder)
            else:
                weights.append((weight, holder))
                unread, remembered = holder.shares()
                self._unread += unread
                self._remembered += remembered
        self.held = self._counted = sum(weight for weight, _ in weights)
        self._most = max(self._most, self.held)
        self.deadline = INF
        if self._heavy:
            self._look_again(now)
        if self._most > MUCH and 2 * self.held < self._most:
            self._most = self.held
            self._on_relief()
        if self.held > self.bound:
            weights.sort(key=lambda each: each[0], reverse=True)
            self._end_largest(weights, now)

    def _end_largest(self, weights: list[tuple[int, Holder]], now: float) -> None:
        text = f"{self.held} bytes are held for clients, memory is {self.bound}"
        for weight, holder in weights:
            if self.held <= self.bound:
                return
            self.held -= weight
            self.shed += 1
            holder.shed(f"{text}; of these {weight} for this one", now)

    def _look_again(self, now: float) -> None:
        self.deadline = now + INTERVAL + _EACH * len(self._heavy)
        self._deadlines.watch(self)

    def statistics(self) -> dict[str, int | dict[str, int]]:
        unread, remembered = self._unread, self._remembered
        kinds = {
            "requests": self._counted - unread - remembered,
            "unread": unread,
            "remembered": remembered,
        }
        return {
            "memory_held": self.held,
            "memory_kinds": kinds,
            "memory_max": self.bound,
            "memory_shed": self.shed,
        }

    def on_bug(self, now: float) -> None:
        """Ours: what is held is looked at again all the same."""
        self._look_again(now)
