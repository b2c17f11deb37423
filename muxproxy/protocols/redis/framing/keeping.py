"""What a request framer keeps: the part of a command that has come, and what it does not look at yet.

The latter waits behind a barrier (`held`) or for the next turn of the loop (`more`, P10). It is not copied,
however often it is gone on with: `_rest` from `_at` on, and what came meanwhile in `_late`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from muxproxy.protocols import contract
from muxproxy.protocols.contract import FRAMES, LINES, Frame

# What a frame counts, in lines: one feed does the work of LINES.
FRAME: Final = LINES // FRAMES
# Commands of a transaction that may yet go as one: it is not cut in two by the end of a turn.
LONG_GROUP: Final = 1024


class Keeping(contract.RequestFramer):
    """The half of a RequestFramer that frames nothing."""

    __slots__ = ("_at", "_busy", "_group", "_kept", "_late", "_rest")

    def __init__(self) -> None:
        self.held = 0
        self.midway = False
        self.more = 0
        self._busy = False  # what comes next is not the beginning of a command
        self._kept = bytearray()  # of a command that has come in part (`midway`)
        self._rest, self._at = b"", 0
        self._late = bytearray()
        self._group = -1  # MULTI's place in the list of frames, of a transaction that may yet go as one

    def _wait(self, data: bytes, pos: int, frames: list[Frame]) -> Sequence[Frame]:
        """Behind a barrier, with all from `pos` on."""
        self._group = -1
        self._busy = True
        self._rest, self._at = data, pos
        self.held = len(data) - pos
        return frames

    def _put_off(self, data: bytes, pos: int, frames: list[Frame]) -> Sequence[Frame]:
        """To the next turn, all from `pos` on."""
        self._group = -1
        self._busy = True
        self._rest, self._at = data, pos
        self.more = len(data) - pos
        return frames

    def _is_in_group(self, frames: list[Frame]) -> bool:
        return self._group >= 0 and len(frames) - self._group < LONG_GROUP

    def _wait_too(self, data: bytes) -> Sequence[Frame]:
        self._late += data
        self.held += len(data)
        return ()

    def _take_rest(self, data: bytes) -> tuple[bytes, int]:
        """What waited and `data` behind it, and where to go on in it."""
        rest, pos = self._rest, self._at
        if pos < len(rest):
            if data or self._late:
                data = b"".join((rest[pos:], self._late, data))
                pos = 0
            else:
                data = rest
        else:
            if self._late:
                data = bytes(self._late) + data
            pos = 0
        self._late.clear()
        self._rest, self._at = b"", 0
        self.held, self.more = len(self._kept), 0
        return data, pos

    def _keep(self, data: bytes) -> None:
        self._kept += data
        self.held = len(self._kept)
        self.midway = True

    def _let_go(self) -> None:
        self._kept.clear()
        self.held = 0
        self.midway = False
