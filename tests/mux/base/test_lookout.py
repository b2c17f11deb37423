"""Connections whose servers' machines are not heard any more make room for others (P1, P4)."""

from __future__ import annotations

from typing import Any

import pytest

from muxproxy.mux.base.lookout import AT_A_TIME, EVERY
from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer, Stage
from tests.tagged_toys import tagged

SHARINGS = pytest.mark.parametrize("sharing", list(Sharing), ids=lambda sharing: sharing.name.lower())


def request(sharing: Sharing, name: bytes = b"x") -> bytes:
    return tagged(1, name + b"\n") if sharing is Sharing.TAGGED else name + b"\n"


def served(stage: Stage, sharing: Sharing) -> tuple[Peer, Peer]:
    """A client that waits for a reply, and its server."""
    ann = stage.asks(request(sharing))
    return ann, stage.connects()


@SHARINGS
def test_one_that_is_not_heard_is_given_up_when_somebody_could_do_with_its_place(sharing: Sharing) -> None:
    stage = Stage(sharing, max_connections=1, max_in_flight=1)
    ann, server = served(stage, sharing)
    if sharing in (Sharing.EXCLUSIVE, Sharing.DEDICATED):
        server.wire.unanswered = 3
        stage.passes(2 * EVERY)
        assert server.is_open  # nobody else is there, and the network may be back in a moment
    bob = stage.asks(request(sharing, b"bob"))
    server.wire.unanswered = 3
    stage.passes(1.1 * EVERY)
    assert not server.is_open
    assert b"bob" in stage.connects().got()
    assert bob.is_open
    assert stage.statistics()["closed"] == {"unanswered": 1}
    assert [event for event, _ in stage.world.lines] == ["connection given up"]
    if sharing is not Sharing.DEDICATED:
        assert b"no server_closed" in ann.got()
        assert stage.outcomes() == {"server_closed": 1}


@SHARINGS
def test_and_after_twice_as_many_tries_in_any_case(sharing: Sharing) -> None:
    stage = Stage(sharing, max_connections=2, suspect_after=60.0)
    _, server = served(stage, sharing)
    server.wire.unanswered = 5
    stage.passes(2 * EVERY)
    assert server.is_open
    server.wire.unanswered = 6
    stage.passes(1.1 * EVERY)
    assert not server.is_open


@pytest.mark.parametrize("sharing", [Sharing.ORDERED, Sharing.TAGGED])
def test_a_shared_one_that_is_silent_is_in_the_way_of_all_in_flight_though_nobody_waits(
    sharing: Sharing,
) -> None:
    stage = Stage(sharing, max_connections=2)
    _, server = served(stage, sharing)
    stage.passes(3.0)
    assert server.is_open
    server.wire.unanswered = 3
    stage.passes(1.1 * EVERY)
    assert not server.is_open


@SHARINGS
def test_a_server_that_is_slow_is_asked_by_the_kernel_and_kept_when_that_is_answered(
    sharing: Sharing,
) -> None:
    stage = Stage(sharing, max_connections=1, max_in_flight=1, keepalive=15.0)
    ann, server = served(stage, sharing)
    stage.asks(request(sharing, b"bob"))
    server.wire.silent = 1.2
    stage.passes(1.1 * EVERY)
    assert server.wire.asked_every == 1.0
    server.wire.silent = 0.0
    stage.passes(1.1 * EVERY)
    assert server.wire.asked_every == 15.0
    assert server.is_open
    server.sends(server.got())
    assert b"x" in ann.got()


def test_what_came_from_one_that_is_not_heard_any_more_is_read_before_it_is_given_up() -> None:
    """A slow client's whole reply may be here: its request is not lost, nor sent again (P9)."""
    stage = Stage(Sharing.EXCLUSIVE, max_connections=1, response_buffer=100)
    stage.server(b"warm\n", b"warm\n")  # an idempotent request may be sent again on it
    ann = stage.asks(b"ann idem\n")
    (upstream,) = stage.pool.upstreams
    server = Peer(stage, upstream.wire)
    ann.stops_reading()
    server.sends(b"ann +400\n" + b"a" * 200)
    server.sends(b"a" * 200)
    server.wire.unanswered = 6
    stage.passes(2 * EVERY)
    assert server.is_open
    ann.reads()
    assert ann.got() == b"ann +400\n" + b"a" * 400
    stage.asks(b"bob\n")
    stage.passes(1.1 * EVERY)
    assert not server.is_open
    assert stage.outcomes() == {"ok": 2, "server_closed": 1}


def test_one_that_owes_nothing_is_not_looked_at() -> None:
    stage = Stage(Sharing.EXCLUSIVE)
    server = stage.server(b"warm\n", b"warm\n")
    server.wire.unanswered = 100
    stage.passes(5.0)
    assert server.is_open


def test_nobody_looks_where_nothing_is_to_be_seen() -> None:
    stage = Stage(Sharing.EXCLUSIVE, idle_timeout=1.0)
    server = stage.server(b"warm\n", b"warm\n")
    stage.passes(3.0)
    assert not server.is_open
    assert stage.pool.lookout.deadline == float("inf")
    stage.asks(b"x\n")
    again = stage.connects()
    again.wire.unanswered = 6
    stage.passes(1.1 * EVERY)
    assert not again.is_open


def test_a_turn_of_the_loop_looks_at_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    number = AT_A_TIME + 3
    stage = Stage(Sharing.DEDICATED, max_connections=number)
    for _ in range(number):
        stage.client()
        stage.connects()
    looked: list[float] = []
    hearing = stage.world.hearing

    def looking(wire: Any) -> tuple[int, float]:
        looked.append(stage.world.now)
        return hearing(wire)

    monkeypatch.setattr(stage.world, "hearing", looking)
    stage.passes(1.5 * EVERY)
    assert len(looked) == number
    assert looked.count(looked[0]) == AT_A_TIME


def test_a_bug_does_not_end_the_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(Sharing.EXCLUSIVE, max_connections=1)
    _, server = served(stage, Sharing.EXCLUSIVE)
    with monkeypatch.context() as patch:
        patch.setattr(stage.world, "hearing", lambda wire: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            stage.passes(1.1 * EVERY)
    stage.world.alarm(stage.world.fine.next_deadline())  # as worker/engine.py does after a bug
    server.wire.unanswered = 6
    stage.passes(1.5 * EVERY)
    assert not server.is_open
