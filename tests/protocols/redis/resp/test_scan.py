"""The short way of a compiled framer ends where the thorough one does, or says that it does not know."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.protocols.redis.resp.extent import INCOMPLETE, CommandExtent, ReplyExtent
from muxproxy.protocols.redis.resp.grammar import MalformedError, arguments, multibulk
from muxproxy.protocols.redis.resp.scan import MAX_ITEMS, NOT_HERE, command, line_end, reply_end
from tests.protocols.redis import strategies as some


def _array(items: list[bytes]) -> bytes:
    return b"*%d\r\n%b" % (len(items), b"".join(items))


PLAIN = st.recursive(st.one_of(some.LINES, some.BULKS), lambda of: st.lists(of, max_size=4).map(_array))


def thorough(extent: CommandExtent | ReplyExtent, data: bytes, pos: int) -> int:
    """The end, or NOT_HERE: it is not whole, or malformed."""
    try:
        end = extent.advance(data, pos)
    except MalformedError:
        return NOT_HERE
    return NOT_HERE if end <= INCOMPLETE else end


def command_extent() -> CommandExtent:
    extent = CommandExtent(1000, 10**9)
    extent.trusted = True
    return extent


@given(st.binary(max_size=9), PLAIN, st.binary(max_size=9))
def test_a_plain_reply_ends_where_it_does_whatever_stands_around_it(
    before: bytes, reply: bytes, after: bytes
) -> None:
    assert reply_end(before + reply + after, len(before)) == len(before) + len(reply)


@given(PLAIN, st.data())
def test_a_reply_that_is_not_whole_has_no_end(reply: bytes, data: st.DataObject) -> None:
    assert reply_end(reply[: data.draw(st.integers(0, len(reply) - 1))], 0) == NOT_HERE


@given(st.one_of(some.REPLIES, some.GARBAGE, st.lists(some.LINES).map(b"".join)))
def test_what_it_takes_for_a_reply_is_one(data: bytes) -> None:
    end = reply_end(data, 0)
    assert end in (NOT_HERE, thorough(ReplyExtent(), data, 0))


@pytest.mark.parametrize(
    "line", [b"$-1", b"*-1", b"*0", b"~0", b"%0", b"_", b"#t", b",1.5", b"(7", b"+", b"-"]
)
def test_nulls_and_what_has_no_items_are_one_line(line: bytes) -> None:
    assert reply_end(line + b"\r\nrest", 0) == len(line) + 2


@pytest.mark.parametrize(
    "line",
    [b"$", b"*", b"$-", b"$-2", b"$-11", b"$01", b"$00", b"$+1", b"$ 1", b"$1 ", b"$?", b"*?", b"%-1", b"~-1"]
    + [b"$%d" % 2**number for number in (30, 31, 32, 62, 63, 64, 70)]
    + [b"*%d" % 2**number for number in (30, 62, 63, 64)]
    + [b"$" + b"9" * 100, b">1", b"|1", b"=5", b"!5", b";1", b"."],
)
def test_what_is_no_plain_number_or_kind_is_left_to_the_thorough_way(line: bytes) -> None:
    assert reply_end(line + b"\r\n" + b"a" * 9 + b"\r\n", 0) == NOT_HERE


def test_a_reply_of_many_items_is_left_to_who_counts_them() -> None:
    assert reply_end(_array([b":1\r\n"] * (MAX_ITEMS - 1)), 0) > 0
    assert reply_end(_array([b":1\r\n"] * MAX_ITEMS), 0) == NOT_HERE


@pytest.mark.parametrize("size", [0, 1, 62, 63, 64, 65, 66, 5000])
def test_a_line_may_be_of_any_length_and_have_a_bare_cr_or_lf(size: int) -> None:
    line = b"a" * size + b"\r\r\na\n"
    assert line_end(b"+" + line, 1) == 1 + size + 3
    assert line_end(b"+" + b"\n" * size + b"\r", 1) == NOT_HERE


@given(st.binary(max_size=9), some.COMMANDS, st.binary(max_size=9))
def test_a_command_of_few_words_ends_where_it_does_and_its_name_is_found(
    before: bytes, data: bytes, after: bytes
) -> None:
    end, begin, stop = command(before + data + after, len(before))
    assert end == len(before) + len(data)
    assert (before + data)[begin:stop] == arguments(data, 1)[0]


@given(st.one_of(some.REQUESTS, some.GARBAGE))
def test_what_it_takes_for_a_command_is_one(data: bytes) -> None:
    end, _, _ = command(data, 0)
    assert end in (NOT_HERE, thorough(command_extent(), data, 0))


@given(some.COMMANDS, st.data())
def test_a_command_that_is_not_whole_has_no_end(whole: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert command(whole[:cut], 0) == (NOT_HERE, 0, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"*0\r\n",
        b"*01\r\n$1\r\na\r\n",
        multibulk([b"a"] * 10),
        b"*1\r\n$01\r\na\r\n",
        b"*1\r\n$-1\r\n\r\n",
        b"*1\r\n$1\r\naa\r\n",
        b"*1\r\n$1\r\na\r\r",
        b"*1\r\n:1\r\na\r\n",
        *(b"*1\r\n$%d\r\na\r\n" % 2**number for number in (30, 31, 32, 62, 63, 64, 80)),
    ],
)
def test_what_is_no_plain_command_is_left_to_the_thorough_way(data: bytes) -> None:
    assert command(data, 0) == (NOT_HERE, 0, 0)
