"""What all sessions and connections of one backend share: its table, the states that work, whose passwords.

Some of it is what servers have said last, so that one connection's answer saves another the question.
"""

from __future__ import annotations

import hmac

from muxproxy.config.model import Redis
from muxproxy.protocols.contract import Protocol
from muxproxy.protocols.redis import words as say
from muxproxy.protocols.redis.commands.table import Table
from muxproxy.protocols.redis.framing.settings import MAX_RUN, Settings
from muxproxy.protocols.redis.states import NOBODY, State, States

# CLIENT ID and HELLO count from here: were our ids small, CLIENT KILL ID and CLIENT UNBLOCK, which servers
# carry out, could hit the connection that bears the same number there. JavaScript's integers go to 2**53.
FIRST_ID = 1 << 40


class Backend(Protocol):
    """The half of a RedisProtocol that is this room's own business."""

    def __init__(self, options: Redis, name: str = "muxproxy", *, max_in_flight: int) -> None:
        self.table = Table(options.allow, options.deny)
        self.settings = Settings(self.table)
        self.is_passthrough = options.auth == "passthrough"
        self.needs_auth = False  # passthrough: what a server said last to one who had not authenticated
        self.has_reset: bool | None = None  # None: no server has been asked yet
        self.upstream_name = name.encode("ascii", "replace").replace(b" ", b"-")
        self.states = States(State(*NOBODY, 0, 2, False), proven=not self.is_passthrough)
        self._last_id = FIRST_ID - 1
        self._allow, self._deny = options.allow, options.deny
        self._set_up(options, max_in_flight)

    def _set_up(self, options: Redis, max_in_flight: int) -> None:
        if (options.allow, options.deny) != (self._allow, self._deny):
            self._allow, self._deny = options.allow, options.deny
            self.table = Table(options.allow, options.deny)
            self.settings.set_table(self.table)
        settings = self.settings
        settings.max_arguments = options.max_arguments
        settings.max_argument = options.max_argument
        settings.subscriber_buffer = options.subscriber_buffer
        settings.subscribe_buffer = options.subscribe_buffer
        settings.max_run = min(MAX_RUN, max(1, max_in_flight // 4))
        self.channels_buffer = options.channels_buffer
        self.session_buffer = options.session_buffer
        self.states.set_bound(options.states_buffer)
        # Who we are towards servers, for a state that names nobody. Not with passthrough: there it is a
        # stranger's.
        self.login = NOBODY
        if not self.is_passthrough:
            self.login = (options.username.encode(), options.password.encode())
        # Of clients that connect from now on. Without one they need none; with passthrough that is the
        # server's to judge.
        self.client_password = options.client_password.encode()

    def next_client_id(self) -> int:
        self._last_id += 1
        return self._last_id


def check(user: bytes, password: bytes, right: bytes) -> bytes:
    """Of a client that authenticates with us and not with a server: b"" or the error, as Redis with
    requirepass says it. `user` b"": AUTH with a password alone. `right`: what it must say; b"": nothing."""
    if not right and not user:
        return say.NO_PASSWORD
    is_right = hmac.compare_digest(password, right) or not right
    return b"" if is_right and user in (b"", b"default") else say.WRONGPASS
