"""Notes: what a request tells the framer of its reply, where its Command does not say it all."""

from __future__ import annotations

from muxproxy.native import mypyc_attr
from muxproxy.protocols import contract
from muxproxy.protocols.redis.commands.command import SHARED, WHOLE, Command
from muxproxy.protocols.redis.states import State


class Carrier(contract.Connection):
    """The upstream connection that a reply has come on, as far as a note changes it."""

    __slots__ = ("spoilt",)

    def __init__(self) -> None:
        self.dirty = False
        self.spoilt = ""  # why nothing but its end would make it anybody's again (notes.Tried)

    def on_attempt(self, target: State | None) -> None:
        """The reply to an Attempt is in: `target` is its state now, None: it failed."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Note:
    """What a reply framer must know of a request."""

    __slots__ = ("command", "mute", "owed", "replies")

    kind = WHOLE  # as a request framer makes them; beside Command.kind, for one question to both

    def __init__(self, command: Command, replies: int = 1, *, owed: int = 0, mute: bool = False) -> None:
        self.command = command
        self.replies = replies  # top-level replies that together answer it, the last one LAST
        self.owed = owed or replies  # so many of them are the client's: a refusal must keep it in step
        self.mute = mute  # CLIENT REPLY OFF or SKIP: the client gets none of it (frames without bytes)

    def on_refused(self) -> None:
        """The heart has answered it itself; a reply may still come."""


class Run(Note):
    """Pipelined commands that touch no state, as one frame. `command`: one of them, and if any changes
    data, one that does."""

    __slots__ = ("done",)

    kind = SHARED

    def __init__(self, command: Command, replies: int) -> None:
        super().__init__(command, replies)
        self.done = 0  # of the replies, so many have come


@mypyc_attr(allow_interpreted_subclasses=True)
class Whole(Note):
    """A note whose replies are collected, each given to on_reply as a whole."""

    __slots__ = ()

    def on_reply(self, number: int, reply: bytes, connection: Carrier) -> bytes:
        """`reply`: the `number`th (from 0), whole. Returns what the client gets instead, b"" for nothing."""
        raise NotImplementedError
