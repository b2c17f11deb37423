"""The states of connections that are known to work, one object each (contract: compared by identity).

A state enters when a server has said +OK to it. From then on SELECT of its db is answered without a server,
and HELLO and AUTH need not wait to see what comes of them. Nothing that a client only asks for is kept here:
who guesses passwords or dbs fills nothing (P7).
"""

from __future__ import annotations

from muxproxy.protocols.redis.common import State

EACH = 512  # bytes that a state costs, beside its user and password

Key = tuple[bytes, bytes, int, int, bool]  # State.key


class States:
    """`base`: a connection's after its greeting, which clients begin in. Never forgotten. The others are
    users x dbs x 2 x 2 of one backend, in truth a few dozen. Beyond `bound` bytes the oldest goes: its
    clients pay a look (connections compare values before they write), and are never in a wrong state."""

    def __init__(self, base: State, bound: int = 1 << 22, *, proven: bool = True) -> None:
        self.base = base
        self.size = 0
        self._bound = bound
        self._proven = proven  # False: its user may be one that may do nothing before AUTH (passthrough)
        self._states: dict[Key, State] = {}

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
        while self.size > self._bound and len(self._states) > 1:
            self._drop(next(iter(self._states)))
        return state

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
