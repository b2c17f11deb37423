"""Frames as they are on the wire, written and read here once more, and bytes into a framer in every cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from muxproxy.config.model import Dubbo, Limit
from muxproxy.protocols.contract import ANSWER, ASIDE, BROKEN, FIRST, LAST, PUSH, Frame
from muxproxy.protocols.dubbo import DubboProtocol, ReplyFramer, RequestFramer

CALL, ONE_WAY_CALL, BEAT, ONE_WAY_BEAT = 0xC2, 0x82, 0xE2, 0xA2
REPLY, BEAT_REPLY = 0x02, 0x22
NULL, READONLY = b"N", b"\x01R"


def frame(flags: int, tag: int, body: bytes = b"", status: int = 0) -> bytes:
    return b"\xda\xbb" + bytes((flags, status)) + tag.to_bytes(8, "big") + len(body).to_bytes(4, "big") + body


def hessian(text: str) -> bytes:
    """A short ASCII string."""
    return bytes((len(text),)) + text.encode()


def invocation(service: str, method: str, rest: bytes = b"\x00H\x5a") -> bytes:
    return hessian("2.0.2") + hessian(service) + hessian("1.0.0") + hessian(method) + rest


def protocol(*limits: Limit, max_frame: int = 8 * 1024 * 1024) -> DubboProtocol:
    return DubboProtocol(Dubbo(max_frame=max_frame, limits=limits))


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


@dataclass
class Message:
    tag: int
    marks: int
    note: object
    data: bytes
    whole: bool


@dataclass
class Seen:
    """Everything that came out."""

    messages: list[Message] = field(default_factory=list)
    asides: list[tuple[bytes, int, object]] = field(default_factory=list)
    fault: str = ""

    def add(self, frames: Sequence[Frame]) -> None:
        for one in frames:
            assert not self.fault, "a frame after the last one"
            assert type(one.data) is bytes
            marks = one.marks
            if marks & BROKEN:
                self.fault = one.note
            elif marks & (ASIDE | PUSH):
                assert marks & FIRST
                assert marks & LAST
                self.asides.append((one.data, marks & ~(FIRST | LAST | ASIDE | ANSWER | PUSH), one.note))
            elif marks & FIRST:
                assert not self.messages or self.messages[-1].whole
                assert len(one.data) >= 16, "retag needs the header in the first frame"
                self.messages.append(Message(one.tag, marks & ~LAST, one.note, one.data, marks & LAST != 0))
            else:
                message = self.messages[-1]
                assert not message.whole
                assert one.data
                assert one.tag == message.tag
                message.data += one.data
                message.whole = marks & LAST != 0


def feed(framer: RequestFramer | ReplyFramer, chunks: Iterable[bytes]) -> Seen:
    seen = Seen()
    for chunk in chunks:
        seen.add(framer.feed(chunk))
        while framer.more:
            seen.add(framer.feed(b""))
        assert framer.held == 0
    return seen


def in_every_cut(data: bytes, dubbo: DubboProtocol, *, replies: bool = False) -> Seen:
    """Whole, in two at each place, and byte by byte: always the same."""
    cuts = [[data], bytewise(data), *([data[:i], data[i:]] for i in range(1, min(len(data), 200)))]
    seen = [feed(dubbo.replies() if replies else dubbo.requests(), cut) for cut in cuts]
    for one in seen:  # a fault's text quotes what was there
        assert (one.messages, one.asides) == (seen[0].messages, seen[0].asides)
        assert bool(one.fault) == bool(seen[0].fault)
    return seen[0]
