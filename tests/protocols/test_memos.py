"""What framers remember changes nothing (P2): who comes later gets what the first would have got.

Each memo's key must hold all that its value depends on. So whatever a backend has framed before, for whoever,
by whichever cut: with and without its memos the same frames come out, in both directions, of every protocol
that remembers anything; and of one that does not, a framer gives what the first of its backend would give.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from muxproxy.config.model import Backend, Clients, Dubbo, Http, Limit, Redis, Upstream
from muxproxy.protocols import PROTOCOLS, build
from muxproxy.protocols.contract import END_CLIENT, LAST, Frame
from muxproxy.protocols.http import HttpProtocol
from muxproxy.protocols.http.common import HEAD, KEEP, OLD, UPGRADE
from muxproxy.protocols.redis import RedisProtocol
from muxproxy.protocols.redis.resp.grammar import commands
from tests.protocols.dubbo import feeding as dubbo
from tests.protocols.http import strategies as http
from tests.protocols.redis import strategies as redis
from tests.protocols.redis.framing.feeding import framed
from tests.sizes import size

# -- HTTP ----------------------------------------------------------------------------------------------------


def speaker(remembers: bool) -> HttpProtocol:
    protocol = HttpProtocol(Http(), "origin:8080")
    protocol.settings.remembers = remembers
    return protocol


def seen(frames: Sequence[Frame]) -> list[tuple[Any, ...]]:
    return [(frame.data, frame.marks, frame.note) for frame in frames]


# Long heads and short ones, most of them with small bodies whose lengths lie close together and to those of
# the pieces: where a key says too little, something of the right length is taken for what it is not.
PADDING = st.one_of(st.sampled_from([0, 2100]), st.integers(1900, 2200), st.integers(0, 4096))
TELLING = st.sampled_from(
    [
        *[b""] * 4,
        *(b"Connection: keep-alive\r\n", b"Connection: close\r\n"),
        *(b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n", b"Keep-Alive: timeout=9\r\n"),
    ]
)
SIZES = st.sampled_from([0, 1, 2, 24])
CUT = st.one_of(SIZES.map(lambda size: size + 3), st.integers(1, 5000))
CUTS = st.one_of(st.just([]), CUT.map(lambda size: [size]), st.lists(CUT, max_size=4))
FEW = st.sampled_from([True, False, False, False])


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """Of these sizes, and the rest."""
    out = []
    for cut in cuts:
        out.append(data[:cut])
        data = data[cut:]
    return [piece for piece in [*out, data] if piece]


@st.composite
def replies(draw: st.DrawFn) -> tuple[int, list[bytes]]:
    """The note of a request, and the reply to it as it comes."""
    size = draw(SIZES)
    marked = draw(st.sampled_from(b"abc"))  # whose it is
    fields = [
        b"X-Pad: %b\r\n" % (b"%c" % marked * draw(PADDING)),
        draw(TELLING),
        b"Content-Length: %d\r\n" % size,
    ]
    head = b"HTTP/1.1 200 OK\r\n" + b"".join(draw(st.permutations(fields))) + b"\r\n"
    whole = draw(http.REPLIES) if draw(FEW) else head + b"%c" % marked * size
    note = draw(st.sampled_from([KEEP | OLD, 0, OLD, KEEP | HEAD, KEEP | UPGRADE])) if draw(FEW) else KEEP
    return note, pieces(whole, draw(CUTS))


def _reply(padding: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nSet-Cookie: %b\r\nContent-Length: %d\r\n\r\n%b" % (padding, len(body), body)


OF_A_VICTIM = _reply(b"sid=VICTIM" + b"v" * 2100, b"v" * 2500)
TIMED = b"HTTP/1.1 204 No\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\n"
OF_ANOTHER = _reply(b"sid=ANOTHER" + b"a" * 2100, b"a" * 2500)


@settings(max_examples=size(100, 10_000))
@given(st.lists(st.tuples(replies(), FEW, st.booleans()), min_size=4, max_size=8))
@example(
    [
        ((KEEP, [OF_A_VICTIM]), False, False),  # no end of a head among the bytes that are searched for one
        ((KEEP, pieces(OF_ANOTHER, [2503])), False, False),
    ]
)
@example(
    [
        ((KEEP, [TIMED]), False, True),
        ((KEEP, [_reply(b"a", b"a")]), False, True),  # says nothing of time, after one that did
        ((KEEP, [_reply(b"a", b"a")]), False, False),  # another connection, to which nothing was said
    ]
)
def test_replies_of_http_are_what_they_are_whatever_was_seen_before(
    plan: list[tuple[tuple[int, list[bytes]], bool, bool]],
) -> None:
    told: list[list[Any]] = []
    for remembers in (True, False):
        protocol = speaker(remembers)
        framer = protocol.replies()
        said: list[Any] = []
        for (note, chunks), early, same in plan:
            framer = framer if same and said and said[-1][1] else protocol.replies()
            framer.early = early
            framer.expect(note)
            frames: list[tuple[Any, ...]] = []
            for chunk in chunks:
                frames += seen(framer.feed(chunk))
                if frames and frames[-1][1] & LAST:
                    break
            whole = bool(frames) and bool(frames[-1][1] & LAST)
            said.append((frames, whole, framer.idle_hint, seen(framer.eof())))
        told.append(said)
    assert told[0] == told[1]


@st.composite
def requests(draw: st.DrawFn) -> list[bytes]:
    fields = [b"Host: a\r\n", b"X-Pad: %b\r\n" % (b"p" * draw(PADDING)), draw(TELLING)]
    body = draw(st.integers(0, 24))
    if draw(st.booleans()):
        fields.append(b"Content-Length: %d\r\n" % body)
    method = draw(st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS"]))
    head = method + b" / HTTP/1.1\r\n" + b"".join(draw(st.permutations(fields))) + b"\r\n"
    one = st.one_of(st.just(head), st.just(head + b"b" * body), http.REQUESTS)
    return pieces(b"".join(draw(st.lists(one, min_size=1, max_size=3))), draw(CUTS))


@given(st.lists(requests(), min_size=1, max_size=4), st.lists(st.integers(0, 3), max_size=4))
def test_requests_of_http_are_what_they_are_whatever_was_seen_before(
    clients: list[list[bytes]], again: list[int]
) -> None:
    clients += [clients[number % len(clients)] for number in again]  # what is found, and found at once
    told: list[list[Any]] = []
    for remembers in (True, False):
        protocol = speaker(remembers)
        said: list[Any] = []
        for chunks in clients:
            framer = protocol.requests()
            for chunk in chunks:
                frames = framer.feed(chunk)
                said.append((seen(frames), framer.held, framer.midway))
                while frames and frames[-1].marks & LAST and not frames[-1].marks & END_CLIENT:
                    framer.resume()
                    frames = framer.feed(b"")
                    said.append((seen(frames), framer.held, framer.midway))
        told.append(said)
    assert told[0] == told[1]


# -- Redis ---------------------------------------------------------------------------------------------------


@given(st.lists(redis.pieces(redis.REQUESTS), min_size=2, max_size=3), st.booleans(), st.booleans())
def test_commands_of_redis_are_what_they_are_whatever_was_seen_before(
    clients: list[list[bytes]], runs: bool, groups: bool
) -> None:
    """How many go as one frame is no matter of what is known; which commands they are is."""
    told: list[list[Any]] = []
    for remembers in (True, False):
        protocol = RedisProtocol(Redis())
        protocol.settings.remembers = remembers
        said: list[Any] = []
        for chunks in clients:
            framer = protocol.requests()
            framer.trusted, framer.runs, framer.groups = True, runs, groups
            for chunk in chunks:
                frames = framed(framer, chunk)
                while frames:
                    said += _commands(frames, apart=runs)
                    framer.resume()
                    frames = framer.feed(b"")
            said.append((framer.held, framer.midway))
        told.append(said)
    assert told[0] == told[1]


def _commands(frames: Sequence[Frame], *, apart: bool) -> list[Any]:
    """`apart`: the commands of a run one by one, as if there were none."""
    if not apart:
        return [(frame.data, frame.marks, _name(frame.note)) for frame in frames]
    return [
        command
        for frame in frames
        for command in (commands(frame.data) if frame.weight > 1 else [frame.data])
    ]


def _name(note: Any) -> Any:
    command = getattr(note, "command", note)
    return getattr(command, "name", command)


# -- all -----------------------------------------------------------------------------------------------------

REMEMBERING = ("http", "redis")
CALLS = st.lists(
    st.builds(
        dubbo.frame,
        st.sampled_from([dubbo.CALL, dubbo.ONE_WAY_CALL, dubbo.BEAT, dubbo.REPLY, dubbo.BEAT_REPLY]),
        st.integers(0, 3),
        st.one_of(st.binary(max_size=40), st.builds(dubbo.invocation, st.sampled_from("st"), st.just("m"))),
    ),
    min_size=1,
    max_size=5,
).map(b"".join)


@given(st.lists(st.tuples(CALLS, CUTS, st.booleans()), min_size=2, max_size=6))
def test_dubbo_remembers_nothing_of_one_connection_for_another(
    plan: list[tuple[bytes, list[int], bool]],
) -> None:
    used = dubbo.protocol(Limit("s", 1))
    for data, cuts, of_requests in plan:
        said = []
        for protocol in (used, dubbo.protocol(Limit("s", 1))):
            framer = protocol.requests() if of_requests else protocol.replies()
            said.append([[(*one, f.tag) for one, f in _with(framer.feed(c))] for c in pieces(data, cuts)])
        assert said[0] == said[1]


def _with(frames: Sequence[Frame]) -> list[tuple[tuple[Any, ...], Frame]]:
    return list(zip(seen(frames), frames, strict=True))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_what_remembers_can_be_made_to_forget(name: str) -> None:
    """A new memo needs a switch, and with it a law above."""
    backend = Backend("b", name, Clients(("127.0.0.1:0",)), Upstream(("a:1",)), http=Http(), dubbo=Dubbo())
    assert hasattr(getattr(build(backend), "settings", None), "remembers") == (name in REMEMBERING)
