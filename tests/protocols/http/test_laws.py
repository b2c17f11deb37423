"""The laws of framing, for whatever comes.

1. However the bytes are cut, the same messages come out with the same marks, or the same are refused.
2. Nothing raises, whatever comes.
3. The short cuts say what the thorough way says.
4. Bytes in = bytes out, but for what must change (P6).
5. What a framer keeps is bounded (P7).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from muxproxy.config.model import Http
from muxproxy.protocols.contract import END_CLIENT, FIRST, IDEMPOTENT, INTERIM, LAST, SWITCH, UNTOLD
from muxproxy.protocols.http.common import HEAD, KEEP, OLD, UPGRADE, MalformedError, Settings
from muxproxy.protocols.http.grammar import MAX_CHUNK_LINE
from muxproxy.protocols.http.replies import parse_reply
from muxproxy.protocols.http.requests import parse_request
from tests.protocols.http import strategies as some
from tests.protocols.http.feeding import HOST, Seen, bytewise, protocol, replies, requests

Parsed = TypeVar("Parsed")
SMALL = {"max_head": 300, "max_target": 100}


def same(whole: Seen, cut: Seen) -> None:
    """The same verdict. Where a head is right and its body not, cut bytes may have let the head go on."""
    finished = [m for m in whole.messages if m.whole]
    assert [m for m in cut.messages if m.whole] == finished
    assert bool(whole.fault) == bool(cut.fault)
    assert whole.interim == cut.interim
    if not whole.fault and len(whole.messages) > len(finished):
        open_whole, open_cut = whole.messages[-1], cut.messages[-1]
        assert (open_whole.data, open_whole.marks) == (open_cut.data, open_cut.marks)


@given(some.pieces(some.REQUESTS))
def test_requests_do_not_depend_on_how_they_are_cut(chunks: list[bytes]) -> None:
    data = b"".join(chunks)
    whole = requests([data])
    same(whole, requests(chunks))
    same(whole, requests(bytewise(data)))


@given(some.pieces(some.REQUESTS))
def test_nor_where_limits_are_near(chunks: list[bytes]) -> None:
    same(requests([b"".join(chunks)], protocol(**SMALL)), requests(chunks, protocol(**SMALL)))


def without_framing(seen: Seen) -> Seen:
    """A body that ends with its connection is put into chunks as it comes: compare what is in them."""
    for message in seen.messages:
        head, _, body = message.data.partition(b"\r\n\r\n")
        if message.why == "read until close" and b"\r\nTransfer-Encoding: chunked\r\n" in head + b"\r\n":
            inner = b""
            while body:
                size, _, body = body.partition(b"\r\n")
                inner += body[: int(size, 16)]
                body = body[int(size, 16) + 2 :]
            message.data = head + inner
    return seen


@given(some.pieces(some.REPLIES), some.NOTES)
def test_replies_do_not_depend_on_how_they_are_cut(chunks: list[bytes], note: int) -> None:
    data = b"".join(chunks)
    whole = without_framing(replies([data], note, eof=True))
    for cut in (chunks, bytewise(data)):
        same(whole, without_framing(replies([chunk for chunk in cut if chunk], note, eof=True)))


@given(some.pieces(st.one_of(some.GARBAGE, st.tuples(some.REQUEST_HEADS, some.GARBAGE).map(b"".join))))
def test_no_bytes_make_the_request_framer_raise(chunks: list[bytes]) -> None:
    requests(chunks, protocol(**SMALL))


@given(
    some.pieces(st.one_of(some.GARBAGE, st.tuples(some.REPLY_HEADS, some.GARBAGE).map(b"".join))), some.NOTES
)
def test_no_bytes_make_the_reply_framer_raise(chunks: list[bytes], note: int) -> None:
    replies(chunks, note, eof=True, http=protocol(**SMALL))


def verdict(parse: Callable[[], Parsed]) -> Parsed | MalformedError:
    try:
        return parse()
    except MalformedError as fault:
        return fault


@given(some.REQUEST_HEADS)
def test_the_short_cut_of_requests_agrees_with_the_thorough_way(head: bytes) -> None:
    framer = protocol().requests()
    frames = framer.feed(head)
    if not head.endswith(b"\r\n\r\n") or head.count(b"\r\n\r\n") > 1:
        return  # no head, or more than one
    truth = verdict(lambda: parse_request(head, Settings(Http(), HOST.encode())))
    if isinstance(truth, MalformedError):
        assert frames[0].data.startswith(b"HTTP/1.1 %d " % truth.status)
        return
    (frame,) = frames
    last = LAST if truth.length == 0 else 0
    assert (frame.data, frame.marks, frame.note) == (truth.head, truth.marks | last, truth.note)


@given(some.REPLY_HEADS, some.NOTES)
def test_the_short_cut_of_replies_agrees_with_the_thorough_way(head: bytes, note: int) -> None:
    framer = protocol().replies()
    framer.expect(note)
    frames = framer.feed(head)
    if not head.endswith(b"\r\n\r\n") or head.count(b"\r\n\r\n") > 1:
        return
    truth = verdict(lambda: parse_reply(head, note))
    if isinstance(truth, MalformedError):
        assert str(truth) in str(frames[0].note)
        return
    (frame,) = frames
    assert framer.idle_hint == truth.hint
    assert frame.data == truth.head
    if truth.length == 0 and not truth.marks & (INTERIM | SWITCH):
        assert (frame.marks, frame.note) == (truth.marks | LAST | truth.end, truth.why)
    else:
        untold = UNTOLD if note & OLD and truth.length < 0 else 0  # of a body without a length
        assert (frame.marks, frame.note) == (truth.marks | untold, None)


TOKENS = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=8).map(str.encode)
PLAIN = st.tuples(
    st.just(b"X-"),
    TOKENS,
    st.just(b":"),
    st.text("ab ,;\t\xff", max_size=8).map(lambda v: v.encode("latin-1")),
    st.just(b"\r\n"),
).map(b"".join)


@given(
    st.sampled_from([b"GET", b"PUT", b"POST"]),
    TOKENS,
    st.lists(PLAIN),
    st.lists(PLAIN),
    st.binary(max_size=50),
)
def test_a_request_of_end_to_end_fields_passes_byte_for_byte(
    method: bytes, path: bytes, before: list[bytes], behind: list[bytes], body: bytes
) -> None:
    path = path.replace(b"#", b"")
    head = b"%b /%b HTTP/1.1\r\n%bHost: a\r\nContent-Length: %d\r\n%b\r\n" % (
        *(method, path, b"".join(before), len(body)),
        b"".join(behind),
    )
    data = head + body
    for chunks in ([data], bytewise(data)):
        (message,) = requests(chunks).messages
        assert message.data == data
        assert message.marks == FIRST | LAST | (0 if method == b"POST" else IDEMPOTENT)


@given(st.lists(PLAIN), st.lists(PLAIN), st.binary(max_size=50))
def test_a_reply_of_end_to_end_fields_passes_byte_for_byte(
    before: list[bytes], behind: list[bytes], body: bytes
) -> None:
    head = b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n%b\r\n" % (
        b"".join(before),
        len(body),
        b"".join(behind),
    )
    data = head + body
    for chunks in ([data], bytewise(data)):
        (message,) = replies(chunks, KEEP).messages
        assert (message.data, message.marks) == (data, FIRST | LAST)


@given(some.pieces(st.one_of(some.REQUESTS, some.GARBAGE)))
def test_what_the_request_framer_keeps_of_one_request_is_bounded(chunks: list[bytes]) -> None:
    framer = protocol(**SMALL).requests()
    for chunk in chunks:
        frames = framer.feed(chunk)
        while frames and frames[-1].marks & LAST:
            framer.resume()
            frames = framer.feed(b"")
        assert framer.held <= SMALL["max_head"]
        kept = framer._chunks.kept if framer._chunks is not None else b""
        assert len(kept) <= max(MAX_CHUNK_LINE, SMALL["max_head"])


@given(some.NOTES, st.booleans())
def test_a_reply_says_close_exactly_when_the_clients_connection_ends(note: int, draining: bool) -> None:
    note &= ~(HEAD | UPGRADE)
    http = protocol()
    if draining:
        http.drain()
    (message,) = replies([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], note, http=http).messages
    ends = draining or not note & KEEP
    assert (b"Connection: close" in message.data) == ends == bool(message.marks & END_CLIENT)
    assert (b"Connection: keep-alive" in message.data) == (not ends and bool(note & OLD))
