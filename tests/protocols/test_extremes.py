"""What Python checks and C does not: numbers beyond a machine's word, slices that end before they begin,
depth, types that nobody announced. On both builds there comes no more of it than an error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import pytest

from muxproxy.config.model import Dubbo, Http, Redis, Tcp
from muxproxy.protocols.contract import ANSWER, BROKEN, LAST, Frame, Protocol
from muxproxy.protocols.dubbo import DubboProtocol
from muxproxy.protocols.dubbo.common import HEADER, MAGIC, OK, REQUEST, TWO_WAY
from muxproxy.protocols.dubbo.names import CutError, UnknownFormError, read_names
from muxproxy.protocols.http import HttpProtocol
from muxproxy.protocols.redis import RedisProtocol
from muxproxy.protocols.redis.resp.values import parse
from muxproxy.protocols.tcp import TcpProtocol

PROTOCOLS: dict[str, Protocol] = {
    "http": HttpProtocol(Http()),
    "redis": RedisProtocol(Redis()),
    "dubbo": DubboProtocol(Dubbo()),
    "tcp": TcpProtocol(Tcp()),
}
# Around what fits into 31, 32, 62 (mypyc's small integers), 63 and 64 bits, and far beyond.
NUMBERS = [1 << bits for bits in (31, 32, 62, 63, 64, 65, 1000)]
NUMBERS = sorted({number + more for number in NUMBERS for more in (-1, 0, 1)})
REPLY = b"HTTP/1.1 200 OK\r\n"


def asks(name: str, *parts: bytes) -> list[Frame]:
    framer = PROTOCOLS[name].requests()
    PROTOCOLS[name].session(framer)
    return [frame for part in parts for frame in framer.feed(part)]


def answers(name: str, *parts: bytes, note: Any = 0) -> list[Frame]:
    framer = PROTOCOLS[name].replies()
    framer.expect(note)
    return [frame for part in parts for frame in framer.feed(part)]


def is_refused(frames: Sequence[Frame]) -> bool:
    return bool(frames) and frames[-1].marks & (ANSWER | BROKEN) != 0


@pytest.mark.parametrize("number", NUMBERS)
def test_a_length_of_any_size_is_counted_or_refused(number: int) -> None:
    length = b"%d" % number
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + length + b"\r\n\r\n"
    for chunks in ((head + b"body",), (head, b"body")):
        frames = asks("http", *chunks)
        assert is_refused(frames) or (frames and not frames[-1].marks & LAST)
        assert is_refused(frames) is (len(length) > 18)
    frames = answers("http", REPLY + b"Content-Length: " + length + b"\r\n\r\nbody")
    assert is_refused(frames) is (len(length) > 18)
    assert frames
    assert not frames[-1].marks & LAST or is_refused(frames)
    chunk = b"%x\r\nbody" % number
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    frames = asks("http", chunked, chunk)
    assert not frames[-1].marks & LAST or is_refused(frames)
    frames = answers("http", REPLY + b"Transfer-Encoding: chunked\r\n\r\n", chunk)
    assert not frames[-1].marks & LAST or is_refused(frames)


@pytest.mark.parametrize("number", [*NUMBERS, *(-number for number in NUMBERS)])
def test_so_is_any_of_redis(number: int) -> None:
    for data in (b"*%d\r\n", b"*2\r\n$%d\r\n", b"*2\r\n$3\r\nGET\r\n$%d\r\nabc", b"$%d\r\n"):
        whole = data % number
        for parts in ([whole], [b"PING\r\n", whole], [bytes((byte,)) for byte in whole]):
            frames = asks("redis", *parts)
            assert all(isinstance(frame, Frame) for frame in frames)
            assert is_refused(frames) or number < 0 or number < 1 << 31 or b"*" not in data[:1]
    for kind in b"$*%~>=!":
        for part in (b"%c%d\r\n", b"*1\r\n%c%d\r\nx"):
            frames = answers("redis", part % (kind, number), note=None)
            told = [frame for frame in frames if frame.marks & LAST and not frame.marks & BROKEN]
            assert not told or number < 0
    with pytest.raises(ValueError, match=r"."):
        parse(b"$%d\r\nx\r\n" % abs(number))
    with pytest.raises(ValueError, match=r"."):
        parse(b"*%d\r\n:1\r\n" % abs(number))


@pytest.mark.parametrize("tag", [0, 1, (1 << 62) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_an_id_has_64_bits_and_goes_back_as_it_came(tag: int) -> None:
    call = HEADER.pack(MAGIC, REQUEST | TWO_WAY | 2, 0, tag, 4) + b"call"
    for parts in ((call,), (call[:10], call[10:]), (call + call,)):
        frames = asks("dubbo", *parts)
        assert {frame.tag for frame in frames} == {tag}
        assert b"".join(frame.data for frame in frames) == b"".join(parts)
        for mine in (1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1):
            sent = PROTOCOLS["dubbo"].retag(frames[0].data, mine)
            assert sent == HEADER.pack(MAGIC, REQUEST | TWO_WAY | 2, 0, mine, 4) + frames[0].data[16:]
    reply = HEADER.pack(MAGIC, 2, OK, tag, 5) + b"reply"
    assert [frame.tag for frame in answers("dubbo", reply)] == [tag]


def test_no_id_is_beyond_64_bits() -> None:
    with pytest.raises((OverflowError, Exception), match=r"."):
        PROTOCOLS["dubbo"].retag(b"x" * 16, 1 << 64)


@pytest.mark.parametrize("length", [0, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
def test_a_length_of_dubbo_is_followed_or_the_end(length: int) -> None:
    frames = asks("dubbo", HEADER.pack(MAGIC, REQUEST | TWO_WAY | 2, 0, 7, length) + b"x" * 20)
    assert is_refused(frames)


# Compiled by mypyc 2.4.1 a slice that ends before it begins is a SystemError, where Python's is empty.
BEFORE = [
    b"\r\n",
    b"+\r\n",
    b"$-1\r\n",
    b"*\r\n",
    b":\r\n",
    b"-\r\n",
    b"$\r\n\r\n",
    b"*-1\r\n",
    b"=0\r\n\r\n",
]


@pytest.mark.parametrize("data", BEFORE)
def test_what_is_shorter_than_any_message_is_no_bug_of_ours(data: bytes) -> None:
    for name in PROTOCOLS:
        for parts in ((data,), (data, data), tuple(bytes((byte,)) for byte in data)):
            for frames in (asks(name, *parts), answers(name, *parts, note=None if name == "redis" else 0)):
                assert all(isinstance(frame, Frame) for frame in frames)
    with contextlib.suppress(ValueError):
        parse(data)


@pytest.mark.parametrize("size", [b"-1", b"-9", b"0", b"-9223372036854775809"])
def test_a_push_with_an_impossible_name_is_for_nobody(size: bytes) -> None:
    feed = PROTOCOLS["redis"].feed()
    assert feed is not None
    for kind in (b"$7\r\nmessage", b"$8\r\npmessage", b"$8\r\nsmessage", b"$12\r\nsunsubscribe"):
        data = b">3\r\n" + kind + b"\r\n$" + size + b"\r\n$1\r\nx\r\n"
        assert feed.on_push(Frame(data, 0)) in ((b"", ()), (data, ()))


def test_a_string_of_no_length_in_jsonb_is_no_bug_of_ours() -> None:
    for code in range(256):
        body = bytes(4) + bytes((code,)) + b"rest"
        with contextlib.suppress(UnknownFormError, CutError):
            read_names(body, 0, len(body), 23)


@pytest.mark.parametrize("opener", [b"*1\r\n", b"%1\r\n+k\r\n", b"~1\r\n", b"|1\r\n+k\r\n", b">1\r\n"])
def test_depth_is_no_recursion(opener: bytes) -> None:
    frames = answers("redis", opener * 100_000, note=None)
    assert all(isinstance(frame, Frame) for frame in frames)
    with pytest.raises(ValueError, match="too deep"):
        parse(opener * 100_000)


class Bytes(bytes):
    """As nobody's loop gives."""


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_subclass_of_bytes_is_bytes(name: str) -> None:
    data = {
        "http": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "redis": b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n" * 3,
        "dubbo": HEADER.pack(MAGIC, REQUEST | TWO_WAY | 2, 0, 1, 4) + b"call",
        "tcp": b"anything",
    }[name]
    plain, odd = asks(name, data), asks(name, Bytes(data))
    assert [(frame.data, frame.marks) for frame in odd] == [(frame.data, frame.marks) for frame in plain]


OBJECT = pytest.param(object(), id="an object")


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("odd", [None, 7, "text", [b"x"], OBJECT], ids=repr)
def test_what_is_no_bytes_is_an_error_and_not_the_end_of_the_process(name: str, odd: Any) -> None:
    if name == "tcp" and odd is None:
        return  # as b"": it opens the session
    framer, replies = PROTOCOLS[name].requests(), PROTOCOLS[name].replies()
    framer.feed(b"G")
    replies.expect(None if name == "redis" else 0)
    for feed in (framer.feed, replies.feed):
        try:
            frames = feed(odd)
        except (TypeError, AttributeError):
            continue
        assert name == "tcp" or not frames  # tcp looks at no part; Dubbo keeps what is short


@pytest.mark.parametrize("odd", ["", None, 1.5, OBJECT], ids=repr)
def test_so_is_a_frame_made_of_the_wrong_things(odd: Any) -> None:
    for make in (lambda: Frame(odd, 0), lambda: Frame(b"", odd), lambda: Frame(b"", 0, None, odd)):
        with contextlib.suppress(TypeError):
            assert isinstance(make(), Frame)
