"""Slow readers of large replies: nobody stands behind more than one of them, and who comes later behind none
(P5)."""

from __future__ import annotations

from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer, Stage

ORDERED = Sharing.ORDERED
LARGE = b"large +100000\n"


def stage_of(**keys: object) -> Stage:
    keys = {"response_buffer": 1000, "pipeline_buffer": 1000} | keys
    return Stage(ORDERED, suspect_after=60.0, hold_timeout=1.0, stall_timeout=60.0, **keys)


def asks_and_does_not_read(stage: Stage) -> Peer:
    peer = stage.client()
    peer.stops_reading()
    peer.sends(b"large\n")
    return peer


def large_replies(server: Peer, number: int) -> None:
    """So many, each as far as anybody reads it; the rest when it is swallowed."""
    for _ in range(number):
        server.sends(LARGE)
        for _ in range(10):
            server.sends(b"l" * 10_000)


def test_who_stands_behind_several_of_them_waits_little_longer_than_for_one() -> None:
    stage = stage_of(max_connections=1)
    slow = [asks_and_does_not_read(stage) for _ in range(8)]
    bob = stage.asks(b"small\n")
    server = stage.connects()
    large_replies(server, 8)
    server.sends(b"small\n")
    stage.passes(0.9)
    assert all(client.is_open for client in slow)
    stage.passes(0.6)  # a quarter of hold_timeout for the other seven, and what hold_rate allows
    assert bob.got() == b"small\n"
    assert not any(client.is_open for client in slow)
    assert stage.outcomes() == {"client_stalled": 8, "ok": 1}
    assert stage.statistics()["events"]["cut_in_the_way"] == 8


def test_one_that_reads_behind_one_that_did_not_gets_its_whole_reply() -> None:
    stage = stage_of(max_connections=1)
    asks_and_does_not_read(stage)
    ann = stage.asks(b"large\n")
    bob = stage.asks(b"small\n")
    server = stage.connects()
    large_replies(server, 1)
    server.sends(LARGE)
    stage.passes(1.2)
    for _ in range(10):
        ann.stops_reading()
        server.sends(b"l" * 10_000)
        stage.passes(0.02)
        ann.reads()
    server.sends(b"small\n")
    assert len(ann.got()) == len(LARGE) + 100_000
    assert bob.got() == b"small\n"


def test_who_comes_next_waits_anew_for_nobody_but_the_first() -> None:
    """Those who had their replies are not in the way of who comes long after."""
    stage = stage_of(max_connections=1)
    for _ in range(3):
        ann = asks_and_does_not_read(stage)
        bob = stage.asks(b"small\n")
        if stage.dials:
            server = stage.connects()
        large_replies(server, 1)
        server.sends(b"small\n")
        stage.passes(0.4)
        assert (ann.is_open, bob.got()) == (True, b"")
        ann.reads()
        assert bob.got() == b"small\n"
        ann.closes()
        stage.passes(0.1)


def test_a_connection_that_has_met_one_is_not_everybodys_until_it_owes_nothing() -> None:
    stage = stage_of(max_connections=3)
    ann = asks_and_does_not_read(stage)
    first = stage.connects()
    first.got()
    large_replies(first, 1)
    assert stage.statistics()["upstream"]["suspect"] == 1
    assert stage.statistics()["events"] == {"set_apart": 1}
    bob = stage.asks(b"small\n")
    second = stage.connects()
    assert second.got() == b"small\n"
    second.sends(b"small\n")
    ann.reads()
    assert (first.got(), bob.got()) == (b"", b"small\n")
    assert stage.statistics()["upstream"]["suspect"] == 0
    ann.sends(b"a\n")
    bob.sends(b"b\n")
    assert first.got() + second.got() in (b"a\nb\n", b"b\na\n")


def test_who_has_set_apart_one_goes_on_with_its_like() -> None:
    stage = stage_of(max_connections=3)
    ann, bob = asks_and_does_not_read(stage), asks_and_does_not_read(stage)
    first = stage.connects()
    first.got()
    large_replies(first, 1)
    stage.asks(b"small\n")
    second = stage.connects()
    second.got()
    ann.reads()
    assert stage.statistics()["upstream"]["suspect"] == 1  # it still owes bob his
    ann.sends(b"again\n")
    assert (first.got(), second.got()) == (b"again\n", b"")
    assert bob.is_open


def test_who_was_cut_again_and_again_loses_the_benefit_of_doubt() -> None:
    stage = stage_of(max_connections=1)
    times = []
    for _ in range(6):
        ann = asks_and_does_not_read(stage)
        bob = stage.asks(b"small\n")
        if stage.dials:
            server = stage.connects()
        began = stage.world.now
        large_replies(server, 1)
        server.sends(b"small\n")
        while ann.is_open:
            stage.passes(0.01)
        times.append(round(stage.world.now - began, 1))
        assert bob.got() == b"small\n"
    assert times[:3] == [1.0, 1.0, 1.0]
    assert times[3] < 0.7
    assert times[5] < 0.3
    eve = asks_and_does_not_read(stage)
    eve.wire.identity = "another"
    stage.asks(b"small\n")
    large_replies(server, 1)
    stage.passes(0.9)
    assert eve.is_open


def test_a_large_reply_that_is_kept_for_a_slow_client_parts_from_small_ones_too() -> None:
    stage = stage_of(max_connections=2, pipeline_buffer=1_000_000)
    ann = asks_and_does_not_read(stage)
    first = stage.connects()
    first.got()
    large_replies(first, 1)
    assert stage.statistics()["upstream"]["idle"] == 1  # all of it is here
    asks_and_does_not_read(stage)
    assert first.got() == b"large\n"
    first.sends(LARGE)
    for _ in range(4):
        first.sends(b"l" * 10_000)
    bob = stage.asks(b"small\n")
    second = stage.connects()
    second.sends(b"small\n")
    assert (first.got(), bob.got()) == (b"", b"small\n")
    first.sends(b"l" * 60_000)
    assert stage.statistics()["upstream"]["suspect"] == 0
    assert ann.is_open
    assert "cut_in_the_way" not in stage.statistics()["events"]
