"""Extents: every end is found in whatever pieces, with nothing kept but counters and a piece of a line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.protocols.redis.resp.extent import INCOMPLETE, CommandExtent, Extent, ReplyExtent
from muxproxy.protocols.redis.resp.grammar import MalformedError, multibulk
from tests.protocols.redis import strategies as some


def command_extent() -> CommandExtent:
    extent = CommandExtent(1000, 10**9)
    extent.trusted = True
    return extent


def ends(extent: CommandExtent | ReplyExtent, chunks: list[bytes]) -> list[int]:
    """Where commands or replies end, counted from the first byte of all."""
    found = []
    before = 0
    for chunk in chunks:
        pos = 0
        while pos < len(chunk):
            pos = extent.advance(chunk, pos)
            if pos == INCOMPLETE:
                break
            found.append(before + pos)
        before += len(chunk)
    return found


def sums(parts: list[bytes]) -> list[int]:
    return [sum(map(len, parts[: count + 1])) for count in range(len(parts))]


@given(st.lists(some.COMMANDS, min_size=1, max_size=8), st.data())
def test_commands_end_where_they_were_joined(parts: list[bytes], data: st.DataObject) -> None:
    assert ends(command_extent(), data.draw(some.pieces(st.just(b"".join(parts))))) == sums(parts)


@given(st.lists(some.REPLY, min_size=1, max_size=8), st.data())
def test_replies_end_where_they_were_joined(parts: list[bytes], data: st.DataObject) -> None:
    assert ends(ReplyExtent(), data.draw(some.pieces(st.just(b"".join(parts))))) == sums(parts)


@pytest.mark.parametrize("make", [command_extent, ReplyExtent])
def test_a_bulk_is_skipped_without_being_looked_at(make: Callable[[], CommandExtent | ReplyExtent]) -> None:
    extent = make()
    begin = b"*2\r\n$2\r\nab\r\n$500000000\r\n"
    assert extent.advance(begin, 0) == INCOMPLETE
    chunk = b"\r\n$1\r\n*9\r\n" * 50_000
    for _ in range(500_000_000 // len(chunk)):
        assert extent.advance(chunk, 0) == INCOMPLETE
    assert extent.advance(b"\r", 0) == INCOMPLETE
    assert extent.advance(b"\n*", 0) == 1


def test_a_command_says_how_many_words_it_has_and_whether_its_name_is_there() -> None:
    data = multibulk([b"SET", b"key", b"value"])
    for size in range(1, len(data)):
        extent = command_extent()
        assert extent.advance(data[:size], 0) == INCOMPLETE
        assert extent.has_name() == (size >= len(b"*3\r\n$3\r\nSET\r\n"))
    extent = command_extent()
    assert extent.advance(data, 0) == len(data)
    assert extent.count == 3
    assert not extent.has_name()  # nothing is coming in
    assert extent.advance(b"*0\r\n", 0) == 4
    assert extent.count == 0


def test_lines_before_the_name_are_told_from_those_behind_it() -> None:
    for data, is_in in ((b"*1", True), (b"*2\r\n$3\r\nGET\r", True), (b"*2\r\n$3\r\nGET\r\n$1", False)):
        extent = command_extent()
        extent.advance(data, 0)
        assert extent.is_in_first_lines() == is_in


def test_trust_is_asked_for_when_a_length_is_read() -> None:
    extent = CommandExtent(1000, 10**9)
    extent.advance(b"*10\r\n$16384\r\n", 0)
    with pytest.raises(MalformedError, match="unauthenticated bulk length"):
        extent.advance(b"x" * 16384 + b"\r\n$16385\r\n", 0)
    with pytest.raises(MalformedError, match="unauthenticated multibulk length"):
        CommandExtent(1000, 10**9).advance(b"*11\r\n", 0)


def test_nesting_costs_a_counter() -> None:
    data = b"*1\r\n" * 100_000 + b":1\r\n"
    extent = ReplyExtent()
    assert extent.advance(data, 0) == len(data)
    assert isinstance(extent, Extent)
    assert extent._outer == []


def test_a_streamed_aggregate_ends_only_where_nothing_inside_it_is_open() -> None:
    for inner in (b"*1\r\n", b"%1\r\n:1\r\n", b"|1\r\n:1\r\n", b"*1\r\n*0\r\n*2\r\n:1\r\n"):
        with pytest.raises(MalformedError, match="begins no reply"):
            ReplyExtent().advance(b"*?\r\n" + inner + b".\r\n", 0)


def test_of_a_long_line_no_more_than_its_begin_is_kept() -> None:
    extent = ReplyExtent()
    for _ in range(100):
        assert extent.advance(b"+" + b"x" * 1000 + b"\r", 0) == INCOMPLETE
        assert len(extent._line or b"") <= 64
    assert extent.advance(b"\n", 0) == 1
