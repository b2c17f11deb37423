"""The laws of framing, for whatever comes.

1. However the bytes are cut, the same messages come out with the same marks, or the same are refused.
2. Nothing raises, whatever comes.
3. Bytes in = bytes out, but for inline requests, muted replies and those that are replaced (P6).
4. What a framer keeps is bounded (P7).

That the short ways say what the thorough way says follows from the first: bytes one by one all go the latter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.protocols.contract import FIRST, LAST, PUSH, Frame
from muxproxy.protocols.redis.commands.command import Command
from muxproxy.protocols.redis.framing.note import Note, Whole
from muxproxy.protocols.redis.framing.replies import MAX_WHOLE, REPLY_HOLD, ReplyFramer
from muxproxy.protocols.redis.framing.requests import REQUEST_BUFFER, RequestFramer
from muxproxy.protocols.redis.resp.grammar import MAX_LINE, arguments, commands
from tests.protocols.redis import strategies as some
from tests.protocols.redis.framing.feeding import GET, SET, Seen, bytewise, replies, requests, settings


class Bracketed(Whole):
    """Replaced by something of another length."""

    __slots__ = ()

    def on_reply(self, number: int, reply: bytes, connection: Any) -> bytes:
        return b"<" + reply + b">" if number else b""


NOTES = st.lists(
    st.sampled_from([GET, GET, GET, GET, SET, None, Note(SET, 3), Note(GET, mute=True), Bracketed(SET, 2)]),
    max_size=12,
)


def outcome(seen: Seen) -> list[Any]:
    """All that does not depend on the number of frames."""
    messages = [(m.data, m.marks) for m in seen.messages if m.whole]
    return [messages, [(p.data, p.marks, p.note) for p in seen.pushes], seen.fault, seen.answered]


def names(seen: Seen) -> list[str]:
    return [note.name if isinstance(note := m.note, Command) else repr(note) for m in seen.messages]


# -- requests ------------------------------------------------------------------------------------------------

ANY_REQUESTS = st.one_of(some.REQUESTS, st.tuples(some.REQUESTS, some.GARBAGE).map(b"".join))


@given(some.pieces(ANY_REQUESTS), st.booleans())
def test_requests_do_not_depend_on_how_they_are_cut(chunks: list[bytes], trusted: bool) -> None:
    data = b"".join(chunks)
    whole = requests([data], groups=False, trusted=trusted)
    for cut in (chunks, bytewise(data)):
        seen = requests(cut, groups=False, trusted=trusted)
        assert outcome(seen) == outcome(whole)
        assert names(seen) == names(whole)


@given(some.pieces(ANY_REQUESTS))
def test_nor_where_limits_are_near(chunks: list[bytes]) -> None:
    data = b"".join(chunks)
    whole = requests([data], groups=False, max_arguments=3, max_argument=10)
    for cut in (chunks, bytewise(data)):
        assert outcome(requests(cut, groups=False, max_arguments=3, max_argument=10)) == outcome(whole)


@given(some.pieces(ANY_REQUESTS))
def test_a_transaction_as_one_frame_says_what_its_commands_say(chunks: list[bytes]) -> None:
    apart = requests(chunks, groups=False)
    together = requests(chunks)
    assert together.fault == apart.fault
    assert [one for message in together.messages for one in commands(message.data)] == apart.data
    for message in together.messages:
        if isinstance(message.note, Note):
            parts = commands(message.data)
            assert message.note.replies == len(parts)
            assert arguments(parts[0])[0].upper() == b"MULTI"
            assert arguments(parts[-1])[0].upper() in (b"EXEC", b"DISCARD")
            assert len(message.data) <= REQUEST_BUFFER


@given(st.lists(some.COMMANDS, max_size=20).map(b"".join).flatmap(lambda data: some.pieces(st.just(data))))
def test_commands_pass_byte_for_byte(chunks: list[bytes]) -> None:
    seen = requests(chunks)
    assert seen.fault is None
    assert b"".join(seen.data) == b"".join(chunks)


@given(some.pieces(st.one_of(ANY_REQUESTS, some.GARBAGE)), st.booleans(), st.booleans())
def test_no_bytes_make_the_request_framer_raise_and_what_it_keeps_is_counted(
    chunks: list[bytes], trusted: bool, resumes: bool
) -> None:
    framer = RequestFramer(settings())
    framer.trusted = trusted
    fed = 0
    for chunk in [*chunks, b""]:
        framer.feed(chunk)
        fed += len(chunk)
        waits = len(framer._rest) - framer._at + len(framer._late)
        assert framer.held + framer.more == len(framer._kept) + waits <= fed
        if resumes:
            framer.resume()


@pytest.mark.parametrize(
    "begin", [b"", b"*", b"*1\r\n", b"*1\r\n$", b"*2\r\n$3\r\nGET\r\n$", b"*1\r\n$900000\r\n", b'"']
)
@pytest.mark.parametrize("filling", [b"1", b"x", b" ", b"\r", b"*1\r\n$1\r\na\r\n"])
def test_what_the_request_framer_keeps_of_one_request_is_bounded(begin: bytes, filling: bytes) -> None:
    framer = RequestFramer(settings())
    framer.trusted = True
    framer.feed(begin)
    for _ in range(20):
        framer.feed(filling * (10_000 // len(filling)))
        while framer.more:
            framer.feed(b"")
        assert framer.held <= REQUEST_BUFFER + MAX_LINE
        assert len(framer._extent._line or b"") <= MAX_LINE + 2


@pytest.fixture(scope="module")
def _as_compiled() -> Iterator[None]:
    """The ways that only a compiled framer takes are taken by the pure one, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("muxproxy.protocols.redis.framing.requests.COMPILED", True)
        patch.setattr("muxproxy.protocols.redis.framing.replies.COMPILED", True)
        yield


@pytest.mark.usefixtures("_as_compiled")
@given(
    st.one_of(some.pieces(ANY_REQUESTS), st.lists(some.COMMANDS)),
    st.booleans(),
    st.sampled_from([3, 100_000]),
)
def test_one_request_alone_is_what_feed_makes_of_it(chunks: list[bytes], trusted: bool, most: int) -> None:
    framer, other = (RequestFramer(settings(max_arguments=most)) for _ in range(2))
    framer.trusted = other.trusted = trusted
    for chunk in [part for part in chunks for _ in range(2)]:
        one = framer.one(chunk)
        frames = framer.feed(chunk) if one is None else [one]
        assert seen_of(frames) == seen_of(other.feed(chunk))
        assert (framer.held, framer.more, framer.midway) == (other.held, other.more, other.midway)
        framer.resume()
        other.resume()


def seen_of(frames: Sequence[Frame]) -> list[tuple[bytes, int, str]]:
    return [(f.data, f.marks, f.note.name if isinstance(f.note, Command) else str(f.note)) for f in frames]


# -- replies -------------------------------------------------------------------------------------------------

ANY_REPLIES = st.one_of(some.REPLIES, st.tuples(some.REPLIES, some.GARBAGE).map(b"".join))


@given(some.pieces(ANY_REPLIES), NOTES, st.booleans())
def test_replies_do_not_depend_on_how_they_are_cut(
    chunks: list[bytes], notes: list[Any], listens: bool
) -> None:
    data = b"".join(chunks)
    whole = replies([data], *notes, listens=listens, eof=True, subscriber_buffer=60)
    for cut in (chunks, bytewise(data)):
        seen = replies(cut, *notes, listens=listens, eof=True, subscriber_buffer=60)
        assert outcome(seen) == outcome(whole)


@given(st.lists(some.REPLY, max_size=20), st.data())
def test_replies_pass_byte_for_byte(those: list[bytes], data: st.DataObject) -> None:
    chunks = data.draw(some.pieces(st.just(b"".join(those))))
    seen = replies(chunks, *[GET] * len(those), eof=True)
    assert seen.data == those
    assert seen.fault is None


@given(st.lists(st.one_of(some.REPLY, some.PUSHES), max_size=20), st.data())
def test_pushes_come_out_beside_replies_in_order(those: list[bytes], data: st.DataObject) -> None:
    asked = [one for one in those if one[:1] != b">"]
    framer = ReplyFramer(settings())
    for _ in asked:
        framer.expect(GET)
    frames = [f for chunk in data.draw(some.pieces(st.just(b"".join(those)))) for f in framer.feed(chunk)]
    assert b"".join(frame.data for frame in frames) == b"".join(those)
    assert [frame.data for frame in frames if frame.marks & PUSH] == [one for one in those if one[:1] == b">"]


@pytest.mark.usefixtures("_as_compiled")
@given(some.pieces(ANY_REPLIES), NOTES, st.booleans())
def test_whole_replies_are_what_feed_makes_of_them(
    chunks: list[bytes], notes: list[Any], listens: bool
) -> None:
    framer, other = ReplyFramer(settings()), ReplyFramer(settings())
    for each in (framer, other):
        for note in notes:
            each.expect(note)
        if listens:
            each.listen()
    for chunk in chunks:
        whole = framer.whole(chunk)
        rest = chunk[sum(map(len, whole)) :]
        frames = [*(Frame(reply, FIRST | LAST) for reply in whole), *(framer.feed(rest) if rest else ())]
        assert seen_of(frames) == seen_of(other.feed(chunk))
        assert framer.more == other.more


@given(some.pieces(some.GARBAGE), NOTES, st.booleans())
def test_no_bytes_make_the_reply_framer_raise(chunks: list[bytes], notes: list[Any], listens: bool) -> None:
    seen = replies(chunks, *notes, listens=listens, eof=True)
    assert len([message for message in seen.messages if not message.whole]) <= 1


@pytest.mark.parametrize(
    "begin", [b"", b"+", b"$", b"*1\r\n", b"$900000000\r\n", b">1\r\n$90000000\r\n", b"$?\r\n;9"]
)
@pytest.mark.parametrize("filling", [b"1", b"x", b"\r", b":1\r\n", b"*1\r\n", b"*?\r\n"])
def test_what_the_reply_framer_keeps_of_one_reply_is_bounded(begin: bytes, filling: bytes) -> None:
    for note, bound in ((GET, REPLY_HOLD), (None, MAX_WHOLE), (Note(GET, mute=True), 0)):
        framer = ReplyFramer(settings(subscriber_buffer=100_000))
        framer.expect(note)
        framer.feed(begin)
        for _ in range(30):
            framer.feed(filling * (40_000 // len(filling)))
            while framer.more:
                framer.feed(b"")
            assert len(framer._kept) <= max(bound, 100_000)
            assert len(framer._extent._line or b"") + len(framer._extent._outer) <= 100
