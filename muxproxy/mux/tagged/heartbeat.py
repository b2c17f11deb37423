"""Asks a connection's server whether it lives, when it has said nothing for an interval (contract.probe).

    heard from --interval--> asked --interval--> asked again ... --misses unanswered--> failed

Any byte is an answer: servers' replies to heartbeats come in shapes enough. Off the hot path: a connection's
data only leave their time in `heard`.

Servers, too, close connections that are silent for three of their own heartbeats, whatever they are working
on (Dubbo: CloseTimerTask), and do not say how long that is. So one that owes us replies hears of us every
`keep` seconds (contract.probe_keep), or as its pace has shown. What it makes of that is not counted: it may
be too busy to answer.
"""

from __future__ import annotations

from typing import Final

from muxproxy.mux.base.server import Server
from muxproxy.mux.base.upstream import OPEN
from muxproxy.mux.deadlines import INF, Timed
from muxproxy.mux.shared.accounts import SharedAccounts
from muxproxy.mux.shared.upstream import SharedUpstream

PATIENCE: Final = 3  # of its own heartbeats, for which a server waits
NOTED: Final = 1.0  # seconds of silence before its end that tell of a server's pace, and not of its death


class HasHeartbeat(SharedUpstream):
    """What a heartbeat asks of its connection."""

    __slots__ = ("heard",)

    def __init__(self, pool: SharedAccounts, server: Server, now: float) -> None:
        super().__init__(pool, server, now)
        self.heard = now  # when its server last said anything

    def written(self) -> float:
        """When the newest request was, of those that are not answered."""
        raise NotImplementedError

    def may_be_silent(self) -> bool:
        """We do not listen, or it takes the rest of a request, and has not been asked anything else."""
        raise NotImplementedError

    def ask_for_life(self) -> None:
        raise NotImplementedError

    def on_silence(self, text: str, now: float) -> None:
        """Its server is left alone as one that refuses connections is."""
        raise NotImplementedError


class Heartbeat(Timed):
    """Of one connection, as long as it is open. Seconds on the loop's clock."""

    __slots__ = (
        "_asked",
        "_asked_at",
        "_interval",
        "_keep",
        "_misses",
        "_told_at",
        "_upstream",
    )

    def __init__(self, upstream: HasHeartbeat, interval: float, misses: int, keep: float, now: float) -> None:
        self._upstream = upstream
        self._interval = interval
        self._keep = keep
        self._misses = misses
        self._asked = 0  # without an answer
        self._asked_at = now
        self._told_at = now  # that we live
        self.deadline = now + min(interval, keep, upstream.server.pace)
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
        due = (self._asked_at if self._asked else upstream.heard) + self._interval
        if due > now:
            self.deadline = min(due, self._tell(now))
            return
        if self._asked >= self._misses:
            self.deadline = INF
            upstream.on_silence(f"no answer to {self._asked} heartbeats", now)
            return
        self._asked += 1
        self._asked_at = self._told_at = now
        self.deadline = now + min(self._interval, self._keep, upstream.server.pace)
        upstream.ask_for_life()

    def _tell(self, now: float) -> float:
        """A server that owes replies and gets no requests. Returns when to look again."""
        upstream = self._upstream
        pace = min(self._keep, upstream.server.pace)
        due = max(self._told_at, upstream.written()) + pace
        if not upstream.load():
            due = now + pace
        elif due <= now:
            self._told_at, due = now, now + pace
            upstream.ask_for_life()
        return due

    def hurry(self, now: float) -> None:
        """Its server has shown a shorter pace."""
        self.deadline = min(self.deadline, now + self._upstream.server.pace)
        self._upstream.pool.fine.watch(self)

    def on_bug(self, now: float) -> None:
        """Ours: what it may have touched is closed (P2)."""
        self._upstream.on_bug(now)

    def stop(self) -> None:
        self.deadline = INF
        self._upstream.pool.fine.forget(self)
