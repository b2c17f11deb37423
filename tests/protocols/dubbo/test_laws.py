"""The laws of framing, for whatever comes.

1. However the bytes are cut, the same messages, events and faults come out.
2. Nothing raises, whatever comes.
3. Bytes in = bytes out, but for the id (P6).
4. What a framer keeps is bounded (P7).
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from muxproxy.config.model import Limit
from muxproxy.protocols.contract import FIRST, LAST, Frame
from muxproxy.protocols.contract import FRAMES as MOST
from muxproxy.protocols.dubbo import VIEWED, DubboProtocol
from muxproxy.protocols.dubbo.common import HEADER_SIZE, MAX_EVENT, MAX_NAMES, beginning, last, seven
from tests.protocols.dubbo.feeding import (
    BEAT,
    NULL,
    REPLY,
    Seen,
    bytewise,
    feed,
    frame,
    invocation,
    protocol,
)

LIMITS = (Limit("s", 1, "m"), Limit("s", 2))
BODIES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"N", b"\x01R", b"null\n", b'"R"\n', b"\x00\x00\x00\x01\xaf"]),
    st.builds(invocation, st.sampled_from(["s", "other"]), st.sampled_from(["m", "n"])),
)
TAGS = st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1))
FRAMES = st.builds(frame, st.integers(0, 255), TAGS, BODIES, st.integers(0, 255))
CALLS = st.builds(frame, st.sampled_from([0xC2, 0x82, 0xC6, 0xDF]), TAGS, BODIES, st.just(0))
REPLIES = st.builds(frame, st.sampled_from([0x02, 0x42, 0x06, 0x1F]), TAGS, BODIES, st.integers(0, 255))
GARBAGE = st.one_of(
    st.binary(max_size=30),
    st.tuples(st.just(b"\xda\xbb"), st.binary(max_size=30)).map(b"".join),
)


@st.composite
def pieces(draw: st.DrawFn, parts: st.SearchStrategy[bytes]) -> list[bytes]:
    """A few parts, cut anywhere."""
    data = b"".join(draw(st.lists(parts, max_size=6)))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if b > a]


ANYTHING = st.one_of(FRAMES, FRAMES, GARBAGE)


@given(pieces(ANYTHING), st.booleans())
def test_requests_do_not_depend_on_how_they_are_cut(chunks: list[bytes], limited: bool) -> None:
    def run(cut: list[bytes]) -> object:
        dubbo = protocol(*LIMITS if limited else ())
        seen = feed(dubbo.requests(), cut)
        return seen.messages, seen.asides, bool(seen.fault), dubbo.counters

    data = b"".join(chunks)
    assert run([data]) == run(chunks) == run(bytewise(data))


@given(pieces(ANYTHING))
def test_replies_do_not_depend_on_how_they_are_cut(chunks: list[bytes]) -> None:
    def run(cut: list[bytes]) -> object:
        dubbo = protocol()
        framer = dubbo.replies()
        seen = feed(framer, cut)
        return seen.messages, seen.asides, bool(seen.fault), dubbo.counters, bool(framer.eof())

    data = b"".join(chunks)
    assert run([data]) == run(chunks) == run(bytewise(data))


@given(pieces(ANYTHING | REPLIES))
def test_replies_of_which_no_frames_are_made_are_the_same(chunks: list[bytes]) -> None:
    plain, quick = protocol(), protocol()
    slow, framer = plain.replies(), quick.replies()
    one, two = Seen(), Seen()
    for data in chunks:
        one.add(slow.feed(data))
        at = spent = 0
        while end := framer.extent(data, at):
            two.add([Frame(data[at:end], FIRST | LAST, None, framer.whose)])
            at, spent = end, spent + 1
        if at < len(data) or not data:
            two.add(framer.rest(data, at, spent) if spent else framer.feed(data))
        assert (framer.midway, framer.more) == (slow.midway, slow.more)
    assert one == two
    assert plain.counters == quick.counters


def test_both_kinds_share_the_turns_budget() -> None:
    """P10."""
    reply, beat = frame(REPLY, 1), frame(BEAT, 1, NULL)
    framer = protocol().replies()
    data = reply * 100 + beat * 100
    at = 0
    while end := framer.extent(data, at):
        at = end
    assert at == len(reply) * 100
    assert len(framer.rest(data, at, 100)) == MOST - 100
    assert framer.more == len(beat) * (200 - MOST)
    assert framer.extent(reply, 0) == 0, "what is before it comes first"
    assert len(framer.feed(b"")) == 200 - MOST


@given(pieces(CALLS), st.booleans(), st.integers(0, 2**64 - 1))
def test_calls_pass_byte_for_byte_but_for_the_id(chunks: list[bytes], limited: bool, tag: int) -> None:
    dubbo = protocol(*LIMITS if limited else ())
    seen = feed(dubbo.requests(), chunks)
    assert b"".join(message.data for message in seen.messages) == b"".join(chunks)
    for message in seen.messages:
        retagged = dubbo.retag(message.data, tag)
        assert (retagged[:4], retagged[12:]) == (message.data[:4], message.data[12:])
        assert int.from_bytes(retagged[4:12], "big") == tag
        assert_pieces(dubbo, message.data, tag)


def assert_pieces(dubbo: DubboProtocol, data: bytes, tag: int) -> None:
    """What is to be joined with others is the same, behind what is there."""
    parts: list[bytes | memoryview] = [b"before"]
    dubbo.retag_into(parts, data, tag)
    assert b"".join(parts) == b"before" + dubbo.retag(data, tag)


@given(
    st.binary(min_size=16, max_size=20)
    | st.sampled_from((b"\xda\xbb\xc2\0", b"\xda\xbb\x02\x14")).map(lambda begun: begun + bytes(12)),
    st.sampled_from((0, 1, VIEWED - 17, VIEWED - 16, VIEWED)),
    st.integers(0, 2**64 - 1),
)
def test_all_that_is_changed_of_a_message_is_its_id(begun: bytes, more: int, tag: int) -> None:
    """Of a short one and a long one, whatever its magic, flags and status are."""
    data = begun + bytes(more)
    dubbo = protocol()
    assert dubbo.retag(data, tag) == data[:4] + tag.to_bytes(8, "big") + data[12:]
    assert beginning(data, 0) == data[:4]
    assert_pieces(dubbo, data, tag)
    around, at = data[:5] + data + data[:7], 5
    assert beginning(around, at) == data[:4]
    assert dubbo.retag_span(around, at, at + len(data), tag) == dubbo.retag(data, tag)
    parts: list[bytes | memoryview] = []
    dubbo.retag_span_into(parts, around, at, at + len(data), tag)
    assert b"".join(parts) == dubbo.retag(data, tag)
    for part in parts:  # of a chunk no more is kept than the reply, for a client that is slow to take it (P7)
        assert isinstance(part, bytes) or part.obj == data


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 3).map(lambda n: n << 16 | 7), max_size=20))
def test_ids_are_written_the_same_whichever_were_written_before(tags: list[int]) -> None:
    for tag in tags:
        assert seven(tag) + last(tag) == tag.to_bytes(8, "big")


@given(pieces(REPLIES))
def test_replies_pass_byte_for_byte(chunks: list[bytes]) -> None:
    seen = feed(protocol().replies(), chunks)
    assert b"".join(message.data for message in seen.messages) == b"".join(chunks)


@given(pieces(ANYTHING))
def test_what_a_framer_keeps_is_bounded(chunks: list[bytes]) -> None:
    framer = protocol(*LIMITS).requests()
    for chunk in chunks:
        framer.feed(chunk)
        assert len(framer._part) <= HEADER_SIZE + max(MAX_EVENT, MAX_NAMES)
        assert framer.midway == (framer._part != b"")
