"""Where a long run is and how long it will take, on stderr, so that tables can be redirected.

On a terminal it is one line that changes; elsewhere (a log) a line for each round. What is left is planned at
first, and what the run has shown after half a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

LEARNT = 30.0  # seconds after which the plan is corrected by what it took so far


def clock_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


class Progress:
    def __init__(self, planned: float, out: TextIO, now: Callable[[], float] = time.monotonic) -> None:
        self.planned = planned
        self.out = out
        self.now = now
        self.changes = out.isatty()
        self.began = now()
        self.done = 0.0  # of what was planned
        self.current = 0.0
        self.said = ""

    def begin(self, what: str, detail: str, seconds: float) -> None:
        """`seconds` are planned for what begins now; what went before has ended."""
        self.done += self.current
        self.current = seconds
        if self.changes:
            self.out.write(f"\r\x1b[K{what}: {detail}; {self._left()}")
        elif what != self.said:
            self.out.write(f"{what}; {self._left()}\n")
        self.said = what
        self.out.flush()

    def left(self) -> float:
        passed = self.now() - self.began
        pace = passed / self.done if passed > LEARNT and self.done else 1.0
        return max(0.0, self.planned - self.done) * pace

    def _left(self) -> str:
        return f"about {clock_time(self.left())} left"

    def close(self) -> None:
        if self.changes:
            self.out.write("\r\x1b[K")
            self.out.flush()
