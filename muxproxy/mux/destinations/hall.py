"""Who may wait, where the queues of many pools share one max_waiting (P7).

Each gate has a part of it, and asks for more when that is used up; what the others do not use is taken back
first. One destination's queue may be as long as what is left free of the whole: one that hangs fills half of
it, two a third each, and there is always room for the next (dynamic thresholds, Choudhury and Hahne 1998).
"""

from __future__ import annotations

from typing import Final

from muxproxy.mux.admission.gate import Gate, Hall

ANY: Final = 1 << 30
PART: Final = 16  # of what is free a gate gets one such part at a time


class SharedHall(Hall):
    """`places`: what all connections that there may be take together."""

    __slots__ = ("_gates", "bound", "places")

    def __init__(self, bound: int, places: int = 0) -> None:
        self.bound = bound
        self.places = places
        self._gates: dict[Gate, None] = {}  # that have a part, or where somebody has waited of late

    def enter(self, gate: Gate) -> None:
        gate.hall = self
        gate.max_waiting = 0
        gate.let_in = ANY  # who is not, rationing.py decides

    def leave(self, gate: Gate) -> None:
        """Nobody waits there."""
        self._gates.pop(gate, None)

    def set_bound(self, bound: int) -> None:
        """Who waits may stay."""
        self.bound = bound
        self._take_back()

    def waiting(self) -> int:
        return sum(gate.waiting for gate in self._gates)

    def widen(self, gate: Gate) -> None:
        free = self.bound - self._take_back()
        self._gates[gate] = None  # without a part as well: it may wait for a connect all the same
        more = min(free, free - gate.waiting, gate.most - gate.waiting)
        if more > 0:
            gate.max_waiting = gate.waiting + max(1, more // PART)

    def needs(self) -> int:
        """What the bound must be, so that all who wait might."""
        most = max((gate.waiting for gate in self._gates), default=0)
        return self.waiting() + max(0, most - 1)

    def exceeds(self, gate: Gate) -> bool:
        """More wait there than may."""
        return self.waiting() + gate.waiting > self.bound + 1

    def would_do(self, gate: Gate, bound: int) -> bool:
        """May one more wait there, if the bound were that?"""
        return min(bound - self.waiting(), gate.most) > gate.waiting

    def is_crowded(self) -> bool:
        return self.waiting() >= self.bound + self.places

    def _take_back(self) -> int:
        """What nobody uses. Returns how many wait."""
        waiting = 0
        for gate in list(self._gates):
            gate.max_waiting = gate.waiting
            waiting += gate.waiting
            if not gate.waiting:
                del self._gates[gate]
        return waiting
