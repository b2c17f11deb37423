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
from operator import attrgetter
from typing import Final

from muxproxy.budget import Borrower, Budget, Order, Report
from muxproxy.mux.base.lending.allowance import Lender
from muxproxy.mux.base.pool import Pool
from muxproxy.mux.base.refusing import Refusing
from muxproxy.mux.deadlines import INF, Deadlines, Timed
from muxproxy.mux.ports import World

TURN: Final = 0.02  # seconds
ROUNDS: Final = 8  # of telling in one turn of the loop; what is left is told in the next (P10)
_most = attrgetter("most")


class Places(Budget[Pool]):
    """Holders stand in the order in which they were lent their last place."""

    def __init__(self, bound: int) -> None:
        super().__init__(bound)
        self.max_tunnels: int | None = None  # of all places; None: half of them, at least 1
        self.outside = 0  # places that are wanted elsewhere, if they are idle
        self.is_turn = False  # those that have had their last place for TURN may be asked for it
        self.wants_turn = False  # somebody waits for that

    def share_out(self) -> None:
        self._share_out()

    def _lend(self) -> None:
        while self._line and self.free() > 0:
            key = next((pool for pool in self._line if not self.is_barred(pool)), None)
            if key is None:
                return
            holder = self._holders[key] = self._holders.pop(key)
            holder.most += 1
            holder.has_answered = False
            holder.wanted -= 1
            del self._line[key]
            if holder.wanted > 0:
                self._line[key] = None

    def _take_back_what_is_too_much(self) -> None:
        excess = sum(holder.most for holder in self._holders.values()) - self.bound
        if excess <= 0:
            return
        spare = {pool: pool.allowance.spare() for pool in self._holders}
        for _ in range(excess):
            pool = max(self._holders, key=lambda each: (spare[each] > 0, self._holders[each].most))
            self._holders[pool].most -= 1
            spare[pool] -= 1

    def _ask(self) -> None:
        self.wants_turn = False
        holders = self._holders
        coming = sum(holder.lent - holder.most for holder in holders.values() if holder.lent > holder.most)
        wanted = self.wanted() - coming
        free = self.free()
        if free < 0:  # the bound is lower than it was: what is idle closes before what is not
            wanted = max(wanted, -free - self._coming_soon())
        elif not self._line:
            wanted = self.outside - free
        left = self._ask_for_idle(max(0, wanted))
        for key in self._line:
            if left <= 0:
                break
            if not self.is_barred(key):
                left -= self._take_from(holders[key], left, list(holders.values()))
        if any(pool.carries_tunnels for pool in self._line):
            self._ask_tunnels()

    # -- tunnels -----------------------------------------------------------------------------------

    def _tunnels_left(self) -> int:
        most = max(1, self.bound // 2) if self.max_tunnels is None else self.max_tunnels
        return most - sum(
            max(holder.lent, holder.most) for pool, holder in self._holders.items() if pool.carries_tunnels
        )

    def is_barred(self, pool: Pool) -> bool:
        """Of places of its kind there are as many as there may be."""
        return pool.carries_tunnels and self._tunnels_left() <= 0

    def wanted(self) -> int:
        """Without those that nobody may have."""
        tunnels = others = 0
        for pool in self._line:
            if pool.carries_tunnels:
                tunnels += self._holders[pool].wanted
            else:
                others += self._holders[pool].wanted
        return others + min(tunnels, max(0, self._tunnels_left())) if tunnels else others

    def _ask_tunnels(self) -> None:
        """Those of them that wait for one another: what is idle, then whatever comes free next."""
        holders = {pool: holder for pool, holder in self._holders.items() if pool.carries_tunnels}
        wanted = sum(holder.wanted for pool, holder in holders.items() if pool in self._line)
        wanted -= max(0, self._tunnels_left())
        wanted -= sum(max(0, holder.lent - holder.most) for holder in holders.values())
        for pool, holder in holders.items():
            if wanted > 0 and holder.most > 0 and pool not in self._line:
                more = max(0, min(wanted, pool.allowance.spare() - holder.asked))
                holder.asked += more
                wanted -= more
        for pool, holder in holders.items():
            if wanted > 0 and pool in self._line:
                wanted -= self._take_from(holder, wanted, list(holders.values()))

    # -- idle ones, even shares --------------------------------------------------------------------

    def _coming_soon(self) -> int:
        """Of what pools have too many, what they need not wait for."""
        return sum(
            min(holder.lent - holder.most, pool.allowance.spare())
            for pool, holder in self._holders.items()
            if holder.lent > holder.most
        )

    def _ask_for_idle(self, wanted: int) -> int:
        """Returns for how many nothing is idle."""
        if wanted <= 0:
            for holder in self._holders.values():
                holder.asked = 0
            return 0
        # Those that were asked already come first: what they close is on its way.
        order = sorted(self._holders.items(), key=lambda item: (item[1].asked == 0, -item[1].most))
        for pool, holder in order:
            holder.asked = 0
            if wanted > 0 and holder.most > 0 and pool not in self._line:
                holder.asked = min(wanted, pool.allowance.spare())
                wanted -= holder.asked
        return wanted

    def _take_from(self, poor: Borrower, wanted: int, among: list[Borrower]) -> int:
        others = [holder for holder in among if holder is not poor and holder.has_answered]
        taken = 0
        while others and taken < min(poor.wanted, wanted):
            rich = max(others, key=_most)
            has = poor.most + taken
            if rich.most <= has + 1:
                if has or not rich.most:
                    break
                if not self.is_turn:
                    self.wants_turn = True
                    break
            rich.most -= 1
            taken += 1
        return taken


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

    def set_tunnels(self, most: int | None, now: float) -> None:
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
