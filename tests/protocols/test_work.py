"""P10 in HTTP and Dubbo (Redis: redis/framing/test_keeping.py): one feed does so much work, and copies
nothing again for what it leaves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from muxproxy.config.model import Dubbo, Http
from muxproxy.protocols import dubbo, http
from muxproxy.protocols.contract import END_UPSTREAM, FIRST, FRAMES, INTERIM, LAST, LINES, PUSH, Frame
from muxproxy.protocols.dubbo.common import EVENT, HEADER, HESSIAN2, MAGIC, REQUEST, TWO_WAY
from muxproxy.protocols.http.common import KEEP, OLD, Settings

CHUNK = 256 * 1024  # as much as the hands read at once
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
TINY = b"1\r\nx\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def turns(framer: object, data: bytes, *, resumes: bool = False) -> list[list[Frame]]:
    """Frames, feed by feed; bytes held twice would show as frames."""
    feeds = [list(framer.feed(data))]
    while framer.more or (resumes and framer.held):
        left = framer.more + getattr(framer, "held", 0)
        if resumes:
            framer.resume()
        feeds.append(list(framer.feed(b"")))
        assert framer.more + getattr(framer, "held", 0) < left
    return feeds


def joined(feeds: list[list[Frame]]) -> bytes:
    return b"".join(frame.data for feed in feeds for frame in feed)


def http_settings() -> Settings:
    return http.HttpProtocol(Http()).settings


@pytest.mark.parametrize("request_", [GET, POST, CHUNKED + TINY + b"0\r\n\r\n", b"\r\n" + GET])
@pytest.mark.parametrize("cut", [0, 10, 40])
def test_pipelined_requests_come_out_one_by_one(request_: bytes, cut: int) -> None:
    framer = http.RequestFramer(http_settings())
    count = 2000
    data = request_ * count
    seen = list(framer.feed(data[:cut])) if cut else []
    feeds = turns(framer, data[cut:], resumes=True)
    frames = seen + [frame for feed in feeds for frame in feed]
    assert sum(frame.marks & FIRST != 0 for frame in frames) == count
    assert sum(frame.marks & LAST != 0 for frame in frames) == count
    assert b"".join(frame.data for frame in frames) == request_.lstrip() * count
    assert len(feeds) >= count


def test_a_request_in_chunks_of_one_byte_takes_many_turns() -> None:
    framer = http.RequestFramer(http_settings())
    body = TINY * (CHUNK // len(TINY)) + b"0\r\n\r\n"
    feeds = turns(framer, CHUNKED + body)
    assert joined(feeds) == CHUNKED + body
    assert len(feeds) == CHUNK // len(TINY) // LINES + 1
    assert feeds[-1][-1].marks & LAST
    assert framer.held == 0


def test_what_comes_behind_it_meanwhile_is_not_lost() -> None:
    framer = http.RequestFramer(http_settings())
    body = TINY * (3 * LINES)
    frames = [*framer.feed(CHUNKED + body)]
    frames += framer.feed(body + b"0\r\n\r\n" + GET)
    while framer.more:
        frames += framer.feed(b"")
    assert b"".join(frame.data for frame in frames) == CHUNKED + 2 * body + b"0\r\n\r\n"
    framer.resume()
    assert [frame.data for frame in framer.feed(b"")] == [GET]


@pytest.mark.parametrize("note", [KEEP, OLD])
def test_a_reply_in_chunks_of_one_byte_takes_many_turns(note: int) -> None:
    framer = http.ReplyFramer(http_settings())
    framer.expect(note)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    count = CHUNK // len(TINY)
    feeds = turns(framer, head + TINY * count + b"0\r\n\r\n")
    out = joined(feeds).partition(b"\r\n\r\n")[2]
    assert out == (b"x" * count if note == OLD else TINY * count + b"0\r\n\r\n")
    assert len(feeds) == count // LINES + 1
    assert feeds[-1][-1].marks & LAST


@pytest.mark.parametrize("behind", [OK, OK + b"HTTP/1.1 200 OK\r\n"])
def test_interim_replies_are_framed_so_many_in_a_turn(behind: bytes) -> None:
    framer = http.ReplyFramer(http_settings())
    framer.expect(KEEP)
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    count = CHUNK // len(interim)
    feeds = turns(framer, interim * count + behind)
    frames = [frame for feed in feeds for frame in feed]
    assert all(len(feed) <= FRAMES + 2 for feed in feeds)
    assert sum(frame.marks == INTERIM for frame in frames) == count
    # The end of a reply and what nobody asked for come out together: they must not pass for the next one's.
    assert [frame.data for frame in feeds[-1] if frame.marks & LAST] == [OK]
    assert len(feeds[-1]) == count % FRAMES + (1 if behind == OK else 2)


def message(flags: int, tag: int, body: bytes) -> bytes:
    return HEADER.pack(MAGIC, flags | HESSIAN2, 0, tag, len(body)) + body


DUBBO: dict[str, tuple[Callable[[], object], bytes, int]] = {
    "heartbeats": (
        lambda: dubbo.DubboProtocol(Dubbo()).requests(),
        message(REQUEST | TWO_WAY | EVENT, 7, b"N"),
        1,
    ),
    "calls": (lambda: dubbo.DubboProtocol(Dubbo()).requests(), message(REQUEST | TWO_WAY, 7, b"call"), 1),
    "replies from a client": (lambda: dubbo.DubboProtocol(Dubbo()).requests(), message(0, 7, b"N"), 0),
    "heartbeats of a provider": (
        lambda: dubbo.DubboProtocol(Dubbo()).replies(),
        message(REQUEST | TWO_WAY | EVENT, 7, b"N"),
        1,
    ),
    "callbacks": (lambda: dubbo.DubboProtocol(Dubbo()).replies(), message(REQUEST | TWO_WAY, 7, b"call"), 1),
    "one-way callbacks": (lambda: dubbo.DubboProtocol(Dubbo()).replies(), message(REQUEST, 7, b"call"), 0),
    "replies": (lambda: dubbo.DubboProtocol(Dubbo()).replies(), message(0, 7, b"N"), 1),
}


@pytest.mark.parametrize("kind", DUBBO)
def test_dubbo_messages_are_framed_so_many_in_a_turn(kind: str) -> None:
    make, one, frames = DUBBO[kind]
    framer = make()
    count = CHUNK // len(one)
    feeds = turns(framer, one * count + one[:9])
    assert all(len(feed) <= FRAMES for feed in feeds)
    assert sum(map(len, feeds)) == frames * count
    assert len(feeds) == count // FRAMES + 1
    assert framer.midway
    assert sum(len(feed) for feed in [framer.feed(one[9:])]) == frames
    assert not any(frame.marks & END_UPSTREAM for feed in feeds for frame in feed)
    assert not kind.startswith("callbacks") or all(frame.marks & PUSH for feed in feeds for frame in feed)
