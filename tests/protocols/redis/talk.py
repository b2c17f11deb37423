"""Conversations with a session, a feed and connections, without a heart and without a server.

    ann = Talk()
    assert ann.says("MULTI") == "pin"                  # forwarded; marks in words
    assert ann.says("CLIENT ID") == b"-ERR muxproxy: ..."  # answered
    ann.hears(b"+OK\r\n")                              # the server replied to what was forwarded last

Texts of replies are redis-server 7.0.15's, copied from its wire.
"""

from __future__ import annotations

from typing import Any

from muxproxy.config.model import Redis
from muxproxy.protocols.contract import ANSWER, END_CLIENT, LISTEN, PIN, QUIET, UNPIN, Frame
from muxproxy.protocols.redis import RedisProtocol
from muxproxy.protocols.redis.connection import RedisConnection
from muxproxy.protocols.redis.framing.note import Note, Whole
from muxproxy.protocols.redis.resp.grammar import multibulk
from muxproxy.protocols.redis.session.session import RedisSession
from muxproxy.protocols.redis.states import Attempt

_WORDS = ((PIN, "pin"), (UNPIN, "unpin"), (LISTEN, "listen"), (END_CLIENT, "end"), (QUIET, "quiet"))
HELLO_REPLY = (
    b"*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:4\r\n"
    b"$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n"
)


def protocol(**options: Any) -> RedisProtocol:
    return RedisProtocol(Redis(**options), "cache")


def command(line: str | bytes) -> bytes:
    """`GET a` as clients send it; bytes as they are."""
    if isinstance(line, bytes):
        return line
    return multibulk([word.encode("latin-1") for word in line.split(" ")])


def error(text: str) -> bytes:
    return b"-" + text.encode() + b"\r\n"


def connection(redis: RedisProtocol) -> RedisConnection:
    return redis.connection(redis.replies())


def told(upstream: RedisConnection, *replies: bytes) -> list[str | None]:
    return [upstream.on_prelude_reply(Frame(reply, 3)) for reply in replies]


class Talk:
    """One client. `frame`: what came of what it said last."""

    def __init__(self, redis: RedisProtocol | None = None, **options: Any) -> None:
        self.protocol = redis or protocol(**options)
        self.framer = self.protocol.requests()
        self.session: RedisSession = self.protocol.session(self.framer)
        self.connection = connection(self.protocol)
        self.frame = Frame(b"", 0)

    def says(self, line: str | bytes) -> str | bytes:
        """The answer, or how it is forwarded."""
        self.framer.resume()
        (frame,) = self.framer.feed(command(line))
        frame = self.frame = self.session.on_request(frame)
        marks = " ".join(word for mark, word in _WORDS if frame.marks & mark)
        if frame.marks & ANSWER:
            return frame.data + (b" " + marks.encode() if marks else b"")
        mute = isinstance(frame.note, Note) and frame.note.mute
        return (marks or "shared") + (" mute" if mute else "")

    def hears(self, *replies: bytes) -> bytes:
        """What the client gets of the server's replies. The connection is in the state that was needed."""
        needs = self.session.needs
        data, _ = self.connection.prelude(needs)
        if data:
            told(self.connection, *(_good(each) for each in data.split(b"\r\n*")))
            assert self.connection.prelude(needs) == (b"", 0)
        assert (self.connection.state is None) == isinstance(needs, Attempt)
        note = self.frame.note
        if not isinstance(note, Whole):
            return b"".join(replies)
        assert len(replies) == note.replies
        got = [note.on_reply(number, reply, self.connection) for number, reply in enumerate(replies)]
        return b"".join(got)

    def db(self) -> int:
        return self.session.state.db


def _good(step: bytes) -> bytes:
    if b"HELLO" in step:
        return HELLO_REPLY
    return b"+RESET\r\n" if b"RESET" in step else b"+OK\r\n"
