"""Pipelined commands that go as one frame: what is one, where its replies end, and what is told when it is
lost midway (P3, P9)."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.config.model import Batch, Redis
from muxproxy.protocols.contract import ANYWHERE, FIRST, IDEMPOTENT, INTERIM, LAST, Frame
from muxproxy.protocols.redis import RedisProtocol
from muxproxy.protocols.redis.commands.command import Command
from muxproxy.protocols.redis.framing.note import Run
from muxproxy.protocols.redis.framing.requests import RequestFramer
from muxproxy.protocols.redis.framing.settings import MAX_RUN
from muxproxy.protocols.redis.resp.grammar import multibulk
from tests.fakes import Peer, Stage
from tests.sizes import size

GET, SET = multibulk([b"GET", b"k"]), multibulk([b"SET", b"k", b"v"])
REPLIES = [
    b"+OK\r\n",
    b"$3\r\nabc\r\n",
    b"$-1\r\n",
    b":7\r\n",
    b"*2\r\n$1\r\na\r\n$1\r\nb\r\n",
    b"-ERR no\r\n",
    b"$400\r\n" + b"x" * 400 + b"\r\n",
    b"%1\r\n+a\r\n*0\r\n",
    b"_\r\n",
]


def framer() -> RequestFramer:
    made = RedisProtocol(Redis()).requests()
    made.trusted = made.runs = True
    made.feed(GET + SET)  # commands that were not seen before come one by one
    return made


def test_what_comes_together_goes_together_and_may_be_repeated_only_if_all_of_it_may() -> None:
    (reads,) = framer().feed(GET * 5)
    assert (reads.data, reads.weight, reads.note.replies) == (GET * 5, 5, 5)
    assert reads.marks == FIRST | LAST | IDEMPOTENT
    (mixed,) = framer().feed(GET * 2 + SET + GET)
    assert (mixed.data, mixed.weight, mixed.marks) == (GET * 2 + SET + GET, 4, FIRST | LAST)
    assert mixed.note.command.name == "set"


def test_what_is_not_like_others_stands_by_itself() -> None:
    blpop, multi = multibulk([b"BLPOP", b"q", b"1"]), multibulk([b"MULTI"])
    frames = framer().feed(GET * 3 + blpop + SET + GET + multi + GET)
    assert [frame.data for frame in frames] == [GET * 3, blpop, SET, GET, multi, GET]
    assert [frame.weight for frame in frames] == [3, 1, 1, 1, 1, 1]


def test_a_long_pipeline_is_several_and_a_command_that_is_not_whole_waits() -> None:
    made = framer()
    frames = made.feed(GET * (2 * MAX_RUN + 3) + SET[:-1])
    assert [frame.weight for frame in frames] == [MAX_RUN, MAX_RUN, 3]
    assert made.feed(SET[-1:])[0].data == SET


def test_a_run_is_never_longer_than_a_quarter_of_what_may_be_in_flight_on_a_connection() -> None:
    for most, weights in ((1, [1, 1, 1, 1, 1]), (9, [2, 2, 1]), (1000, [5])):
        protocol = RedisProtocol(Redis(), max_in_flight=most)
        requests = protocol.requests()
        session = protocol.session(requests)
        assert session.is_trusted
        requests.feed(GET)
        assert [frame.weight for frame in requests.feed(GET * 5)] == weights


def test_a_session_that_must_see_every_command_does() -> None:
    protocol = RedisProtocol(Redis())
    requests = protocol.requests()
    session = protocol.session(requests)
    requests.feed(GET)
    assert len(requests.feed(GET * 3)) == 1
    (multi,) = requests.feed(multibulk([b"MULTI"]))
    session.on_request(multi)
    assert len(requests.feed(GET * 3)) == 3


# To one command, or to a run of three or more.
REPLY = st.sampled_from(REPLIES)
ANSWERS = st.one_of(st.lists(REPLY, min_size=1, max_size=1), st.lists(REPLY, min_size=3, max_size=8))
PIECES = st.lists(st.one_of(st.integers(1, 20), st.integers(1, 1000)), min_size=1, max_size=8)


@settings(max_examples=size(200, 20_000))
@given(st.lists(ANSWERS, min_size=1, max_size=4), PIECES)
def test_however_they_are_cut_the_replies_to_runs_are_whole_and_counted(
    answers: list[list[bytes]], pieces: list[int]
) -> None:
    replies = RedisProtocol(Redis()).replies()
    command = Command("get")
    for those in answers:
        replies.expect(Run(command, len(those)) if len(those) > 1 else command)
    wanted = [b"".join(those) for those in answers]
    stream = b"".join(wanted)
    got: list[list[Frame]] = [[]]
    for cut in itertools.cycle(pieces):
        if not stream:
            break
        for frame in replies.feed(stream[:cut]):
            got[-1].append(frame)
            if frame.marks & LAST:
                got.append([])
        stream = stream[cut:]
    assert got.pop() == []
    assert [b"".join(frame.data for frame in frames) for frames in got] == wanted
    for frames, those in zip(got, answers, strict=True):
        assert [bool(frame.marks & FIRST) for frame in frames] == [True] + [False] * (len(frames) - 1)
        assert all(frame.marks & INTERIM for frame in frames[:-1])
        assert sum(frame.weight for frame in frames[:-1]) < len(those)


def test_a_chunk_that_ends_within_a_line_end_holds_no_line() -> None:
    """As a line, `$3` of `$3\\r` had -1 for its end, and its value was sought at the chunk's beginning."""
    replies = RedisProtocol(Redis()).replies()
    replies.expect(Run(Command("get"), 3))
    first = replies.feed(b"_\r\n_\r\n$3\r")
    rest = replies.feed(b"\nabc\r\n")
    assert [(frame.data, frame.weight) for frame in first] == [(b"_\r\n_\r\n", 2)]
    assert [frame.data for frame in rest] == [b"$3\r\nabc\r\n"]


def connected(redis: Redis, **keys: object) -> tuple[Stage, Peer]:
    stage = Stage(RedisProtocol(redis), max_connections=1, min_connections=1, **keys)
    server = stage.connects()
    server.sends(b"+OK\r\n")
    server.got()
    first = stage.asks(GET + SET)
    server.sends(b"$-1\r\n")
    server.sends(b"+OK\r\n")  # with a batch it is written now
    first.closes()
    server.got()
    return stage, server


def test_a_batch_is_full_when_so_many_commands_have_come_however_they_are_framed() -> None:
    stage, server = connected(Redis(batch=Batch(commands=4, delay=0.005)))
    stage.asks(GET)
    assert server.got() == GET
    stage.asks(GET * 2)
    stage.asks(SET)
    assert server.got() == b""
    stage.asks(SET * 2)
    assert server.got() == GET * 2 + SET * 3
    stage.asks(GET * 4)
    assert server.got() == GET * 4


def test_a_run_waits_until_there_is_room_for_all_of_it_and_nobody_goes_before_it() -> None:
    stage, server = connected(Redis(), max_in_flight=16)
    for _ in range(3):
        stage.asks(GET * 4)
    ann = stage.asks(SET)
    assert server.got() == GET * 12 + SET
    bob = stage.asks(GET * 4)
    cid = stage.asks(SET)
    assert server.got() == b"", "13 are in flight and 4 have no room"
    server.sends(b"$1\r\nv\r\n")
    assert server.got() == GET * 4, "the first reply of a run makes room for a command"
    server.sends(b"$1\r\nv\r\n" * 11 + b"+OK\r\n")
    assert server.got() == SET
    assert ann.got() == b"+OK\r\n"
    server.sends(b"$1\r\nv\r\n" * 4 + b"+OK\r\n")
    assert (bob.got(), cid.got()) == (b"$1\r\nv\r\n" * 4, b"+OK\r\n")


def test_who_loses_the_connection_in_the_middle_of_a_run_gets_an_error_for_each_command_not_answered() -> (
    None
):
    stage, server = connected(Redis())
    ann = stage.asks(SET * 5)
    assert server.got() == SET * 5
    server.sends(b"+OK\r\n+OK\r\n+O")
    assert ann.got() == b"+OK\r\n+OK\r\n"
    assert stage.statistics()["in_flight"] == 3
    server.breaks_off()
    lines = ann.got().splitlines()
    assert len(lines) == 3
    assert all(line.endswith(b"the command may have run") for line in lines)
    assert ann.is_open
    assert stage.outcomes() == {"ok": 4, "server_closed": 3}
    assert stage.statistics()["in_flight"] == 0


@pytest.mark.parametrize("late", [b"+OK\r\n" * 3, b"+OK\r\n+OK\r\n:1\r\n"])
def test_a_run_whose_replies_are_late_is_told_and_they_reach_nobody(late: bytes) -> None:
    stage, server = connected(Redis(), reply_timeout=2.0)
    ann = stage.asks(SET * 3)
    stage.passes(2.1)
    assert ann.got().count(b"-ERR muxproxy: ") == 3
    bob = stage.asks(GET)
    server.sends(late[:7])
    server.sends(late[7:] + b"$1\r\nv\r\n")
    assert (ann.got(), bob.got()) == (b"", b"$1\r\nv\r\n")
    assert stage.outcomes() == {"reply_timeout": 3, "ok": 3}
    assert stage.statistics()["in_flight"] == 0


def test_a_run_stays_together_and_in_its_clients_state() -> None:
    """Though each of it would mean the same in any: a mark of one is not a mark of all."""
    made = framer()
    echo = multibulk([b"ECHO", b"x"])
    made.feed(echo)
    for data in (echo * 3, echo + GET * 2, GET * 2 + echo):
        (frame,) = made.feed(data)
        assert (frame.weight, frame.marks & ANYWHERE) == (data.count(b"*"), 0)


def test_a_chunk_full_of_the_smallest_commands_is_split_once_and_not_for_each_run() -> None:
    made = framer()
    time = multibulk([b"TIME"])
    made.feed(time)
    frames = [*made.feed(time * 40_000 + SET[:-1])]
    while made.more:  # P10
        frames += made.feed(b"")
    assert sum(frame.weight for frame in frames) == 40_000
    assert b"".join(frame.data for frame in frames) == time * 40_000
    assert made.feed(SET[-1:])[0].data == SET


def test_runs_and_single_commands_may_take_turns_as_often_as_max_in_flight_lets_them() -> None:
    replies = RedisProtocol(Redis()).replies()
    command = Command("get")
    for _ in range(2000):
        replies.expect(command)
        replies.expect(Run(command, 2))
    frames = replies.feed(b"$1\r\na\r\n+OK\r\n:1\r\n" * 2000)
    assert [frame.data for frame in frames] == [b"$1\r\na\r\n", b"+OK\r\n:1\r\n"] * 2000
    assert all(frame.marks == FIRST | LAST for frame in frames)
