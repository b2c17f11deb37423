"""All framers, fed with what hostile peers say: whole and cut anywhere, with and without what they remember.

`check(target, chance, data)` is one input: it raises where a law of framing is broken (test_laws.py of each
protocol and tests/protocols/test_memos.py name them). `python -m tests.fuzz framers` makes inputs by chance;
with `--guided` atheris looks for those that reach new code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from muxproxy.config.model import Http, Limit
from muxproxy.protocols.http import HttpProtocol
from muxproxy.protocols.redis.framing.settings import Settings
from tests.fuzz.samples import cuts, replies, requests, spoiled
from tests.protocols.dubbo import feeding as dubbo
from tests.protocols.http import feeding as http
from tests.protocols.http.test_laws import same, without_framing
from tests.protocols.redis.framing import feeding as redis
from tests.protocols.redis.framing.test_laws import outcome

LIMITED = {"max_head": 600, "max_target": 200}


class Remembering:
    """Protocols that have seen all inputs so far, beside those that never remember."""

    def __init__(self) -> None:
        self.http = HttpProtocol(Http(), http.HOST)
        self.forgetful = HttpProtocol(Http(), http.HOST)
        self.forgetful.settings.remembers = False
        self.redis: Settings = redis.settings()
        self.oblivious: Settings = redis.settings()
        self.oblivious.remembers = False


SEEN = Remembering()


def http_requests(chance: Random, data: bytes) -> None:
    chunks = cuts(chance, data)
    limits = LIMITED if chance.random() < 0.3 else {}
    same(http.requests([data], http.protocol(**limits)), http.requests(chunks, http.protocol(**limits)))
    assert http.requests(chunks, SEEN.http) == http.requests(chunks, SEEN.forgetful)


def http_replies(chance: Random, data: bytes) -> None:
    chunks = [chunk for chunk in cuts(chance, data) if chunk]
    note = chance.randrange(16)
    whole = without_framing(http.replies([data] if data else [], note, eof=True))
    same(whole, without_framing(http.replies(chunks, note, eof=True)))
    with_memo, without = (
        http.replies(chunks, note, eof=True, http=one) for one in (SEEN.http, SEEN.forgetful)
    )
    assert with_memo == without


def redis_requests(chance: Random, data: bytes) -> None:
    chunks = cuts(chance, data)
    trusted = chance.random() < 0.8
    seen = [redis.requests(cut, groups=False, trusted=trusted) for cut in ([data], chunks)]
    assert outcome(seen[0]) == outcome(seen[1])
    known, unknown = (_commands(one, chunks, trusted) for one in (SEEN.redis, SEEN.oblivious))
    assert known == unknown


def _commands(settings: Settings, chunks: Sequence[bytes], trusted: bool) -> list[Any]:
    framer = redis.RequestFramer(settings)
    framer.trusted = trusted
    seen = redis.Seen()
    for chunk in chunks:
        frames = redis.framed(framer, chunk)
        while (frames or framer.more) and seen.fault is None:
            seen.add(frames)
            framer.resume()
            frames = framer.feed(b"")
    return outcome(seen)


def redis_replies(chance: Random, data: bytes) -> None:
    notes = [chance.choice((redis.GET, redis.SET, None)) for _ in range(chance.randrange(12))]
    how = {"listens": chance.random() < 0.3, "eof": True, "subscriber_buffer": chance.choice((60, 100_000))}
    seen = [redis.replies(cut, *notes, **how) for cut in ([data], cuts(chance, data))]
    for one in seen:  # a fault tells how many bytes of it had come
        one.fault = one.fault and b"broken"
    assert outcome(seen[0]) == outcome(seen[1])


def dubbo_requests(chance: Random, data: bytes) -> None:
    _same_dubbo(chance, data, lambda one: one.requests())


def dubbo_replies(chance: Random, data: bytes) -> None:
    _same_dubbo(chance, data, lambda one: one.replies())


def _same_dubbo(chance: Random, data: bytes, framer: Callable[[Any], Any]) -> None:
    limits = (Limit("org.example.Echo", 1),) if chance.random() < 0.5 else ()
    told = []
    for cut in ([data], cuts(chance, data)):
        protocol = dubbo.protocol(*limits, max_frame=1 << 16)
        seen = dubbo.feed(framer(protocol), cut)
        told.append((seen.messages, seen.asides, bool(seen.fault), protocol.counters))
    assert told[0] == told[1]


TARGETS: dict[str, Callable[[Random, bytes], None]] = {
    "http requests": http_requests,
    "http replies": http_replies,
    "redis requests": redis_requests,
    "redis replies": redis_replies,
    "dubbo requests": dubbo_requests,
    "dubbo replies": dubbo_replies,
}


def material(target: str) -> tuple[bytes, ...]:
    """Whole messages to begin from."""
    protocol, side = target.split()
    return requests(protocol) if side == "requests" else replies(protocol)


def made(target: str, chance: Random) -> bytes:
    """One input, by chance alone."""
    those = material(target)
    parts = [spoiled(chance, chance.choice(those), those) for _ in range(chance.randrange(1, 5))]
    return b"".join(parts)[: 1 << 17]


def check(target: str, chance: Random, data: bytes) -> None:
    TARGETS[target](chance, data)
