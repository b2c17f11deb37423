"""What the files of this folder share: commands, states, and the notes that go from a request to its reply.

A `Command` is what the table says of one command, one object for all its requests; it is the note of nearly
every frame. What needs more than a look at it (a transaction, HELLO, a muted reply ...) has a `Note` instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from muxproxy.protocols.contract import ANYWHERE, IDEMPOTENT

if TYPE_CHECKING:
    from muxproxy.protocols.redis.connection import RedisConnection

# Kinds of commands: what the session has to do about one. SHARED: nothing, and that is nearly all of them.
(
    SHARED,  # touches no state of its connection
    CONTAINER,  # has subcommands that differ: Table.find_sub tells (CLIENT; CONFIG where a list says so)
    BLOCKING,  # may block, its arguments say whether and how long (`Command.block`)
    MULTI,
    EXEC,
    DISCARD,
    WATCH,
    UNWATCH,
    AUTH,
    HELLO,
    SELECT,
    REPLICA,  # READONLY, READWRITE
    PING,  # as others, but in the subscribed mode of RESP2 it is answered otherwise
    QUIT,
    RESET,
    LISTEN,  # (P|S)SUBSCRIBE, (P|S)UNSUBSCRIBE
    REFUSED,  # [redis] deny, or what cannot be kept through a proxy; `Command.why`
    UNKNOWN,  # not in the table: the server is asked
    WHOLE,  # no Command's, but a Note's: a transaction from MULTI to EXEC in one frame
    ALONE,  # ends what a server waits for: behind another command on its connection it would wait too
) = range(20)


class Command:
    """`name`: lower case, `container|sub` for a subcommand. `marks`: of its frames beside FIRST and LAST."""

    __slots__ = ("block", "kind", "marks", "name", "subcommands", "why")

    def __init__(
        self,
        name: str,
        kind: int = SHARED,
        *,
        is_readonly: bool = False,
        is_anywhere: bool = False,
        block: str = "",
        subcommands: dict[bytes, Command] | None = None,
        why: str = "",
    ) -> None:
        self.name = name
        self.kind = kind
        self.marks = (IDEMPOTENT if is_readonly else 0) | (ANYWHERE if is_anywhere else 0)  # P9
        # BLOCKING: where its timeout stands: "last:s", "last:ms", "first:s", "BLOCK:ms" (after that word;
        # absent: it does not block), "" not known: it may block for ever
        self.block = block
        self.subcommands = subcommands  # CONTAINER: by upper case name
        self.why = why  # REFUSED: the rest of the sentence, for its error

    def __repr__(self) -> str:
        return f"<Command {self.name}>"


class State:
    """A connection's state as far as commands depend on it. One object per state (contract: by identity)."""

    __slots__ = ("db", "key", "password", "readonly", "resp", "user")

    def __init__(self, user: bytes, password: bytes, db: int, resp: int, readonly: bool) -> None:
        self.key = (user, password, db, resp, readonly)
        self.user = user  # b"": the default user without AUTH (password b"" too)
        self.password = password
        self.db = db
        self.resp = resp  # 2 | 3
        self.readonly = readonly  # READONLY was said (cluster replicas)


class Anywhere:
    """What a request needs that means the same in every db and RESP version: that its own user sends it.
    `resp`: not 0: in every db, in this version."""

    __slots__ = ("password", "resp", "user")

    def __init__(self, state: State, resp: int = 0) -> None:
        self.resp = resp
        self.user = state.user
        self.password = state.password


class Attempt:
    """What a request needs whose own reply decides the connection's state: AUTH, HELLO, SELECT for the first
    time. `base`: the state it is tried in. `target`: the state after success."""

    __slots__ = ("anyone", "base", "target")

    def __init__(self, base: State, target: State, *, anyone: bool = False) -> None:
        self.base = base
        self.target = target
        self.anyone = anyone  # it brings its own user: whose connection it is tried on does not matter


class Note:
    """What a reply framer must know of a request, where its Command does not say it all."""

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


class Whole(Note):
    """A note whose replies are collected, each given to on_reply as a whole."""

    __slots__ = ()

    def on_reply(self, number: int, reply: bytes, connection: RedisConnection) -> bytes:
        """`reply`: the `number`th (from 0), whole. Returns what the client gets instead, b"" for nothing."""
        raise NotImplementedError
