"""By how much this machine is late: what tests that allow seconds allow besides.

On a machine that is busy with others, or stands still for half a second, all that happens between two
moments takes longer, and nothing is wrong with muxproxy. A sleeper that is woken late knows by how much, and
the kernel counts how long each process was ready to run and did not.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from contextlib import suppress

NAP = 0.005  # seconds


class Lateness:
    """While the block lasts a thread lies down again and again; it also looks at the processes of `pids`."""

    def __init__(self, *pids: int) -> None:
        self._waited = dict.fromkeys(pids, 0.0)
        for pid in pids:
            self._waited[pid] = self._look(pid)
        self._before = sum(self._waited.values())
        self._woke: list[float] = []
        self._total = [0.0]  # seconds late, in all naps before
        self._enough = False
        self._thread = threading.Thread(target=self._sleep, daemon=True)

    def _sleep(self) -> None:
        while not self._enough:
            began = time.monotonic()
            time.sleep(NAP)
            self.on_woke(began, time.monotonic(), sum(map(self._look, self._waited)))

    def _look(self, pid: int) -> float:
        """Seconds that the process has waited for a core in its life, as of now or as of its end."""
        with suppress(OSError), open(f"/proc/{pid}/schedstat") as schedstat:
            self._waited[pid] = max(self._waited[pid], int(schedstat.read().split()[1]) / 1e9)
        return self._waited[pid]

    def on_woke(self, began: float, woke: float, waited: float) -> None:
        late = max(0.0, woke - began - NAP) + waited - self._before
        self._before = waited
        self._woke.append(woke)
        self._total.append(self._total[-1] + late)

    def between(self, begin: float, end: float) -> float:
        """Seconds, of all naps that lie at least partly between the two moments."""
        first, last = bisect_left(self._woke, begin), bisect_left(self._woke, end)
        return self._total[min(last + 1, len(self._woke))] - self._total[first]

    def __enter__(self) -> Lateness:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough = True
        self._thread.join()
