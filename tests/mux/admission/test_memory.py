"""One bound for what a worker holds in all: who holds most goes first, and a look costs nothing where nobody
holds much."""

from __future__ import annotations

import pytest

from muxproxy.mux.admission.memory import INTERVAL, LEDGER, MUCH, OBJECTS
from muxproxy.mux.base.client import Client
from muxproxy.mux.deadlines import INF
from muxproxy.protocols.contract import FRAMES, Sharing
from tests.fakes import Stage
from tests.toys import Toy

EXCLUSIVE, ORDERED, TAGGED = Sharing.EXCLUSIVE, Sharing.ORDERED, Sharing.TAGGED


def test_who_has_most_unread_is_cut_and_nobody_else() -> None:
    stage = Stage(ORDERED, max_connections=1, response_buffer=1000, pipeline_buffer=1 << 20)
    stage.pool.memory.bound = 100_000
    ann, bob, eve = (stage.asks(b"ask\n" * 10) for _ in range(3))
    server = stage.connects()
    for peer, size in ((ann, 2_000), (bob, 8_000), (eve, 3_000)):
        peer.stops_reading()
        server.sends((b"ask +%d\n" % size + b"x" * size) * 10)
    assert stage.pool.memory.held == 0
    stage.passes(2 * INTERVAL)
    assert [peer.is_open for peer in (ann, bob, eve)] == [True, False, True]
    assert bob.wire.was_reset
    assert 50_000 < stage.pool.memory.held <= 100_000
    assert stage.pool.memory.statistics()["memory_shed"] == 1
    assert stage.outcomes()["memory"] == 1
    assert "memory is 100000" in next(iter(stage.pool.faults.values()))
    ann.reads()
    eve.reads()
    assert len(ann.got()) + len(eve.got()) == 10 * (2_000 + 3_000 + 2 * 10)
    stage.passes(2 * INTERVAL)
    assert (stage.pool.memory.held, stage.pool.memory.deadline) == (0, INF)


@pytest.mark.parametrize("sharing", [EXCLUSIVE, ORDERED])
def test_who_sends_a_body_for_which_there_is_no_place_is_told(sharing: Sharing) -> None:
    stage = Stage(sharing, max_connections=1, request_buffer=1 << 20, timeout=100.0)
    stage.pool.memory.bound = 100_000
    ann, bob = stage.asks(b"a +500000\n" + b"x" * 70_000), stage.asks(b"b +500000\n" + b"x" * 60_000)
    stage.passes(2 * INTERVAL)
    assert ann.got().startswith(b"no memory bye | toys: 130")
    told = b" bytes are held for clients, memory is 100000; of these %d for this one\n" % (70_010 + OBJECTS)
    assert told in bytes(ann.wire.received)
    assert ann.wire.eof
    assert bob.got() == b""
    assert stage.outcomes() == {"memory": 1}


def exchanges(brain: Client) -> int:
    number, exchange = 0, brain.first
    while exchange is not None:
        number, exchange = number + 1, exchange.after
    return number


def test_a_hundred_thousand_requests_of_two_bytes_count_for_what_their_objects_cost() -> None:
    stage = Stage(ORDERED, max_connections=1, timeout=100.0)
    stage.pool.memory.bound = 10_000_000
    anns = [stage.client() for _ in range(3)]
    for ann in anns:
        ann.sends(b"a\n" * 100_000)
        stage.passes(INTERVAL)
        assert ann.is_paused
        assert 100 < exchanges(ann.wire.brain) <= 64 * 1024 // OBJECTS + FRAMES
    held = stage.pool.memory.held
    assert held > 3 * 64 * 1024
    stage.pool.memory.bound = held - 1
    stage.passes(2 * INTERVAL)
    assert stage.outcomes()["memory"] > 100  # of one client
    assert sum(ann.is_open for ann in anns) == 2


def test_answers_that_are_parked_count_for_what_their_objects_cost() -> None:
    stage = Stage(Toy(ORDERED, sessions=True))
    ann = stage.asks(b"slow\n")
    ann.sends(b"x local\n" * 100_000)
    assert ann.is_paused
    assert exchanges(ann.wire.brain) <= 64 * 1024 // OBJECTS + FRAMES
    stage.passes(INTERVAL)
    assert stage.pool.memory.held > 64 * 1024
    kinds = stage.pool.memory.statistics()["memory_kinds"]
    assert isinstance(kinds, dict)
    assert kinds["requests"] > 100 * OBJECTS
    assert kinds["unread"] > 64 * 1024
    assert kinds["requests"] + kinds["unread"] == stage.pool.memory.held


def test_calls_that_wait_are_weighed_all_of_them() -> None:
    stage = Stage(TAGGED, max_connections=1, timeout=100.0, request_buffer=1 << 20)
    ann = stage.asks(b"".join(b"%08d %s\n" % (n, b"x" * 4500 if n == 1000 else b"x") for n in range(1, 1001)))
    stage.passes(2 * INTERVAL)
    assert exchanges(ann.wire.brain) <= LEDGER
    assert stage.pool.memory.held > 1000 * OBJECTS


def test_what_a_listener_listens_to_counts() -> None:
    stage = Stage(Toy(ORDERED, sessions=True), max_connections=2)
    ann = stage.client()
    ann.wire.brain.session.remembers = 200_000
    ann.sends(b"go listen=news\n")
    stage.passes(2 * INTERVAL)
    assert stage.pool.memory.held >= 200_000
    kinds = stage.pool.memory.statistics()["memory_kinds"]
    assert isinstance(kinds, dict)
    assert (kinds["unread"], kinds["remembered"]) == (0, 200_000)
    stage.pool.memory.bound = 100_000
    stage.passes(2 * INTERVAL)
    assert not ann.is_open or ann.wire.eof
    assert stage.outcomes() == {"memory": 1}


@pytest.mark.parametrize("sharing", [EXCLUSIVE, ORDERED, TAGGED])
def test_nobody_is_looked_at_where_nobody_holds_much(sharing: Sharing) -> None:
    stage = Stage(sharing, max_connections=1)
    line = b"00000001 a\n" if sharing is TAGGED else b"a\n"
    ann = stage.asks(line)
    server = stage.connects()
    server.sends(server.got())
    assert ann.got() == line
    assert stage.pool.memory.deadline == INF


def test_who_is_gone_weighs_nothing() -> None:
    stage = Stage(EXCLUSIVE, max_connections=1, request_buffer=1 << 20, timeout=100.0)
    ann = stage.asks(b"a +500000\n" + b"x" * 70_000)
    stage.passes(2 * INTERVAL)
    assert stage.pool.memory.held > 70_000
    ann.breaks_off()
    stage.passes(2 * INTERVAL)
    assert stage.pool.memory.held == 0


def test_who_holds_the_memory_is_told_when_much_has_become_little() -> None:
    told: list[int] = []
    stage = Stage(ORDERED, max_connections=1, response_buffer=1000, pipeline_buffer=1 << 30)
    stage.pool.memory._on_relief = lambda: told.append(stage.pool.memory.held)
    ann = stage.asks(b"ask\n")
    ann.stops_reading()
    server = stage.connects()
    server.sends(b"ask +%d\n" % (2 * MUCH) + bytes(2 * MUCH))
    stage.passes(2 * INTERVAL)
    assert told == []
    ann.breaks_off()
    stage.passes(2 * INTERVAL)
    assert told == [0]
    stage.passes(10 * INTERVAL)
    assert told == [0]
