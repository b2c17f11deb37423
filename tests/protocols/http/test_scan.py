"""Byte by byte the same is found as by the expressions: verdict and extents, of whatever comes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.protocols.http import scan
from muxproxy.protocols.http.shortcut import reply_by_expression, request_by_expression
from tests.protocols.http import strategies as some
from tests.sizes import size

# What the short cut has an opinion of, and what looks like it; each in any case, with what may stand in it.
_NAMES = b"Host Connection Content-Length Transfer-Encoding TE Upgrade Expect Keep-Alive Max-Forwards".split()
_NAMES += b"Proxy-Connection Accept X-A Cookie Hosts Tea Keep-Alife Connectiom Content-Lengtg".split()
_NAMES += b"Connection-X !#$%&'*+-.^_`|~".split()
_VALUES = b"a|a:80|||close|CLOSE|keep-alive|Keep-ALive|keep\ralive|keep-alive, x|0|5|+5|5,5|chunked".split(
    b"|"
)
_VALUES += b"CHUNKED|timeout=5|timeout=5, max=10|timeout=1234567|timeout=5,max=1|timeout=5,  max=1".split(
    b"|"
)
_VALUES += b"timeout=5, max=|a:12345|a:123456|a:|a\tb|[::1]|\xff|\0|\x7f".split(b"|")
_VALUES += [b"%d" % 10**power for power in (17, 18, 19, 40)]
_STARTS = b"GET / |POST /a?b |GET /a |PUT / |CONNECT /x |connect / |GET /# |GET  / |G\xffT / |/ ".split(b"|")
_BEGINNINGS = [start + b"HTTP/1.1\r\n" for start in _STARTS]
_BEGINNINGS += [b"GET / HTTP/1.0\r\n", b"GET / HTTP/1.1 \r\n", b"GET / http/1.1\r\n"]
_STATUSES = b"200 OK|200|200 |304 \xff|199 x|20a x|999 x|200\tx".split(b"|")
_BEGINNINGS += [b"HTTP/1.1 %b\r\n" % status for status in _STATUSES]


def _head(rnd: random.Random) -> bytes:
    lines = [rnd.choice(_BEGINNINGS)]
    lines += [line for line in (b"Host: a\r\n", b"Content-Length: 5\r\n") if rnd.random() < 0.7]
    for _ in range(rnd.randrange(4)):
        name = rnd.choice([bytes, bytes.lower, bytes.upper])(rnd.choice(_NAMES))
        end = rnd.choice([b"\r\n"] * 15 + [b" \t\r\n", b"\n", b"\r", b""])
        lines.append(name + rnd.choice([b": "] * 9 + [b":", b":\t ", b" :"]) + rnd.choice(_VALUES) + end)
    data = bytearray(
        b"".join(lines) + rnd.choice([b"\r\n"] * 5 + [b"", b"\r", b"\n"]) + rnd.choice([b"", b"a: b"])
    )
    for _ in range(rnd.choice([0, 0, 0, 1, 2])):
        data[rnd.randrange(len(data))] = rnd.randrange(256)
    return bytes(data[: rnd.randrange(len(data))] if rnd.random() < 0.1 else data)


def _agree(data: bytes) -> tuple[bool, bool]:
    asked, said = scan.request(data), scan.reply(data)
    assert asked == request_by_expression(data), data
    assert said == reply_by_expression(data), data
    return asked[0] > 0, said[0] > 0


def test_heads_that_are_nearly_right_are_found_to_be_the_same() -> None:
    rnd = random.Random(10)
    found = [_agree(_head(rnd)) for _ in range(size(4_000, 1_000_000))]
    assert 0.01 < sum(asked for asked, _ in found) / len(found) < 0.5  # some of both are right, and some not
    assert 0.01 < sum(said for _, said in found) / len(found) < 0.5


@given(
    st.one_of(
        some.REQUESTS, some.REPLIES, some.GARBAGE, st.tuples(some.REPLY_HEADS, some.GARBAGE).map(b"".join)
    )
)
def test_whatever_comes_is_found_to_be_the_same(data: bytes) -> None:
    _agree(data)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\nX: \xff\t\r\n\r\n",
        b"HTTP/1.1 200 \r\nKeep-Alive: timeout=5, max=1\r\nConnection: keep-alive\r\nkeep-alive:timeout=6\r\n"
        b"Content-Length: 12345\r\nDate: x\r\n\r\n",
        b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\nConnection:close\r\nKeep-Alive:timeout=6\r\n\r\n",
    ],
)
def test_every_byte_of_a_head_may_be_any_and_every_length_the_last(head: bytes) -> None:
    assert any(_agree(head))
    for place in range(len(head)):
        assert _agree(head[:place]) == (False, False)
        for byte in range(256):
            _agree(head[:place] + bytes((byte,)) + head[place + 1 :])


def test_lines_that_may_stand_once_or_side_by_side() -> None:
    """All orders of up to four of them."""
    lines = [
        b"",
        b"Connection: close\r\n",
        b"Keep-Alive: timeout=1\r\n",
        b"A: b\r\n",
        b"Content-Length: 1\r\n",
    ]
    lines += [b"Transfer-Encoding: chunked\r\n", b"Host: a\r\n"]
    for number in range(len(lines) ** 4):
        block = b"".join(lines[number // len(lines) ** place % len(lines)] for place in range(4))
        _agree(b"GET / HTTP/1.1\r\n" + block + b"\r\n")
        _agree(b"HTTP/1.1 200 OK\r\n" + block + b"\r\n")


def test_a_head_is_looked_through_to_its_end_and_no_further() -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert scan.request(head + b"\0" * 9) == (len(head), 3, 5, scan.NOT_HERE, 0, 0, False)
    head = b"HTTP/1.1 404 \r\nContent-Length: %d\r\n\r\n" % (10**18 - 1)
    assert scan.reply(head + b"\0" * 9) == (len(head), 404, 10**18 - 1, 0, 0, False, scan.NOT_HERE)
