"""Requests: what goes on, how it is marked, what is refused. Whole, byte by byte, and with more behind."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import ANSWER, BROKEN, EAGER, FIRST, IDEMPOTENT, LAST, PIN
from muxproxy.protocols.http.common import HEAD, KEEP, MEMO_ENTRIES, OLD, UPGRADE
from tests.protocols.http.feeding import HOST, bytewise, protocol, requests

ONE = FIRST | LAST
GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
NEXT = b"DELETE /next HTTP/1.1\r\nHost: b\r\n\r\n"


def ways(data: bytes) -> list[list[bytes]]:
    half = len(data) // 2
    return [[data], bytewise(data), [data[:half], data[half:]], [data[:-1], data[-1:]], [data[:1], data[1:]]]


UNCHANGED = {
    "a plain GET": (GET + b"\r\n", ONE | IDEMPOTENT, KEEP),
    "HEAD": (
        b"HEAD /x?y=/? HTTP/1.1\r\nHost: a\r\n\r\n",
        ONE | IDEMPOTENT,
        KEEP | HEAD,
    ),
    "POST is not idempotent": (POST + b"Content-Length: 0\r\n\r\n", ONE, KEEP),
    "PUT with a body": (
        b"PUT /f HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        ONE | IDEMPOTENT,
        KEEP,
    ),
    "an unknown method": (b"PURGE / HTTP/1.1\r\nHost: a\r\n\r\n", ONE, KEEP),
    "a lower-case method is another method": (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", ONE, KEEP),
    "a GET with a body": (GET + b"Content-Length: 3\r\n\r\n\r\n\r", ONE | IDEMPOTENT, KEEP),
    "chunks, with an extension and a trailer": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n"
        b'5;a=b;c;d="\\" ;"\r\nhello\r\nA\r\n0123456789\r\n000\r\nX-Sum: 1\r\nY:\r\n\r\n',
        ONE,
        KEEP,
    ),
    "an empty chunked body": (POST + b"transfer-encoding:Chunked\r\n\r\n0\r\n\r\n", ONE, KEEP),
    "Host behind other fields, spaces and case as they came": (
        b"GET / HTTP/1.1\r\nx-A_b.c:  1 \t\r\nhOsT:a:80\t\r\nEmpty:\r\nX: \x80\xff\r\nX: again\r\n\r\n",
        ONE | IDEMPOTENT,
        KEEP,
    ),
    "names that only begin like special ones": (
        GET + b"Connection-Id: 1\r\nTest: 1\r\nContent-Length-X: 2\r\nHosts: 3\r\nTE-X: 4\r\n\r\n",
        ONE | IDEMPOTENT,
        KEEP,
    ),
    "an empty Host": (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", ONE | IDEMPOTENT, KEEP),
    "an IPv6 Host": (b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", ONE | IDEMPOTENT, KEEP),
    "characters that only RFC 3986 minds": (
        b'GET /a[]|{}^`<>"\\?f[x]=1 HTTP/1.1\r\nHost: a\r\n\r\n',
        ONE | IDEMPOTENT,
        KEEP,
    ),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", ONE | IDEMPOTENT, KEEP),
    "Expect with a body": (
        POST + b"Content-Length: 2\r\nExpect: 100-Continue\r\n\r\nhi",
        ONE | EAGER,
        KEEP,
    ),
    "Expect without a body": (GET + b"Expect: 100-continue\r\n\r\n", ONE | IDEMPOTENT, KEEP),
    "an upgrade": (
        GET + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n\r\n",
        ONE | IDEMPOTENT | PIN,
        KEEP | UPGRADE,
    ),
    "Max-Forwards of a GET": (GET + b"Max-Forwards: 0\r\n\r\n", ONE | IDEMPOTENT, KEEP),
    "18 digits of Content-Length": (POST + b"Content-Length: 000000000000000001\r\n\r\nx", ONE, KEEP),
    "Proxy-Authorization, which is for whoever asked": (
        GET + b"Proxy-Authorization: Basic eA==\r\n\r\n",
        ONE | IDEMPOTENT,
        KEEP,
    ),
}


@pytest.mark.parametrize("case", UNCHANGED)
def test_passes_as_it_came(case: str) -> None:
    data, marks, note = UNCHANGED[case]
    for chunks in ways(data):
        seen = requests(chunks)
        assert [(m.data, m.marks, m.note, m.whole) for m in seen.messages] == [(data, marks, note, True)]
        assert not seen.fault
    for chunks in ([data + NEXT], bytewise(data + NEXT), [data, NEXT]):
        seen = requests(chunks)
        assert [m.data for m in seen.messages] == [data, NEXT]
        assert all(m.whole for m in seen.messages)


def test_a_request_in_one_chunk_goes_on_as_the_same_object() -> None:
    for data in (GET + b"\r\n", POST + b"Content-Length: 2\r\n\r\nhi", GET + b"Expect: 100-continue\r\n\r\n"):
        (frame,) = protocol().requests().feed(data)
        assert frame.data is data


CHANGED = {
    "Connection goes": (
        GET + b"Connection: keep-alive\r\nA: b\r\n\r\n",
        GET + b"A: b\r\n\r\n",
        ONE | IDEMPOTENT,
        KEEP,
    ),
    "close is for us": (GET + b"connection:\tClose \r\n\r\n", GET + b"\r\n", ONE | IDEMPOTENT, 0),
    "Connection in the middle of a request with a body": (
        POST + b"Connection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
        POST + b"Content-Length: 2\r\n\r\nhi",
        ONE,
        KEEP,
    ),
    "what Connection names goes": (
        GET + b"X-A: 1\r\nConnection: x-a ,, X-B\r\nX-B: 2\r\nX-C: 3\r\nX-a: 4\r\nCONNECTION: close\r\n\r\n",
        GET + b"X-C: 3\r\n\r\n",
        ONE | IDEMPOTENT,
        0,
    ),
    "other hop-by-hop fields go": (
        GET
        + b"Keep-Alive: 300\r\nProxy-Connection: close\r\nTE: trailers\r\nUpgrade: x\r\nTrailer: y\r\n\r\n",
        GET + b"Trailer: y\r\n\r\n",
        ONE | IDEMPOTENT,
        KEEP,
    ),
    "HTTP/1.0": (
        b"GET /x HTTP/1.0\r\nHost: a\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
        ONE | IDEMPOTENT,
        OLD,
    ),
    "HTTP/1.0 that stays": (
        b"HEAD /x HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n",
        b"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n",
        ONE | IDEMPOTENT,
        OLD | KEEP | HEAD,
    ),
    "HTTP/1.0 that cannot decide": (
        b"GET /x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
        ONE | IDEMPOTENT,
        OLD,
    ),
    "HTTP/1.0 without Host": (
        b"GET / HTTP/1.0\r\nA: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: " + HOST.encode() + b"\r\nA: b\r\n\r\n",
        ONE | IDEMPOTENT,
        OLD,
    ),
    "HTTP/1.0 cannot expect": (
        b"POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
        ONE,
        OLD,
    ),
    "HTTP/1.0 cannot upgrade": (
        b"GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ONE | IDEMPOTENT,
        OLD,
    ),
    "an upgrade among other options": (
        GET
        + b"Connection: keep-alive, X, upgrade\r\nX: 1\r\nUpgrade: websocket, foo/2\r\nConnection: x\r\n\r\n",
        GET + b"Connection: Upgrade\r\nUpgrade: websocket, foo/2\r\n\r\n",
        ONE | IDEMPOTENT | PIN,
        KEEP | UPGRADE,
    ),
    "h2c is no upgrade that we pass on": (
        GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
        GET + b"\r\n",
        ONE | IDEMPOTENT,
        KEEP,
    ),
    "nor beside others, whatever the server would choose": (
        GET + b"Connection: Upgrade\r\nUpgrade: H2C, x\r\n\r\n",
        GET + b"\r\n",
        ONE | IDEMPOTENT,
        KEEP,
    ),
    "nor last": (
        GET + b"Connection: Upgrade\r\nUpgrade: websocket,\th2c \r\n\r\n",
        GET + b"\r\n",
        ONE | IDEMPOTENT,
        KEEP,
    ),
    "nor with a version": (
        GET + b"Connection: Upgrade\r\nUpgrade: h2c/1\r\n\r\n",
        GET + b"\r\n",
        ONE | IDEMPOTENT,
        KEEP,
    ),
    "nor in fields of their own": (
        GET + b"Connection: Upgrade\r\nUpgrade: x\r\nUpgrade: H2C, h2c\r\n\r\n",
        GET + b"\r\n",
        ONE | IDEMPOTENT,
        KEEP,
    ),
    "nor HTTP/2 by other names": (
        GET + b"Connection: Upgrade\r\nUpgrade: HTTP/2.0, h2\r\n\r\n",
        GET + b"\r\n",
        ONE | IDEMPOTENT,
        KEEP,
    ),
    "a name that only begins like it": (
        GET + b"Connection: Upgrade\r\nUpgrade: h2cx, xh2c/1\r\n\r\n",
        GET + b"Connection: Upgrade\r\nUpgrade: h2cx, xh2c/1\r\n\r\n",
        ONE | IDEMPOTENT | PIN,
        KEEP | UPGRADE,
    ),
    "a newer minor version": (
        b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        GET + b"\r\n",
        ONE | IDEMPOTENT,
        KEEP,
    ),
    "an upgrade with a body is an ordinary request": (
        POST + b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx",
        POST + b"Content-Length: 1\r\n\r\nx",
        ONE,
        KEEP,
    ),
    "a malformed upgrade is an ordinary request": (
        GET + b"Connection: Upgrade\r\nUpgrade: web socket\r\n\r\n",
        GET + b"\r\n",
        ONE | IDEMPOTENT,
        KEEP,
    ),
    "an upgrade that Connection does not name": (
        GET + b"Upgrade: websocket\r\n\r\n",
        GET + b"\r\n",
        ONE | IDEMPOTENT,
        KEEP,
    ),
    "absolute form beats Host": (
        b"GET HTTP://real:81/p?q HTTP/1.1\r\nA: b\r\nHost: fake\r\n\r\n",
        b"GET /p?q HTTP/1.1\r\nA: b\r\nHost: real:81\r\n\r\n",
        ONE | IDEMPOTENT,
        KEEP,
    ),
    "absolute form without a path": (
        b"GET http://a?q=/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /?q=/ HTTP/1.1\r\nHost: a\r\n\r\n",
        ONE | IDEMPOTENT,
        KEEP,
    ),
    "absolute form of OPTIONS *": (
        b"OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        ONE | IDEMPOTENT,
        KEEP,
    ),
    "absolute form of HTTP/1.0": (
        b"GET http://a/ HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ONE | IDEMPOTENT,
        OLD,
    ),
    "one empty line before": (b"\r\n" + GET + b"\r\n", GET + b"\r\n", ONE | IDEMPOTENT, KEEP),
    "Max-Forwards counts down from any number": (
        b"TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 9999999999999\r\nMax-Forwards: 0000000000010\r\n\r\n",
        b"TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 9999999999998\r\nMax-Forwards: 9\r\n\r\n",
        ONE | IDEMPOTENT,
        KEEP,
    ),
    "Max-Forwards above what we can count": (
        b"OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: " + b"9" * 6000 + b"\r\n\r\n",
        b"OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 1000000000000000000\r\n\r\n",
        ONE | IDEMPOTENT,
        KEEP,
    ),
    "Max-Forwards counts down": (
        b"TRACE / HTTP/1.1\r\nHost: a\r\nMAX-Forwards: 07\r\n\r\n",
        b"TRACE / HTTP/1.1\r\nHost: a\r\nMAX-Forwards: 6\r\n\r\n",
        ONE | IDEMPOTENT,
        KEEP,
    ),
}


@pytest.mark.parametrize("case", CHANGED)
def test_changes_only_what_the_protocol_obliges_us_to(case: str) -> None:
    data, sent, marks, note = CHANGED[case]
    for chunks in ways(data):
        seen = requests(chunks)
        assert [(m.data, m.marks, m.note, m.whole) for m in seen.messages] == [(sent, marks, note, True)]
    for chunks in ([data + NEXT], bytewise(data + NEXT)):
        assert [m.data for m in requests(chunks).messages] == [sent, NEXT]


def test_limits_of_head_and_target_are_exact() -> None:
    http = protocol(max_head=200, max_target=50)
    fits = b"GET /" + b"x" * 49 + b" HTTP/1.1\r\nHost: a\r\n"
    fits += b"A: " + b"y" * (200 - len(fits) - 7) + b"\r\n\r\n"
    assert len(fits) == 200
    for chunks in ways(fits):
        assert [m.data for m in requests(chunks, http).messages] == [fits]
    for cut, status in (
        (fits.replace(b"x ", b"xx "), 431),
        (fits.replace(b"yyy", b"y").replace(b"x ", b"xx "), 414),
    ):
        for chunks in ways(cut):
            assert requests(chunks, http).status == status
    for chunks in ways(fits.replace(b"yy", b"yyy", 1)):
        assert requests(chunks, http).status == 431
    for chunks in ([b"GET /" + b"x" * 300], bytewise(b"GET /" + b"x" * 300)):
        assert requests(chunks, http).status == 414


@pytest.mark.parametrize("wrong", [b"\rX", b"\n", b"\0", b"\r\r"])
def test_a_head_is_refused_as_soon_as_it_goes_wrong(wrong: bytes) -> None:
    framer = protocol().requests()
    *right, last = [framer.feed(piece) for piece in bytewise(GET + b"A: b" + wrong)]
    assert not any(right)
    assert last[0].marks & ANSWER


def test_every_request_may_have_its_empty_line_before_it() -> None:
    data = b"\r\n" + GET + b"\r\n"
    for chunks in ([data * 3], bytewise(data * 3), [data] * 3):
        assert [m.data for m in requests(chunks).messages] == [GET + b"\r\n"] * 3


def test_a_fault_behind_a_head_that_went_on_is_broken_not_answered() -> None:
    framer = protocol().requests()
    (first,) = framer.feed(POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel")
    assert first.marks == FIRST
    (broken,) = framer.feed(b"loX")
    assert broken.marks == BROKEN
    assert broken.data == b""
    assert broken.note == "a chunk is longer than its size"
    assert framer.feed(b"0\r\n\r\n") == ()


def test_a_fault_in_the_same_chunk_as_the_head_is_answered() -> None:
    assert requests([POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n"]).status == 400


def test_what_follows_a_request_is_held_until_it_is_answered() -> None:
    framer = protocol().requests()
    (first,) = framer.feed(GET + b"\r\n" + NEXT)
    assert first.data == GET + b"\r\n"
    assert framer.held == len(NEXT)
    assert not framer.midway
    assert framer.feed(b"GET") == ()
    assert framer.feed(b"") == ()
    assert framer.held == len(NEXT) + 3
    framer.resume()
    (second,) = framer.feed(b"")
    assert second.data == NEXT
    assert framer.held == 3
    framer.resume()
    assert framer.feed(b"") == ()
    assert framer.midway
    (third,) = framer.feed(b" / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert third.data == GET + b"\r\n"
    assert framer.held == 0
    assert not framer.midway


def test_midway_means_that_a_head_has_begun() -> None:
    framer = protocol().requests()
    assert not framer.midway
    framer.feed(b"\r\n")
    assert not framer.midway  # some old clients end a body with it; the client is idle
    framer.feed(b"G")
    assert framer.midway
    framer.feed(b"ET / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx")
    assert not framer.midway


def test_resume_in_the_middle_of_a_request_changes_nothing() -> None:
    framer = protocol().requests()
    framer.feed(POST + b"Content-Length: 4\r\n\r\n12")
    framer.resume()
    (last,) = framer.feed(b"34")
    assert last.marks == LAST


def test_after_a_switch_everything_is_opaque() -> None:
    framer = protocol().requests()
    framer.feed(GET + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00early")
    assert framer.held == 7
    framer.opaque()
    (held,) = framer.feed(b"")
    assert (held.data, held.marks) == (b"\x81\x00early", 0)
    assert framer.held == 0
    data = b"\r\n\r\n\0"
    (part,) = framer.feed(data)
    assert part.data is data
    assert framer.feed(b"") == ()


def test_parts_of_a_body_go_on_as_the_same_objects() -> None:
    framer = protocol().requests()
    framer.feed(POST + b"Content-Length: 2000\r\n\r\n")
    parts = [b"x" * 1000, b"y" * 1000]
    frames = [frame for part in parts for frame in framer.feed(part)]
    assert all(frame.data is part for frame, part in zip(frames, parts, strict=True))
    assert [frame.marks for frame in frames] == [0, LAST]


def test_the_memo_is_bounded_and_shared_by_the_clients_of_a_backend() -> None:
    http = protocol()
    data = GET + b"Connection: keep-alive\r\n\r\n"
    (first,) = http.requests().feed(data)
    (again,) = http.requests().feed(bytes(bytearray(data)))
    assert again is first
    for number in range(3 * MEMO_ENTRIES):
        requests([b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number], http)
        assert len(http.settings.memo) <= MEMO_ENTRIES
    long = GET + b"A: " + b"b" * 4096 + b"\r\n\r\n"
    requests([long, long], http)
    assert long not in http.settings.memo
