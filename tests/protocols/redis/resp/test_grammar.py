"""Numbers, words and inline requests, as Redis 7.0.15 reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.protocols.redis.resp.grammar import (
    SMALL,
    MalformedError,
    arguments,
    commands,
    expected_dollar,
    multibulk,
    number,
    ours,
    split_inline,
)


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_a_number_is_read_as_it_is_written(value: int) -> None:
    assert number(b"%d" % value) == value


@pytest.mark.parametrize(
    "digits",
    [
        *[b"", b"-", b"+1", b"01", b"-0", b"-01", b" 1", b"1 ", b"1_0", b"1.0", b"0x1", b"--1", b"\xb2"],
        *[b"9" * 19, b"9223372036854775808", b"1" * 20, b"1" * 60_000, b"-" * 60_000],
    ],
)
def test_what_string2ll_refuses_is_no_number(digits: bytes) -> None:
    assert number(digits) is None


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=6), st.integers(0, 7))
def test_the_words_of_a_command_are_those_it_was_made_of(words: list[bytes], limit: int) -> None:
    data = multibulk(words)
    assert arguments(data) == words
    assert arguments(data, limit) == words[:limit]
    assert commands(data * 3) == [data] * 3


def test_the_words_of_a_first_part_are_those_that_are_there() -> None:
    data = multibulk([b"SET", b"key", b"value"])
    seen = [arguments(data[:size]) for size in range(len(data) + 1)]
    assert [len(words) for words in seen] == sorted(len(words) for words in seen)
    assert seen[-1] == [b"SET", b"key", b"value"]
    assert seen[-2] == [b"SET", b"key"]
    assert all(words == seen[-1][: len(words)] for words in seen)


# What ECHO answered to these on redis-server 7.0.15, and COMMAND's error where there are more words.
@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", []),
        (b" \t\v\f\r ", []),
        (b"a", [b"a"]),
        (b" a  b\t", [b"a", b"b"]),
        (b"a\rb", [b"a", b"b"]),
        (b"\v1\f2", [b"1\f2"]),
        (b'""', [b""]),
        (b"''", [b""]),
        (b'a"b c"', [b"ab c"]),
        (b"a'b c' d", [b"ab c", b"d"]),
        (b'"\\x41\\n\\t\\q\\""', [b'A\n\tq"']),
        (b'"\\a\\b\\r\\\\"', [b"\a\b\r\\"]),
        (b'"\\xzz"', [b"xzz"]),
        (b'"\\xfF"', [b"\xff"]),
        (b'"\\x4"', [b"x4"]),
        (b"'a\\'b\\n'", [b"a'b\\n"]),
        (b'"it\'s"', [b"it's"]),
        (b"\xff\x01", [b"\xff\x01"]),
    ],
)
def test_an_inline_request_is_split_as_redis_splits_it(line: bytes, words: list[bytes]) -> None:
    assert split_inline(line) == words


@pytest.mark.parametrize("line", [b'"', b"'", b'a"', b'"a"b', b"'a'b", b'"a""b"', b'"\\"', b"'\\'", b'"\\'])
def test_quotes_must_be_balanced_and_followed_by_a_blank(line: bytes) -> None:
    with pytest.raises(MalformedError, match=r"^unbalanced quotes in request$"):
        split_inline(line)


@given(st.lists(st.binary(max_size=10), max_size=5))
def test_every_word_can_be_quoted(words: list[bytes]) -> None:
    line = b" ".join(b'"' + b"".join(b"\\x%02x" % byte for byte in word) + b'"' for word in words)
    assert split_inline(line) == words


@given(st.binary(max_size=60))
def test_no_line_makes_splitting_fail_otherwise(line: bytes) -> None:
    try:
        words = split_inline(line)
    except MalformedError:
        return
    assert sum(map(len, words)) <= len(line)


def test_a_fault_knows_what_the_client_gets() -> None:
    assert MalformedError(b"invalid bulk length").answer == b"-ERR Protocol error: invalid bulk length\r\n"
    assert MalformedError(b"x", answer=b"").answer == b""
    assert ours(b"x").answer == b"-ERR muxproxy: Protocol error: x\r\n"
    assert str(ours(b"x")) == "x"
    for blank in b"\r\n\0":
        assert expected_dollar(blank).answer == b"-ERR Protocol error: expected '$', got ' '\r\n"


@pytest.mark.parametrize("odd", [b"", b"a\r\nb", b"\r\n", b"$1\r\n"])
def test_many_words_are_found_as_few_are(odd: bytes) -> None:
    words = [b"MSET", *[b"w%d" % number for number in range(2 * SMALL)], odd, b"last"]
    assert arguments(multibulk(words)) == words
    assert arguments(multibulk(words), len(words) - 1) == words[:-1]
    part = multibulk(words)[:-20]
    assert arguments(part) == words[: len(arguments(part))]
