"""Where Dubbo2 messages begin and end, in either direction; what they mean is the sub-classes'.

A message is handed on as it comes: its first part with the header as soon as that is whole, its body in
parts. Only events are kept until they are whole, and the beginning of a call whose limit must be known. Both
are bounded (P7: MAX_EVENT, MAX_NAMES).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from muxproxy.native import trait
from muxproxy.protocols.contract import FIRST, FRAMES, LAST, Frame
from muxproxy.protocols.dubbo.common import (
    COMPILED,
    EVENT,
    HEADER,
    HEADER_SIZE,
    MAGIC,
    MAGIC_BYTES,
    MAX_EVENT,
    SERIALIZATION,
    Settings,
    header,
)

_unpack: Final = HEADER.unpack_from
_WHOLE: Final = FIRST | LAST

_ELSEWHERE: tuple[str, ...] = ()  # those with slots of its own are the other bases of who inherits it
ALL: Final = 1 << 62  # bytes, of whatever comes behind what cannot be framed


@trait
class Framing:
    """What both framers have in common. `held` is 0 for ever: nothing whole is kept back, and a client whose
    message is incomplete must be read, whatever it is owed. `midway` says that a message has begun."""

    __slots__ = _ELSEWHERE

    held: int
    midway: bool
    more: int
    _settings: Settings
    _mask: int
    _plain: int
    _rest: bytes
    _part: bytes
    _left: int
    _tag: int
    _skips: bool

    def _start(self, settings: Settings, mask: int, plain: int) -> None:
        self._settings = settings
        self._mask = mask  # flags & mask == plain: it needs no look if it is whole, as nearly all is
        self._plain = plain
        self.held = 0
        self.midway = False
        self.more = 0
        self._rest = b""  # `more` bytes at its end are for the next turn (P10): they begin a message
        self._part = b""  # of a message whose first frame is not out
        self._left = 0  # bytes of the body that are to come
        self._tag = 0  # of that message
        self._skips = False  # nobody wants that body

    def _feed(self, data: bytes) -> Sequence[Frame]:
        frames: list[Frame] = []
        pos = 0
        if self.more:
            pos = len(self._rest) - self.more
            data, pos = (self._rest[pos:] + data, 0) if data else (self._rest, pos)
            self._rest, self.more = b"", 0
        if self._left:
            pos = self._go_on(data, frames)
        elif self._part:
            data, self._part = self._part + data, b""
        if pos < len(data):
            self._walk(data, pos, frames, FRAMES)
        self.midway = self._part != b""
        return frames

    def _go_on(self, data: bytes, frames: list[Frame]) -> int:
        """More of the body that is being passed on. Returns where it ends: what is behind it is not copied,
        and of a chunk of large replies that is nearly all."""
        size = len(data)
        end = min(size, self._left)
        self._left -= end
        if end and not self._skips:
            part = data if end == size else data[:end]
            frames.append(Frame(part, 0 if self._left else LAST, None, self._tag))
        return end

    def _walk(self, data: bytes, at: int, frames: list[Frame], messages: int) -> None:
        """`messages`: that this feed may bring, wanted or not."""
        size = len(data)
        longest = self._settings.max_frame
        kind, plain = self._mask, self._plain
        while size - at >= HEADER_SIZE:
            if not messages:
                self._rest, self.more = data, size - at
                return
            messages -= 1
            if COMPILED:
                magic, flags, tag, length = header(data, at)
            else:
                magic, flags, _, tag, length = _unpack(data, at)
            end = at + HEADER_SIZE + length
            if flags & kind == plain and end <= size and length <= longest and magic == MAGIC:
                note = flags & SERIALIZATION if plain else None  # replies have none
                frames.append(Frame(data[at:end], _WHOLE, note, tag))
                at = end
                continue
            if magic != MAGIC:
                self._die(frames, _no_magic(data, at))
                return
            if length > longest and not self._may_skip(flags, length):
                what = "impossible" if length >> 31 else "more than max_frame"
                self._die(frames, f"a frame of {length} bytes is {what}")
                return
            if flags & EVENT:
                if length > MAX_EVENT:
                    self._die(frames, f"an event of {length} bytes")
                    return
                if end > size:
                    break
                self._on_event(data[at:end], flags, tag, frames)
            elif end > size and self._must_wait(data, at, flags):
                break
            else:
                frame = self._begin(data, at, end, flags, tag, frames)
                if end > size:
                    self._left, self._tag, self._skips = end - size, tag, frame is None
                    end = size
                elif frame is not None:
                    frame.marks |= LAST
                if frame is not None:
                    frame.data = data if end - at == size else data[at:end]
                    frames.append(frame)
            at = end
        if at < size:
            self._part = data[at:]
            if not self._part.startswith(MAGIC_BYTES[: size - at]):  # no telnet prompt is awaited to its end
                self._die(frames, _no_magic(data, at))

    def _die(self, frames: list[Frame], why: str) -> None:
        self._left, self._skips, self._part = ALL, True, b""
        frames.append(self._broken(why))

    def _may_skip(self, flags: int, length: int) -> bool:
        """It is above max_frame: will _begin see to it?"""
        return False

    def _must_wait(self, data: bytes, at: int, flags: int) -> bool:
        """Does its first frame need more than has come?"""
        return False

    def _begin(
        self, data: bytes, at: int, end: int, flags: int, tag: int, frames: list[Frame]
    ) -> Frame | None:
        """The first frame, without data yet, of the message in `data[at:end]`; `end` may be beyond what has
        come. None: nobody wants it."""
        raise NotImplementedError

    def _on_event(self, event: bytes, flags: int, tag: int, frames: list[Frame]) -> None:
        raise NotImplementedError

    def _broken(self, why: str) -> Frame:
        raise NotImplementedError


def _no_magic(data: bytes, at: int) -> str:
    """Not what it says instead: others than who said it read this. What providers and people say on a Dubbo
    port that is not Dubbo2 is mostly telnet."""
    begun = data[at : at + HEADER_SIZE]
    kind = "text, as of telnet or HTTP" if begun.isascii() else "no magic number"
    return f"no Dubbo2 frame, but {kind}, at byte {at} of {len(data)}"
