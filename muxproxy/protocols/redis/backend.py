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
from muxproxy.protocols.redis.states import State, States

# CLIENT ID and HELLO count from here: were our ids small, CLIENT KILL ID and CLIENT UNBLOCK, which servers
# carry out, could hit the connection that bears the same number there. JavaScript's integers go to 2**53.
FIRST_ID = 1 << 40


class Backend(Protocol):
    """The half of a RedisProtocol that is this room's own business."""

    def __init__(self, options: Redis, name: str = "muxproxy", *, max_in_flight: int) -> None:
        self.table = Table(options.allow, options.deny)
        self.settings = Settings(
            self.table,
            max_arguments=options.max_arguments,
            max_argument=options.max_argument,
            subscriber_buffer=options.subscriber_buffer,
            subscribe_buffer=options.subscribe_buffer,
            max_run=min(MAX_RUN, max(1, max_in_flight // 4)),
        )
        self.channels_buffer = options.channels_buffer
        self.session_buffer = options.session_buffer
        self.is_passthrough = options.auth == "passthrough"
        self.needs_auth = False  # passthrough: what a server said last to one who had not authenticated
        self.has_reset: bool | None = None  # None: no server has been asked yet
        self.upstream_name = name.encode("ascii", "replace").replace(b" ", b"-")
        base = State(options.username.encode(), options.password.encode(), 0, 2, False)
        self.states = States(base, options.states_buffer, proven=not self.is_passthrough)
        self._client_password = options.client_password.encode()
        # Without a client_password clients need none; with passthrough that is the server's to judge.
        self.is_open = not self._client_password
        self._last_id = FIRST_ID - 1

    def next_client_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def check(self, user: bytes, password: bytes) -> bytes:
        """Of a client that authenticates with us and not with a server: b"" or the error, as Redis with
        requirepass says it. `user` b"": AUTH with a password alone."""
        if not self._client_password and not user:
            return say.NO_PASSWORD
        right = hmac.compare_digest(password, self._client_password) or not self._client_password
        return b"" if right and user in (b"", b"default") else say.WRONGPASS
