"""Asks a connection's server whether it lives, when it has said nothing for an interval (contract.probe).

    heard from --interval--> asked --interval--> asked again ... --misses unanswered--> failed

Any byte is an answer: servers' replies to heartbeats come in shapes enough. Off the hot path: a connection's
data only leave their time in `heard`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from muxproxy.mux.deadlines import INF
from muxproxy.mux.upstream import OPEN

if TYPE_CHECKING:
    from muxproxy.mux.tag import ByTag


class Heartbeat:
    """Of one connection, as long as it is open. Seconds on the loop's clock."""

    __slots__ = ("_asked", "_asked_at", "_interval", "_misses", "_upstream", "deadline", "wake")

    def __init__(self, upstream: ByTag, interval: float, misses: int, now: float) -> None:
        self._upstream = upstream
        self._interval = interval
        self._misses = misses
        self._asked = 0  # without an answer
        self._asked_at = now
        self.deadline = now + interval
        self.wake = INF
        upstream.pool.fine.watch(self)

    def on_deadline(self, now: float) -> None:
        upstream = self._upstream
        if upstream.state != OPEN:
            self.deadline = INF
            return
        if upstream.may_be_silent():
            upstream.heard = now
        if upstream.heard >= self._asked_at:  # the wheel looks later than it was told: not `due` alone
            self._asked = 0
        due = upstream.heard + self._interval
        if due > now:
            self.deadline = due
            return
        if self._asked >= self._misses:
            self.deadline = INF
            upstream.on_silence(f"no answer to {self._asked} heartbeats", now)
            return
        self._asked += 1
        self._asked_at = now
        self.deadline = now + self._interval
        upstream.ask_for_life()

    def on_bug(self, now: float) -> None:
        """Ours: what it may have touched is closed (P2)."""
        self._upstream.on_bug(now)

    def stop(self) -> None:
        self.deadline = INF
        self._upstream.pool.fine.forget(self)
