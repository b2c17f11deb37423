"""A bound, who holds how much of it, who wants more: how processes, and pools, share what a server can take.

    Budget, who lends                              Share, who holds
        Order(serial, most, asked)  ->             have at most `most` places; others could do with `asked`
                                <-  Report(serial, held, wanted)

The law (P1): what is lent never exceeds the bound, whatever is lost, late or repeated on the way. Each word
says a state and not a change, and a report counts only if it answers the newest order. So `lent` is at any
moment the most that a holder may hold, even if it has not yet heard: an order for more raises it before it is
sent; only a report that answers an order for less, from the holder's own mouth, brings it down. What has not
come back is never lent again; a holder that has died gives back all, once it is known to be dead.

Nobody starves: those who want more stand in line. What is free goes to them, one place in turn (of a large
bound a few: STEPS). The others are asked for what they have idle; and if the first in line has less than an
even share, whoever has the most gives up the next that comes free there.

Pure, and no time is known here: how long one waits before one wants is the holder's. The supervisor's ledger
lends to workers, which is why this stands below both.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Final, Generic, NamedTuple, TypeVar

Key = TypeVar("Key", bound=Hashable)

STEPS: Final = (
    128  # in which the largest bound is gone through: a bound of a million is counted as fast as 128
)


class Order(NamedTuple):
    """To a holder. The newest counts, and says it again: losing one or hearing it twice is no harm."""

    serial: int
    most: int  # places
    asked: int  # of those that are idle, so many are wanted elsewhere


class Report(NamedTuple):
    """Of a holder."""

    serial: int  # of the newest order that it has heard
    held: int  # it holds no more, and will not without another order
    wanted: int  # that it could use besides, now


class Share:
    """The holder's end: how many places it may have."""

    __slots__ = ("asked", "most", "serial", "wanted")

    def __init__(self) -> None:
        self.serial = 0
        self.most = 0
        self.asked = 0
        self.wanted = 0

    def on_order(self, order: Order) -> bool:
        """False: it is older than one that was heard. What is asked may change within a serial; what it may
        have does not, for it may have given some of that up since."""
        if order.serial < self.serial:
            return False
        if order.serial > self.serial:
            self.serial, self.most = order.serial, order.most
        self.asked = order.asked
        return True

    def give(self, places: int) -> None:
        """Of those that it may have and does not hold: they are others' from the next report on."""
        self.most -= places
        self.asked = max(0, self.asked - places)

    def report(self, held: int) -> Report:
        """`held`: places that are taken, more than `most` while they become fewer."""
        return Report(self.serial, max(held, self.most), self.wanted)


class Borrower:
    __slots__ = ("asked", "has_answered", "lent", "most", "news", "serial", "wanted")

    def __init__(self) -> None:
        self.lent = 0  # it may hold so many, for all that is known
        self.most = 0  # it was told
        self.asked = 0
        self.wanted = 0
        self.serial = 0  # of the newest order
        self.news = True  # it has to be told
        self.has_answered = False  # the newest order


class Budget(Generic[Key]):
    """Who lends. After each call `orders()` has what is to be said."""

    def __init__(self, bound: int, *, spread: bool = False) -> None:
        """`spread`: what nobody wants is lent all the same, evenly. Otherwise it waits for who comes."""
        self.bound = bound
        self._spread = spread
        self._holders: dict[Key, Borrower] = {}
        self._line: dict[Key, None] = {}  # who wants more, the longest first

    # -- what happens ------------------------------------------------------------------------------

    def join(self, *keys: Key) -> None:
        """More holders. They hold nothing yet."""
        self._holders.update((key, Borrower()) for key in keys)
        if self._spread:  # until it speaks for itself it is taken to want what is even
            for key in keys:
                self._holders[key].wanted = self.bound // len(self._holders)
                self._line[key] = None
        self._share_out()

    def leave(self, key: Key) -> None:
        """It holds nothing any more, that is certain: its process is reaped, its last connection closed."""
        del self._holders[key]
        self._line.pop(key, None)
        self._share_out()

    def on_report(self, key: Key, report: Report) -> None:
        self.on_reports([(key, report)])

    def on_reports(self, reports: Iterable[tuple[Key, Report]]) -> None:
        for key, report in reports:
            self._note(key, report)
        self._share_out()

    def _note(self, key: Key, report: Report) -> None:
        holder = self._holders.get(key)
        if holder is None or report.serial != holder.serial:
            return  # it speaks of an order that is not the last; it will answer that one, too
        lent = min(holder.lent, report.held)
        if lent < holder.most:
            self._ask_no_more(key, holder)  # it has given that, and is asked again for more
        self._set(key, holder, lent, min(holder.most, lent))
        holder.wanted = report.wanted
        holder.has_answered = True
        if holder.wanted > 0:
            self._line.setdefault(key)
        else:
            self._line.pop(key, None)

    def _set(self, key: Key, holder: Borrower, lent: int, most: int) -> None:
        holder.lent, holder.most = lent, most

    def _ask_no_more(self, key: Key, holder: Borrower) -> None:
        holder.asked = 0

    def set_bound(self, bound: int) -> None:
        """At once for what is lent from now on; what is lent already comes back first."""
        self.bound = bound
        self._share_out()

    def repeat(self, *keys: Key) -> None:
        """Say everything again, or what these have to hear: something may have been lost."""
        for key in keys or self._holders:
            self._holders[key].news = True

    # -- what is to be said, and shown -------------------------------------------------------------

    def orders(self) -> list[tuple[Key, Order]]:
        """Since the last call."""
        orders = []
        for key, holder in self._holders.items():
            if holder.news:
                orders.append((key, self.order(key)))
        return orders

    def order(self, key: Key) -> Order:
        """The newest, for who is told in another way."""
        holder = self._holders[key]
        holder.news = False
        return Order(holder.serial, holder.most, holder.asked)

    def holds(self, key: Key) -> bool:
        return key in self._holders

    def wanted(self) -> int:
        """Places that those in line could do with."""
        return sum(self._holders[key].wanted for key in self._line)

    def lent(self, key: Key | None = None) -> int:
        """To one holder, or to all."""
        if key is not None:
            return self._holders[key].lent
        return sum(holder.lent for holder in self._holders.values())

    # -- who gets what -----------------------------------------------------------------------------

    def _share_out(self) -> None:
        told = {key: (holder.most, holder.asked) for key, holder in self._holders.items()}
        self._take_back_what_is_too_much()
        self._lend()
        if self._spread and not self._line:
            self._lend_evenly()
        self._ask()
        for key, holder in self._holders.items():
            if told[key][0] != holder.most:
                holder.serial += 1
                holder.lent = max(holder.lent, holder.most)
                holder.has_answered = False
            holder.news |= told[key] != (holder.most, holder.asked)

    def _step(self) -> int:
        """Places that change hands at a time."""
        return max(1, self.bound // STEPS)

    def free(self) -> int:
        """Places that nobody may hold. What was ordered in this very turn counts as lent."""
        return self.bound - sum(max(holder.lent, holder.most) for holder in self._holders.values())

    def _take_back_what_is_too_much(self) -> None:
        while (excess := sum(holder.most for holder in self._holders.values()) - self.bound) > 0:
            rich = max(self._holders.values(), key=_most)
            rich.most -= min(excess, max(1, rich.most // STEPS))

    def _lend(self) -> None:
        """One place in turn to those in line."""
        while self._line and (free := self.free()) > 0:
            key = next(iter(self._line))
            holder = self._holders[key]
            lent = max(1, min(self._step(), free, holder.wanted))
            holder.most += lent
            holder.has_answered = False
            holder.wanted -= lent
            del self._line[key]
            if holder.wanted > 0:
                self._line[key] = None

    def _lend_evenly(self) -> None:
        while self._holders and (free := self.free()) > 0:
            min(self._holders.values(), key=_most).most += min(self._step(), free)

    def _ask(self) -> None:
        """Others for what those in line want: what is not on its way back already evens out; and what is idle
        is asked for all the same, for the other may be busy for long."""
        wanted = sum(self._holders[key].wanted for key in self._line)
        left = wanted - sum(max(0, holder.lent - holder.most) for holder in self._holders.values())
        for key in self._line:
            if left <= 0:
                break
            left -= self._even_out(self._holders[key], left)
        # Each a part, and again when it has given that: if all gave all, it would only come back to them. Not
        # who has to come down anyhow: what is idle there comes first.
        others = [
            holder
            for key, holder in self._holders.items()
            if key not in self._line and holder.lent <= holder.most
        ]
        part = -(-wanted // max(1, len(others)))
        for holder in self._holders.values():
            holder.asked = part if holder in others else 0

    def _even_out(self, poor: Borrower, wanted: int) -> int:
        """The richest give up one after the other until it has as many. Returns how many. Not those that have
        not heard yet what they were lent last: each place is used once at least before it goes on."""
        others = [holder for holder in self._holders.values() if holder is not poor and holder.has_answered]
        taken = 0
        while others and taken < min(poor.wanted, wanted):
            rich = max(others, key=_most)
            has = poor.most + taken
            if not (rich.most > has + 1 or (has == 0 and rich.most > 0)):
                break
            part = min(self._step(), (rich.most - has) // 2, poor.wanted - taken, wanted - taken)
            rich.most -= max(1, part)
            taken += max(1, part)
        return taken


def _most(holder: Borrower) -> int:
    return holder.most
