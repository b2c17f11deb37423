"""The patterns that stand alone: tokens, hosts, strays; and that none takes more than linear time."""

from __future__ import annotations

import re
import time

import pytest

from muxproxy.protocols.http import grammar
from muxproxy.protocols.http.grammar import (
    AUTHORITY,
    PROTOCOLS,
    STRAY,
    TOKENS,
    any_case,
    field,
    once,
    plain_field,
)
from muxproxy.protocols.http.shortcut import REPLY, REQUEST


@pytest.mark.parametrize("text", [b"a", b"a,b", b" a , ,b ", b"", b",", b"!#$%&'*+-.^_`|~0aZ"])
def test_a_list_of_tokens(text: bytes) -> None:
    assert TOKENS.fullmatch(text)


@pytest.mark.parametrize("text", [b"a b", b"a;b", b"a\0", b'"a"', b"a,b c", b"\xe9"])
def test_no_list_of_tokens(text: bytes) -> None:
    assert not TOKENS.fullmatch(text)


@pytest.mark.parametrize("text", [b"websocket", b"HTTP/2.0, SHTTP/1.3", b", a/b ,"])
def test_a_list_of_protocols(text: bytes) -> None:
    assert PROTOCOLS.fullmatch(text)


@pytest.mark.parametrize("text", [b"", b",", b"a/b/c", b"a b", b"/1", b"a/"])
def test_no_list_of_protocols(text: bytes) -> None:
    assert not PROTOCOLS.fullmatch(text)


@pytest.mark.parametrize(
    "text", [b"", b"a", b"A_b-c.d~", b"1.2.3.4:80", b"a:", b"[::1]", b"[v1.a]:80", b"%41!$&'()*+,;="]
)
def test_a_host_and_port(text: bytes) -> None:
    assert AUTHORITY.fullmatch(text)


@pytest.mark.parametrize(
    "text", [b"a b", b"a/b", b"a:b", b"a:123456", b"u@a", b"::1", b"[::1", b"[]", b"a\xff", b"a?b", b"a\\b"]
)
def test_no_host_and_port(text: bytes) -> None:
    assert not AUTHORITY.fullmatch(text)


@pytest.mark.parametrize(
    "text", [b"\n", b"a\n", b"\r\n\n", b"\ra", b"\r\ra", b"\0", b"\x1b", b"\x7f", b"\x0b"]
)
def test_a_stray_byte_is_found(text: bytes) -> None:
    assert STRAY.search(text)
    assert STRAY.search(b"ok\r\n" + text, 4)


@pytest.mark.parametrize("text", [b"\r\n", b"a\tb\r\n", b"\r", b"a\r", b"\x80\xff\r\n\r\n"])
def test_nothing_is_stray_that_may_still_become_right(text: bytes) -> None:
    assert not STRAY.search(text)


def test_a_line_feed_after_an_earlier_carriage_return_is_no_stray() -> None:
    assert not STRAY.search(b"a\r\n", 2)


def test_patterns_in_any_case() -> None:
    line = re.compile(field(b"te-1", rb"(x)"))
    assert line.fullmatch(b"tE-1: x\t\r\n")
    assert not line.fullmatch(b"tE-2: x\r\n")
    assert re.fullmatch(any_case(b"a-[z"), b"A-[Z")


def test_a_plain_field_is_any_but_the_special_ones() -> None:
    plain = re.compile(plain_field([b"te", b"host"]))
    for line in (b"A: b", b"Tex: 1", b"T: 1", b"Hosts: ", b"_x:", b"9:"):
        assert plain.fullmatch(line + b"\r\n"), line
    for line in (b"TE: b", b"te:", b"hOST: 1", b"a b: c", b": c", b"a: \0", b"te : x"):
        assert not plain.fullmatch(line + b"\r\n"), line


def test_a_line_may_stand_once() -> None:
    lines = re.compile(rb"(?:" + once(1, field(b"a", rb"(x)")) + rb"|b\r\n)*")
    assert lines.fullmatch(b"b\r\na: x\r\nb\r\n")
    assert not lines.fullmatch(b"a: x\r\nb\r\nA: x\r\n")


def test_no_pattern_takes_more_than_linear_time() -> None:
    """A hundred times the input in less than a thousand times the time: the margin is for the machine."""
    patterns = [pattern for pattern in vars(grammar).values() if isinstance(pattern, re.Pattern)]
    matches = [pattern.search if pattern is STRAY else pattern.match for pattern in patterns]
    for begin, more, end in [
        (b"GET / HTTP/1.1\r\n", b"a: b\r\n", b""),
        (b"GET / HTTP/1.1\r\n", b"te-: b\r\n", b""),
        (b"GET / HTTP/1.1\r\nHost:", b" ", b""),
        (b"GET / HTTP/1.1\r\nA: ", b"b ", b"\0"),
        (b"GET / HTTP/1.1\r\n", b"c", b""),
        (b"GET /", b"x", b"\0"),
        (b"HTTP/1.1 200 ", b"x ", b"\0"),
        (b"HTTP/1.1 200 OK\r\n", b"Keep-Alive: timeout=5\r\n", b""),
        (b"HTTP/1.1 200 OK\r\n", b"a: b\r\ncontent-: x\r\n", b""),
        (b"", b"a , ", b"\0"),
        (b"x/", b"y,x/", b"\0"),
        (b'1;a="', b"\\a", b""),
        (b"1", b";a=b", b"\0"),
        (b"", b"a;b=c,", b"\0"),
        (b"0\r\n", b"a: b\r\n", b"\0"),
        (b"", b"a\r\n", b""),
    ]:
        for match in (*matches, REQUEST.match, REPLY.match):
            short, long = (
                min(_seconds(match, begin + more * times + end) for _ in range(3)) for times in (30, 3000)
            )
            assert long < 1000 * short + 0.02, (begin, more, match)


def _seconds(match: object, text: bytes) -> float:
    start = time.perf_counter()
    match(text)
    return time.perf_counter() - start
