"""Requests that are refused: what for, how soon, and in which words. Whole, bytewise, with more behind."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import ANSWER, END_CLIENT, FIRST, LAST
from tests.protocols.http.feeding import bytewise, protocol, requests

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
NEXT = b"DELETE /next HTTP/1.1\r\nHost: b\r\n\r\n"


def ways(data: bytes) -> list[list[bytes]]:
    half = len(data) // 2
    return [[data], bytewise(data), [data[:half], data[half:]], [data[:-1], data[-1:]], [data[:1], data[1:]]]


REFUSED = {
    "an empty line too many": (b"\r\n\r\n" + GET + b"\r\n", 400),
    "no version": (b"GET /\r\n\r\n", 400),
    "two spaces": (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a space at the end of the request line": (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    "a tab for a space": (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a fragment": (b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "raw UTF-8 in the target": ("GET /é HTTP/1.1\r\nHost: a\r\n\r\n".encode(), 400),
    "a method that is no token": (b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/0.9 by name": (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    "lower-case http": (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    "two digits of version": (b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
    "CONNECT": (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501),
    "CONNECT with a path": (b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "* of a GET": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "authority form of a GET": (b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "absolute form of another scheme": (b"GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "absolute form with a password": (b"GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "absolute form without a host": (b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "no Host": (b"GET / HTTP/1.1\r\nA: b\r\n\r\n", 400),
    "no field at all": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (GET + b"Host: a\r\n\r\n", 400),
    "two Hosts of HTTP/1.0": (b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    "a Host with a path": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "a Host with a space": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "a Host with two ports": (b"GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", 400),
    "a Host with a name in its port": (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
    "a Host with a password": (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
    "space before the colon": (GET + b"A : b\r\n\r\n", 400),
    "a field without a name": (GET + b": b\r\n\r\n", 400),
    "a field without a colon": (GET + b"abc\r\n\r\n", 400),
    "a field's name that is no token": (GET + b"a(b: c\r\n\r\n", 400),
    "a folded field": (GET + b"A: b\r\n c\r\n\r\n", 400),
    "a fold right after the request line": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    "NUL in a value": (GET + b"A: b\0c\r\n\r\n", 400),
    "a control character in a value": (GET + b"A: b\x1bc\r\n\r\n", 400),
    "DEL in a value": (GET + b"A: b\x7fc\r\n\r\n", 400),
    "bare LF": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "bare LF after a field": (GET + b"A: b\nB: c\r\n\r\n", 400),
    "bare LF for the empty line": (GET + b"\n", 400),
    "bare CR": (GET + b"A: b\rB: c\r\n\r\n", 400),
    "CR CR LF": (GET + b"A: b\r\r\n\r\n", 400),
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "an expectation that we do not know": (POST + b"Expect: gold\r\nContent-Length: 1\r\n\r\nx", 417),
    "two expectations": (POST + b"Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n", 417),
    "Connection names Host": (GET + b"Connection: close, HOST\r\n\r\n", 400),
    "Connection names Content-Length": (
        POST + b"Connection: content-length\r\nContent-Length: 1\r\n\r\nx",
        400,
    ),
    "Connection names Transfer-Encoding": (
        POST + b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "Connection names Expect": (POST + b"Connection: expect\r\nExpect: 100-continue\r\n\r\n", 400),
    "Connection is no list of tokens": (GET + b"Connection: a b\r\n\r\n", 400),
    "a known end of Max-Forwards": (b"OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n", 501),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_in_the_clients_language_and_forwards_nothing(case: str) -> None:
    data, status = REFUSED[case]
    for chunks in [*ways(data), [data + NEXT], bytewise(data + NEXT)]:
        seen = requests(chunks)
        assert seen.messages == []
        assert seen.status == status
        head, _, body = seen.fault.partition(b"\r\n\r\n")
        assert b"\r\nConnection: close" in head
        assert b"\r\nContent-Length: %d\r\n" % len(body) in head
        assert body.startswith(b"muxproxy: ")
        assert body.count(b"\n") == 1
    framer = protocol().requests()
    (frame,) = framer.feed(data)
    assert frame.marks == ANSWER | FIRST | LAST | END_CLIENT
    framer.resume()
    assert framer.feed(NEXT) == ()
    assert framer.held == 0
    assert not framer.midway


def test_the_refusal_of_a_head_request_has_no_body() -> None:
    (frame,) = protocol().requests().feed(b"HEAD / HTTP/1.1\r\n\r\n")
    assert frame.data.endswith(b"\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize(
    "line",
    [b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2", b"GET /x", b"GET /x HTTP/3.0", b"hello", b"GET /\xc3 HTTP/1.1"],
)
def test_a_request_line_that_is_wrong_is_refused_before_its_head_ends(line: bytes) -> None:
    for chunks in ([line + b"\r\n"], [line + b"\r\nA: b\r\n"], bytewise(b"\r\n" + line + b"\r\n")):
        seen = requests(chunks)
        assert seen.answered
        assert not seen.messages


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("/é", b"byte 0xC3 in the request target: it goes there as %C3"),
        ("/a b", b"byte 0x20 in the request target: it goes there as %20"),
        ("/x#y", b"the request target has a fragment, '#'"),
        ("/\x7f", b"byte 0x7F in the request target: it goes there as %7F"),
        ("", b"the request target is empty"),
    ],
)
def test_a_refusal_names_the_byte_that_a_target_may_not_have(target: str, why: bytes) -> None:
    seen = requests([f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()])
    assert why in seen.fault
