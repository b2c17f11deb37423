"""What is kept for a client whose socket is full: in order, and in few objects, however small its parts."""

from __future__ import annotations

from collections import deque
from typing import Final

# Parts smaller than this are joined: a reply of five bytes would cost a hundred by itself.
JOINED: Final = 16 * 1024


class Backlog:
    __slots__ = ("_last", "_parts", "size")

    def __init__(self) -> None:
        self.size = 0
        self._parts: deque[bytes] = deque()
        self._last = bytearray()  # behind all parts

    def add(self, data: bytes) -> None:
        self.size += len(data)
        if len(data) < JOINED:
            self._last += data
            if len(self._last) >= JOINED:
                self._close_last()
        else:
            self._close_last()
            self._parts.append(data)

    def take(self) -> bytes:
        """The next part; only if there is one."""
        if not self._parts:
            self._close_last()
        data = self._parts.popleft()
        self.size -= len(data)
        return data

    def clear(self) -> None:
        self.size = 0
        self._parts.clear()
        self._last.clear()

    def _close_last(self) -> None:
        if self._last:
            self._parts.append(bytes(self._last))
            self._last.clear()
