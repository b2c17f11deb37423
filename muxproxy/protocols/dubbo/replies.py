"""Provider bytes -> reply frames, and what providers say by themselves.

Heartbeat replies come in odd shapes (status 0, a two-way flag, id 0, a body that is no null): whatever is an
event and no request proves that the provider lives, and nothing else. Its own requests are answered where
they came from (PUSH): heartbeats; READONLY, "R" in an event, by which a provider says that it will close, and
"W", by which it takes that back (HeaderExchangeServer); and calls, for callback arguments
(CallbackServiceCodec): the connection is shared, so it cannot be told which client they are for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from muxproxy.native import i64
from muxproxy.protocols import contract
from muxproxy.protocols.contract import (
    BROKEN,
    END_UPSTREAM,
    FIRST,
    FRAMES,
    INTERIM,
    LAST,
    PUSH,
    Frame,
)
from muxproxy.protocols.dubbo.common import (
    COMPILED,
    EVENT,
    HEADER,
    HEADER_SIZE,
    MAGIC,
    REQUEST,
    SERIALIZATION,
    TWO_WAY,
    Settings,
    header,
    heartbeat_reply,
)
from muxproxy.protocols.dubbo.framing import Framing
from muxproxy.protocols.dubbo.names import READONLY, WRITEABLE, read_event
from muxproxy.protocols.dubbo.refusal import CLIENT_ERROR, SERVICE_NOT_FOUND, response

_unpack: Final = HEADER.unpack_from
_NO_REPLY: Final = REQUEST | EVENT
_WHOLE: Final = FIRST | LAST
_PUSH: Final = FIRST | LAST | PUSH
NO_CALLBACKS: Final = "no callback service here: connections are shared, and none is one consumer's"
READ_ONLY: Final = "read-only: the provider is about to stop"


class ReplyFramer(contract.ReplyFramer, Framing):
    __slots__ = (
        "_left",
        "_mask",
        "_part",
        "_plain",
        "_rest",
        "_settings",
        "_skips",
        "_tag",
        "held",
        "midway",
    )

    def __init__(self, settings: Settings) -> None:
        self._start(settings, REQUEST | EVENT, 0)
        self.push_cost = 0
        self.idle_hint = None  # Dubbo's providers do not say
        self.early = False
        self.whose = 0

    def extent(self, data: bytes, at: i64) -> i64:
        if len(data) - at < HEADER_SIZE or self._left or self.more or len(self._part):
            return 0
        if COMPILED:
            magic, flags, tag, length = header(data, at)
        else:
            magic, flags, _, tag, length = _unpack(data, at)
        end = at + HEADER_SIZE + length
        if flags & _NO_REPLY or end > len(data) or magic != MAGIC or length > self._settings.max_frame:
            return 0
        self.whose = tag
        return end

    def rest(self, data: bytes, at: i64, spent: i64) -> Sequence[Frame]:
        frames: list[Frame] = []
        self._walk(data, at, frames, FRAMES - spent)
        self.midway = self._part != b""
        return frames

    def feed(self, data: bytes) -> Sequence[Frame]:
        # Short cut: one whole reply.
        size = len(data)
        if size >= HEADER_SIZE and not (self._left or self._part or self.more):
            if COMPILED:
                magic, flags, tag, length = header(data, 0)
            else:
                magic, flags, _, tag, length = _unpack(data)
            if (
                not flags & _NO_REPLY
                and length + HEADER_SIZE == size
                and magic == MAGIC
                and length <= self._settings.max_frame
            ):
                return (Frame(data, _WHOLE, None, tag),)
        return self._feed(data)

    def expect(self, note: object) -> None:
        """Replies say themselves whose they are."""

    def listen(self) -> None:
        """There is no feed."""

    def eof(self) -> Sequence[Frame]:
        if self._part or self._left:
            return (Frame(b"", BROKEN, "the provider closed in the middle of a frame"),)
        return ()

    def _may_skip(self, flags: int, length: int) -> bool:
        """A reply above max_frame is an error for its caller, as Dubbo has it (ExchangeCodec,
        finishRespWhenOverPayload), and for nobody else who waits on this connection."""
        return not flags & _NO_REPLY and not length >> 31

    def _begin(
        self, data: bytes, at: int, end: int, flags: int, tag: int, frames: list[Frame]
    ) -> Frame | None:
        settings = self._settings
        if not flags & REQUEST:
            length = end - at - HEADER_SIZE
            if length <= settings.max_frame:
                return Frame(b"", FIRST, None, tag)
            settings.counters["replies_too_long"] += 1
            text = f"a reply of {length} bytes is more than max_frame, {settings.max_frame}"
            refusal = response(CLIENT_ERROR, text, tag, flags & SERIALIZATION)
            frames.append(Frame(refusal, _WHOLE, None, tag))
            return None
        self._settings.counters["callbacks_refused"] += 1
        if flags & TWO_WAY:
            refusal = response(SERVICE_NOT_FOUND, NO_CALLBACKS, tag, flags & SERIALIZATION)
            frames.append(Frame(refusal, _PUSH, None, tag))
        return None

    def _on_event(self, event: bytes, flags: int, tag: int, frames: list[Frame]) -> None:
        if not flags & REQUEST:
            return  # it proves that the provider lives, as every byte does
        counters = self._settings.counters
        says = read_event(event, HEADER_SIZE, len(event), flags & SERIALIZATION)
        if says == READONLY:
            counters["read_only"] += 1
            frames.append(Frame(b"", _PUSH | END_UPSTREAM, READ_ONLY, tag))
        elif says == WRITEABLE:
            frames.append(Frame(b"", _PUSH | INTERIM, None, tag))
        elif flags & TWO_WAY:
            counters["heartbeats_answered"] += 1
            frames.append(Frame(heartbeat_reply(event), _PUSH, None, tag))

    def _broken(self, why: str) -> Frame:
        return Frame(b"", BROKEN, why)
