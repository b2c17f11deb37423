"""Bytes of a session, in both directions: every chunk is a part of the one exchange, as it came (P6).

The exchange begins with an empty frame when the client has connected, for servers may speak first, and ends
with its connections.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from muxproxy.protocols import contract
from muxproxy.protocols.contract import EAGER, END_CLIENT, END_UPSTREAM, FIRST, LAST, Frame

_OPENING: Final = Frame(b"", FIRST | EAGER)
_END: Final = Frame(b"", LAST | END_UPSTREAM | END_CLIENT, "session ended")


class RequestFramer(contract.RequestFramer):
    __slots__ = ("_opened",)

    def __init__(self) -> None:
        self.held = 0  # nothing waits for more of itself
        self.midway = False
        self.more = 0  # a chunk is one frame
        self._opened = False

    def feed(self, data: bytes) -> Sequence[Frame]:
        if self._opened:
            return (Frame(data, 0),) if data else ()
        self._opened = True
        return (_OPENING, Frame(data, 0)) if data else (_OPENING,)

    def resume(self) -> None:
        """Never asked: no session has a second one behind it."""

    def opaque(self) -> None:
        """It is from the beginning."""


class ReplyFramer(contract.ReplyFramer):
    __slots__ = ()

    def __init__(self) -> None:
        self.idle_hint = None
        self.early = False
        self.more = 0
        self.push_cost = 0

    def expect(self, note: Any) -> None:
        """One session, one reply."""

    def feed(self, data: bytes) -> Sequence[Frame]:
        return (Frame(data, 0),) if data else ()

    def eof(self) -> Sequence[Frame]:
        return (_END,)
