"""A forward proxy's replies: as those of the folder above, with Via, and without what is said to a proxy."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from muxproxy.protocols.contract import FIRST, SWITCH
from muxproxy.protocols.http.common import HEAD, KEEP, OLD, OPENS, UPGRADE
from muxproxy.protocols.http.forward.replies import ESTABLISHED
from tests.protocols.http import strategies
from tests.protocols.http.feeding import bytewise, replies
from tests.protocols.http.forward.talk import VIA, proxy
from tests.protocols.test_memos import CUTS, pieces

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@pytest.mark.parametrize("cut", [lambda data: [data], bytewise])
@pytest.mark.parametrize(
    ("reply", "goes_on", "note"),
    [
        (OK, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n%b\r\nhi", KEEP),
        (OK, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n%b\r\nhi", 0),
        (OK[:-2], b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n%b\r\n", KEEP | HEAD),
        (
            b"HTTP/1.1 407 X\r\nProxy-Authenticate: Basic\r\nVia: 1.1 x\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 407 X\r\nVia: 1.1 x\r\nContent-Length: 0\r\n%b\r\n",
            KEEP,
        ),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\n%b\r\n", KEEP),
    ],
)
def test_a_reply_says_that_we_were_here(cut, reply: bytes, goes_on: bytes, note: int) -> None:
    http = proxy()
    for _ in range(3):  # the second time it is remembered
        seen = replies(cut(reply), note, http=http)
        assert [message.data for message in seen.messages] == [goes_on % VIA]


def test_a_server_of_before_is_named_as_one_and_interim_replies_are_marked_too() -> None:
    seen = replies([b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"], KEEP, http=proxy())
    assert b"\r\nVia: 1.0 muxproxy-test\r\n" in seen.messages[0].data
    seen = replies([b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK], KEEP, http=proxy())
    assert [data.count(VIA) for data in (*seen.interim, seen.messages[0].data)] == [1, 1]
    seen = replies([b"HTTP/1.1 100 Continue\r\n\r\n" + OK], OLD, http=proxy())
    assert seen.interim == [b""], "none for a client of before"


def test_what_is_opaque_is_left_alone() -> None:
    framer = proxy().replies()
    framer.expect(KEEP | UPGRADE)
    data = b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
    first, second = framer.feed(data)
    assert VIA in first.data
    assert second.data == b"HTTP/1.1 200 OK\r\n\r\n"
    assert framer.feed(b"HTTP/1.0 \r\n\r\n")[0].data == b"HTTP/1.0 \r\n\r\n"


def test_a_tunnel_is_open_as_soon_as_there_is_a_connection() -> None:
    framer = proxy().replies()
    framer.expect(KEEP | OPENS)
    (frame,) = framer.feed(b"")
    assert (frame.data, frame.marks) == (ESTABLISHED, FIRST | SWITCH)
    assert [frame.data for frame in framer.feed(b"220 smtp\r\n")] == [b"220 smtp\r\n"]
    (last,) = framer.eof()
    assert last.data == b""


@settings(max_examples=30)
@given(strategies.REPLIES, CUTS)
def test_all_else_is_as_without(reply: bytes, cuts: list[int]) -> None:
    plain = replies(pieces(reply, cuts), KEEP, eof=True)
    mine = replies(pieces(reply, cuts), KEEP, eof=True, http=proxy())
    assert mine.fault == plain.fault
    for ours, theirs in zip(mine.messages, plain.messages, strict=True):
        assert ours.data.replace(VIA, b"", 1).replace(b"Via: 1.0 muxproxy-test\r\n", b"", 1) == theirs.data
        assert (ours.marks, ours.why, ours.whole) == (theirs.marks, theirs.why, theirs.whole)
