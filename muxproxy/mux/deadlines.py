"""Who must be looked at, and when: one wheel of time for clients, upstreams, servers and queues.

A timed object has a `deadline` (seconds on the loop's clock, INF for none) that the hot path moves by a
plain store, and a `wake`: when the wheel will next look at it. Its one rule: `wake <= deadline` or the
wheel was told (`watch`). A deadline that moved later costs nothing until the wheel looks, finds it early
and files it again.

Rejected: a timer per request (an allocation and a heap each), FIFO deques (a client that left stays in its
deque until its time is up: at 10,000 short-lived connections a second and a timeout of minutes, millions of
dead objects), linked lists (six stores per request where this has one).
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final

from muxproxy.errors import BugError
from muxproxy.native import mypyc_attr

INF: Final = float("inf")


@mypyc_attr(allow_interpreted_subclasses=True)
class Timed:
    __slots__ = ("deadline", "wake")

    deadline: float
    wake: float  # INF: not on the wheel

    def on_deadline(self, now: float) -> None:
        """`deadline <= now`: act, and set a later deadline (INF: sleep until watched again)."""
        raise NotImplementedError

    def on_bug(self, now: float) -> None:
        """Ours: on_deadline raised. End what is in doubt (P2), or see to it that it is looked at again."""
        raise NotImplementedError


class Deadlines:
    """Objects by the slot of time in which they are due; a slot is `grain` seconds and acts at its end."""

    def __init__(self, grain: float, alarm: Callable[[float], None]) -> None:
        self._grain = grain
        self._alarm = alarm
        self._slots: dict[int, dict[Timed, None]] = {}
        self._order: list[int] = []  # heap of the slots' numbers
        self._last_watched = 0  # a slot and when it acts: one number for the many that are filed there
        self._last_wake = 0.0
        self._reached = 0  # the slot that was acted on last: nothing is filed before it, or there

    def watch(self, timed: Timed) -> None:
        """See to it that `timed` is looked at no later than its deadline (plus a grain)."""
        number = max(int(timed.deadline / self._grain), self._reached) + 1
        if number != self._last_watched:
            self._last_watched, self._last_wake = number, number * self._grain
        wake = self._last_wake
        if wake >= timed.wake:
            return
        if timed.wake != INF:
            self.forget(timed)
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = {}
            heappush(self._order, number)
            if self._order[0] == number:
                self._alarm(wake)
        slot[timed] = None
        timed.wake = wake

    def forget(self, timed: Timed) -> None:
        if timed.wake != INF:
            slot = self._slots.get(round(timed.wake / self._grain))
            if slot is not None:
                slot.pop(timed, None)
            timed.wake = INF

    def next_deadline(self) -> float:
        return self._order[0] * self._grain if self._order else INF

    def tick(self, now: float) -> None:
        """Act on all that is due. An object whose action raises is off the wheel, unless its on_bug knows
        better; the others are acted on later."""
        while self._order and self._order[0] * self._grain <= now:
            self._reached = self._order[0]
            slot = self._slots[self._reached]
            while slot:
                timed, _ = slot.popitem()
                timed.wake = INF
                if timed.deadline <= now:
                    try:
                        timed.on_deadline(now)
                    except Exception:
                        timed.on_bug(now)
                        raise
                    if timed.deadline <= now:  # it would be due for ever, and this loop never end
                        raise BugError(f"{timed!r} did not move its deadline")
                if timed.deadline < timed.wake:
                    self.watch(timed)
            del self._slots[heappop(self._order)]
