"""What every replay's client tells: `{"tick": REPORT}` ten times a second, and at its end `{"done": REPORT}`.

A REPORT is, so far: `replies` that were right, `errors` by their words, connections that are `open` and that
were `dialled`, after how many seconds it was `ready` (null: it does not say), and `latency`: of a tick those
since the one before, in the last word all.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import uvloop

from muxproxy.incident.latency import Latencies
from muxproxy.stage.pipes import obey, say

EVERY = 0.1  # seconds


class Telling:
    def __init__(self, loop: asyncio.AbstractEventLoop, count_open: Callable[[], int]) -> None:
        self._loop = loop
        self._count_open = count_open
        self.took = Latencies()
        self.errors: Counter[str] = Counter()
        self.dialled = 0
        self.ready: float | None = None
        self.is_over = False

    def begin(self) -> None:
        if not self.is_over:
            say({"tick": self._report(self.took.fresh())})
            self._loop.call_later(EVERY, self.begin)

    def finish(self) -> None:
        if not self.is_over:
            self.is_over = True
            say({"done": self._report(self.took.all())})

    def _report(self, latency: dict[str, float]) -> dict[str, Any]:
        return {
            "replies": len(self.took),
            "errors": dict(self.errors),
            "open": self._count_open(),
            "dialled": self.dialled,
            "ready": self.ready,
            "latency": latency,
        }


def take_order(begin: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]) -> None:
    """A client's life: it says `{"ready": true}`, begins as it is ordered, and ends when its orders end."""
    loop = uvloop.new_event_loop()
    obey(loop, lambda order: begin(loop, order))
    say({"ready": True})
    loop.run_forever()
