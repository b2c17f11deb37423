"""How long requests took: all of a leg, and those since the last report. Pure."""

from __future__ import annotations

from array import array

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


class Latencies:
    def __init__(self) -> None:
        self._took = array("d")  # seconds
        self._told = 0

    def __len__(self) -> int:
        return len(self._took)

    def add(self, seconds: float) -> None:
        self._took.append(seconds)

    def fresh(self) -> dict[str, float]:
        """Of those since this was asked last."""
        fresh, self._told = self._took[self._told :], len(self._took)
        return percentiles(fresh)

    def all(self) -> dict[str, float]:
        return percentiles(self._took)


def percentiles(took: array[float]) -> dict[str, float]:
    """Nothing of nothing."""
    ordered = sorted(took)
    last = len(ordered) - 1
    return {
        name: round(ordered[min(last, int(part * len(ordered)))], 6)
        for name, part in PERCENTILES.items()
        if ordered
    }
