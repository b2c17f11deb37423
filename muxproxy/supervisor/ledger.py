"""Who holds how much of each backend's bound, over all workers (DESIGN 3a, P1).

A holder is one pool in one life of one worker: a number that is never used twice, so that a late word of a
process that has died is nobody's. A backend has one budget as long as it has holders: one that is removed and
added again gets its places as the old pool gives them up.

Pure: `news()` is what is to be said, and to which worker.
"""

from __future__ import annotations

from typing import NamedTuple

from muxproxy.budget import Budget, Order, Report


class Holder(NamedTuple):
    backend: str
    worker: int


class Ledger:
    def __init__(self) -> None:
        self._bounds: dict[str, int] = {}  # of backends that are configured
        self._paused: frozenset[str] = frozenset()
        self._budgets: dict[str, Budget[int]] = {}
        self._holders: dict[int, Holder] = {}
        self._last = 0

    def set_bound(self, backend: str, bound: int) -> None:
        """Of a backend that is configured, from now on."""
        self._bounds[backend] = bound
        self._settle(backend)

    def pause(self, backends: frozenset[str]) -> None:
        """These and no others are lent nothing, whatever their bounds: what they hold comes back as it comes
        free (mux/base/allowance.py)."""
        changed, self._paused = self._paused ^ backends, backends
        for backend in changed:
            self._settle(backend)

    def _settle(self, backend: str) -> None:
        if backend in self._budgets and backend in self._bounds:
            self._budgets[backend].set_bound(self._bound(backend))

    def _bound(self, backend: str) -> int:
        return 0 if backend in self._paused else self._bounds[backend]

    def forget(self, backend: str) -> None:
        """It is not configured any more; what its pools hold comes back as they drain."""
        self._bounds.pop(backend, None)

    def backend(self, holder: int) -> str:
        return self._holders[holder].backend

    def open(self, backend: str, worker: int) -> tuple[int, Order]:
        """A pool is about to begin there, with this."""
        self._last += 1
        self._holders[self._last] = Holder(backend, worker)
        budget = self._budgets.get(backend)
        if budget is None:
            budget = self._budgets[backend] = Budget(self._bound(backend), spread=True)
        budget.join(self._last)
        return self._last, budget.order(self._last)

    def close(self, holder: int) -> None:
        """Its pool is gone, with all its sockets."""
        gone = self._holders.pop(holder, None)
        if gone is None:
            return
        budget = self._budgets[gone.backend]
        budget.leave(holder)
        if not any(other.backend == gone.backend for other in self._holders.values()):
            del self._budgets[gone.backend]

    def close_all(self, worker: int) -> None:
        """Its process is reaped: the kernel has closed all it had."""
        for holder in [number for number, each in self._holders.items() if each.worker == worker]:
            self.close(holder)

    def on_report(self, worker: int, holder: int, report: Report) -> None:
        """What a worker says of another one's holder, or of one that is gone, is nothing."""
        known = self._holders.get(holder)
        if known is not None and known.worker == worker:
            self._budgets[known.backend].on_report(holder, report)

    def repeat(self, worker: int) -> None:
        """It did not listen for a while, and does again."""
        for holder, each in self._holders.items():
            if each.worker == worker:
                self._budgets[each.backend].repeat(holder)

    def news(self) -> list[tuple[int, int, Order]]:
        """(worker, holder, order) since the last call."""
        return [
            (self._holders[holder].worker, holder, order)
            for budget in self._budgets.values()
            for holder, order in budget.orders()
        ]

    def is_held(self, backend: str) -> bool:
        """A pool of it lives, and be it of one that was removed."""
        return backend in self._budgets

    def lent(self, backend: str) -> int:
        """Places that its pools may hold, as far as is known here."""
        return self._budgets[backend].lent() if backend in self._budgets else 0
