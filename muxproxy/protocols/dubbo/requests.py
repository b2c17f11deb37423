"""Client bytes -> request frames: calls, and the heartbeats that are answered here.

Consumers count ids from 0 or 1, and some send every heartbeat with id 0: an event's id says nothing about
calls. A response from a client answers nothing that we asked, for provider's requests never reach it; it is
counted and dropped. What is no Dubbo2 frame cannot be answered: telnet on the same port is the provider's own
luxury, and a length that is wrong leaves no next frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from muxproxy.protocols import contract
from muxproxy.protocols.contract import ANSWER, ASIDE, BROKEN, FIRST, LAST, ONEWAY, Frame
from muxproxy.protocols.dubbo.common import (
    COMPILED,
    EVENT,
    HEADER,
    HEADER_SIZE,
    LIMIT_SHIFT,
    MAGIC,
    MAX_NAMES,
    REQUEST,
    SERIALIZATION,
    TWO_WAY,
    Settings,
    header,
    heartbeat_reply,
)
from muxproxy.protocols.dubbo.framing import Framing
from muxproxy.protocols.dubbo.names import CutError, is_readable, read_names

_unpack: Final = HEADER.unpack_from
_CALL: Final = REQUEST | TWO_WAY
_KIND: Final = REQUEST | TWO_WAY | EVENT
_WHOLE: Final = FIRST | LAST


class RequestFramer(contract.RequestFramer, Framing):
    """A note is an int: LIMIT_SHIFT."""

    __slots__ = ("_left", "_mask", "_part", "_plain", "_rest", "_settings", "_skips", "_tag")

    def __init__(self, settings: Settings) -> None:
        # (0, 1): none. Where there are limits every call is looked at.
        if settings.limits:
            self._start(settings, 0, 1)
        else:
            self._start(settings, _KIND, _CALL)

    def feed(self, data: bytes) -> Sequence[Frame]:
        # Short cut: one whole two-way call, as nearly every chunk is.
        size = len(data)
        if size >= HEADER_SIZE and not (self._left or self._part or self.more):
            if COMPILED:
                magic, flags, tag, length = header(data, 0)
            else:
                magic, flags, _, tag, length = _unpack(data)
            settings = self._settings
            if (
                flags & _KIND == _CALL
                and length + HEADER_SIZE == size
                and magic == MAGIC
                and length <= settings.max_frame
            ):
                note = flags & SERIALIZATION
                if settings.limits:
                    note |= self._limit(data, 0, size, note)
                return (Frame(data, _WHOLE, note, tag),)
        return self._feed(data)

    def resume(self) -> None:
        """TAGGED: nothing waits for a reply."""

    def opaque(self) -> None:
        """Dubbo has no SWITCH."""

    def _begin(
        self, data: bytes, at: int, end: int, flags: int, tag: int, frames: list[Frame]
    ) -> Frame | None:
        if not flags & REQUEST:
            self._settings.counters["replies_from_clients"] += 1
            return None
        note = flags & SERIALIZATION
        if self._settings.limits:
            note |= self._limit(data, at, min(end, len(data)), note)
        return Frame(b"", FIRST if flags & TWO_WAY else FIRST | ONEWAY, note, tag)

    def _must_wait(self, data: bytes, at: int, flags: int) -> bool:
        if not self._settings.limits or not flags & REQUEST or len(data) - at > MAX_NAMES:
            return False
        try:
            read_names(data, at + HEADER_SIZE, len(data), flags & SERIALIZATION)
        except CutError:
            return True
        return False

    def _limit(self, data: bytes, at: int, end: int, serialization: int) -> int:
        """The part of the note that says which limit the call counts against."""
        try:
            names = read_names(data, at + HEADER_SIZE, end, serialization)
        except CutError:
            names = None
        if names is None:
            settings = self._settings
            settings.counters["unread_names"] += 1
            if not is_readable(serialization):
                settings.unread[serialization] = settings.unread.get(serialization, 0) + 1
            return 0
        return self._settings.limit_of(*names) << LIMIT_SHIFT

    def _on_event(self, event: bytes, flags: int, tag: int, frames: list[Frame]) -> None:
        """A two-way one is answered; a one-way one only proves that the client lives."""
        counters = self._settings.counters
        answer = b""
        if not flags & REQUEST:
            counters["events_from_clients"] += 1
            return
        if flags & TWO_WAY:
            counters["heartbeats_answered"] += 1
            answer = heartbeat_reply(event)
        frames.append(Frame(answer, _WHOLE | ANSWER | ASIDE, None, tag))

    def _broken(self, why: str) -> Frame:
        return Frame(b"", FIRST | BROKEN, why)
