"""What one upstream connection remembers, and how it is brought into the state that a request needs.

A failing AUTH is answered by Redis 7.2 to 8.x and by Valkey 8 only where no reply is owed before it
(addAuthErrReply() in acl.c), so ours is QUIET: first in its write, with nothing in flight, and not behind a
RESET. Everything that is not a client's own command goes through `_steps`: one for each reply to swallow,
with what it changes if it is as hoped. Each changes one thing, so one that fails leaves its own thing as it
was and no other, and the state afterwards is known whatever happened.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from muxproxy.protocols.contract import Frame
from muxproxy.protocols.redis.backend import Backend
from muxproxy.protocols.redis.framing.note import Carrier
from muxproxy.protocols.redis.framing.replies import ReplyFramer
from muxproxy.protocols.redis.resp.grammar import multibulk
from muxproxy.protocols.redis.states import NOBODY, Anywhere, Attempt, State
from muxproxy.protocols.redis.words import is_passing, of_server

_AUTH: Final = 0
_NAME: Final = 1
_HELLO: Final = 2
_SELECT: Final = 3
_REPLICA: Final = 4
_RESET: Final = 5
_FENCE: Final = 6
_WORDS: Final = ("AUTH", "CLIENT SETNAME", "HELLO", "SELECT", "READONLY or READWRITE", "RESET", "ECHO")
# our name; too early: before AUTH (passthrough)
_UNSAID: Final = 0
_SAID: Final = 1
_TOO_EARLY: Final = 2


class _Step:
    """`field`: what it changes, its value: what to. `last`: of its prelude."""

    __slots__ = ("field", "last", "value")

    def __init__(self, field: int, value: Any) -> None:
        self.field = field
        self.value = value
        self.last = False


class RedisConnection(Carrier):
    __slots__ = (
        "_db",
        "_fences",
        "_login",
        "_name",
        "_password",
        "_protocol",
        "_readonly",
        "_replies",
        "_resp",
        "_steps",
        "_target",
        "_tried",
        "_user",
        "_why",
    )

    def __init__(self, protocol: Backend, replies: ReplyFramer) -> None:
        super().__init__()
        self._protocol = protocol
        self._login = protocol.login  # for as long as it lives
        self._replies = replies
        self._steps: deque[_Step] = deque()
        self._target: State | None = None  # what the prelude that was written last leads to
        self._tried: State | None = None  # what an Attempt was written in
        self._why: str | None = None  # why a prelude whose last reply is to come has failed
        self._fences = 0
        self._name = _UNSAID
        self._forget()
        self.state = protocol.states.base

    def _forget(self) -> None:
        """What a new connection has, and one after RESET."""
        self._user, self._password = NOBODY
        self._db = 0
        self._resp = 2
        self._readonly = False

    def _actual(self) -> State:
        """As the replies so far say."""
        is_ours = (self._user, self._password) == self._login
        user, password = NOBODY if is_ours else (self._user, self._password)
        key = (user, password, self._db, self._resp, self._readonly)
        if not is_ours and not (user or password):
            return State(*key)  # before our own AUTH: one that nobody needs
        target = self._target
        if target is not None and target.key == key:
            return target
        return self._protocol.states.find(key) or State(*key)

    def _who(self, state: State) -> tuple[bytes, bytes]:
        """Whose the connection must be."""
        return (state.user, state.password) if state.user or state.password else self._login

    # -- what the heart asks ---------------------------------------------------------------------------

    def greeting(self) -> tuple[bytes, int]:
        self._protocol.table.forget_denials()  # the server behind it may be another one
        self._target = self._protocol.states.base
        return self._begin([], self._target)

    def prelude(self, needs: Any) -> tuple[bytes, int]:
        attempt = needs if isinstance(needs, Attempt) else None
        target = self._target_of(needs)
        if isinstance(needs, Anywhere) and self._is(target) and self._resp == target.resp:
            return b"", 0  # and the name can wait
        parts: list[bytes] = []
        if (self._user or self._password) and self._who(target) == NOBODY:
            # Nothing else makes a connection a stranger's again (passthrough). A server without RESET says
            # so, and who needs that is refused.
            parts.append(self._step(_RESET, None, b"RESET"))
            data, replies = self._begin(parts, target, fresh=True)
        else:
            data, replies = self._begin(parts, target)
        self._target = target
        if not replies:
            self.state = None if attempt is not None else target
            self._tried = target
        return data, replies

    def is_alike(self, needs: Any) -> bool:
        target = self._target_of(needs)
        return self._is(target) and (not isinstance(needs, Anywhere) or self._resp == target.resp)

    def must_be_quiet(self, needs: Any) -> bool:
        target = self._target_of(needs)
        return self._who(target) != NOBODY and not self._is(target)

    def reset(self) -> tuple[bytes, int]:
        """An AUTH is the next prelude's to say: not behind a RESET."""
        if self._protocol.has_reset is False:
            return b"", 0
        self.dirty = False
        base = self._protocol.states.base
        data = self._step(_RESET, None, b"RESET")
        if self._login == NOBODY:
            self._target = base
            return self._begin([data], base, fresh=True)
        self._target = self.state = None
        self._steps[-1].last = True
        return data, 1

    def fence(self) -> tuple[bytes, int]:
        self._fences += 1
        token = b"muxproxy-%d" % self._fences
        data = self._step(_FENCE, b"$%d\r\n%b\r\n" % (len(token), token), b"ECHO", token)
        self._steps[-1].last = True
        return data, 1

    def listen(self) -> None:
        self._replies.listen()

    def on_prelude_reply(self, frame: Frame) -> str | None:
        step = self._steps.popleft()
        why = self._check(step, frame.data)
        if step.field == _FENCE:
            return why
        self._why = self._why or why
        if not step.last:
            return None
        why, self._why = self._why, None
        self.state = self._actual()
        return why

    # -- what notes tell (Carrier) ---------------------------------------------------------------------

    def on_attempt(self, target: State | None) -> None:
        state = target if target is not None else self._tried
        assert state is not None
        self._user, self._password = self._who(state)
        _, _, self._db, self._resp, self._readonly = state.key
        if self._name == _TOO_EARLY and (self._user or self._password):
            # Its client has authenticated by itself: an object that nobody needs, so that the next request
            # has a prelude, which says our name.
            self.state = State(*state.key)
        else:
            self.state = self._protocol.states.find(state.key) or state

    # -- states -----------------------------------------------------------------------------------------

    def _target_of(self, needs: Any) -> State:
        if isinstance(needs, Anywhere):
            return State(needs.user, needs.password, self._db, needs.resp or self._resp, self._readonly)
        if not isinstance(needs, Attempt):
            state: State = needs
            return state
        base = needs.base
        return State(self._user, self._password, *base.key[2:]) if needs.anyone else base

    def _is(self, target: State) -> bool:
        """Its user's."""
        return (self._user, self._password) == self._who(target)

    # -- steps -----------------------------------------------------------------------------------------

    def _step(self, field: int, value: Any, *words: bytes) -> bytes:
        self._steps.append(_Step(field, value))
        return multibulk(list(words))

    def _begin(self, parts: list[bytes], target: State, *, fresh: bool = False) -> tuple[bytes, int]:
        """What leads from here, or (`fresh`) from a new connection, to `target`."""
        step = self._step
        who, db, resp, readonly = NOBODY, 0, 2, False
        if not fresh:
            who, db = (self._user, self._password), self._db
            resp, readonly = self._resp, self._readonly
        user, password = self._who(target)
        if who != (user, password):
            words = (user, password) if user else (password,)
            parts.append(step(_AUTH, (user, password), b"AUTH", *words))
        is_known = bool(user or password)
        if fresh or self._name == _UNSAID or (self._name == _TOO_EARLY and is_known):
            parts.append(step(_NAME, None, b"CLIENT", b"SETNAME", self._protocol.upstream_name))
        if resp != target.resp:
            parts.append(step(_HELLO, target.resp, b"HELLO", b"%d" % target.resp))
        if db != target.db:
            parts.append(step(_SELECT, target.db, b"SELECT", b"%d" % target.db))
        if readonly != target.readonly:
            parts.append(step(_REPLICA, target.readonly, b"READONLY" if target.readonly else b"READWRITE"))
        if not parts:
            return b"", 0
        self.state = None
        self._steps[-1].last = True
        return b"".join(parts), len(parts)

    def _check(self, step: _Step, reply: bytes) -> str | None:
        """None: as hoped, and what it changes is changed."""
        field = step.field
        if field == _FENCE:
            # Who may not ECHO, or not now, or where it has another name: that proves nothing, nor the
            # contrary. NOAUTH is a stranger's answer, and only with passthrough is one to be expected.
            proves_nothing = (b"-NO",) if self._protocol.is_passthrough else (b"-NOPERM",)
            if reply == step.value or is_passing(reply):
                return None
            if reply.startswith((*proves_nothing, b"-ERR unknown command")):
                return None
            return f"out of step: ECHO was answered with {of_server(reply)}"
        is_good = reply[:1] in (b"*", b"%") if field == _HELLO else reply.startswith(_GOOD[field])
        if field == _NAME:
            self._name = _SAID
            if not is_good:
                return self._check_name(reply)
            if not (self._user or self._password):
                self._protocol.needs_auth = False
            return None
        if not is_good:
            return self._on_refused(field, reply)
        if field == _AUTH:
            self._user, self._password = step.value
        elif field == _HELLO:
            self._resp = step.value
        elif field == _SELECT:
            self._db = step.value
        elif field == _REPLICA:
            self._readonly = step.value
        else:
            self._protocol.has_reset = True
            self._name = _UNSAID
            self._forget()
        return None

    def _check_name(self, reply: bytes) -> str | None:
        """Without a name `CLIENT LIST` says less, that is all; other errors say that it is not for us.

        BUSY or the like: a script runs for too long, and the name can wait. Seen on 7.0.15: it allows AUTH,
        HELLO and RESET then, but not CLIENT; were there no connections, nobody could send SCRIPT KILL."""
        if reply.startswith((b"-ERR unknown", b"-NOPERM")):
            return None
        if is_passing(reply):
            self._name = _UNSAID
            return None
        if reply.startswith(b"-NOAUTH"):
            if self._protocol.is_passthrough:
                self._protocol.needs_auth = True
                self._name = _TOO_EARLY
                return None
            return f'{of_server(reply)} (set [redis] password, or auth = "passthrough")'
        return f"CLIENT SETNAME was answered with {of_server(reply)}"

    def _on_refused(self, field: int, reply: bytes) -> str:
        if field == _RESET and reply.startswith(b"-ERR unknown"):
            self._protocol.has_reset = False  # Redis before 6.2: from now on such connections are closed
        elif not is_passing(reply) and self._target is not None:  # clients look for BUSY: refusal.py
            self._protocol.states.forget(self._target)
        return f"{_WORDS[field]} was answered with {of_server(reply)}"


_GOOD: Final = {_AUTH: b"+OK", _NAME: b"+OK", _SELECT: b"+OK", _REPLICA: b"+OK", _RESET: b"+RESET"}
