"""How much is logged of servers that clients choose: so many lines in so long, for all destinations together.

A server that is configured and cannot be reached is one line, and one when it is back. Where whoever asks
names the server, each name would be a line: what is beyond is in status and metrics.
"""

from __future__ import annotations

from typing import Final

LINES: Final = 20
WINDOW: Final = 10.0  # seconds


class Voice:
    __slots__ = ("_said", "_since")

    def __init__(self) -> None:
        self._since = 0.0
        self._said = 0

    def may_speak(self, now: float) -> bool:
        """Once more."""
        if now >= self._since + WINDOW:
            self._since, self._said = now, 0
        self._said += 1
        return self._said <= LINES
