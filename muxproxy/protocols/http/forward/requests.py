"""Client bytes to request frames, each with the destination that it names.

Heads are parsed the thorough way, and what came of a whole request is remembered as in the folder above: it
is a function of its bytes, of the configuration and of our pseudonym, and forgotten when these change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from muxproxy.config.destination import Destination
from muxproxy.protocols.contract import ANSWER, FIRST, LAST, Frame
from muxproxy.protocols.http import requests
from muxproxy.protocols.http.common import KEEP, MEMO_ENTRIES, MEMO_HEAD, MalformedError
from muxproxy.protocols.http.forward.heads import Way, Ways
from muxproxy.protocols.http.refusal import STATUS, refusal
from muxproxy.protocols.http.requests import _HEAD, _STOPPED

NOWHERE: Final = Destination("", 0)


class KnownRequest:
    __slots__ = ("destination", "frames")

    def __init__(self, frames: Sequence[Frame], destination: Destination) -> None:
        self.frames = frames
        self.destination = destination


class Memo:
    """Of one backend. `rooms`: whole requests without a body, as they came, and what they became."""

    __slots__ = ("known", "ways")

    def __init__(self, ways: Ways) -> None:
        self.ways = ways
        self.known: dict[bytes, KnownRequest] = {}

    def remember(self, chunk: bytes, known: KnownRequest) -> None:
        if len(chunk) <= MEMO_HEAD and self.ways.settings.remembers:
            if len(self.known) >= MEMO_ENTRIES:
                self.known.clear()
            self.known[chunk] = known


class ForwardRequests(requests.RequestFramer):
    """`destination`: of the last FIRST frame."""

    __slots__ = ("_memo", "destination")

    def __init__(self, memo: Memo) -> None:
        super().__init__(memo.ways.settings)
        self._memo = memo
        self.destination = NOWHERE

    def feed(self, data: bytes) -> Sequence[Frame]:
        if self._state != _HEAD or self.held or self._skipped:
            return self._go_on(data)
        if len(data) <= MEMO_HEAD:
            known = self._memo.known.get(data)
            if known is not None:
                self._state = _STOPPED
                self.destination = known.destination
                return known.frames
        return self._on_head(data)

    def _on_head(self, data: bytes) -> Sequence[Frame]:
        """A head, or a part of one."""
        try:
            pos = self._head_end(data)
            if pos == 0:
                return ()
            if self._head is not None:
                data = bytes(self._head)
                self._head = None
            way = self._memo.ways.of(data[:pos])
            self.destination = way.destination
            if way.reason is not None:
                return self._turn_away(way, data, pos)
            frames = self._begin(way.head + data[pos:], len(way.head), way.marks, way.note, way.length)
        except MalformedError as fault:
            return self._refuse(fault, data)
        if pos == len(data) and way.length == 0:
            self._memo.remember(data, KnownRequest(frames, way.destination))
        return frames

    def _turn_away(self, way: Way, data: bytes, pos: int) -> Sequence[Frame]:
        """One that has no content may be followed by others, which go elsewhere."""
        assert way.reason is not None
        closing = way.length != 0 or not way.note & KEEP
        frame = refusal(STATUS[way.reason], way.text, note=way.note, closing=closing)
        frame = Frame(frame.data, frame.marks | ANSWER, way.reason)
        if closing:
            self._die()
            return (frame,)
        self._begin(data, pos, FIRST | LAST, way.note, 0)
        return (frame,)
