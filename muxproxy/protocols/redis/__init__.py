"""Redis, RESP2 and RESP3 (ORDERED): commands of all clients over a few shared pipelines.

    common.py          commands and their kinds; states.py: a connection's states; note.py: what goes from a
                       request to its reply
    keeping.py         what a request framer keeps
    grammar.py         words, numbers and lines of RESP; extent.py: where commands and replies end
    requests.py        client bytes -> request frames; replies.py: server bytes -> reply frames
    settings.py        what the framers of one backend share; backend.py: what all the others do
    table.py           what has to be done about each command; commands.py: what servers say of them
                       (generate.py made it); info.py, values.py: how they say it

    session.py         one client: what becomes of each of its commands; memory.py: what it remembers
    login.py           its AUTH, HELLO, SELECT, READONLY; client_command.py: its CLIENT; blocking.py: how long
                       its BLPOP may wait; listening.py: what it is subscribed to
    notes.py           replies that something must be known of
    connection.py      one upstream connection and its preludes
    pubsub.py          all clients' channels over one connection
    words.py           what a session says in Redis' own words; refusal.py: in ours

A session never holds a connection, nor a connection a session: a session's request needs a state, and a note
carries to its reply what that reply decides.
"""

from __future__ import annotations

from typing import Any

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

_PROBE = multibulk([b"PING"])


class RedisProtocol(Backend):
    """contract.Protocol. `name`: the backend's, by which `CLIENT LIST` shows its connections.
    `max_in_flight`: commands that may be on a connection at a time. A quarter of it goes as one at most, or
    pipelined commands would often wait until a connection is empty."""

    name = "redis"
    sharing = Sharing.ORDERED

    def __init__(self, options: Redis, name: str = "muxproxy", *, max_in_flight: int = 4 * MAX_RUN) -> None:
        super().__init__(options, name, max_in_flight=max_in_flight)
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
