"""What becomes of replies that more must be known of than where they end. One class for each such request.

Each is a `Whole` (note.py): its replies are collected and given to on_reply one by one, and what that returns
is what the client gets. They also hold for a client that has left: the connection's state depends on them.
Those that change their session, too, are in login.py.
"""

from __future__ import annotations

from muxproxy.protocols.redis.commands.command import Command
from muxproxy.protocols.redis.commands.table import Table
from muxproxy.protocols.redis.framing.note import Carrier, Whole
from muxproxy.protocols.redis.words import ABORTED, is_passing


class SkipFirst(Whole):
    """The first of two or more replies is not the client's: a command of ours stands before its own, or
    CLIENT REPLY SKIP before a whole transaction."""

    __slots__ = ()

    def on_reply(self, number: int, reply: bytes, connection: Carrier) -> bytes:
        return b"" if self.mute or not number else reply


class Unknown(Whole):
    """A command that nobody here knows: what it leaves on its connection is not to be another's. The first
    time `COMMAND INFO` goes before it (`asks`)."""

    __slots__ = ("asks", "table")

    def __init__(self, command: Command, table: Table, replies: int, *, mute: bool) -> None:
        super().__init__(command, replies, owed=1, mute=mute)
        self.table = table
        self.asks = replies > 1

    def on_reply(self, number: int, reply: bytes, connection: Carrier) -> bytes:
        if number + 1 < self.replies:
            # NOAUTH and NOPERM are about who asks, BUSY about when: the next may be told
            if self.asks and not number and not (reply.startswith(b"-NO") or is_passing(reply)):
                self.table.learn(self.command.name, reply)
            return b""
        connection.dirty = True
        return b"" if self.mute else reply


class Tried(Unknown):
    """`CLIENT word` that nobody here knows, for the first time, on a connection that is everybody's, with
    nothing before or behind it (states.Attempt). An error has changed nothing, and one that says that the
    server does not know it either answers whoever asks next. What has succeeded may have changed anything, so
    its connection ends, and the next one of this name is pinned."""

    __slots__ = ("word",)

    def __init__(self, command: Command, table: Table, word: bytes, *, mute: bool) -> None:
        super().__init__(command, table, 2, mute=mute)
        self.word = word

    def on_reply(self, number: int, reply: bytes, connection: Carrier) -> bytes:
        if number + 1 < self.replies:
            connection.spoilt = "unknown command"  # until the reply to it says otherwise
            return super().on_reply(number, reply, connection)
        connection.on_attempt(None)
        if reply.startswith(b"-"):
            connection.spoilt = ""
        if reply.lower().startswith(b"-err unknown subcommand"):
            self.table.deny(self.word, reply)
        return b"" if self.mute else reply


class Aborted(Whole):
    """DISCARD, sent for the EXEC of a transaction in which we refused something."""

    __slots__ = ()

    def on_reply(self, number: int, reply: bytes, connection: Carrier) -> bytes:
        if self.mute:
            return b""
        return ABORTED if reply.startswith(b"+OK") else reply
