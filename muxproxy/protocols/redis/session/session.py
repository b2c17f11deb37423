"""What becomes of each command of a client, by what its connection remembers.

Nearly every command of nearly every client passes on_request's first lines and nothing else. The rest is
Redis' own order of questions (processCommand() in server.c): may it run commands; is the command allowed; is
the client subscribed (RESP2); is it in MULTI; and then what the command is.

A transaction that came in one piece (WHOLE) is a command like others. One that comes in pieces has a
connection alone (PIN) from MULTI to EXEC, and every WATCH from there to EXEC, DISCARD or UNWATCH. Inside of
MULTI the server queues, so what only we can answer gets an error at once, and EXEC then becomes DISCARD: a
transaction is done as it was asked for or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from muxproxy.protocols.contract import (
    ANYWHERE,
    END_CLIENT,
    LAST,
    PIN,
    QUIET,
    UNPIN,
    Frame,
    Reason,
)
from muxproxy.protocols.contract import LISTEN as TO_FEED
from muxproxy.protocols.redis import words as say
from muxproxy.protocols.redis.commands import blocking
from muxproxy.protocols.redis.commands.command import (
    ALONE,
    ASKING,
    AUTH,
    BLOCKING,
    CLIENTS_OWN,
    CONTAINER,
    DISCARD,
    EXEC,
    HELLO,
    LISTEN,
    MULTI,
    PING,
    QUIT,
    REFUSED,
    REPLICA,
    RESET,
    SELECT,
    SHARED,
    UNKNOWN,
    UNWATCH,
    WATCH,
    WHOLE,
    Command,
)
from muxproxy.protocols.redis.commands.known import COMMANDS
from muxproxy.protocols.redis.framing.note import Run
from muxproxy.protocols.redis.pubsub.listening import EACH, VERBS, Listening, Request
from muxproxy.protocols.redis.resp.grammar import argument_count, arguments, multibulk
from muxproxy.protocols.redis.session import client_command, login
from muxproxy.protocols.redis.session.memory import NOT_MUTE, OFF, SKIPPED, Memory
from muxproxy.protocols.redis.session.notes import Aborted, SkipFirst, Tried, Unknown
from muxproxy.protocols.redis.states import Anywhere, Attempt

_BEFORE_AUTH: Final = frozenset((AUTH, HELLO, RESET, QUIT))
_WHILE_SUBSCRIBED: Final = frozenset((LISTEN, PING, RESET, QUIT))
_NOT_IN_MULTI: Final = frozenset((AUTH, HELLO, LISTEN))
_FEW_NAMES: Final = 1024  # of channels in one command: taken with any channels_buffer
_PING: Final = multibulk([b"PING"])
_DISCARD: Final = multibulk([b"DISCARD"])
_ASKING: Final = multibulk([b"ASKING"])
_ASKED: Final = frozenset((SHARED, BLOCKING, WHOLE, MULTI, WATCH, UNKNOWN))
# Seen on 7.0.15: an error to a command with subcommands names both words.
_CONTAINERS: Final = frozenset(
    name.partition("|")[0] for _, names in COMMANDS for name in names.split() if "|" in name
)


class RedisSession(Memory):
    __slots__ = ()

    def on_request(self, frame: Frame) -> Frame:
        note = frame.note
        if self._is_plain and (
            (type(note) is Command and (note.kind == SHARED or note.kind == PING)) or type(note) is Run
        ):
            self.needs = self.state
            return frame
        return self._on_special(frame, note.kind)

    # -- Redis' order of questions ---------------------------------------------------------------------

    def _on_special(self, frame: Frame, kind: int) -> Frame:
        self.needs = self.state
        self.patience = 0.0
        self._mute = OFF if self._is_off else SKIPPED if self._skips else NOT_MUTE
        asks = self._asks
        if self._skips or asks:
            self._skips = self._asks = False
            self._replan()
        command: Command = frame.note if kind != WHOLE else frame.note.command
        if kind == QUIT:
            return self.answer(say.OK, END_CLIENT)
        if not self.is_trusted and kind not in _BEFORE_AUTH:
            return self._reject(frame, command, say.NOAUTH)
        if kind == CONTAINER:
            words = arguments(frame.data, 2)
            if len(words) > 1:
                command = self.protocol.table.find_sub(command, words[1])
                kind = command.kind
        if kind == REFUSED:
            name = command.name.replace("|", " ")
            self._is_aborted = self._is_in_multi
            reply = say.error(f"NOPERM muxproxy: '{name}' {command.why}")
            return self.answer(reply, reason=Reason.DENIED)
        if self._is_subscribed() and kind not in _WHILE_SUBSCRIBED:
            return self._reject(frame, command, b"")
        if self._is_in_multi:
            return self._on_multi_mode(frame, command, kind)
        if asks and kind in _ASKED:
            return self._asked(_HANDLERS[kind](self, frame, command), frame)
        return _HANDLERS[kind](self, frame, command)

    def _asked(self, frame: Frame, asked: Frame) -> Frame:
        """ASKING goes before what was `asked`, in one piece: nobody else's command on that connection is in
        between. MULTI keeps it until EXEC (resetClient() in networking.c)."""
        note, data = frame.note, _ASKING + asked.data
        if type(note) is Unknown:
            note.replies += 1
            data = frame.data.removesuffix(asked.data) + data  # what asks for it takes ASKING away
        elif note is not asked.note:  # it has an answer, or one of ours before it
            return frame
        elif note.kind == WHOLE:
            note = SkipFirst(note.command, note.replies + 1, owed=note.replies)
        else:
            note = SkipFirst(note, 2, owed=1)
        return Frame(data, frame.marks, note)

    def _on_asking(self, frame: Frame, command: Command) -> Frame:
        """A cluster's client that was told ASK: the next command may be about a slot that is on its way."""
        if not frame.data.startswith(b"*1\r\n"):
            return self.answer(say.arity(command.name))
        self._asks = True
        self._replan()
        return self.answer(say.OK)

    def _reject(self, frame: Frame, command: Command, reply: bytes) -> Frame:
        """`reply`, b"": that it cannot be executed while subscribed."""
        name = self._full_name(frame, command)
        return self.answer(say.rejected(name, reply or say.not_here(name)))

    def _full_name(self, frame: Frame, command: Command) -> str:
        if command.name not in _CONTAINERS:
            return command.name
        words = arguments(frame.data, 2)
        return command.name if len(words) < 2 else f"{command.name}|{words[1].lower().decode('latin-1')}"

    def _on_multi_mode(self, frame: Frame, command: Command, kind: int) -> Frame:
        if kind in (EXEC, WHOLE) or (kind == DISCARD and frame.data.startswith(b"*1\r\n")):
            return self._end_multi(frame, command, kind)
        if kind == RESET:
            return self._on_reset(frame, command)
        if kind in _NOT_IN_MULTI or command.name in CLIENTS_OWN:
            self._is_aborted = True
            name = command.name.upper().replace("|", " ")
            return self.answer(say.ours(f"{name} is not possible inside of MULTI, send it before"))
        if kind in (SELECT, REPLICA):
            self.is_sticky = True  # EXEC will do it, and what it leaves is not to be another's
        if kind == UNKNOWN:
            return self.forward(frame, Unknown(command, self.protocol.table, 1, mute=self.is_mute()))
        return self.forward(frame)

    def _end_multi(self, frame: Frame, command: Command, kind: int) -> Frame:
        """Seen on 7.0.15: EXEC with an argument ends the transaction too, DISCARD with one does not. WHOLE: a
        MULTI inside, which is an error, and what its EXEC ends is the outer one."""
        is_aborted, self._is_aborted = self._is_aborted, False
        sticky = self.is_sticky
        self.pin_reason = self._why_pinned()
        self._is_in_multi = self._is_watching = False
        self._replan()
        marks = PIN if sticky else PIN | UNPIN
        if is_aborted and kind == WHOLE:
            return self.answer(say.ours("MULTI inside of MULTI after an error"), END_CLIENT)
        if is_aborted and kind == EXEC:
            return self.forward(frame, Aborted(command, mute=self.is_mute()), marks, _DISCARD)
        return self.forward(frame, marks=marks)

    # -- what each kind of command is, outside of MULTI ------------------------------------------------

    def _on_shared(self, frame: Frame, command: Command) -> Frame:
        if command.name in CLIENTS_OWN:
            return self._on_client(frame, command)
        if command.name == "function|stats":  # it answers while the server is busy, in RESP3 with maps
            self.needs = Anywhere(self.state, self.state.resp)
        return self.forward(frame, marks=command.marks & ANYWHERE)

    def _on_ping(self, frame: Frame, command: Command) -> Frame:
        if not self._is_subscribed():
            return self.forward(frame)
        words = arguments(frame.data)
        if len(words) > 2 or not frame.marks & LAST:
            return self.answer(say.arity(command.name))
        return self.answer(b"*2\r\n$4\r\npong\r\n" + say.bulk(words[1] if len(words) == 2 else b""))

    def _on_whole(self, frame: Frame, command: Command) -> Frame:
        if not self._is_watching:
            return self.forward(frame)
        self.pin_reason = "watch"
        self._is_watching = False
        self._replan()
        return self.forward(frame, marks=PIN if self.is_sticky else PIN | UNPIN)

    def _on_blocking(self, frame: Frame, command: Command) -> Frame:
        is_whole = frame.marks & LAST != 0
        patience = blocking.patience(command, arguments(frame.data), is_whole)
        if patience == blocking.NEVER:
            return self.forward(frame)
        marks = self._for_once("blocking")
        self.patience = patience
        if not command.name.startswith("wait"):
            return self.forward(frame, marks=marks)
        # WAIT and WAITAOF wait for what their own connection wrote last, and the client's writes went through
        # others. Every command that is executed puts its connection's mark at the end of all writes, so a
        # PING goes before them. Seen on 7.0.15 with a replica stopped by SIGSTOP, one connection having
        # written: WAIT 1 500 on another answered :1 at once; behind a PING it waited 0.5 s and answered :0.
        note = SkipFirst(command, 2, owed=1, mute=self.is_mute())
        return self.forward(frame, note, marks, _PING + frame.data)

    def _on_multi(self, frame: Frame, command: Command) -> Frame:
        if frame.data.startswith(b"*1\r\n"):
            self._is_in_multi = True
            self._replan()
        return self.forward(frame)

    def _on_watch(self, frame: Frame, command: Command) -> Frame:
        if not frame.data.startswith(b"*1\r\n"):
            self._is_watching = True
            self._replan()
        return self.forward(frame)

    def _on_unwatch(self, frame: Frame, command: Command) -> Frame:
        if self._is_watching and frame.data.startswith(b"*1\r\n"):
            return self._on_whole(frame, command)
        return self.forward(frame)

    def _on_unknown(self, frame: Frame, command: Command) -> Frame:
        """Pinned: it may leave anything behind. The first time the server is asked what it is. Of CLIENT's
        subcommands, with which libraries begin every connection, one that no server knows takes no place."""
        table, name = self.protocol.table, command.name
        word = arguments(frame.data, 2)[1] if name.startswith("client|") else b""
        if word and (denial := table.denial(word)):
            return self.answer(denial)
        ask = b""
        if not table.is_asked(name):
            ask = multibulk([b"COMMAND", b"INFO", name.encode("latin-1")])
            if word and frame.marks & LAST and not self._is_pinned():
                self.needs = Attempt(self.state, self.state)
                tried = Tried(command, table, word, mute=self.is_mute())
                return self.forward(frame, tried, QUIET, ask + frame.data)
        note = Unknown(command, table, 2 if ask else 1, mute=self.is_mute())
        return self.forward(frame, note, self._for_once("unknown command"), ask + frame.data)

    def _on_alone(self, frame: Frame, command: Command) -> Frame:
        """Seen on 7.0.15: sent behind the script, SCRIPT KILL is read when it has ended. And behind a SELECT
        never, which is answered with BUSY."""
        self.needs = Anywhere(self.state)
        return self.forward(frame, marks=ANYWHERE | self._for_once(command.name.replace("|", " ")))

    def _on_reset(self, frame: Frame, command: Command) -> Frame:
        if not frame.data.startswith(b"*1\r\n"):
            self._is_aborted = self._is_in_multi
            return self.answer(say.arity(command.name))
        self._mute = NOT_MUTE  # it ends that too
        marks = UNPIN if self._is_pinned() else 0
        if not self.listening or self.subscriptions is None:
            self._begin()
            return self.answer(b"+RESET\r\n", marks)
        # After the acknowledgements that it is still owed: the feed's to answer.
        request = Request(command, self, self.state.resp, [], mute=False)
        self.subscriptions.ask(request)
        self.needs = self._feed_state
        self._begin()
        return Frame(frame.data, frame.marks | TO_FEED | marks, request)

    def _on_listen(self, frame: Frame, command: Command) -> Frame:
        if not frame.marks & LAST:
            bound = self.protocol.settings.subscribe_buffer
            return self.answer(say.ours(f"{command.name} of more than {bound} bytes, ask in smaller pieces"))
        bound = self.protocol.channels_buffer
        if argument_count(frame.data) > max(bound // EACH, _FEW_NAMES):  # not even looked at (P10)
            why = f"{command.name.upper()} of more names than channels_buffer, {bound} bytes, has room for"
            return self.answer(say.ours(why), reason=Reason.SESSION_FULL)
        names = arguments(frame.data)[1:]
        kind, joins = VERBS[command.name]
        if joins and not names:
            return self.answer(say.arity(command.name))
        listening = self.subscriptions
        if listening is None:
            listening = self.subscriptions = Listening(self)
        if joins and listening.size + listening.more(kind, names) > bound:
            why = f"what it listens to, names and 512 bytes each, is more than channels_buffer, {bound} bytes"
            return self.answer(say.ours(why), reason=Reason.SESSION_FULL)
        request = Request(command, self, self.state.resp, names, mute=self.is_mute())
        if not self.listening:
            if not joins:  # from nothing: no server need know
                each: Sequence[bytes | None] = names or [None]
                self._mute = NOT_MUTE  # seen on 7.0.15: CLIENT REPLY OFF does not silence them
                return self.answer(listening.acknowledge_none(request, kind, each))
            self._feed_state = self.protocol.states.for_listening(self.state)
        listening.ask(request)
        self.on_listening()
        self.needs = self._feed_state
        return Frame(frame.data, frame.marks | TO_FEED, request)

    def _on_client(self, frame: Frame, command: Command) -> Frame:
        if not frame.marks & LAST:
            return self.answer(say.ours(f"{command.name.replace('|', ' ')} of more than 64 KiB"))
        words = arguments(frame.data)
        if len(words) != CLIENTS_OWN[command.name]:
            return self.answer(say.arity(command.name))
        if command.name == "client|reply":
            return self._on_client_reply(words[2].upper())
        if command.name == "client|setname" and not self.has_room(
            self.state.user, self.state.password, words[2]
        ):
            return self.too_much()
        return self.answer(client_command.answer(self, command.name, words))

    def _on_client_reply(self, mode: bytes) -> Frame:
        """Seen on 7.0.15: ON is answered whatever was before, OFF and SKIP never, and SKIP changes no OFF."""
        if mode == b"ON":
            self._is_off = False
            self._mute = NOT_MUTE
        elif mode == b"OFF":
            self._is_off = True
            self._mute = OFF
        elif mode == b"SKIP":
            self._skips = not self._is_off
            self._mute = SKIPPED
        else:
            return self.answer(say.SYNTAX)
        self._replan()
        return self.answer(say.OK)


_Handler = Callable[[RedisSession, Frame, Command], Frame]
_HANDLERS: dict[int, _Handler] = {
    SHARED: RedisSession._on_shared,
    CONTAINER: RedisSession._on_shared,  # without a second word: the server says what is wrong with it
    BLOCKING: RedisSession._on_blocking,
    MULTI: RedisSession._on_multi,
    EXEC: RedisSession._on_shared,  # without MULTI: the server says that
    DISCARD: RedisSession._on_shared,
    WATCH: RedisSession._on_watch,
    UNWATCH: RedisSession._on_unwatch,
    AUTH: login.auth,
    HELLO: login.hello,
    SELECT: login.select,
    REPLICA: login.replica,
    ASKING: RedisSession._on_asking,
    PING: RedisSession._on_ping,
    RESET: RedisSession._on_reset,
    LISTEN: RedisSession._on_listen,
    UNKNOWN: RedisSession._on_unknown,
    WHOLE: RedisSession._on_whole,
    ALONE: RedisSession._on_alone,
}
