"""Bytes into a framer in every way a network may cut them, and what came out of it.

Every case of the tables runs whole, byte by byte, and with something behind it, as h11's reader tests do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from muxproxy.config.model import Http
from muxproxy.protocols.contract import ANSWER, BROKEN, END_UPSTREAM, FIRST, INTERIM, LAST, Frame
from muxproxy.protocols.http import HttpProtocol
from muxproxy.protocols.http.common import KEEP

HOST = "origin:8080"


def protocol(**options: int) -> HttpProtocol:
    return HttpProtocol(Http(**options), HOST)


@dataclass
class Message:
    """One request or reply, put together from its frames."""

    marks: int  # of its FIRST and LAST frames together
    note: object  # of a request's FIRST frame
    data: bytes = b""
    whole: bool = False
    why: object = None  # of a LAST frame that is END_UPSTREAM: its note


@dataclass
class Seen:
    """Everything that came out. `fault`: b"" or the refusal, or what BROKEN said."""

    messages: list[Message] = field(default_factory=list)
    interim: list[bytes] = field(default_factory=list)
    fault: bytes = b""
    answered: bool = False  # the fault was answered

    def add(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            assert not self.fault, "a frame after the last one"
            assert type(frame.data) is bytes
            marks = frame.marks
            if marks & (ANSWER | BROKEN):
                self.answered = bool(marks & ANSWER)
                self.fault = frame.data if self.answered else str(frame.note).encode()
                assert not (self.answered and self.messages and not self.messages[-1].whole)
                continue
            if marks & INTERIM:
                self.interim.append(frame.data)
                continue
            if marks & FIRST:
                assert not self.messages or self.messages[-1].whole
                self.messages.append(Message(marks, None if marks & END_UPSTREAM else frame.note))
            message = self.messages[-1]
            assert not message.whole
            message.data += frame.data
            message.marks |= marks
            if marks & LAST:
                message.whole = True
                message.why = frame.note if marks & END_UPSTREAM else None

    @property
    def status(self) -> int:
        assert self.answered
        return int(self.fault[9:12])


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def requests(chunks: Iterable[bytes], http: HttpProtocol | None = None) -> Seen:
    """Each request is answered at once, so that the framer goes on."""
    framer = (http or protocol()).requests()
    seen = Seen()
    for chunk in chunks:
        frames = framer.feed(chunk)
        seen.add(frames)
        while ((frames and frames[-1].marks & LAST) or framer.more) and not seen.fault:
            if frames and frames[-1].marks & LAST:
                framer.resume()
            frames = framer.feed(b"")
            seen.add(frames)
    return seen


def replies(
    chunks: Iterable[bytes], *notes: int, eof: bool = False, http: HttpProtocol | None = None
) -> Seen:
    """Replies to requests with these notes, each sent when the reply to the one before is in."""
    framer = (http or protocol()).replies()
    waiting = list(notes or (KEEP,))
    framer.expect(waiting.pop(0))
    seen = Seen()
    for chunk in chunks:
        frames = framer.feed(chunk)
        seen.add(frames)
        while framer.more and not seen.fault:
            frames = framer.feed(b"")
            seen.add(frames)
        if frames and frames[-1].marks & LAST and waiting:
            framer.expect(waiting.pop(0))
    if eof:
        seen.add(framer.eof())
    return seen
