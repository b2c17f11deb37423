"""TAGGED clients in a drain: told to ask elsewhere, given what they are owed, and begun nothing new for."""

from __future__ import annotations

from muxproxy.mux.base.replying import LULL
from muxproxy.mux.tagged.client import APART
from muxproxy.protocols.contract import Sharing
from tests.fakes import Stage
from tests.mux.tagged.test_client import ask
from tests.tagged_toys import GOODBYE, LIVES, TaggedToy, tagged
from tests.toys import Toy


def test_in_a_drain_clients_are_told_and_nothing_new_begins() -> None:
    stage = Stage(TaggedToy(), max_connections=1)
    ann = ask(stage, b"a", b"b")
    server = stage.connects()
    server.got()
    with stage.turn():
        stage.pool.drain(stage.world.now)
    assert ann.wire.writes == [tagged(0, GOODBYE)]
    stage.passes(APART)
    for tag in range(3, 9):  # always something in flight: it kept the drain waiting to its end
        ann.sends(tagged(tag, b"new\n") + tagged(1, b"note oneway\n") + tagged(0, b"beat\n"))
        stage.passes(APART)
    refused = [line for line in ann.got().splitlines() if b"draining" in line]
    assert [int(line[:8]) for line in refused] == list(range(3, 9))
    assert server.got() == b""
    server.sends(tagged(1, b"a\n"))
    ann.sends(tagged(9, b"new +30\n0123456789"))  # skipped, and the others get theirs
    assert ann.is_open
    assert not ann.wire.eof
    server.sends(tagged(2, b"b\n"))
    assert ann.wire.eof
    ann.sends(b"x" * 20 + tagged(10, b"new\n"))  # was on its way
    ann.closes()
    assert ann.got().endswith(tagged(2, b"b\n"))
    assert stage.world.drained_pools == [stage.pool]
    assert stage.outcomes() == {"ok": 2, "draining": 13, "local": 6}


def test_who_has_just_connected_is_told_and_refused_in_words() -> None:
    stage = Stage(TaggedToy(), max_connections=1)
    ann, idle = stage.client(), stage.asks(tagged(0, b"beat\n"))
    stage.passes(1.0)
    with stage.turn():
        stage.pool.drain(stage.world.now)
    ann.sends(tagged(1, b"a\n"))
    stage.passes(APART)
    assert ann.got().startswith(tagged(0, GOODBYE) + tagged(1, b"no draining"))
    assert idle.got() == tagged(0, LIVES) + tagged(0, GOODBYE)
    assert not idle.is_open
    assert stage.dials == []


def test_goodbye_is_not_said_in_the_middle_of_a_reply() -> None:
    stage = Stage(TaggedToy(), max_connections=1)
    ann = ask(stage, b"a", b"b")
    server = stage.connects()
    server.sends(tagged(1, b"a +4\nab"))
    with stage.turn():
        stage.pool.drain(stage.world.now)
    server.sends(b"cd" + tagged(2, b"b\n"))
    assert ann.got() == tagged(1, b"a +4\nabcd") + tagged(0, GOODBYE) + tagged(2, b"b\n")


def test_what_is_cut_off_is_told_that_and_not_that_a_server_failed() -> None:
    stage = Stage(TaggedToy(), max_connections=1, max_in_flight=3, request_buffer=10)
    ann, bob = ask(stage, b"a", b"b"), ask(stage, b"c", b"d")
    server = stage.connects()
    with stage.turn():
        stage.pool.drain(stage.world.now)
        assert stage.pool.cut_off(stage.world.now) == 4
    for client in (ann, bob):
        said = client.got()
        assert said.count(b"draining") == 2
        assert said.count(b"muxproxy is stopping; the request may have been served") == (1, 2)[client is ann]
    assert stage.outcomes() == {"draining": 4}
    server.sends(tagged(1, b"a\n"))
    assert ann.got() == b""


def test_who_is_cut_off_while_it_is_not_read_is_not_closed_over_what_it_sent() -> None:
    """That would be an RST, and destroy what the others of its calls were told."""
    stage = Stage(TaggedToy(), max_connections=1, max_in_flight=1, request_buffer=10_000)
    ann = ask(stage, b"x")
    stage.connects()
    for tag in range(2, 9):
        ann.sends(tagged(tag, b"a +5000\n" + b"x" * 5000))
    assert ann.is_paused
    assert ann.wire.unread()
    with stage.turn():
        stage.pool.drain(stage.world.now)
        stage.pool.cut_off(stage.world.now)
    assert ann.got().count(b"no draining") == stage.outcomes()["draining"]
    assert ann.is_open
    assert ann.wire.eof
    ann.closes()
    assert stage.world.drained_pools == [stage.pool]


def test_who_is_owed_nothing_does_not_outstay_the_drain() -> None:
    stage = Stage(TaggedToy())
    ann, bob = stage.client(), stage.asks(b"0000")
    with stage.turn():
        stage.pool.drain(stage.world.now)
        assert stage.pool.cut_off(stage.world.now) == 0
    assert not ann.is_open
    assert not bob.is_open
    assert stage.world.drained_pools == [stage.pool]


def test_gently_who_asks_on_is_served_on() -> None:
    stage = Stage(TaggedToy(), max_connections=1)
    line = tagged(1, b"a\n")
    ann = stage.client()
    ann.sends(line)
    server = stage.connects()
    server.sends(server.got())
    ann.got()
    with stage.turn():
        stage.pool.drain(stage.world.now, stage.world.now + 10.0)
    for _ in range(4):
        assert ann.is_open
        assert not ann.wire.eof
        stage.passes(LULL / 2)
        ann.sends(line)
        server.sends(server.got())
        assert ann.got().endswith(line)
    stage.passes(2 * LULL)
    assert not ann.is_open
    assert stage.world.drained_pools


def test_gently_who_stays_silent_is_closed_after_a_lull() -> None:
    stage = Stage(Toy(Sharing.EXCLUSIVE), max_connections=1)
    ann = stage.asks(b"a\n")
    stage.connects().sends(b"a\n")
    with stage.turn():
        stage.pool.drain(stage.world.now, stage.world.now + 10.0)
    stage.passes(LULL - 0.3)
    assert ann.is_open
    stage.passes(0.6)
    assert not ann.is_open


def test_what_it_had_asked_when_the_drain_began_is_answered_in_however_many_pieces_it_is_read() -> None:
    stage = Stage(TaggedToy(), max_connections=1)
    ann = stage.client()
    ann.sends(tagged(1, b"a\n"))
    server = stage.connects()
    server.sends(server.got())
    ann.got()
    with stage.turn():
        ann.sends(tagged(2, b"b\n"))
        ann.sends(tagged(3, b"c\n"))
        stage.pool.drain(stage.world.now)
        ann.sends(tagged(4, b"d\n"))
        ann.sends(tagged(5, b"e\n"))
    stage.passes(1.0)
    server.sends(server.got())
    told = ann.got()
    assert [tagged(tag, b"no draining") in told for tag in (4, 5)] == [True, True]
    stage.passes(1.0)
    assert ann.wire.eof or not ann.is_open


def test_who_is_refused_in_a_drain_while_more_of_it_lies_unread_keeps_the_refusal() -> None:
    stage = Stage(Toy(Sharing.EXCLUSIVE), max_connections=1, max_waiting=0)
    stage.asks(b"x\n")
    stage.connects()
    ann = stage.client()
    with stage.turn():
        stage.pool.drain(stage.world.now)
        ann.sends(b"a\n")
        ann.sends(b"b\n")  # to close() over this is an RST, which takes the refusal along
    assert ann.got().startswith(b"no ")
    assert ann.wire.eof
