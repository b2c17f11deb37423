"""Who may enter the queue, and when to come back for those who may not.

open: admits up to `max_waiting`. full: refuses with queue_full. The gate also measures how fast the queue
drains, so that a refusal can say when another try makes sense (Retry-After): measured only when somebody is
refused.
"""

from __future__ import annotations

from math import ceil
from typing import Final

_ANY: Final = 1 << 30
_RATE_WINDOW: Final = 1.0  # seconds between two looks at the drain rate
_RATE_STALE: Final = 10.0  # seconds: what happened since an older look was mostly before there was a queue
# seconds; HTTP's Retry-After has no fractions (RFC 9110 10.2.3)
_RETRY_AFTER_MIN: Final = 1
_RETRY_AFTER_MAX: Final = 60


class Hall:
    """Where the queues of several pools share one max_waiting (destinations/hall.py)."""

    __slots__ = ()

    def widen(self, gate: Gate) -> None:
        """It is full: may it have more?"""
        raise NotImplementedError

    def is_crowded(self) -> bool:
        """So many wait, with or without a part, that no more may even for a place that is coming."""
        raise NotImplementedError


class Gate:
    __slots__ = (
        "_rate",
        "_sampled_at",
        "_sampled_served",
        "hall",
        "let_in",
        "max_waiting",
        "most",
        "waiting",
    )

    def __init__(self, max_waiting: int) -> None:
        self.max_waiting = max_waiting  # beyond it all are refused; of a hall, what it has of that for now
        self.let_in = max_waiting  # beyond it nobody is yet: base/lending/rations.py decides
        self.most = _ANY  # of a hall, what it may have of that
        self.hall: Hall | None = None
        self.waiting = 0  # in all queues of the pool
        self._rate = 0.0  # exchanges per second that left the queue for a server
        self._sampled_at = 0.0
        self._sampled_served = 0

    def is_full(self) -> bool:
        if self.waiting >= self.max_waiting and self.hall is not None:
            self.hall.widen(self)
        return self.waiting >= self.max_waiting

    def retry_after(self, served: int, now: float) -> int:
        """Whole seconds until the queue, as it drains now, would be empty. `served`: exchanges served since
        start."""
        elapsed = now - self._sampled_at
        if elapsed >= _RATE_WINDOW:
            self._rate = (served - self._sampled_served) / elapsed if elapsed < _RATE_STALE else 0.0
            self._sampled_at, self._sampled_served = now, served
        if self._rate <= 0.0:
            return _RETRY_AFTER_MIN
        return min(_RETRY_AFTER_MAX, max(_RETRY_AFTER_MIN, ceil(self.waiting / self._rate)))
