"""P10: one feed does so much work, whatever comes, and keeps the rest without copying it again and again."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import FRAMES, LINES, PUSH
from muxproxy.protocols.redis.framing.keeping import FRAME, LONG_GROUP
from muxproxy.protocols.redis.framing.replies import ReplyFramer
from muxproxy.protocols.redis.framing.requests import RequestFramer
from muxproxy.protocols.redis.resp.grammar import multibulk
from tests.protocols.redis.framing.feeding import GET, cmd, requests, settings

CHUNK = 256 * 1024  # as much as the hands read at once

FLOODS = {
    "PING": cmd("PING"),
    "inline PING": b"PING\n",
    "a command of one byte": b"x\n",
    "GET": cmd("GET a"),
    "SELECT": cmd("SELECT 1"),
    "inline SELECT": b"SELECT 1\r\n",
    "AUTH": cmd("AUTH wrong"),
    "no words": b"*0\r\n",
    "less than no words": b"*-1\r\n",
    "SUBSCRIBE": cmd("SUBSCRIBE a"),
    "quotes": b'"\\x41\\x41\\x41\\x41" ' * 100 + b"\n",
    "CLIENT SETNAME": multibulk([b"CLIENT", b"SETNAME", b"n" * 60_000]),
    "words without a byte": multibulk([b"MSET", *([b""] * 1000)]),
    "BLPOP": cmd("BLPOP a 0"),
}


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("kind", FLOODS)
def test_one_feed_brings_so_many_frames(kind: str, trusted: bool) -> None:
    flood = FLOODS[kind]
    framer = RequestFramer(settings())
    framer.trusted = trusted
    frames = framer.feed(flood * (CHUNK // len(flood)))
    seen = len(frames)
    feeds = 1
    while framer.more or framer.held > len(framer._kept):
        before = framer.more + framer.held
        framer.resume()
        frames = framer.feed(b"")
        assert len(frames) <= FRAMES + 1
        assert framer.more + framer.held < before or not framer.more + framer.held
        seen += len(frames)
        feeds += 1
    no_words = kind in ("no words", "less than no words")
    assert seen == (0 if no_words else CHUNK // len(flood)) or not trusted
    assert feeds >= seen // FRAMES


def test_lines_without_a_word_are_no_work() -> None:
    framer = RequestFramer(settings())
    assert framer.feed(b"\n" * LINES) == []
    assert framer.feed(b" \t\r\n" * LINES + cmd("PING"))[-1].note.name == "ping"
    assert (framer.more, framer.held) == (0, 0)


def test_a_command_of_many_words_takes_many_turns_and_goes_out_as_any_other() -> None:
    data = multibulk([b"MSET", *([b""] * 200_000)])
    framer = RequestFramer(settings())
    framer.trusted = True
    parts = list(framer.feed(data))
    assert framer.more > len(data) - 10 * LINES
    while framer.more:
        parts += framer.feed(b"")
    assert b"".join(part.data for part in parts) == data


def test_what_comes_while_the_rest_waits_stands_behind_it() -> None:
    framer = RequestFramer(settings())
    framer.trusted = True
    one, two = cmd("SET a 1") * 1000, cmd("GET b") * 1000
    got = [*framer.feed(b"\n" + one), *framer.feed(two)]
    while framer.more:
        got += framer.feed(b"")
    assert b"".join(frame.data for frame in got) == one + two


def test_a_transaction_is_not_cut_in_two_by_the_end_of_a_turn() -> None:
    for count, is_one in ((LONG_GROUP // 2, True), (2 * LONG_GROUP, False)):
        transaction = cmd("MULTI") + cmd("SET a 1") * count + cmd("EXEC")
        seen = requests([cmd("GET a") * (FRAMES - 2) + transaction])
        assert (seen.names[-1] == f"multi({count + 2})") is is_one


def test_pushes_that_nobody_asked_for_are_counted_and_replies_that_are_owed_are_not() -> None:
    framer = ReplyFramer(settings())
    push = b">2\r\n$4\r\nnews\r\n:1\r\n"
    for _ in range(2 * FRAMES):
        framer.expect(GET)
    frames = framer.feed(b"+OK\r\n" * FRAMES + push * 1000 + b"+OK\r\n" * FRAMES)
    assert FRAMES < len(frames) <= 2 * FRAMES
    frames = list(frames)
    while framer.more:
        more = framer.feed(b"")
        assert len(more) <= 2 * FRAMES
        frames += more
    assert [frame.marks & PUSH for frame in frames] == [0] * FRAMES + [PUSH] * 1000 + [0] * FRAMES
    assert framer.feed(b"") == []


def test_what_many_listen_to_counts_as_much() -> None:
    framer = ReplyFramer(settings())
    framer.listen()
    framer.push_cost = FRAME * 64
    message = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n"
    assert len(framer.feed(message * 100)) <= FRAMES // 64 + 1


def test_a_reply_of_many_items_takes_many_turns() -> None:
    framer = ReplyFramer(settings())
    framer.expect(GET)
    data = b"*50000\r\n" + b":1\r\n" * 50_000
    parts = list(framer.feed(data))
    turns = 1
    while framer.more:
        parts += framer.feed(b"")
        turns += 1
    assert turns > 50_000 // LINES
    assert b"".join(part.data for part in parts) == data
