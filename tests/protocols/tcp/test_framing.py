"""Framing of raw TCP: bytes in = bytes out, however they are cut (P6), and nothing is kept (P7)."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from muxproxy.protocols.contract import EAGER, END_CLIENT, END_UPSTREAM, FIRST, LAST, Frame
from muxproxy.protocols.tcp.framing import ReplyFramer, RequestFramer
from tests.protocols.http.strategies import pieces

CHUNKS = pieces(st.binary(max_size=300))


def seen(frames: Sequence[Frame]) -> list[tuple[bytes, int]]:
    return [(frame.data, frame.marks) for frame in frames]


def test_a_session_opens_when_its_client_has_connected_and_before_its_first_byte() -> None:
    framer = RequestFramer()
    assert seen(framer.feed(b"")) == [(b"", FIRST | EAGER)]
    assert seen(framer.feed(b"")) == []
    assert seen(framer.feed(b"hello")) == [(b"hello", 0)]


def test_a_session_that_opens_with_bytes_loses_none() -> None:
    assert seen(RequestFramer().feed(b"hello")) == [(b"", FIRST | EAGER), (b"hello", 0)]


def test_the_end_of_the_server_is_the_end_of_the_session() -> None:
    (end,) = ReplyFramer().eof()
    assert (end.data, end.marks) == (b"", LAST | END_UPSTREAM | END_CLIENT)


@given(CHUNKS)
def test_what_a_client_says_passes_as_it_came_and_none_of_it_is_kept(chunks: list[bytes]) -> None:
    framer = RequestFramer()
    frames = list(framer.feed(b""))
    for chunk in chunks:
        frames += framer.feed(chunk)
        assert b"".join(frame.data for frame in frames[1:]).endswith(chunk)
        assert (framer.held, framer.midway) == (0, False)
    assert b"".join(frame.data for frame in frames) == b"".join(chunks)
    assert [frame.marks for frame in frames] == [FIRST | EAGER] + [0] * (len(frames) - 1)


@given(CHUNKS)
def test_what_a_server_says_passes_as_it_came(chunks: list[bytes]) -> None:
    framer = ReplyFramer()
    framer.expect(None)
    frames = [frame for chunk in chunks for frame in framer.feed(chunk)]
    assert b"".join(frame.data for frame in frames) == b"".join(chunks)
    assert {frame.marks for frame in frames} <= {0}


@given(CHUNKS)
def test_the_bytes_that_pass_are_the_ones_that_came_and_not_copies(chunks: list[bytes]) -> None:
    framer = ReplyFramer()
    for chunk in filter(None, chunks):
        (frame,) = framer.feed(chunk)
        assert frame.data is chunk
