"""The honest ones: `python -m tests.flood.looking`, a program of its own.

The servers and clients of tests/fuzz/probes.py. Each further line of orders names the worker's process; what
has been seen until then is told, and forgotten.

A reply that comes late on a machine with other work says nothing. What counts is how much the worker worked
from a question to its reply while we slept: neither what it had to wait for a CPU is in that, nor what it did
while we had our reply and could not run.
"""

from __future__ import annotations

import os

from tests.fuzz.probes import Probe, main


class Meter:
    """Seconds of CPU that the worker has had, less those that this process had or waited for (proc(5),
    schedstat; the kernel counts at each tick of its clock, so it is right to a few milliseconds)."""

    def __init__(self, worker: int) -> None:
        self._worker, self._mine = (
            os.open(f"/proc/{pid}/schedstat", os.O_RDONLY) for pid in (worker, "self")
        )

    def __call__(self) -> float:
        try:
            ran = int(os.pread(self._worker, 100, 0).split()[0])
        except ProcessLookupError:
            return float("inf")
        mine, waited, _ = os.pread(self._mine, 100, 0).split()
        return (ran - int(mine) - int(waited)) / 1e9

    def close(self) -> None:
        os.close(self._worker)
        os.close(self._mine)


class Meters:
    """A further line of orders names the worker that is looked at from then on."""

    def __init__(self) -> None:
        self._last: Meter | None = None

    def on_orders(self, probes: list[Probe], orders: dict[str, int]) -> None:
        meter, before = Meter(orders["worker"]), self._last
        for probe in probes:
            probe.begin_anew(meter)
        if before is not None:
            before.close()
        self._last = meter


if __name__ == "__main__":
    main(Meters().on_orders)
