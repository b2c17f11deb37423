"""How many places of its backend's bound a pool may have now, and how it comes to have no more (DESIGN 3a).

The number may change at any time. More: it is used at once. Fewer: none is opened, those that owe nothing are
closed, the longest idle first, and of the others as many as are too many end with what they owe. Where a
connection has one exchange at a time that is whichever comes free first; where many are in flight it is the
least loaded ones, which get nothing new (P1).

Of places that are idle here others may ask for some: these are closed and given up, for good. And who waits
while all that may be had are taken wants more, if the backend has more: said once somebody has waited for
WANT_AFTER, for in most queues a place comes free sooner than another process could give one.

Where who lends is in this process (destinations/) all of that is said at once, and what is lent and not used
goes back by itself.

pool.py asks `max_connections`; all that is rare is here.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from muxproxy.budget import Order, Report, Share
from muxproxy.mux.base.refusing import Refusing
from muxproxy.mux.base.upstream import CLOSING, OPEN, Upstream
from muxproxy.mux.deadlines import INF, Timed

SHED: Final = "fewer connections are allowed"  # why it will be closed as soon as it owes nothing
GIVEN: Final = "given up for another"  # why an idle one was closed
WANT_AFTER: Final = 0.002  # seconds that somebody has waited
WANT_AGAIN: Final = 0.02  # between two looks whether more is still wanted


class Lender:
    """Who lends to pools of this process (destinations/lending.py)."""

    __slots__ = ()

    def on_share(self, pool: Refusing, now: float) -> None:
        """As World.on_share."""
        raise NotImplementedError

    def borrow(self, pool: Refusing, now: float) -> bool:
        """One place more, if one is free and nobody is before it. True: it has it."""
        raise NotImplementedError


class Allowance(Timed):
    """Of one pool. Alone with its backend it has all of its bound, until an order says otherwise."""

    __slots__ = ("_is_busy", "_pool", "_refused", "lender", "share")

    def __init__(self, pool: Refusing) -> None:
        self._pool = pool
        self.lender: Lender | None = None  # None: the supervisor, whom the world tells
        self.share = Share()
        self.share.most = pool.max_connections
        self._is_busy = False  # shedding: what it closes tells it so
        self._refused = 0  # who found no place, since the last look
        self.deadline = INF
        self.wake = INF

    # -- from and to who lends ---------------------------------------------------------------------

    def begin(self, order: Order) -> None:
        """What a new pool has been lent: not its whole bound, which others may hold."""
        self.share.serial, self.share.most, self.share.asked = order
        self._pool.allow(order.most)

    def on_order(self, order: Order, now: float) -> None:
        if self.share.on_order(order):
            self._apply(now)
        self._look(now)
        self._tell(now)

    def _tell(self, now: float) -> None:
        """The report has changed."""
        if self.lender is None:
            self._pool.world.on_share(self._pool)
        else:
            self.lender.on_share(self._pool, now)

    def report(self) -> Report:
        return self.share.report(len(self._pool.upstreams))

    def _apply(self, now: float) -> None:
        pool = self._pool
        rises = self.share.most > pool.max_connections
        pool.allow(self.share.most)
        self.shed(now)
        if rises:
            pool.serve(now)
            pool.warm(now)
        self._give(now)

    # -- fewer -------------------------------------------------------------------------------------

    def on_idle(self, now: float) -> None:
        """A connection owes nothing, or is gone, while there are too many or others ask."""
        self.shed(now)
        self._give(now)

    def shed(self, now: float) -> None:
        """Close what is too many and owes nothing; mark what is to follow."""
        if self._is_busy:
            return
        self._is_busy = True
        pool = self._pool
        excess = self._excess()
        for upstream in self._idle()[: max(0, excess)]:
            upstream.close(SHED, now)
            excess -= 1
        ending = set(pool.to_end(excess)) if excess > 0 else set()
        freed = False
        for upstream in pool.upstreams:
            if upstream in ending:
                upstream.retiring = SHED
            elif upstream.retiring == SHED:
                upstream.retiring = upstream.outdated
                freed = True
        self._is_busy = False
        self._settle()
        if freed and pool.gate.waiting:
            pool.serve(now)

    def _excess(self) -> int:
        """Connections that are too many and would stay."""
        staying = sum(u.state < CLOSING and u.retiring in ("", SHED) for u in self._pool.upstreams)
        return staying - self._pool.max_connections

    def _idle(self) -> list[Upstream]:
        """In the order in which they are to go: of the server that has the most, the longest idle."""
        waits = self._pool.gate.waiting > 0
        idle = [upstream for upstream in self._pool.upstreams if self._is_idle(upstream, waits)]
        idle.sort(key=_deadline)
        stays = Counter(upstream.server for upstream in self._pool.upstreams)
        ordered: list[Upstream] = []
        while idle:
            most = max(stays[upstream.server] for upstream in idle)
            goes = next(upstream for upstream in idle if stays[upstream.server] == most)
            idle.remove(goes)
            stays[goes.server] -= 1
            ordered.append(goes)
        return ordered

    def _is_idle(self, upstream: Upstream, waits: bool) -> bool:
        """One that is being made only if nobody waits for it: who is lent a place for a moment uses it."""
        if upstream.state < OPEN:
            return not waits
        return upstream.state == OPEN and upstream.owner is None and not upstream.load()

    # -- what others could do with -----------------------------------------------------------------

    def _give(self, now: float) -> None:
        """Of what is idle here, as much as is asked for; nothing while somebody waits here."""
        pool, share = self._pool, self.share
        if not share.asked or pool.gate.waiting or self._is_busy:
            return
        free = min(share.asked, pool.max_connections - len(pool.upstreams))
        if free > 0:
            share.give(free)
            pool.allow(share.most)
            self._tell(now)
        leaving = sum(upstream.state >= CLOSING for upstream in pool.upstreams)
        self._is_busy = True
        for upstream in self._idle()[: max(0, share.asked - leaving)]:
            upstream.close(GIVEN, now)
        self._is_busy = False
        self._settle()

    def _settle(self) -> None:
        """Whether the pool has to tell of what comes free."""
        pool = self._pool
        pool.yields = self.share.asked > 0 or len(pool.upstreams) > pool.max_connections

    def on_gone(self, now: float) -> None:
        """One fewer: heard by who lends, while it waits for that."""
        was_over = len(self._pool.upstreams) >= self._pool.max_connections
        self.on_idle(now)
        if was_over or self.lender is not None:
            self._tell(now)

    # -- more --------------------------------------------------------------------------------------

    def want(self, now: float, *, refused: bool = False) -> None:
        """Somebody waits, or was refused, and all that may be had are taken."""
        if self.lender is not None:
            before = self.share.wanted
            self._look(now)
            if self.share.wanted != before:
                self._tell(now)
            return
        self._refused += refused
        if self.deadline == INF and self._pool.max_connections < self._pool.config.max_connections:
            self.deadline = then = now + WANT_AFTER
            self._pool.fine.watch(self)
            # Not with the wheel, whose grain is five times that.
            self._pool.world.later(WANT_AFTER, lambda: self._on_waited(then))

    def _on_waited(self, now: float) -> None:
        if self.deadline == now:
            self.on_deadline(now)

    def on_deadline(self, now: float) -> None:
        self.deadline = INF
        before = self.share.wanted, self.share.most
        self._give(now)
        if self.lender is not None:
            self.tidy(now)
        self._look(now)
        if (self.share.wanted, self.share.most) != before:
            self._tell(now)

    def borrow(self, now: float) -> bool:
        """One more at once, for who may not wait."""
        is_full = self._pool.max_connections >= self._pool.config.max_connections
        return self.lender is not None and not is_full and self.lender.borrow(self._pool, now)

    def _look(self, now: float) -> None:
        """What is wanted now; and again while it is, or while others want what may come free here unseen:
        who waited for a place of another kind has left."""
        pool = self._pool
        more = pool.config.max_connections - pool.max_connections
        if self.lender is None:
            missing = pool.missing() + self._refused
        else:
            missing = self._usable(now) - max(0, pool.max_connections - len(pool.upstreams))
        self.share.wanted = max(0, min(more, missing))
        self._refused = 0
        if self.share.wanted or self.share.asked or (self.lender is not None and pool.gate.waiting):
            self.deadline = now + WANT_AGAIN
            pool.fine.watch(self)

    # -- of who lends here -------------------------------------------------------------------------

    def _usable(self, now: float) -> int:
        """Connections that would be dialled now. None while no server may be: who waits for a server that
        cannot be reached keeps no place from others."""
        pool = self._pool
        if not pool.gate.waiting or not any(server.may_dial(now) for server in pool.servers):
            return 0
        return max(0, pool.missing())

    def tidy(self, now: float) -> None:
        """What it has is used, or goes back."""
        if self.share.most > len(self._pool.upstreams) and self._usable(now):
            self._pool.grow(now)
        self._return_unused(now)

    def _return_unused(self, now: float) -> None:
        pool, share = self._pool, self.share
        unused = share.most - len(pool.upstreams) - self._usable(now)
        if unused > 0 and not self._is_busy:
            share.give(unused)
            pool.allow(share.most)

    def spare(self) -> int:
        """Places that would come back if they were asked for, or are on their way."""
        pool = self._pool
        if pool.gate.waiting:
            return 0
        leaving = sum(upstream.state >= CLOSING for upstream in pool.upstreams)
        return max(0, pool.max_connections - len(pool.upstreams)) + leaving + len(self._idle())

    def on_bug(self, now: float) -> None:
        """Ours: who comes to wait next says it again."""


def _deadline(upstream: Upstream) -> float:
    return upstream.deadline
