"""Redis, RESP2 and RESP3 (ORDERED): commands of all clients over a few shared pipelines.

Each line is imported by those below it only:

    words.py       what Redis says, in its own words; states.py: states of connections, and which of them work
    resp/          the bytes. grammar.py: words, numbers, lines; extent.py: where commands and replies end;
                   values.py: a whole reply, to what we ask ourselves
    commands/      command.py: commands and their kinds; table.py: what has to be done about each; known.py:
                   what servers say of them (info.py: how; made by generate.py); blocking.py: for how long
    framing/       requests.py: client bytes -> request frames (keeping.py: what it keeps); replies.py: server
                   bytes -> reply frames; note.py: from a request to its reply; settings.py: what all share
    backend.py     what all sessions and connections of one backend share
    connection.py  one upstream connection and its preludes
    pubsub/        feed.py: all clients' channels over one connection; listening.py: one client's side of it
    session/       one client. session.py: what becomes of each command; memory.py: what is remembered;
                   login.py: AUTH, HELLO, SELECT, READONLY; client_command.py: CLIENT; notes.py: replies of
                   which more must be known than where they end
    refusal.py     "no", in Redis' form

A session never holds a connection, nor a connection a session: a session's request needs a state, and a note
carries to its reply what that reply decides.
"""

from __future__ import annotations

from typing import Any, Final

from muxproxy.config.model import Backend as Configured
from muxproxy.config.model import Redis
from muxproxy.protocols import contract
from muxproxy.protocols.contract import Frame, Reason, Sharing
from muxproxy.protocols.redis.backend import Backend
from muxproxy.protocols.redis.connection import RedisConnection
from muxproxy.protocols.redis.framing.replies import ReplyFramer
from muxproxy.protocols.redis.framing.requests import RequestFramer
from muxproxy.protocols.redis.framing.settings import MAX_RUN
from muxproxy.protocols.redis.pubsub.feed import PubSub
from muxproxy.protocols.redis.refusal import refusal
from muxproxy.protocols.redis.resp.grammar import multibulk
from muxproxy.protocols.redis.session.session import RedisSession

__all__ = ["RedisProtocol", "ReplyFramer", "RequestFramer"]

OLD_LOGIN: Final = "logged in as before"  # why a connection may take nothing new
_PROBE = multibulk([b"PING"])


class RedisProtocol(Backend):
    """`name`: the backend's, by which `CLIENT LIST` shows its connections.
    `max_in_flight`: commands that may be on a connection at a time. A quarter of it goes as one at most, or
    pipelined commands would often wait until a connection is empty."""

    name = "redis"
    sharing = Sharing.ORDERED

    def __init__(self, options: Redis, name: str = "muxproxy", *, max_in_flight: int = 4 * MAX_RUN) -> None:
        super().__init__(options, name, max_in_flight=max_in_flight)
        self._set_heart(options)

    def configure(self, backend: Configured) -> str:
        login = self.login
        self._set_up(backend.redis, backend.upstream.max_in_flight)
        self._set_heart(backend.redis)
        return "" if self.login == login else OLD_LOGIN

    def _set_heart(self, options: Redis) -> None:
        """What the heart asks for."""
        self.batch = (options.batch.commands, options.batch.delay) if options.batch.commands > 1 else (0, 0.0)
        self.fence = options.fence
        self.subscriber_buffer = options.subscriber_buffer

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
