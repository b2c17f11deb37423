"""Which heads have a short cut, and what it says of them; that it is the thorough way's: test_laws.py."""

from __future__ import annotations

import pytest

from muxproxy.protocols.http import scan
from muxproxy.protocols.http.grammar import MAX_LENGTH_DIGITS
from muxproxy.protocols.http.scan import CHUNKED, LENGTH_DIGITS, NOT_HERE
from muxproxy.protocols.http.shortcut import reply, request

LINE = b"GET /a?b HTTP/1.1\r\n"
HOST = b"Host: a\r\n"
STATUS = b"HTTP/1.1 200 OK\r\n"
SIZED = b"content-length:7 \r\n"


def _found(data: bytes, span: tuple[int, int]) -> bytes:
    return data[slice(*span)]


def test_of_a_request_it_tells_the_extents() -> None:
    data = LINE + HOST + b"CONNECTION: Close \r\n" + SIZED + b"\r\n"
    end, method, target, length, line, stop, closes = request(data + b"body")
    assert (end, data[:method], data[method + 1 : target], length, closes) == (
        len(data),
        b"GET",
        b"/a?b",
        7,
        True,
    )
    assert _found(data, (line, stop)) == b"CONNECTION: Close \r\n"
    data = LINE + HOST + b"\r\n"
    assert request(data) == (len(data), 3, 8, NOT_HERE, 0, 0, False)


def test_of_a_reply_it_tells_the_extents() -> None:
    telling = b"Keep-Alive: timeout=5\r\nconnection: KEEP-alive\r\nKeep-Alive: timeout=6\r\n"
    data = STATUS + SIZED + telling + b"\r\n"
    end, status, length, line, stop, closes, hint = reply(data + b"body")
    assert (end, status, length, closes, hint) == (len(data), 200, 7, False, 5)
    assert _found(data, (line, stop)) == telling
    data = b"HTTP/1.1 500\r\nTransfer-Encoding: Chunked\r\n\r\n"
    assert reply(data) == (len(data), 500, CHUNKED, 0, 0, False, NOT_HERE)


@pytest.mark.parametrize(
    "data",
    [
        LINE + b"\r\n",
        LINE + HOST,
        LINE + HOST + HOST + b"\r\n",
        LINE + HOST + SIZED + SIZED + b"\r\n",
        LINE + HOST + b"Transfer-Encoding: chunked\r\n\r\n",
        LINE + HOST + b"Connection: te\r\n\r\n",
        LINE + HOST + b"Expect: 100-continue\r\n\r\n",
        LINE + HOST + b" folded\r\n\r\n",
        LINE + HOST + b"a : b\r\n\r\n",
        LINE + HOST + b"a: b\n\r\n",
        LINE + HOST + b"a: \0\r\n\r\n",
        b"CONNECT /a HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET a HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /a HTTP/1.0\r\n" + HOST + b"\r\n",
    ],
)
def test_what_needs_more_than_a_look_of_a_request_is_left_to_the_thorough_way(data: bytes) -> None:
    assert request(data)[0] == NOT_HERE


@pytest.mark.parametrize(
    "data",
    [
        STATUS + b"\r\n",
        STATUS + SIZED,
        STATUS + SIZED + SIZED + b"\r\n",
        STATUS + SIZED + b"Transfer-Encoding: chunked\r\n\r\n",
        STATUS + SIZED + b"Keep-Alive: timeout=5\r\n\r\n",
        STATUS + SIZED + b"Upgrade: a\r\n\r\n",
        STATUS + SIZED + b" folded\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n" + SIZED + b"\r\n",
    ],
)
def test_what_needs_more_than_a_look_of_a_reply_is_left_to_the_thorough_way(data: bytes) -> None:
    assert reply(data)[0] == NOT_HERE


def test_a_length_has_as_many_digits_as_the_thorough_way_reads() -> None:
    assert LENGTH_DIGITS == MAX_LENGTH_DIGITS


def test_a_build_has_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    if not scan.COMPILED:  # else what it calls cannot be replaced
        monkeypatch.setattr(scan, "request", asked.append)
        monkeypatch.setattr(scan, "reply", asked.append)
    assert request(LINE + HOST + b"\r\n")[0] > 0
    assert reply(STATUS + SIZED + b"\r\n")[0] > 0
    assert asked == []
