"""The states of connections, and those that are known to work, one object each (contract: by identity).

A state enters `States` when a server has said +OK to it. From then on SELECT of its db is answered without a
server, and HELLO and AUTH need not wait to see what comes of them. Nothing that a client only asks for is
kept there: who guesses passwords or dbs fills nothing (P7). Our own password is in none of them, so that a
reload may change it and each stays what it is.
"""

from __future__ import annotations

MANY = 1 << 22  # bytes
EACH = 512  # bytes that a state costs, beside its user and password

NOBODY = (b"", b"")  # user and password of a state that names none: who we are configured to be

Key = tuple[bytes, bytes, int, int, bool]  # State.key


class State:
    """A connection's state as far as commands depend on it. One object per state (contract: by identity)."""

    __slots__ = ("db", "key", "password", "readonly", "resp", "user")

    def __init__(self, user: bytes, password: bytes, db: int, resp: int, readonly: bool) -> None:
        self.key = (user, password, db, resp, readonly)
        self.user = user  # NOBODY (password b"" too): whom we are logged in as, or the default user
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


class States:
    """`base`: a connection's after its greeting, which clients begin in. Never forgotten. The others are
    users x dbs x 2 x 2 of one backend, in truth a few dozen. Beyond `bound` bytes the oldest goes: its
    clients pay a look (connections compare values before they write), and are never in a wrong state."""

    def __init__(self, base: State, bound: int = MANY, *, proven: bool = True) -> None:
        self.base = base
        self.size = 0
        self._bound = bound
        self._proven = proven  # False: its user may be one that may do nothing before AUTH (passthrough)
        self._states: dict[Key, State] = {}

    def set_bound(self, bound: int) -> None:
        self._bound = bound
        self._make_room()

    def find(self, key: Key) -> State | None:
        """The state that is known to work, or None."""
        if key == self.base.key:
            return self.base if self._proven else None
        return self._states.get(key)

    def keep(self, state: State) -> State:
        """`state` works: the one object that stands for it."""
        key = state.key
        if key == self.base.key:
            self._proven = True
            return self.base
        found = self._states.get(key)
        if found is not None:
            return found
        self.size += _cost(key)
        self._states[key] = state
        self._make_room()
        return state

    def _make_room(self) -> None:
        while self.size > self._bound and len(self._states) > 1:
            self._drop(next(iter(self._states)))

    def _drop(self, key: Key) -> None:
        if self._states.pop(key, None) is not None:
            self.size -= _cost(key)

    def for_listening(self, state: State) -> State:
        """The state of the connection that a session in `state` listens on: channels know no db."""
        user, password, _, resp, _ = state.key
        key = (user, password, 0, resp, False)
        return self.base if key == self.base.key else self.keep(State(*key))

    def forget(self, state: State) -> None:
        """It works no longer (a password was changed): who asks for it next asks a server."""
        self._drop(state.key)


def _cost(key: Key) -> int:
    return EACH + len(key[0]) + len(key[1])
