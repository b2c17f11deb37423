"""Bytes into the framers of Redis in every way a network may cut them, and what came out.

Every case of the tables runs whole, byte by byte, and with something behind it. A small command table stands
in for the generated one: framing depends on kinds, not on names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from muxproxy.protocols.contract import ANSWER, BROKEN, FIRST, LAST, PUSH, Frame
from muxproxy.protocols.redis.commands.command import (
    AUTH,
    BLOCKING,
    CONTAINER,
    DISCARD,
    EXEC,
    LISTEN,
    MULTI,
    PING,
    QUIT,
    RESET,
    SELECT,
    UNKNOWN,
    Command,
)
from muxproxy.protocols.redis.framing.replies import ReplyFramer
from muxproxy.protocols.redis.framing.requests import RequestFramer
from muxproxy.protocols.redis.framing.settings import Settings
from muxproxy.protocols.redis.resp.grammar import multibulk

SET = Command("set")
GET = Command("get", is_readonly=True)
_NAMES = {
    b"SET": SET,
    b"GET": GET,
    b"MSET": Command("mset"),
    b"DBSIZE": Command("dbsize", is_readonly=True),
    b"PING": Command("ping", PING),
    b"MULTI": Command("multi", MULTI),
    b"EXEC": Command("exec", EXEC),
    b"DISCARD": Command("discard", DISCARD),
    b"SELECT": Command("select", SELECT),
    b"AUTH": Command("auth", AUTH),
    b"RESET": Command("reset", RESET),
    b"QUIT": Command("quit", QUIT),
    b"BLPOP": Command("blpop", BLOCKING, block="last:s"),
    b"SUBSCRIBE": Command("subscribe", LISTEN),
    b"CLIENT": Command(
        "client",
        CONTAINER,
        subcommands={b"REPLY": Command("client|reply"), b"LIST": Command("client|list", is_readonly=True)},
    ),
}


class Table:
    """The names above, in any spelling."""

    def find(self, name: bytes) -> Command:
        return _NAMES.get(name.upper()) or Command(name.decode("latin-1"), UNKNOWN)


def settings(**limits: int) -> Settings:
    return Settings(Table(), **limits)


def cmd(text: str) -> bytes:
    """`cmd("SET a 1")`, as client libraries write it."""
    return multibulk(text.encode("latin-1").split())


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def framed(framer: RequestFramer, chunk: bytes) -> Sequence[Frame]:
    """As the heart asks."""
    one = framer.one(chunk)
    return framer.feed(chunk) if one is None else (one,)


@dataclass
class Message:
    """One request or reply, put together from its frames."""

    note: Any
    data: bytes = b""
    marks: int = 0
    frames: int = 0

    @property
    def whole(self) -> bool:
        return bool(self.marks & LAST)


@dataclass
class Seen:
    """Everything that came out. `fault`: None, or the answer, or what BROKEN said."""

    messages: list[Message] = field(default_factory=list)
    pushes: list[Frame] = field(default_factory=list)
    fault: bytes | None = None
    answered: bool = False

    def add(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            assert self.fault is None, "a frame after the last one"
            assert type(frame.data) is bytes
            marks = frame.marks
            if marks & (ANSWER | BROKEN):
                self.answered = bool(marks & ANSWER)
                self.fault = frame.data if self.answered else frame.note.encode("latin-1")
                # A request that has gone out in part cannot be answered any more.
                assert not self.answered or not self.messages or self.messages[-1].whole
            elif marks & PUSH:
                self.pushes.append(frame)
            else:
                self._add(frame)

    def _add(self, frame: Frame) -> None:
        if frame.marks & FIRST:
            assert not self.messages or self.messages[-1].whole
            self.messages.append(Message(frame.note))
        message = self.messages[-1]
        assert not message.whole
        message.data += frame.data
        message.marks |= frame.marks
        message.frames += 1

    @property
    def data(self) -> list[bytes]:
        return [message.data for message in self.messages]

    @property
    def names(self) -> list[str]:
        """Of the commands, a whole transaction as `multi(number of its replies)`."""
        notes = [message.note for message in self.messages]
        return [n.name if isinstance(n, Command) else f"{n.command.name}({n.replies})" for n in notes]


def requests(chunks: Iterable[bytes], *, trusted: bool = True, groups: bool = True, **limits: int) -> Seen:
    """What is held behind a barrier goes on at once, as if every request were answered at once."""
    framer = RequestFramer(settings(**limits))
    framer.trusted = trusted
    framer.groups = groups
    seen = Seen()
    for chunk in chunks:
        frames = framed(framer, chunk)
        seen.add(frames)
        while (frames or framer.more) and seen.fault is None:
            framer.resume()
            frames = framer.feed(b"")
            seen.add(frames)
    assert framer.midway == bool(framer.held) or seen.fault is not None
    return seen


def replies(
    chunks: Iterable[bytes], *notes: Any, listens: bool = False, eof: bool = False, **limits: int
) -> Seen:
    framer = ReplyFramer(settings(**limits))
    for note in notes:
        framer.expect(note)
    if listens:
        framer.listen()
    seen = Seen()
    for chunk in chunks:
        seen.add(framer.feed(chunk))
        while framer.more:
            seen.add(framer.feed(b""))
    if eof:
        seen.add(framer.eof())
    return seen
