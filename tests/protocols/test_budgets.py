"""P10's law: however little may be done in one feed, the same frames come out in the end, in their order."""

from __future__ import annotations

from random import Random

import pytest

from muxproxy.config.model import Dubbo, Http, Redis
from muxproxy.protocols.contract import ANSWER, BROKEN, FIRST, FRAMES, LAST, LINES, Frame
from muxproxy.protocols.dubbo import DubboProtocol, framing
from muxproxy.protocols.http import HttpProtocol, chunked
from muxproxy.protocols.http import replies as http_replies
from muxproxy.protocols.http.common import KEEP, OLD
from muxproxy.protocols.redis import RedisProtocol
from muxproxy.protocols.redis.framing import replies as redis_replies
from muxproxy.protocols.redis.framing import requests as redis_requests
from tests.fuzz.samples import cuts, replies, requests, spoiled

MADE = {"http": HttpProtocol(Http()), "redis": RedisProtocol(Redis()), "dubbo": DubboProtocol(Dubbo())}
SEEDS = 60


def tighten(patch: pytest.MonkeyPatch, chance: Random) -> None:
    """As little as a feed can do and still get on."""
    for module, name in (
        (framing, "FRAMES"),
        (http_replies, "FRAMES"),
        (redis_requests, "FRAMES"),
        (chunked, "LINES"),
        (redis_requests, "LINES"),
        (redis_replies, "LINES"),
    ):
        patch.setattr(module, name, chance.randrange(1, 40))
    patch.setattr(redis_requests.RequestFramer._many, "__defaults__", (chance.randrange(1, 40),))


def messages(frames: list[Frame]) -> list[tuple[bytes, int]]:
    """Parts joined: where a message is cut into parts is nobody's business."""
    seen: list[tuple[bytes, int]] = []
    whole = True
    for frame in frames:
        marks = frame.marks
        if marks & BROKEN:
            seen.append((str(frame.note).encode(), BROKEN))
        elif marks & (FIRST | ANSWER) or whole:
            seen.append((frame.data, marks))
            whole = bool(marks & LAST) or not marks & FIRST
        else:
            data, before = seen.pop()
            seen.append((data + frame.data, before | marks))
            whole = bool(marks & LAST)
    return seen


def asked(protocol: str, parts: list[bytes]) -> list[tuple[bytes, int]]:
    framer = MADE[protocol].requests()
    if protocol == "redis":
        framer.trusted = True
        framer.groups = False
    frames: list[Frame] = []
    for part in [*parts, b""]:
        feed = list(framer.feed(part))
        frames += feed
        while framer.more or (feed and not feed[-1].marks & BROKEN):
            framer.resume()
            feed = list(framer.feed(b""))
            frames += feed
    return messages(frames)


def answered(protocol: str, parts: list[bytes], note: int) -> list[tuple[bytes, int]]:
    made = MADE[protocol]
    framer = made.replies()
    if protocol == "redis":
        for _ in range(20):
            framer.expect(made.table.find(b"GET"))
    else:
        framer.expect(note)
    frames: list[Frame] = []
    for part in parts:
        frames += framer.feed(part)
        while framer.more:
            frames += framer.feed(b"")
    return messages(frames)


@pytest.mark.inside  # budgets of a few: compiled they are constants, of which the last tests have more
@pytest.mark.parametrize("protocol", MADE)
def test_of_requests(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(SEEDS):
        chance = Random(seed)
        says = requests(protocol)
        data = b"".join(
            chance.choice(says)
            if chance.random() < 0.8
            else spoiled(chance, chance.choice(says), says)[:5000]
            for _ in range(chance.randrange(1, 12))
        )
        parts = cuts(chance, data)
        generous = asked(protocol, parts)
        with monkeypatch.context() as patch:
            tighten(patch, chance)
            assert asked(protocol, parts) == generous, f"seed {seed}"


@pytest.mark.inside  # budgets of a few: compiled they are constants, of which the last tests have more
@pytest.mark.parametrize("protocol", MADE)
def test_of_replies(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(SEEDS):
        chance = Random(seed)
        says = replies(protocol)
        data = b"".join(
            chance.choice(says)
            if chance.random() < 0.8
            else spoiled(chance, chance.choice(says), says)[:5000]
            for _ in range(chance.randrange(1, 12))
        )
        parts = cuts(chance, data)
        note = chance.choice((KEEP, OLD))
        generous = answered(protocol, parts, note)
        with monkeypatch.context() as patch:
            tighten(patch, chance)
            assert answered(protocol, parts, note) == generous, f"seed {seed}"


# Messages that go on, of which one feed may bring no more than it does.
ASKED = {"http": requests("http")[:4], "redis": requests("redis")[2:5], "dubbo": requests("dubbo")[:3]}
ANSWERED = {
    "http": [replies("http")[3]] * (FRAMES // 8) + [replies("http")[0]],
    "redis": [b"*%d\r\n" % LINES, *[b"$1\r\na\r\n"] * LINES, *[b":1\r\n"] * 19],
    "dubbo": [replies("dubbo")[0], replies("dubbo")[2]] * FRAMES,
}


@pytest.mark.parametrize("protocol", MADE)
def test_of_more_requests_than_one_feed_may_bring(protocol: str) -> None:
    chance = Random(1)
    parts = [chance.choice(ASKED[protocol]) for _ in range(3 * FRAMES)]
    together = asked(protocol, [b"".join(parts)])
    assert together == asked(protocol, parts)
    assert len(together) >= 3 * FRAMES


@pytest.mark.parametrize("protocol", MADE)
def test_of_more_replies_than_one_feed_may_bring(protocol: str) -> None:
    parts = ANSWERED[protocol]
    data = b"".join(parts)
    together = answered(protocol, [data], KEEP)
    assert together == answered(protocol, parts, KEEP)
    assert b"".join(part for part, _ in together) == data
    framer = MADE[protocol].replies()
    framer.expect(MADE["redis"].table.find(b"GET") if protocol == "redis" else KEEP)
    framer.feed(data)
    assert framer.more
