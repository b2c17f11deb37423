"""AUTH, HELLO, SELECT, READONLY and READWRITE: the commands that change what a client's later ones mean.

A connection is everybody's, so what they ask for becomes a state (states.State) that the session's requests
need. A state that no server has confirmed yet is tried: the client's own command goes to the server, alone,
and its reply decides (Attempt, Change). So the texts that client libraries fall back on (HELLO unknown to an
old server, NOPROTO, a db out of range) are always the server's own.
"""

from __future__ import annotations

import re

from muxproxy.protocols.contract import ANYWHERE, QUIET, Frame
from muxproxy.protocols.redis import words as say
from muxproxy.protocols.redis.backend import check
from muxproxy.protocols.redis.commands.command import Command
from muxproxy.protocols.redis.framing.note import Carrier, Whole
from muxproxy.protocols.redis.resp.grammar import arguments, multibulk, number
from muxproxy.protocols.redis.session.memory import Memory
from muxproxy.protocols.redis.states import Anywhere, Attempt, Key, State

_is_name = re.compile(rb"[!-~]*+").fullmatch


def auth(session: Memory, frame: Frame, command: Command) -> Frame:
    words = arguments(frame.data)
    if len(words) < 2:
        return session.answer(say.arity(command.name))
    if len(words) > 3:
        return session.answer(say.SYNTAX)
    user, password = (words[1] if len(words) == 3 else b""), words[-1]
    if not session.protocol.is_passthrough:
        no = check(user, password, session.client_password)
        if not no:
            session.on_trusted()
        return session.answer(no or say.OK)
    if session.listening:
        return session.answer(say.ours("AUTH while subscribed is not possible, UNSUBSCRIBE first"))
    if not session.has_room(user, password, session.name):
        return session.too_much()
    _, _, db, resp, readonly = session.state.key
    return _go(session, frame, command, (user, password, db, resp, readonly), anyone=True)


def hello(session: Memory, frame: Frame, command: Command) -> Frame:
    """Without its SETNAME, and with its AUTH only where that is the server's to judge."""
    words = arguments(frame.data)
    user, password, db, resp, readonly = session.state.key
    if len(words) > 1:
        version = number(words[1])
        if version is None:
            return session.answer(say.BAD_PROTO)
        if version not in (2, 3):
            return session.answer(say.NOPROTO)
        resp = version
    asked: tuple[bytes, bytes] | None = None
    name: bytes | None = None
    at = 2
    while at < len(words):
        option, more = words[at].upper(), len(words) - at - 1
        if option == b"AUTH" and more >= 2:
            asked = words[at + 1], words[at + 2]
            at += 3
        elif option == b"SETNAME" and more:
            name = words[at + 1]
            if not is_name(name):
                return session.answer(say.BAD_NAME)
            at += 2
        else:
            text = words[at].decode("latin-1")
            return session.answer(say.error(f"ERR Syntax error in HELLO option '{text}'"))
    data = words[:2]
    authenticates = session.protocol.is_passthrough and asked is not None
    if session.protocol.is_passthrough:
        if asked is not None:
            user, password = asked
            data += [b"AUTH", user, password]
    else:
        no = check(*asked, session.client_password) if asked is not None else b""
        if not no and asked is None and not session.is_trusted:
            no = say.HELLO_NOAUTH
        if no:
            return session.answer(no)
    if not session.has_room(user, password, session.name if name is None else name):
        return session.too_much()
    key = (user, password, db, resp, readonly)
    if session.listening and key != session.state.key:
        return session.answer(say.ours("HELLO with another version or user while subscribed is not possible"))
    frame = Frame(multibulk(data), frame.marks, frame.note)
    return _go(session, frame, command, key, anyone=authenticates, name=name)


def select(session: Memory, frame: Frame, command: Command) -> Frame:
    words = arguments(frame.data)
    if len(words) != 2:
        return session.answer(say.arity(command.name))
    db = number(words[1])
    if db is None:
        return session.answer(say.BAD_DB)
    if db < 0:
        return session.answer(say.DB_RANGE)
    user, password, _, resp, readonly = session.state.key
    return _remember(session, frame, command, (user, password, db, resp, readonly))


def replica(session: Memory, frame: Frame, command: Command) -> Frame:
    """READONLY, READWRITE."""
    if len(arguments(frame.data, 2)) > 1:
        return session.answer(say.arity(command.name))
    user, password, db, resp, was_readonly = session.state.key
    readonly = command.name == "readonly"
    if not readonly and not was_readonly:
        return session.forward(frame)  # changes nothing, and a server without cluster support says so
    return _remember(session, frame, command, (user, password, db, resp, readonly))


def is_name(name: bytes) -> bool:
    """Redis' validateClientAttr()."""
    return _is_name(name) is not None


def _remember(session: Memory, frame: Frame, command: Command, key: Key) -> Frame:
    """What has worked once needs no server again."""
    found = session.protocol.states.find(key)
    if found is None or session.is_sticky:  # sticky: its connection is in a state that we do not know
        return _try(session, frame, command, State(*key) if found is None else found)
    session.on_changed(found, None)
    return session.answer(say.OK)


def _go(
    session: Memory,
    frame: Frame,
    command: Command,
    key: Key,
    *,
    anyone: bool,
    name: bytes | None = None,
) -> Frame:
    """In a state that has worked once it changes nothing and need not be alone; its reply is live. `anyone`:
    it authenticates, and a server may not answer a wrong password while it owes other replies."""
    found = session.protocol.states.find(key)
    if found is None:
        return _try(session, frame, command, State(*key), anyone=anyone, name=name)
    note = Change(command, session, found, None, name, mute=session.is_mute())
    if anyone:
        session.needs = found
        return session.forward(frame, note, QUIET)
    session.needs = Anywhere(found, found.resp)  # HELLO's reply says nothing of the db
    return session.forward(frame, note, ANYWHERE)


def _try(
    session: Memory,
    frame: Frame,
    command: Command,
    target: State,
    *,
    anyone: bool = False,
    name: bytes | None = None,
) -> Frame:
    attempt = Attempt(session.state, target, anyone=anyone)
    session.needs = attempt
    note = Change(command, session, target, attempt, name, mute=session.is_mute())
    return session.forward(frame, note, QUIET if anyone else 0)


class Change(Whole):
    """AUTH, HELLO, SELECT, READONLY: on success its session and the connection are in another state.

    `attempt`: None where the connection is in `target` already, as one was before (States): then the reply is
    the session's only. HELLO's reply names the session's own id instead of its connection's, and nothing else
    in it is changed."""

    __slots__ = ("attempt", "is_void", "name", "session", "target")

    def __init__(
        self,
        command: Command,
        session: Memory,
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

    def on_reply(self, number: int, reply: bytes, connection: Carrier) -> bytes:
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
