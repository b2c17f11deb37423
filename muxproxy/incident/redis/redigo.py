"""The rules of redigo's pool (gomodule/redigo, redis/pool.go), which the incident ran on. Pure.

    Get   with Wait: not before fewer than MaxActive are in use. Then the idle connection that was used last;
          without one a new one, if fewer than MaxActive are open; else, without Wait, ErrPoolExhausted.
    Put   becomes the first of the idle ones; if they are more than MaxIdle, the last of them is closed.

The trap: MaxActive says how many may be open, MaxIdle how many stay open. What is between the two is dialled
and closed again and again, as often as load rises and falls.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Pool(Generic[T]):
    """What can be asked for is asked for one by one, so that no method has three kinds of answers."""

    def __init__(self, max_idle: int, max_active: int, wait: bool) -> None:
        self._max_idle = max_idle
        self._max_active = max_active
        self._wait = wait
        self._idle: deque[T] = deque()  # the one that was used last is the first
        self.active = 0  # open: in use or idle

    @property
    def in_use(self) -> int:
        return self.active - len(self._idle)

    def must_wait(self) -> bool:
        return self._wait and self.in_use >= self._max_active

    def get_idle(self) -> T | None:
        return self._idle.popleft() if self._idle else None

    def may_dial(self) -> bool:
        """True: it counts as open from now on. False: ErrPoolExhausted."""
        if self.active >= self._max_active:
            return False
        self.active += 1
        return True

    def put(self, connection: T) -> T | None:
        """What is to be closed for it, if anything; it has been taken off the count."""
        self._idle.appendleft(connection)
        if len(self._idle) <= self._max_idle:
            return None
        self.active -= 1
        return self._idle.pop()

    def lost(self) -> None:
        """One that could not be dialled, or broke in use."""
        self.active -= 1
