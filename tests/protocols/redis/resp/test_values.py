"""Whole replies as values: RESP2 and RESP3 alike, and ValueError for all else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.protocols.redis.resp.values import MAX_DEPTH, ErrorReply, Value, parse

REPLIES: list[tuple[bytes, Value]] = [
    (b"+OK\r\n", b"OK"),
    (b"-ERR no\r\n", b"ERR no"),
    (b":-5\r\n", -5),
    (b"$3\r\na\r\n\r\n", b"a\r\n"),
    (b"$0\r\n\r\n", b""),
    (b"$-1\r\n", None),
    (b"*-1\r\n", None),
    (b"_\r\n", None),
    (b"*0\r\n", []),
    (b"*2\r\n:1\r\n*1\r\n+x\r\n", [1, [b"x"]]),
    (b"~1\r\n+x\r\n", [b"x"]),
    (b">1\r\n+x\r\n", [b"x"]),
    (b"%1\r\n+k\r\n:1\r\n", [b"k", 1]),
    (b"|1\r\n+ttl\r\n:1\r\n$1\r\nx\r\n", b"x"),
    (b"=5\r\ntxt:x\r\n", b"x"),
    (b"!6\r\nERR no\r\n", b"ERR no"),
    (b"#t\r\n", 1),
    (b"#f\r\n", 0),
    (b",1.5\r\n", 1.5),
    (b"(123456789012345678901\r\n", 123456789012345678901),
]


@pytest.mark.parametrize(("data", "value"), REPLIES)
def test_a_reply_is_read_to_its_end_and_no_further(data: bytes, value: Value) -> None:
    assert parse(data + b"+next\r\n") == (value, len(data))


@pytest.mark.parametrize("data", [b"-ERR no\r\n", b"!6\r\nERR no\r\n"])
def test_an_error_is_told_from_a_string(data: bytes) -> None:
    assert isinstance(parse(data)[0], ErrorReply)
    assert not isinstance(parse(b"+ERR no\r\n")[0], ErrorReply)


@pytest.mark.parametrize("data", [data for data, _ in REPLIES])
def test_a_reply_that_is_cut_is_no_reply(data: bytes) -> None:
    for end in range(len(data)):
        with pytest.raises(ValueError, match=r"."):
            parse(data[:end])


@pytest.mark.parametrize(
    "data",
    [
        b"x\r\n",
        b"$x\r\n",
        b"*1000000000\r\n",
        b"$1000000000\r\nx\r\n",
        b"$1\r\nxy\r\n",
        b"#x\r\n",
        b"*1\r\n" * (MAX_DEPTH + 2) + b":1\r\n",
        b"|0\r\n" * (MAX_DEPTH + 2) + b":1\r\n",
    ],
)
def test_what_is_malformed_or_too_deep_is_no_reply(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(data)


@given(
    st.lists(
        st.sampled_from([b"*2\r\n", b"%1\r\n", b"$1\r\n", b"x", b"\r\n", b":1\r\n", b"|", b"\xff", b"1"])
    )
)
def test_garbage_gives_nothing_but_valueerror(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    try:
        _, end = parse(data)
    except ValueError:
        return
    assert 0 < end <= len(data)
