"""Places of one bound for the pools of all destinations: the budget that workers share, one floor down (P1).

What one process tells another there is a call here, at the end of the turn in which it became true, so that
no pool is told anything in the middle of what it does. A pool is a holder from when it wants its first place
until it has none and wants none: what is asked of each holder is asked of those in use, and not of all
destinations there are.

Who wants a place when all are taken gets an idle one: of the pool that has most, the longest there. Where
none is idle the pools with more than an even share give up the next that comes free. And where each has one
and others none, they take turns: a place stays for TURN, for it costs a connect each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from muxproxy.budget import Order, Report
from muxproxy.mux.base.lending.allowance import Lender
from muxproxy.mux.base.pool import Pool
from muxproxy.mux.base.refusing import Refusing
from muxproxy.mux.deadlines import INF, Deadlines, Timed
from muxproxy.mux.destinations.places import Places
from muxproxy.mux.ports import World

TURN: Final = 0.02  # seconds
ROUNDS: Final = 8  # of telling in one turn of the loop; what is left is told in the next (P10)


class _Turn(Timed):
    """When those that have none have waited for TURN."""

    __slots__ = ("_lending",)

    def __init__(self, lending: Lending) -> None:
        self._lending = lending
        self.deadline = INF
        self.wake = INF

    def on_deadline(self, now: float) -> None:
        self.deadline = INF
        self._lending.on_turn(now)

    def on_bug(self, now: float) -> None:
        """Ours: who wants one says it again."""


class Lending(Lender):
    """`on_lent`: what all hold together, or want, may have changed."""

    __slots__ = ("_dirty", "_fine", "_is_due", "_now", "_on_lent", "_turn", "_world", "places")

    def __init__(self, bound: int, world: World, fine: Deadlines, on_lent: Callable[[float], None]) -> None:
        self.places = Places(bound)
        self._world = world
        self._fine = fine
        self._on_lent = on_lent
        self._dirty: dict[Pool, None] = {}  # whose report has changed
        self._is_due = False  # settle() will be called, or is running
        self._now = 0.0
        self._turn = _Turn(self)

    # -- pools -------------------------------------------------------------------------------------

    def enter(self, pool: Pool) -> None:
        """A new one: it has nothing."""
        pool.allowance.lender = self
        pool.allowance.begin(Order(0, 0, 0))

    def on_share(self, pool: Refusing, now: float) -> None:
        assert isinstance(pool, Pool)
        self._dirty[pool] = None
        self._soon(now)

    def borrow(self, pool: Refusing, now: float) -> bool:
        assert isinstance(pool, Pool)
        places, allowance = self.places, pool.allowance
        if places.free() <= 0 or places.wanted() or places.is_barred(pool):
            return False
        if not places.holds(pool):
            places.join(pool)
        report = allowance.report()
        places.on_report(pool, Report(report.serial, report.held, 1))
        if allowance.share.on_order(places.order(pool)):
            pool.allow(allowance.share.most)
        self.on_share(pool, now)
        return True

    # -- from above --------------------------------------------------------------------------------

    def set_bound(self, bound: int, outside: int, now: float) -> None:
        """`outside`: so many are wanted elsewhere, if nobody here does."""
        self.places.outside = outside
        self.places.set_bound(bound)
        self._soon(now)

    def set_tunnels(self, most: int, now: float) -> None:
        """Those that there are stay."""
        self.places.max_tunnels = most
        self.places.share_out()
        self._soon(now)

    # -- telling -----------------------------------------------------------------------------------

    def _soon(self, now: float) -> None:
        self._now = now
        if not self._is_due:
            self._is_due = True
            self._world.soon(self.settle)

    def settle(self) -> None:
        try:
            for _ in range(ROUNDS):
                if not self._tell_each_other(self._now):
                    break
        except Exception:
            self.places.repeat()  # ours: some may not have been told
            self._again()
            raise
        finally:
            self._is_due = False
        if self._dirty:
            self._soon(self._now)
        if self.places.wants_turn:
            self._again()
        self._on_lent(self._now)

    def _again(self) -> None:
        turn = self._turn
        if turn.deadline == INF:
            turn.deadline = self._now + TURN
            self._fine.watch(turn)

    def _tell_each_other(self, now: float) -> bool:
        """False: nobody has anything to say."""
        dirty, self._dirty = self._dirty, {}
        places = self.places
        for pool in dirty:
            pool.allowance.tidy(now)
        reports = [(pool, pool.allowance.report()) for pool in dirty]
        new = [pool for pool, report in reports if (report.held or report.wanted) and not places.holds(pool)]
        if new:
            places.join(*new)
        if reports:
            places.on_reports(reports)
        for pool, report in reports:
            if not (report.held or report.wanted) and places.holds(pool) and not places.lent(pool):
                places.leave(pool)
                pool.allowance.begin(Order(0, 0, 0))
        orders = places.orders()
        for pool, order in orders:
            pool.allowance.on_order(order, now)
        return len(orders) > 0 or len(self._dirty) > 0

    def on_turn(self, now: float) -> None:
        self.places.is_turn = True
        self.places.share_out()
        self.places.is_turn = False
        self._soon(now)
