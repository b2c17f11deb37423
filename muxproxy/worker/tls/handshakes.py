"""Clients that shake hands: a few steps in one turn of the loop, and each in its time.

A signature costs a hundred times what a request does. Where many come at once they wait for each other, and
who has a connection is served in between (P10).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

PER_TURN: Final = 4
LOOK_EVERY: Final = 0.25  # seconds, at those that are late


class Shaking:
    """One of them."""

    __slots__ = ()

    def patience(self) -> float:
        """Seconds that it has in all."""
        raise NotImplementedError

    def go_on(self) -> None:
        raise NotImplementedError

    def on_late(self) -> None:
        raise NotImplementedError


class Handshakes:
    """Of one worker, with its clients. `time`, `soon`, `later`: as the engine's."""

    def __init__(
        self,
        time: Callable[[], float],
        soon: Callable[[Callable[[], None]], object],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._time = time
        self._soon = soon
        self._later = later
        self._under_way: dict[Shaking, float] = {}  # since when, the oldest first
        self._ready: deque[Shaking] = deque()  # something has come for these
        self._looking = False

    def begin(self, wire: Shaking) -> None:
        self._under_way[wire] = self._time()
        if not self._looking:
            self._looking = True
            self._later(LOOK_EVERY, self._look)

    def end(self, wire: Shaking) -> None:
        self._under_way.pop(wire, None)

    def go_on(self, wire: Shaking) -> None:
        """In its turn."""
        self._ready.append(wire)
        if len(self._ready) == 1:
            self._soon(self._serve)

    def _serve(self) -> None:
        for _ in range(min(len(self._ready), PER_TURN)):
            self._ready.popleft().go_on()
        if self._ready:
            self._soon(self._serve)

    def _look(self) -> None:
        now = self._time()
        late = [wire for wire, since in self._under_way.items() if now - since >= wire.patience()]
        for wire in late:
            wire.on_late()
        self._looking = len(self._under_way) > 0
        if self._looking:
            self._later(LOOK_EVERY, self._look)
