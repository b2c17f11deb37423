"""Replies by tag: in any order, to whom they belong (P2)."""

from __future__ import annotations

import random

from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer, Stage

TAGGED = Sharing.TAGGED


def tagged(tag: int, rest: bytes) -> bytes:
    return b"%08d " % tag + rest


def tags_of(server: Peer) -> dict[bytes, int]:
    """Name -> the tag it has on this connection."""
    return {line[9:]: int(line[:8]) for line in server.got().splitlines()}


def test_replies_by_tag_may_come_in_any_order_and_carry_the_clients_own_tags() -> None:
    stage = Stage(TAGGED, max_connections=1)
    clients = [stage.asks(tagged(77, b"c%d\n" % n)) for n in range(10)]  # all of them use the same tag
    server = stage.connects()
    tags = tags_of(server)
    assert len(set(tags.values())) == 10
    names = list(tags)
    random.Random(1).shuffle(names)
    server.sends(b"".join(tagged(tags[name], name + b"\n") for name in names))
    assert [client.got() for client in clients] == [tagged(77, b"c%d\n" % n) for n in range(10)]


def test_a_stray_tag_is_counted_and_hurts_nobody() -> None:
    stage = Stage(TAGGED, max_connections=1)
    ann = stage.asks(tagged(5, b"ann\n"))
    server = stage.connects()
    (tag,) = tags_of(server).values()
    server.sends(tagged(9999, b"who\n") + tagged(tag, b"ann\n") + tagged(tag, b"twice\n"))
    assert ann.got() == tagged(5, b"ann\n")
    assert server.is_open
    assert stage.statistics()["closed"] == {"stray reply ignored": 2}


def test_a_late_reply_by_tag_is_told_and_swallowed_when_it_comes() -> None:
    stage = Stage(TAGGED, max_connections=1, reply_timeout=10.0)
    ann = stage.asks(tagged(5, b"slow\n"))
    server = stage.connects()
    (tag,) = tags_of(server).values()
    stage.passes(10.1)
    assert ann.got() == tagged(5, b"no reply_timeout | one:1: no reply for 10 s\n")
    server.sends(tagged(tag, b"slow\n"))
    assert ann.got() == b""
    assert server.is_open


def test_a_tag_is_never_used_again_on_the_same_connection() -> None:
    stage = Stage(TAGGED, max_connections=1)
    ann = stage.client()
    ann.sends(tagged(1, b"x\n"))
    server = stage.connects()
    seen = set()
    for _ in range(50):
        (tag,) = tags_of(server).values()
        seen.add(tag)
        server.sends(tagged(tag, b"x\n"))
        ann.sends(tagged(1, b"x\n"))
    assert len(seen) == 50
