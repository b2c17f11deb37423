"""Finds connections whose servers' machines are not heard any more: a network that is down, a host that died.

TCP itself waits ever longer, so that after a minute without a network its next try comes up to a minute after
the network is back, and whoever holds or waits for such a connection waits with it. So every so often each
connection that owes something is looked at: how many tries in a row has its peer's kernel left unanswered?
One that waits for a reply, all of its request acknowledged, is asked by keep-alive probes, once a second.
After max_unanswered it is given up if somebody waits for a place, and after twice as many in any case, so
that a fresh one can be tried.

A server that is merely slow, or does not read, is no such case: its kernel answers. Nor is a connection that
we do not read, for a client is slow: what its server said before it fell silent may be all that it owes (P9).
"""

from __future__ import annotations

from typing import Final

from muxproxy.mux.base.refusing import Refusing
from muxproxy.mux.base.upstream import OPEN, Upstream
from muxproxy.mux.deadlines import INF, Timed
from muxproxy.protocols.contract import Reason

EVERY: Final = 0.5  # seconds between two looks
ASK_AFTER: Final = 1.0  # seconds of silence after which the kernel asks, and as often
AT_A_TIME: Final = 128  # connections in one turn of the loop (P10)


class Lookout(Timed):
    """Of one pool, as long as it has connections. Seconds on the loop's clock."""

    __slots__ = ("_asked", "_left", "_pool")

    def __init__(self, pool: Refusing) -> None:
        self._pool = pool
        self._left: list[Upstream] = []  # of this round
        self._asked: set[Upstream] = set()  # whose kernel asks every ASK_AFTER
        self.deadline = INF
        self.wake = INF

    def start(self, now: float) -> None:
        if self.deadline == INF:
            self.deadline = now + EVERY
            self._pool.fine.watch(self)

    def on_deadline(self, now: float) -> None:
        left = self._left or list(self._pool.upstreams)
        self._left, batch = left[AT_A_TIME:], left[:AT_A_TIME]
        if not batch:
            self.deadline = INF
            self._asked.clear()
            return
        self.deadline = now + EVERY if not self._left else now + 0.001
        limit = self._pool.config.max_unanswered * (1 if self._pool.is_pressed(now) else 2)
        for upstream in batch:
            if upstream.state == OPEN and upstream.load() and not upstream.read_paused:
                self._look_at(upstream, limit, now)

    def _look_at(self, upstream: Upstream, limit: int, now: float) -> None:
        world, wire = self._pool.world, upstream.wire
        if wire is None:
            return
        unanswered, silent = world.hearing(wire)
        if unanswered >= limit:
            self._asked.discard(upstream)
            where = {"backend": self._pool.name, "server": str(upstream.server)}
            world.log("connection given up", level="warning", **where, unanswered=unanswered)
            text = f"its machine has left {unanswered} tries in a row unanswered"
            upstream.fail("unanswered", Reason.SERVER_CLOSED, text, now)
        elif silent >= ASK_AFTER:
            if upstream not in self._asked:
                self._asked.add(upstream)
                world.ask(wire, ASK_AFTER)
        elif upstream in self._asked:
            self._asked.discard(upstream)
            world.ask(wire, self._pool.config.keepalive)

    def on_bug(self, now: float) -> None:
        """Ours: the others are looked at again."""
        self._left = []
        self.deadline = now + EVERY
        self._pool.fine.watch(self)
