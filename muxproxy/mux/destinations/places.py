"""The budget of places that the pools of all destinations share: budget.py's, with two differences.

It can ask pools what is idle there, so it asks for as many as are wanted: of the pool that has most, the one
first that was lent its last place the longest ago. And there may be a thousand holders, so what is true of
all is kept as sums, and pools stand in tiers by how many places they have: a word costs what it changes.
"""

from __future__ import annotations

from collections.abc import Iterator

from muxproxy.budget import Borrower, Budget, Order
from muxproxy.mux.base.pool import Pool


class Places(Budget[Pool]):
    def __init__(self, bound: int) -> None:
        super().__init__(bound)
        self.max_tunnels = bound  # of all places, until rationing.py says how many
        self.outside = 0  # places that are wanted elsewhere, if they are idle
        self.is_turn = False  # those that have had their last place for TURN may be asked for it
        self.wants_turn = False  # somebody waits for that
        # Places that a pool may have -> those that may have so many, as they were lent the last of these.
        self._tiers: dict[int, dict[Pool, None]] = {}
        self._asked: dict[Pool, None] = {}  # for idle ones
        self._news: dict[Pool, None] = {}  # who has to be told
        self._touched: dict[Pool, int] = {}  # what they might have before, in this sharing-out
        # sums over all
        self._lent = 0
        self._most = 0
        self._held = 0  # of which each may have one or has it
        self._coming = 0  # that some have and may not have any more
        self._tunnels = 0  # of `_held`, for tunnels

    def share_out(self) -> None:
        self._share_out()

    def _set(self, key: Pool, holder: Borrower, lent: int, most: int) -> None:
        """The only place where these are changed."""
        more = max(lent, most) - max(holder.lent, holder.most)
        self._held += more
        if key.carries_tunnels:
            self._tunnels += more
        self._coming += max(0, lent - most) - max(0, holder.lent - holder.most)
        self._lent += lent - holder.lent
        before = holder.most
        if most != before:
            self._most += most - before
            self._touched.setdefault(key, before)
            if before:
                del self._tiers[before][key]
                if not self._tiers[before]:
                    del self._tiers[before]
            if most:
                self._tiers.setdefault(most, {})[key] = None
        holder.lent, holder.most = lent, most

    # -- what happens ------------------------------------------------------------------------------

    def leave(self, key: Pool) -> None:
        self._set(key, self._holders[key], 0, 0)
        self._asked.pop(key, None)
        self._news.pop(key, None)
        super().leave(key)

    def _ask_no_more(self, key: Pool, holder: Borrower) -> None:
        super()._ask_no_more(key, holder)
        self._asked.pop(key, None)

    def repeat(self, *keys: Pool) -> None:
        self._news.update(dict.fromkeys(keys or self._holders))

    # -- what is to be said, and shown -------------------------------------------------------------

    def orders(self) -> list[tuple[Pool, Order]]:
        return [(pool, self.order(pool)) for pool in list(self._news)]

    def order(self, key: Pool) -> Order:
        self._news.pop(key, None)
        return super().order(key)

    def lent(self, key: Pool | None = None) -> int:
        return self._lent if key is None else self._holders[key].lent

    def free(self) -> int:
        return self.bound - self._held

    def is_right(self) -> bool:
        """Sums and tiers, counted anew: for tests."""
        holders = self._holders
        held = sum(max(each.lent, each.most) for each in holders.values())
        coming = sum(max(0, each.lent - each.most) for each in holders.values())
        tiers = {pool: most for most, pools in self._tiers.items() for pool in pools}
        return (
            (self._held, self._coming) == (held, coming)
            and self._lent == sum(each.lent for each in holders.values())
            and self._most == sum(each.most for each in holders.values())
            and tiers == {pool: each.most for pool, each in holders.items() if each.most}
            and set(self._asked) == {pool for pool, each in holders.items() if each.asked}
        )

    # -- who gets what -----------------------------------------------------------------------------

    def _share_out(self) -> None:
        touched = self._touched
        touched.clear()
        self._take_back_what_is_too_much()
        self._lend()
        self._ask()
        for pool, before in touched.items():
            holder = self._holders[pool]
            if holder.most != before:
                holder.serial += 1
                self._set(pool, holder, max(holder.lent, holder.most), holder.most)
                holder.has_answered = False
                self._news[pool] = None

    def _lend(self) -> None:
        while self._line and self.free() > 0:
            key = next((pool for pool in self._line if not self.is_barred(pool)), None)
            if key is None:
                return
            holder = self._holders[key]
            self._set(key, holder, holder.lent, holder.most + 1)
            holder.has_answered = False
            holder.wanted -= 1
            del self._line[key]
            if holder.wanted > 0:
                self._line[key] = None

    def _take_back_what_is_too_much(self) -> None:
        """What is idle first."""
        if self._most <= self.bound:
            return
        spare = {pool: pool.allowance.spare() for pool in self._holders}
        while self._most > self.bound:
            pool = max(self._holders, key=lambda each: (spare[each] > 0, self._holders[each].most))
            holder = self._holders[pool]
            self._set(pool, holder, holder.lent, holder.most - 1)
            spare[pool] -= 1

    def _ask(self) -> None:
        self.wants_turn = False
        wanted = self.wanted() - self._coming
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
                taken = self._take_from(key, left)
                if not taken and self.wants_turn:
                    break  # nobody has more than one
                left -= taken
        if any(pool.carries_tunnels for pool in self._line):
            self._ask_tunnels()

    # -- tunnels -----------------------------------------------------------------------------------

    def _tunnels_left(self) -> int:
        return self.max_tunnels - self._tunnels

    def tunnels(self) -> int:
        """Places that are for them, and with somebody."""
        return self._tunnels

    def tunnels_missing(self) -> int:
        """That are wanted, beyond those that there may be."""
        wanted = sum(self._holders[pool].wanted for pool in self._line if pool.carries_tunnels)
        return max(0, wanted - max(0, self._tunnels_left()))

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
                self._ask_of(pool, holder.asked + more)
                wanted -= more
        for pool in holders:
            if wanted > 0 and pool in self._line:
                wanted -= self._take_from(pool, wanted, tunnels=True)

    # -- idle ones, even shares --------------------------------------------------------------------

    def _coming_soon(self) -> int:
        """Of what pools have too many, what they need not wait for."""
        return sum(
            min(holder.lent - holder.most, pool.allowance.spare())
            for pool, holder in self._holders.items()
            if holder.lent > holder.most
        )

    def _richest(self) -> Iterator[Pool]:
        for most in sorted(self._tiers, reverse=True):
            yield from self._tiers[most]

    def _ask_for_idle(self, wanted: int) -> int:
        """Returns for how many nothing is idle."""
        asked = self._asked
        for pool in list(asked):  # what these close is on its way
            holder = self._holders[pool]
            is_free = wanted > 0 and holder.most > 0 and pool not in self._line
            number = min(wanted, pool.allowance.spare()) if is_free else 0
            self._ask_of(pool, number)
            wanted -= number
        if wanted > 0:
            wanted = self._ask_others(wanted)
        return wanted

    def _ask_others(self, wanted: int) -> int:
        chosen: list[tuple[Pool, int]] = []
        for pool in self._richest():
            if pool in self._asked or pool in self._line:
                continue
            number = min(wanted, pool.allowance.spare())
            if number:
                chosen.append((pool, number))
                wanted -= number
                if not wanted:
                    break
        for pool, number in chosen:
            self._ask_of(pool, number)
        return wanted

    def _ask_of(self, pool: Pool, number: int) -> None:
        holder = self._holders[pool]
        if holder.asked != number:
            holder.asked = number
            self._news[pool] = None
        if number:
            self._asked[pool] = None
        else:
            self._asked.pop(pool, None)

    def _take_from(self, key: Pool, wanted: int, *, tunnels: bool = False) -> int:
        """The richest give up one after the other until it has as many. Returns how many."""
        poor = self._holders[key]
        taken = 0
        while taken < min(poor.wanted, wanted):
            rich = self._rich(key, tunnels)
            if rich is None:
                break
            holder, has = self._holders[rich], poor.most + taken
            if holder.most <= has + 1:
                if has:
                    break
                if not self.is_turn:
                    self.wants_turn = True
                    break
            self._set(rich, holder, holder.lent, holder.most - 1)
            taken += 1
        return taken

    def _rich(self, poor: Pool, tunnels: bool) -> Pool | None:
        """Not one that has not heard yet what it was lent last: each place is used before it goes on."""
        for pool in self._richest():
            fits = pool is not poor and (pool.carries_tunnels or not tunnels)
            if fits and self._holders[pool].has_answered:
                return pool
        return None
