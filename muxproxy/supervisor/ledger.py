"""Who holds how much of what is bounded of each backend, over all workers (DESIGN 3a, P1): its places, and
each of its other numbers (config/limits.py numbers()), all by one law (budget.py).

A holder is one pool in one life of one worker: a number that is never used twice, so that a late word of a
process that has died is nobody's. A backend has its budgets as long as it has holders: one that is removed
and added again gets its places as the old pool gives them up.

Pure: `news()` is what is to be said, and to which worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from muxproxy.budget import Budget, Order, Report
from muxproxy.config.limits import PLACES


class Holder:
    __slots__ = ("backend", "is_leaving", "worker")

    def __init__(self, backend: str, worker: int) -> None:
        self.backend = backend
        self.worker = worker
        self.is_leaving = False


class News(NamedTuple):
    worker: int
    holder: int
    number: str
    order: Order


class Ledger:
    def __init__(self) -> None:
        self._bounds: dict[str, dict[str, int]] = {}  # of backends that are configured
        self._paused: frozenset[str] = frozenset()
        self._budgets: dict[str, dict[str, Budget[int]]] = {}  # of backends that are held
        self._holders: dict[int, Holder] = {}
        self._last = 0

    def set_bound(self, backend: str, bound: int, number: str = PLACES) -> None:
        """Of that alone."""
        self.set_bounds(backend, {**self._bounds.get(backend, {}), number: bound})

    def set_bounds(self, backend: str, bounds: Mapping[str, int]) -> None:
        """Of a backend that is configured, from now on: these numbers and no others."""
        self._bounds[backend] = dict(bounds)
        self._settle(backend)

    def pause(self, backends: frozenset[str]) -> None:
        """These and no others are lent no places, whatever their bounds: what they hold comes back as it
        comes free (mux/base/lending/allowance.py)."""
        changed, self._paused = self._paused ^ backends, backends
        for backend in changed:
            self._settle(backend)

    def _settle(self, backend: str) -> None:
        budgets, bounds = self._budgets.get(backend), self._bounds.get(backend)
        if budgets is None or bounds is None:
            return
        for number in [number for number in budgets if number not in bounds]:
            del budgets[number]
        for number in bounds:
            budget = budgets.get(number)
            if budget is not None:
                budget.set_bound(self._bound(backend, number))
                continue
            budget = budgets[number] = Budget(self._bound(backend, number), spread=True)
            budget.join(*(key for key, each in self._of(backend) if not each.is_leaving))

    def _of(self, backend: str) -> list[tuple[int, Holder]]:
        return [(key, holder) for key, holder in self._holders.items() if holder.backend == backend]

    def _bound(self, backend: str, number: str) -> int:
        return 0 if number == PLACES and backend in self._paused else self._bounds[backend][number]

    def forget(self, backend: str) -> None:
        """It is not configured any more; what its pools hold comes back as they drain."""
        self._bounds.pop(backend, None)

    def retire(self, backend: str, worker: int) -> None:
        """Its pool there drains: it has what it has, and nothing that is new."""
        for _, holder in self._of(backend):
            holder.is_leaving |= holder.worker == worker

    def backend(self, holder: int) -> str:
        return self._holders[holder].backend

    def open(self, backend: str, worker: int, *, only_places: bool = False) -> tuple[int, dict[str, Order]]:
        """A pool is about to begin there, with this."""
        numbers = (PLACES,) if only_places else tuple(self._bounds[backend])
        self._last += 1
        holder = self._holders[self._last] = Holder(backend, worker)
        holder.is_leaving = only_places
        budgets = self._budgets.setdefault(backend, {})
        orders = {}
        for number in numbers:
            budget = budgets.get(number)
            if budget is None:
                budget = budgets[number] = Budget(self._bound(backend, number), spread=True)
            budget.join(self._last)
            orders[number] = budget.order(self._last)
        return self._last, orders

    def close(self, holder: int) -> None:
        """Its pool is gone, with all its sockets."""
        gone = self._holders.pop(holder, None)
        if gone is None:
            return
        for budget in self._budgets[gone.backend].values():
            if budget.holds(holder):
                budget.leave(holder)
        if not self._of(gone.backend):
            del self._budgets[gone.backend]

    def close_all(self, worker: int) -> None:
        """Its process is reaped: the kernel has closed all it had."""
        for holder in [number for number, each in self._holders.items() if each.worker == worker]:
            self.close(holder)

    def on_report(self, worker: int, holder: int, report: Report, number: str = PLACES) -> None:
        """What a worker says of another one's holder, or of one that is gone, is nothing."""
        known = self._holders.get(holder)
        if known is not None and known.worker == worker and number in self._budgets[known.backend]:
            self._budgets[known.backend][number].on_report(holder, report)

    def news(self) -> list[News]:
        """Since the last call."""
        return [
            News(self._holders[holder].worker, holder, number, order)
            for budgets in self._budgets.values()
            for number, budget in budgets.items()
            for holder, order in budget.orders()
        ]

    def is_held(self, backend: str) -> bool:
        """A pool of it lives, and be it of one that was removed."""
        return backend in self._budgets

    def lent(self, backend: str, number: str = PLACES) -> int:
        """That its pools may hold, as far as is known here."""
        budget = self._budgets.get(backend, {}).get(number)
        return 0 if budget is None else budget.lent()
