"""Replies that more must be known of than where they end."""

from __future__ import annotations

from muxproxy.protocols.redis.commands.command import UNKNOWN, Command
from muxproxy.protocols.redis.session.notes import Aborted, SkipFirst, Unknown
from tests.protocols.redis.talk import connection, error, protocol

GET = Command("get")


def test_the_first_reply_is_not_the_clients() -> None:
    upstream = connection(protocol())
    note = SkipFirst(GET, 3, owed=2)
    assert [note.on_reply(number, b"+x\r\n", upstream) for number in range(3)] == [b"", b"+x\r\n", b"+x\r\n"]
    muted = SkipFirst(GET, 2, owed=1, mute=True)
    assert [muted.on_reply(number, b"+x\r\n", upstream) for number in range(2)] == [b"", b""]


def test_a_discard_for_an_exec_says_what_exec_would_have_said() -> None:
    upstream = connection(protocol())
    aborted = error("EXECABORT Transaction discarded because of previous errors.")
    assert Aborted(GET).on_reply(0, b"+OK\r\n", upstream) == aborted
    assert Aborted(GET).on_reply(0, error("ERR DISCARD without MULTI"), upstream) != aborted
    assert Aborted(GET, mute=True).on_reply(0, b"+OK\r\n", upstream) == b""


def test_what_an_unknown_command_leaves_behind_is_not_anothers() -> None:
    redis = protocol()
    upstream = connection(redis)
    command = redis.table.find(b"foo")
    assert command.kind == UNKNOWN
    note = Unknown(command, redis.table, 2, mute=False)
    assert note.on_reply(0, b"*1\r\n$-1\r\n", upstream) == b""
    assert not upstream.dirty
    assert redis.table.is_asked("foo")
    assert note.on_reply(1, b"+x\r\n", upstream) == b"+x\r\n"
    assert upstream.dirty
