"""A forward proxy's requests: as those of the folder above in all but where they go, however they are cut."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.config.destination import Destination
from muxproxy.protocols.contract import ANSWER, END_CLIENT, FIRST, LAST, Frame, Reason
from muxproxy.protocols.http.common import MEMO_ENTRIES
from tests.config import models
from tests.protocols.http import feeding, strategies
from tests.protocols.http.feeding import bytewise, requests
from tests.protocols.http.forward.talk import VIA, proxy
from tests.protocols.test_memos import CUTS, pieces

A = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
B = b"POST http://b:81/x HTTP/1.1\r\nHost: b:81\r\nContent-Length: 2\r\n\r\nhi"
TUNNEL = b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"
DENIED = b"GET http://127.0.0.1/ HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("cut", [lambda data: [data], bytewise, lambda data: pieces(data, [20, 30])])
def test_each_request_has_the_destination_that_it_names(cut) -> None:
    framer = proxy().requests()
    seen = []
    for chunk in cut(A + B + A):
        frames = framer.feed(chunk)
        while frames:
            seen += [framer.destination for frame in frames if frame.marks & FIRST]
            if frames[-1].marks & LAST:
                framer.resume()
            frames = framer.feed(b"")
    assert seen == [Destination("a", 80), Destination("b", 81), Destination("a", 80)]


def test_a_request_that_is_remembered_goes_where_it_went() -> None:
    http = proxy()
    for _ in range(2):
        for data, where in ((A, "a"), (A.replace(b": a", b": c"), "c"), (B, "b")):
            framer = http.requests()
            framer.feed(data)
            assert framer.destination.host == where


def test_what_is_remembered_is_void_when_the_configuration_says_otherwise() -> None:
    http = proxy()
    assert not http.requests().feed(A)[0].marks & ANSWER
    http.configure(models.backend(upstream__to="host", upstream__servers=(), upstream__deny=("a",)))
    (frame,) = http.requests().feed(A)
    assert (frame.marks & ANSWER, frame.note) == (ANSWER, Reason.DENIED)


def test_the_memo_is_bounded() -> None:
    http = proxy()
    for number in range(MEMO_ENTRIES + 10):
        http.requests().feed(A.replace(b"/ ", b"/%d " % number))
    assert len(http._memo.known) == 10


def test_who_may_not_go_there_is_told_and_may_go_elsewhere() -> None:
    framer = proxy().requests()
    (frame,) = framer.feed(DENIED + A)
    assert frame.data.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert frame.data.endswith(
        b"muxproxy: 127.0.0.1:80: 127.0.0.1 is loopback: only a network in allow says otherwise\n"
    )
    assert frame.marks == FIRST | LAST | ANSWER
    framer.resume()
    (frame,) = framer.feed(b"")
    assert (frame.data, framer.destination) == (A[:-2] + VIA + b"\r\n", Destination("a", 80))


@pytest.mark.parametrize(
    "more", [b"Content-Length: 2\r\n", b"Connection: close\r\n", b"Transfer-Encoding: chunked\r\n"]
)
def test_who_has_more_to_say_to_nobody_ends(more: bytes) -> None:
    framer = proxy().requests()
    (frame,) = framer.feed(DENIED[:-2] + more + b"\r\nhi")
    assert frame.marks == FIRST | LAST | ANSWER | END_CLIENT
    assert framer.feed(b"GET") == ()


def test_what_comes_behind_a_connect_waits_for_its_tunnel() -> None:
    """RFC 9110 section 9.3.6: it may be sent before the answer, and is for the other end."""
    for chunks in ([TUNNEL + b"\x16\x03\x01"], [*bytewise(TUNNEL), b"\x16", b"\x03\x01"]):
        framer = proxy().requests()
        frames = [frame for chunk in chunks for frame in framer.feed(chunk)]
        assert [frame.data for frame in frames] == [b""]
        assert framer.held == 3
        framer.opaque()
        assert b"".join(frame.data for frame in framer.feed(b"")) == b"\x16\x03\x01"
        assert framer.feed(b"\x00")[0].data == b"\x00"


# -- the law: as without destinations, but for Via, what is a proxy's own, and where it goes -----------------

_OWN = re.compile(rb"(?i)\r\nproxy-[^\r]*+")


def forwarded(message: feeding.Message) -> bytes:
    head, empty, body = message.data.partition(b"\r\n\r\n")
    return _OWN.sub(b"", head) + b"\r\n" + VIA + b"\r\n" + body if empty else message.data


@settings(max_examples=30)
@given(st.lists(strategies.REQUESTS, min_size=1, max_size=3), CUTS)
def test_all_else_is_as_without_destinations(messages: list[bytes], cuts: list[int]) -> None:
    data = b"".join(messages)
    plain = requests([data])
    if any(b"\r\nVia:" in message.data for message in plain.messages):
        return
    ours = proxy(upstream__allow=("*", "127.0.0.0/8", "::1", "0.0.0.0/8"))
    for _ in range(2):  # the second time what was remembered counts
        seen = requests(pieces(data, cuts), ours)
        for mine, theirs in zip(seen.messages, plain.messages, strict=False):
            via_old = forwarded(theirs).replace(VIA, VIA.replace(b"1.1", b"1.0"), 1)
            assert mine.data in (forwarded(theirs), via_old)
            assert (mine.marks, mine.note, mine.whole) == (theirs.marks, theirs.note, theirs.whole)
        if not seen.fault:
            assert len(seen.messages) == len(plain.messages)
            assert not plain.fault


def test_frames_are_frames() -> None:
    assert all(type(frame) is Frame for frame in proxy().requests().feed(A))
