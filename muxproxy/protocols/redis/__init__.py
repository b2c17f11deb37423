"""Redis, RESP2 and RESP3 (ORDERED): commands of all clients over a few shared pipelines.

    common.py          what the files here share: commands, states, and the notes from a request to its reply
    keeping.py         what a request framer keeps
    grammar.py         words, numbers and lines of RESP; extent.py: where commands and replies end
    requests.py        client bytes -> request frames; replies.py: server bytes -> reply frames
    settings.py        what the framers of one backend share
    table.py           what has to be done about each command; commands.py: what servers say of them
                       (generate.py made it); info.py, values.py: how they say it

    session.py         one client: what it remembers, and what that makes of each command
    login.py           its AUTH, HELLO, SELECT, READONLY; client_command.py: its CLIENT; blocking.py: how long
                       its BLPOP may wait; listening.py: what it is subscribed to
    notes.py           replies that something must be known of
    connection.py      one upstream connection and its preludes; states.py: the states that are known to work
    pubsub.py          all clients' channels over one connection
    words.py           what a session says in Redis' own words; refusal.py: in ours

A session never holds a connection, nor a connection a session: a session's request needs a state, and a note
carries to its reply what that reply decides.
"""

from __future__ import annotations

import hmac
from typing import Any

from muxproxy.config.model import Redis
from muxproxy.protocols import contract
from muxproxy.protocols.contract import Frame, Protocol, Reason, Sharing
from muxproxy.protocols.redis import words as say
from muxproxy.protocols.redis.common import State
from muxproxy.protocols.redis.connection import RedisConnection
from muxproxy.protocols.redis.grammar import multibulk
from muxproxy.protocols.redis.pubsub import PubSub
from muxproxy.protocols.redis.refusal import refusal
from muxproxy.protocols.redis.replies import ReplyFramer
from muxproxy.protocols.redis.requests import RequestFramer
from muxproxy.protocols.redis.session import RedisSession
from muxproxy.protocols.redis.settings import MAX_RUN, Settings
from muxproxy.protocols.redis.states import States
from muxproxy.protocols.redis.table import Table

__all__ = ["RedisProtocol", "ReplyFramer", "RequestFramer"]

# CLIENT ID and HELLO count from here: were our ids small, CLIENT KILL ID and CLIENT UNBLOCK, which servers
# carry out, could hit the connection that bears the same number there. JavaScript's integers go to 2**53.
FIRST_ID = 1 << 40

_PROBE = multibulk([b"PING"])


class RedisProtocol(Protocol):
    """contract.Protocol. `name`: the backend's, by which `CLIENT LIST` shows its connections.
    `max_in_flight`: commands that may be on a connection at a time. A quarter of it goes as one at most, or
    pipelined commands would often wait until a connection is empty."""

    name = "redis"
    sharing = Sharing.ORDERED

    def __init__(self, options: Redis, name: str = "muxproxy", *, max_in_flight: int = 4 * MAX_RUN) -> None:
        self.table = Table(options.allow, options.deny)
        self.settings = Settings(
            self.table,
            max_arguments=options.max_arguments,
            max_argument=options.max_argument,
            subscriber_buffer=options.subscriber_buffer,
            subscribe_buffer=options.subscribe_buffer,
            max_run=min(MAX_RUN, max(1, max_in_flight // 4)),
        )
        self.batch = (options.batch.commands, options.batch.delay) if options.batch.commands > 1 else (0, 0.0)
        self.fence = options.fence
        self.subscriber_buffer = options.subscriber_buffer
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

    # -- the contract's --------------------------------------------------------------------------------

    def requests(self) -> RequestFramer:
        return RequestFramer(self.settings)

    def replies(self) -> ReplyFramer:
        return ReplyFramer(self.settings)

    def session(self, requests: contract.RequestFramer) -> RedisSession:
        assert isinstance(requests, RequestFramer)
        return RedisSession(self, requests)

    def connection(self, replies: contract.ReplyFramer) -> RedisConnection:
        assert isinstance(replies, ReplyFramer)
        connection = replies.connection = RedisConnection(self, replies)
        return connection

    def feed(self) -> PubSub:
        return PubSub()

    def remembered(self) -> int:
        return self.states.size

    def refusal(
        self,
        reason: Reason,
        text: str,
        *,
        note: Any = None,
        tag: int = 0,
        retry_after: int = 0,
        closing: bool = True,
        weight: int = 1,
    ) -> Frame:
        return refusal(reason, text, note, closing=closing, weight=weight)

    def probe(self) -> bytes:
        return _PROBE

    # -- what this room's files ask --------------------------------------------------------------------

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
