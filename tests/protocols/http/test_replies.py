"""Replies: what goes on to which client, and which connections live. Whole, bytewise, with more behind."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import BROKEN, END_CLIENT, END_UPSTREAM, FIRST, INTERIM, LAST, SWITCH, UNTOLD
from muxproxy.protocols.http.common import HEAD, KEEP, OLD, UPGRADE
from muxproxy.protocols.http.replies import (
    BODY_NOT_ALLOWED,
    CUT,
    READ_UNTIL_CLOSE,
    SAID_CLOSE,
    SERVER_OLD,
    UNASKED,
    UPGRADED,
)
from tests.protocols.http.feeding import bytewise, protocol, replies

ONE = FIRST | LAST
OK = b"HTTP/1.1 200 OK\r\n"
PADDED = b'5  \r\nhello\r\n00000000000000000001 ; a = "b" \t\r\n!\r\n0000000000000000000000 \r\n\r\n'
CHUNKS = b"5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n"


def ways(data: bytes) -> list[list[bytes]]:
    half = len(data) // 2
    return [[data], bytewise(data), [data[:half], data[half:]], [data[:-1], data[-1:]], [data[:1], data[1:]]]


# name: (note, what came, what goes on, marks, why the upstream connection ends)
WHOLE = {
    "a plain reply": (KEEP, OK + b"Content-Length: 2\r\n\r\nhi", None, ONE, None),
    "no reason, no space": (KEEP, b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", None, ONE, None),
    "any status from 200 to 999": (KEEP, b"HTTP/1.1 999 \xff\r\nContent-Length: 0\r\n\r\n", None, ONE, None),
    "chunks": (KEEP, OK + b"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n" + CHUNKS, None, ONE, None),
    "204": (KEEP, b"HTTP/1.1 204 No Content\r\n\r\n", None, ONE, None),
    "204 with a length that it should not have": (
        KEEP,
        b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\nA: b\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nA: b\r\n\r\n",
        ONE | END_UPSTREAM,
        BODY_NOT_ALLOWED,
    ),
    "204 with the length that it has": (
        KEEP,
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        ONE,
        None,
    ),
    "204 with chunks that it cannot have": (
        KEEP,
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\nA: b\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nA: b\r\n\r\n",
        ONE | END_UPSTREAM,
        BODY_NOT_ALLOWED,
    ),
    "304 with chunks that it would have": (
        0,
        b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n",
        ONE | END_CLIENT | END_UPSTREAM,
        BODY_NOT_ALLOWED,
    ),
    "a newer minor version": (
        KEEP,
        b"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        OK + b"Content-Length: 2\r\n\r\nhi",
        ONE,
        None,
    ),
    "a status line with white space of any kind": (
        KEEP,
        b"HTTP/1.1  200 \t OK then \r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK then \r\nContent-Length: 2\r\n\r\nhi",
        ONE,
        None,
    ),
    "an empty line before": (
        KEEP,
        b"\r\n" + OK + b"Content-Length: 2\r\n\r\nhi",
        OK + b"Content-Length: 2\r\n\r\nhi",
        ONE,
        None,
    ),
    "a folded field": (
        KEEP,
        OK + b"A: b \r\n\t c\r\n d\r\nContent-Length:\r\n 2\r\n\r\nhi",
        OK + b"A: b c d\r\nContent-Length: 2\r\n\r\nhi",
        ONE,
        None,
    ),
    "space before the colon": (
        KEEP,
        OK + b"Content-Length \t: 2\r\nA : b\r\n\r\nhi",
        OK + b"Content-Length: 2\r\nA: b\r\n\r\nhi",
        ONE,
        None,
    ),
    "a length said twice": (
        KEEP,
        OK + b"Content-Length: 2\r\nA: b\r\nContent-Length: 2\r\n\r\nhi",
        OK + b"Content-Length: 2\r\nA: b\r\n\r\nhi",
        ONE,
        None,
    ),
    "a list of one length": (
        KEEP,
        OK + b"A: b\r\ncontent-length: 2, 2 ,2\r\n\r\nhi",
        OK + b"A: b\r\nContent-Length: 2\r\n\r\nhi",
        ONE,
        None,
    ),
    "padded chunks": (
        KEEP,
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + PADDED,
        None,
        ONE,
        None,
    ),
    "304 with the length that it would have": (
        KEEP,
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
        None,
        ONE,
        None,
    ),
    "the reply to HEAD": (KEEP | HEAD, OK + b"Content-Length: 99\r\n\r\n", None, ONE, None),
    "the reply to HEAD, chunked": (KEEP | HEAD, OK + b"Transfer-Encoding: chunked\r\n\r\n", None, ONE, None),
    "the reply to HEAD without a length": (KEEP | HEAD, OK + b"\r\n", None, ONE, None),
    "Connection goes": (
        KEEP,
        OK + b"Server: x\r\nConnection: keep-alive\r\nContent-Length: 2\r\nA: b\r\n\r\nhi",
        OK + b"Server: x\r\nContent-Length: 2\r\nA: b\r\n\r\nhi",
        ONE,
        None,
    ),
    "what Connection names goes": (
        KEEP,
        OK + b"X-A: 1\r\nConnection: X-A, keep-alive\r\nContent-Length: 0\r\nUpgrade: h2\r\nTE: x\r\n\r\n",
        OK + b"Content-Length: 0\r\n\r\n",
        ONE,
        None,
    ),
    "the server says close": (
        KEEP,
        OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n",
        OK + b"Content-Length: 0\r\n\r\n",
        ONE | END_UPSTREAM,
        SAID_CLOSE,
    ),
    "the client says close": (
        0,
        OK + b"Content-Length: 2\r\nA: b\r\n\r\nhi",
        OK + b"Content-Length: 2\r\nA: b\r\nConnection: close\r\n\r\nhi",
        ONE | END_CLIENT,
        None,
    ),
    "the client says close, the server keep-alive": (
        0,
        OK + b"Connection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
        OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi",
        ONE | END_CLIENT,
        None,
    ),
    "both say close": (
        0,
        OK + b"connection: Close\r\nContent-Length: 2\r\n\r\nhi",
        OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi",
        ONE | END_CLIENT | END_UPSTREAM,
        SAID_CLOSE,
    ),
    "an HTTP/1.0 client": (
        OLD,
        OK + b"Content-Length: 2\r\n\r\nhi",
        OK + b"Content-Length: 2\r\nConnection: close\r\n\r\nhi",
        ONE | END_CLIENT,
        None,
    ),
    "an HTTP/1.0 client that stays": (
        OLD | KEEP,
        OK + b"Content-Length: 2\r\nConnection: close\r\nA: b\r\n\r\nhi",
        OK + b"Content-Length: 2\r\nConnection: keep-alive\r\nA: b\r\n\r\nhi",
        ONE | END_UPSTREAM,
        SAID_CLOSE,
    ),
    "an HTTP/1.0 client that stays, 304": (
        OLD | KEEP,
        b"HTTP/1.1 304 x\r\n\r\n",
        b"HTTP/1.1 304 x\r\nConnection: keep-alive\r\n\r\n",
        ONE,
        None,
    ),
    "chunks for an HTTP/1.0 client": (
        OLD | KEEP,
        OK + b"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\nA: b\r\n\r\n" + CHUNKS,
        OK + b"A: b\r\nConnection: close\r\n\r\nhello!",
        ONE | END_CLIENT | UNTOLD,
        None,
    ),
    "HEAD of chunks for an HTTP/1.0 client": (
        OLD | KEEP | HEAD,
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
        OK + b"Connection: keep-alive\r\n\r\n",
        ONE,
        None,
    ),
    "an HTTP/1.0 server": (
        KEEP,
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        OK + b"Content-Length: 2\r\n\r\nhi",
        ONE | END_UPSTREAM,
        SERVER_OLD,
    ),
    "an HTTP/1.0 server that stays": (
        KEEP,
        b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nhi",
        OK + b"Content-Length: 2\r\n\r\nhi",
        ONE,
        None,
    ),
    "426 tells what to upgrade to": (
        KEEP,
        b"HTTP/1.1 426 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 426 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n",
        ONE,
        None,
    ),
    "426 to a client that leaves": (
        0,
        b"HTTP/1.1 426 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 426 x\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
        ONE | END_CLIENT,
        None,
    ),
    "an upgrade that the server does not want": (
        KEEP | UPGRADE,
        OK + b"Content-Length: 2\r\n\r\nhi",
        None,
        ONE,
        None,
    ),
}


@pytest.mark.parametrize("case", WHOLE)
def test_a_reply_goes_on_to_its_client(case: str) -> None:
    note, data, sent, marks, why = WHOLE[case]
    sent = data if sent is None else sent
    for chunks in ways(data):
        seen = replies(chunks, note)
        assert [(m.data, m.marks, m.why, m.whole) for m in seen.messages] == [(sent, marks, why, True)]
        assert not seen.fault
        assert replies(chunks, note, eof=True) == seen
    for chunks in ([data + b"X"], [data, b"X"], bytewise(data + b"X")):
        seen = replies(chunks, note)
        assert [(m.data, m.marks, m.why) for m in seen.messages] == [(sent, marks, why)]
        assert seen.fault == UNASKED.encode()


@pytest.mark.parametrize("case", WHOLE)
def test_a_reply_that_is_cut_is_broken(case: str) -> None:
    note, data, *_ = WHOLE[case]
    for end in range(1, len(data)):
        assert replies([data[:end]], note, eof=True).fault == CUT.encode()
        assert replies(bytewise(data[:end]), note, eof=True).fault == CUT.encode()


def test_a_reply_in_one_chunk_goes_on_as_the_same_object() -> None:
    data = OK + b"Content-Length: 2\r\n\r\nhi"
    framer = protocol().replies()
    framer.expect(KEEP)
    (frame,) = framer.feed(data)
    assert frame.data is data


def test_parts_of_a_body_go_on_as_the_same_objects() -> None:
    framer = protocol().replies()
    framer.expect(KEEP)
    framer.feed(OK + b"Content-Length: 2000\r\n\r\n")
    parts = [b"x" * 1000, b"y" * 1000]
    frames = [frame for part in parts for frame in framer.feed(part)]
    assert all(frame.data is part for frame, part in zip(frames, parts, strict=True))
    assert [frame.marks for frame in frames] == [0, LAST]


def test_one_reply_after_the_other_each_by_its_own_note() -> None:
    data = OK + b"Content-Length: 2\r\n\r\nhi"
    seen = replies([data, OK + b"Content-Length: 2\r\n\r\n", data], KEEP, KEEP | HEAD, OLD)
    assert [m.marks for m in seen.messages] == [ONE, ONE, ONE | END_CLIENT]


UNTIL_CLOSE = b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n"


@pytest.mark.parametrize(
    ("note", "head", "marks"),
    [
        (KEEP, OK + b"A: b\r\nTransfer-Encoding: chunked\r\n\r\n", ONE | END_UPSTREAM),
        (
            0,
            OK + b"A: b\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
            ONE | END_UPSTREAM | END_CLIENT,
        ),
        (OLD | KEEP, OK + b"A: b\r\nConnection: close\r\n\r\n", ONE | END_UPSTREAM | END_CLIENT | UNTOLD),
    ],
)
def test_a_reply_that_ends_with_its_connection(note: int, head: bytes, marks: int) -> None:
    plain = bool(note & OLD)
    for body in ([b""], [b"hello", b"!"], [b"x" * 70_000]):
        for joined in (True, False):
            chunks = [UNTIL_CLOSE + body[0], *body[1:]] if joined else [UNTIL_CLOSE, *body]
            (message,) = replies(chunks, note, eof=True).messages
            sent = b"".join(part if plain else b"%x\r\n%b\r\n" % (len(part), part) for part in body if part)
            assert message.data == head + sent + (b"" if plain else b"0\r\n\r\n")
            assert (message.marks, message.why, message.whole) == (marks, READ_UNTIL_CLOSE, True)
    assert not replies(bytewise(UNTIL_CLOSE + b"abc"), note).messages[0].whole


INTERIM_HEAD = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\nX: y\r\n\r\n"


def test_interim_replies_go_on_ahead_of_the_final_one() -> None:
    final = OK + b"Content-Length: 0\r\n\r\n"
    data = b"HTTP/1.1 100 Continue\r\n\r\n" + INTERIM_HEAD + final
    for chunks in ways(data):
        seen = replies(chunks, KEEP)
        assert seen.interim == [
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        ]
        assert [(m.data, m.marks) for m in seen.messages] == [(final, ONE)]


def test_interim_replies_are_dropped_for_an_old_client() -> None:
    framer = protocol().replies()
    framer.expect(OLD)
    (frame,) = framer.feed(INTERIM_HEAD)
    assert (frame.data, frame.marks) == (b"", INTERIM)


SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: UPGRADE\r\nUpgrade: websocket\r\nKeep-Alive: x\r\n\r\n"
)
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def test_after_101_everything_is_opaque_until_the_end() -> None:
    framer = protocol().replies()
    framer.expect(KEEP | UPGRADE)
    first, part = framer.feed(SWITCHING + b"\r\n\0")
    assert (first.data, first.marks) == (SWITCHED, FIRST | SWITCH)
    assert (part.data, part.marks) == (b"\r\n\0", 0)
    (part,) = framer.feed(b"HTTP/1.1 200 OK\r\n\r\n")
    assert (part.data, part.marks) == (b"HTTP/1.1 200 OK\r\n\r\n", 0)
    (last,) = framer.eof()
    assert (last.data, last.marks, last.note) == (b"", LAST | END_UPSTREAM | END_CLIENT, UPGRADED)
    assert framer.eof() == ()
    for chunks in ways(SWITCHING):
        assert replies(chunks, KEEP | UPGRADE).messages[0].data == SWITCHED


MALFORMED = {
    "two empty lines before": b"\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n",
    "lengths that differ": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    "a list of lengths that differ": OK + b"Content-Length: 1, 2\r\n\r\nx",
    "a list with an empty length": OK + b"Content-Length: 1,\r\n\r\nx",
    "a fold before the first field": OK + b" A: b\r\nContent-Length: 0\r\n\r\n",
    "a field of white space and a colon": OK + b"A: b\r\nA B : c\r\nContent-Length: 0\r\n\r\n",
    "no white space behind the status": b"HTTP/1.1 200OK\r\nContent-Length: 0\r\n\r\n",
    "a chunk size of blanks": OK + b"Transfer-Encoding: chunked\r\n\r\n  \r\n\r\n",
    "a blank before a chunk size": OK + b"Transfer-Encoding: chunked\r\n\r\n 0\r\n\r\n",
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/2": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "two digits of status": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "a status below 100": b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "four digits of status": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "NUL in the reason": b"HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n",
    "both lengths": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both lengths the other way": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "a signed length": OK + b"Content-Length: +1\r\n\r\nx",
    "an overlong length": OK + b"Content-Length: 1" + b"0" * 18 + b"\r\n\r\nx",
    "an empty length": OK + b"Content-Length:\r\n\r\n",
    "an unknown coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "identity": OK + b"Transfer-Encoding: identity\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks of HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "Connection names Content-Length": OK + b"Connection: Content-Length\r\nContent-Length: 0\r\n\r\n",
    "101 that nobody asked for": SWITCHING,
    "a chunk longer than its size": OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\n",
    "a chunk size in bare LF": OK + b"Transfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_reply_is_broken_and_nothing_of_it_counts_as_whole(case: str) -> None:
    data = MALFORMED[case]
    for chunks in ways(data):
        seen = replies(chunks, KEEP)
        assert not any(m.whole for m in seen.messages)
        assert seen.fault.startswith(b"the server's reply is malformed: ")
        assert not seen.answered
    framer = protocol().replies()
    framer.expect(KEEP)
    assert [frame.marks for frame in framer.feed(data)] == [BROKEN]
    assert not framer.feed(OK)
    assert framer.eof() == ()


def test_101_must_say_what_it_switches_to() -> None:
    assert replies([b"HTTP/1.1 101 x\r\nConnection: upgrade\r\n\r\n"], KEEP | UPGRADE).fault


def test_the_limit_of_a_head_is_exact() -> None:
    http = protocol(max_head=200)
    head = OK + b"Content-Length: 0\r\nA: "
    head += b"y" * (200 - len(head) - 4) + b"\r\n\r\n"
    for chunks in ways(head):
        assert replies(chunks, KEEP, http=http).messages[0].data == head
    for chunks in ways(head.replace(b"yy", b"yyy", 1)):
        assert b"more than 200 bytes" in replies(chunks, KEEP, http=http).fault
    assert b"more than 200 bytes" in replies([OK + b"y" * 300], KEEP, http=http).fault


def test_bytes_with_no_request_before_them_are_broken() -> None:
    framer = protocol().replies()
    assert framer.feed(b"") == []
    assert framer.eof() == ()
    (frame,) = framer.feed(b"HTTP/1.1 408 x\r\n\r\n")
    assert (frame.marks, frame.note) == (BROKEN, UNASKED)


def test_no_byte_of_a_reply_is_no_cut_reply() -> None:
    framer = protocol().replies()
    framer.expect(KEEP)
    assert framer.eof() == ()


@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.parametrize(
    ("note", "line"), [(KEEP, b"Connection: close\r\n"), (OLD | KEEP, b"Connection: close\r\n")]
)
def test_a_drain_ends_the_clients_with_their_next_reply(note: int, line: bytes, thorough: bool) -> None:
    http = protocol()
    data = OK + b"Content-Length: 2\r\n" + (b"TE: x\r\n" if thorough else b"") + b"\r\nhi"
    assert not replies([data], note, http=http).messages[0].marks & END_CLIENT
    framer = http.replies()
    framer.expect(note)
    http.drain()  # between the request and its reply
    (frame,) = framer.feed(data)
    assert frame.data == OK + b"Content-Length: 2\r\n" + line + b"\r\nhi"
    assert frame.marks == ONE | END_CLIENT


@pytest.mark.parametrize(
    ("lines", "hint"),
    [
        (b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n", 5.0),
        (b"Keep-Alive: timeout=15, max=100\r\nConnection: Keep-Alive\r\n", 15.0),
        (b"Keep-Alive: max=100, timeout=7\r\nConnection: Keep-Alive\r\n", 7.0),
        (b"Connection: keep-alive\r\nKeep-Alive: soon\r\n", None),
        (b"Connection: keep-alive\r\n", None),
    ],
)
def test_the_servers_own_idle_timeout_is_told(lines: bytes, hint: float | None) -> None:
    data = OK + lines + b"Content-Length: 0\r\n\r\n"
    for chunks in ([data], bytewise(data)):
        framer = protocol().replies()
        framer.expect(KEEP)
        frames = [frame for chunk in chunks for frame in framer.feed(chunk)]
        assert framer.idle_hint == hint
        assert [frame.data for frame in frames] == [OK + b"Content-Length: 0\r\n\r\n"]


def test_a_status_line_that_is_wrong_is_refused_before_its_head_ends() -> None:
    for chunks in ([b"HTTP/1.1 20x OK\r\nA: b\r\n"], bytewise(b"HTTP/1.1 20x OK\r\n"), [b"\r", b"\n", b"X"]):
        assert replies(chunks, KEEP).fault.startswith(b"the server's reply is malformed: ")


def test_a_newer_minor_version_is_the_one_that_we_speak_not_the_old_one() -> None:
    (message,) = replies([b"HTTP/1.9 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS], KEEP).messages
    assert message.data == OK + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS
    assert message.marks == ONE  # and its connection stays


def test_an_empty_line_may_stand_before_every_reply() -> None:
    reply = b"\r\n" + OK + b"Content-Length: 2\r\n\r\nhi"
    for chunks in ([reply, reply, reply], bytewise(reply * 3)):
        assert [m.data for m in replies(chunks, KEEP, KEEP, KEEP).messages] == [reply[2:]] * 3
