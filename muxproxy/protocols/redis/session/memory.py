"""What one client's connection remembers, and what all answers and forwarded commands have in common."""

from __future__ import annotations

from typing import Any, Final

from muxproxy.protocols.contract import ANSWER, FIRST, LAST, PIN, UNPIN, Frame, Reason
from muxproxy.protocols.redis import words as say
from muxproxy.protocols.redis.backend import Backend
from muxproxy.protocols.redis.commands.command import WHOLE
from muxproxy.protocols.redis.framing.note import Note
from muxproxy.protocols.redis.framing.requests import RequestFramer
from muxproxy.protocols.redis.pubsub.listening import Listener
from muxproxy.protocols.redis.session.notes import SkipFirst
from muxproxy.protocols.redis.states import State

NOT_MUTE: Final = 0
SKIPPED: Final = 1
OFF: Final = 2


class Memory(Listener):
    """The half of a RedisSession that asks no command what it is."""

    __slots__ = (
        "_asks",
        "_feed_state",
        "_framer",
        "_is_aborted",
        "_is_in_multi",
        "_is_off",
        "_is_plain",
        "_is_watching",
        "_mute",
        "_skips",
        "client_id",
        "client_password",
        "is_sticky",
        "is_trusted",
        "name",
        "protocol",
        "state",
    )

    def __init__(self, protocol: Backend, framer: RequestFramer) -> None:
        super().__init__()
        self.protocol = protocol
        self.client_id = protocol.next_client_id()
        self.client_password = protocol.client_password  # as it was when it connected
        self._framer = framer
        self.listening = False
        self.pin_reason = ""
        self.patience = 0.0
        self._mute = NOT_MUTE  # of the command at hand
        self._begin()
        self.needs = self.state
        self._feed_state = self.state

    def _begin(self) -> None:
        """As Redis has it after accept(), and after RESET."""
        protocol = self.protocol
        self.state = protocol.states.base
        self.name = b""
        # It may run commands, as far as we know: with passthrough a server may still say NOAUTH.
        self.is_trusted = self._framer.trusted = not (self.client_password or protocol.needs_auth)
        self._is_off = False  # CLIENT REPLY OFF
        self._skips = False  # CLIENT REPLY SKIP: the next one
        self._asks = False  # ASKING: likewise
        self._is_in_multi = False
        self._is_watching = False
        self._is_aborted = False  # in MULTI: we refused something, so EXEC must not be carried out
        self.is_sticky = False  # its pinned connection is in a state that only the server knows
        self._replan()

    # -- what others ask and tell ----------------------------------------------------------------------

    @property
    def size(self) -> int:
        size = len(self.state.user) + len(self.state.password) + len(self.name)
        return size if self.subscriptions is None else size + self.subscriptions.size

    def on_changed(self, state: State, name: bytes | None) -> None:
        """A server, or what we know of it, has agreed to another state."""
        self.state = state
        if name is not None:
            self.name = name
        self.on_trusted()

    def on_trusted(self) -> None:
        self.is_trusted = self._framer.trusted = True
        self._replan()

    def on_listening(self) -> None:
        listening = self.subscriptions
        self.listening = listening is not None and (listening.wants() or listening.expects())
        self._replan()

    def is_mute(self) -> bool:
        return self._mute != NOT_MUTE

    def _replan(self) -> None:
        self._is_plain = (
            self.is_trusted
            and not (self._is_off or self._skips or self._asks or self._is_pinned())
            and not self._is_subscribed()
        )
        self._framer.runs = self._is_plain
        self._framer.groups = not self._is_subscribed()  # there, each command is refused, or PING answered

    def _is_pinned(self) -> bool:
        return self._is_in_multi or self._is_watching or self.is_sticky

    def _is_subscribed(self) -> bool:
        """In the mode of RESP2 in which a connection takes little else than (UN)SUBSCRIBE."""
        listening = self.subscriptions
        return listening is not None and self.state.resp == 2 and listening.wants()

    # -- frames to go on with --------------------------------------------------------------------------

    def answer(self, reply: bytes, marks: int = 0, reason: Reason = Reason.LOCAL) -> Frame:
        """Whole, though the command may still be coming in: what comes of it is nobody's."""
        return Frame(b"" if self._mute else reply, FIRST | LAST | ANSWER | marks, reason)

    def has_room(self, user: bytes, password: bytes, name: bytes) -> bool:
        """May it be remembered by all these?"""
        return len(user) + len(password) + len(name) <= self.protocol.session_buffer

    def too_much(self) -> Frame:
        why = f"name, user and password are more than session_buffer, {self.protocol.session_buffer} bytes"
        return self.answer(say.ours(why), reason=Reason.SESSION_FULL)

    def forward(self, frame: Frame, note: Any = None, marks: int = 0, data: bytes = b"") -> Frame:
        """`note` takes care of muting by itself."""
        if self._is_pinned():
            marks |= PIN
            self.pin_reason = self._why_pinned()
        if note is None:
            note = frame.note
            if self._mute:
                note = self._muted(note)
        if note is frame.note and not marks:
            return frame
        return Frame(data or frame.data, frame.marks | marks, note)

    def _why_pinned(self) -> str:
        if self.is_sticky:
            return "state in transaction"
        return "multi" if self._is_in_multi else "watch"

    def _muted(self, note: Any) -> Note:
        if note.kind != WHOLE:
            return Note(note, mute=True)
        if self._mute == OFF:
            return Note(note.command, note.replies, mute=True)
        return SkipFirst(note.command, note.replies, owed=note.replies - 1)  # MULTI's own +OK

    def _for_once(self, reason: str) -> int:
        """Marks of a command that needs a connection alone and leaves it again."""
        if self._is_pinned():
            return PIN
        self.pin_reason = reason
        return PIN | UNPIN
