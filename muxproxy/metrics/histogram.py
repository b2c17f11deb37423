"""A histogram of seconds with fixed bounds: one list, one bisect per observation."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

# Queue waits and service times of a sidecar: from the loop's resolution (1 ms) to a caller's last patience.
BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


_SHORTEST: Final = BOUNDS[0]


class Histogram:
    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        # As nearly always: without making a float of it for bisect.
        self.counts[0 if seconds <= _SHORTEST else bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def snapshot(self, at_once: int = 0) -> dict[str, object]:
        """`counts`: per bucket, not cumulative, one more than `bounds` (the last is +Inf). `at_once`: so many
        more took no time at all. Asked often, of many backends: nothing is made that need not be."""
        counts = self.counts.copy()
        counts[0] += at_once
        return {"bounds": BOUNDS, "counts": counts, "sum": self.total}
