"""What becomes of replies that more must be known of than where they end. One class for each such request.

Each is a `common.Whole`: its replies are collected and given to on_reply one by one, and what that returns is
what the client gets. They also hold for a client that has left: the connection's state depends on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from muxproxy.protocols.redis.common import Attempt, Command, State, Whole
from muxproxy.protocols.redis.words import ABORTED, is_passing

if TYPE_CHECKING:
    from muxproxy.protocols.redis.connection import RedisConnection
    from muxproxy.protocols.redis.session import RedisSession
    from muxproxy.protocols.redis.table import Table


class SkipFirst(Whole):
    """The first of two or more replies is not the client's: a command of ours stands before its own, or
    CLIENT REPLY SKIP before a whole transaction."""

    __slots__ = ()

    def on_reply(self, number: int, reply: bytes, connection: RedisConnection) -> bytes:
        return b"" if self.mute or not number else reply


class Unknown(Whole):
    """A command that nobody here knows: what it leaves on its connection is not to be another's. The first
    time `COMMAND INFO` goes before it."""

    __slots__ = ("table",)

    def __init__(self, command: Command, table: Table, replies: int, *, mute: bool) -> None:
        super().__init__(command, replies, owed=1, mute=mute)
        self.table = table

    def on_reply(self, number: int, reply: bytes, connection: RedisConnection) -> bytes:
        if number + 1 < self.replies:
            # NOAUTH and NOPERM are about who asks, BUSY about when: the next may be told
            if not (reply.startswith(b"-NO") or is_passing(reply)):
                self.table.learn(self.command.name, reply)
            return b""
        connection.dirty = True
        return b"" if self.mute else reply


class Tried(Unknown):
    """`CLIENT word` that nobody here knows, for the first time, on a connection that is everybody's, with
    nothing before or behind it (common.Attempt). An error has changed nothing, and one that says that the
    server does not know it either answers whoever asks next. What has succeeded may have changed anything, so
    its connection ends, and the next one of this name is pinned."""

    __slots__ = ("word",)

    def __init__(self, command: Command, table: Table, word: bytes, *, mute: bool) -> None:
        super().__init__(command, table, 2, mute=mute)
        self.word = word

    def on_reply(self, number: int, reply: bytes, connection: RedisConnection) -> bytes:
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

    def on_reply(self, number: int, reply: bytes, connection: RedisConnection) -> bytes:
        if self.mute:
            return b""
        return ABORTED if reply.startswith(b"+OK") else reply


class Change(Whole):
    """AUTH, HELLO, SELECT, READONLY: on success its session and the connection are in another state.

    `attempt`: None where the connection is in `target` already, as one was before (States): then the reply is
    the session's only. HELLO's reply names the session's own id instead of its connection's, and nothing else
    in it is changed."""

    __slots__ = ("attempt", "is_void", "name", "session", "target")

    def __init__(
        self,
        command: Command,
        session: RedisSession,
        target: State,
        attempt: Attempt | None,
        name: bytes | None = None,
        *,
        mute: bool,
    ) -> None:
        super().__init__(command, mute=mute)
        self.session = session
        self.target = target
        self.attempt = attempt
        self.name = name  # HELLO ... SETNAME
        self.is_void = False  # the client was told that it failed, so for the session it has

    def on_refused(self) -> None:
        self.is_void = True

    def on_reply(self, number: int, reply: bytes, connection: RedisConnection) -> bytes:
        if reply.startswith(b"-"):
            if self.attempt is not None:
                connection.on_attempt(None)
            self.session.protocol.states.forget(self.target)
        else:
            target = self.session.protocol.states.keep(self.target)
            if self.attempt is not None:
                connection.on_attempt(target)
            if not self.is_void:
                self.session.on_changed(target, self.name)
            reply = with_id(reply, self.session.client_id)
        return b"" if self.mute else reply


def with_id(reply: bytes, client_id: int) -> bytes:
    """A HELLO reply with another id; any other reply as it is."""
    key = b"\r\n$2\r\nid\r\n:"
    at = reply.find(key) + len(key)
    if at < len(key):
        return reply
    return b"%b%d%b" % (reply[:at], client_id, reply[reply.find(b"\r\n", at) :])
