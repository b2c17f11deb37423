"""A live pool whose configuration changes: who waits, what closes, what is cut, and what stays."""

from __future__ import annotations

import pytest

from muxproxy.budget import Order
from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer, Stage
from tests.toys import Toy


def changes_login(stage: Stage) -> None:
    stage.pool.protocol.outdates = "old login"
    stage.configure()


def pinned(stage: Stage) -> tuple[Peer, Peer]:
    """A client in a transaction that owes it nothing now, and its connection."""
    ann = stage.asks(b"a pin\n")
    server = stage.connects()
    assert server.got() == b"a pin\n"
    server.sends(b"a\n")
    assert ann.got() == b"a\n"
    return ann, server


def test_who_waits_keeps_the_time_that_he_was_told_and_who_comes_has_the_new_one() -> None:
    stage = Stage(Sharing.EXCLUSIVE, max_connections=1, timeout=4.0)
    stage.asks(b"held\n")
    stage.connects()
    ann = stage.asks(b"old\n")
    stage.passes(1.0)
    stage.configure(timeout=0.5)
    bob = stage.asks(b"new\n")
    stage.passes(0.6)
    assert b"waited 0.5 s" in bob.got()
    assert ann.got() == b""
    stage.passes(2.3)
    assert ann.got() == b""
    stage.passes(0.2)
    assert b"waited 4 s" in ann.got()


def test_a_longer_queue_and_more_in_flight_are_had_at_once_and_less_takes_nobodys_place() -> None:
    stage = Stage(Sharing.TAGGED, max_connections=1, max_in_flight=1, max_waiting=1)
    stage.asks(b"00000001 a\n")
    server = stage.connects()
    stage.asks(b"00000001 b\n")
    assert b"queue_full" in stage.asks(b"00000001 c\n").got()
    stage.configure(max_waiting=2)
    stage.asks(b"00000001 d\n")
    assert stage.pool.gate.waiting == 2
    stage.configure(max_waiting=0)
    assert stage.pool.gate.waiting == 2
    assert b"queue_full" in stage.asks(b"00000001 e\n").got()
    assert server.got().count(b"\n") == 1
    stage.configure(max_in_flight=3)
    assert server.got().count(b"\n") == 2
    assert stage.pool.gate.waiting == 0


def test_min_connections_are_dialled_when_there_shall_be_more() -> None:
    stage = Stage(Sharing.EXCLUSIVE, max_connections=4)
    assert not stage.dials
    stage.configure(min_connections=2)
    assert len(stage.dials) == 2


def test_who_waits_wants_more_when_the_backend_has_more() -> None:
    stage = Stage(Sharing.EXCLUSIVE, max_connections=1)
    stage.asks(b"a\n")
    stage.asks(b"b\n")
    stage.connects()
    stage.configure(max_connections=3)
    assert stage.pool.max_connections == 1, "what it may have comes from who lends"
    stage.passes(0.03)
    assert stage.world.reports[-1].wanted == 1
    with stage.turn():
        stage.pool.allowance.on_order(Order(1, 2, 0), stage.world.now)
    assert len(stage.dials) == 1


def test_a_removed_server_loses_what_is_idle_at_once_and_the_rest_as_it_comes_free() -> None:
    stage = Stage(Sharing.EXCLUSIVE, max_connections=2)
    busy = stage.server(b"x\n", b"x\n")
    ann = stage.asks(b"a\n")
    assert busy.got() == b"a\n"
    bob = stage.asks(b"b\n")
    other = stage.connects()
    other.sends(b"b\n")
    assert bob.got() == b"b\n"
    stage.configure("two:2")
    assert not other.is_open
    assert busy.is_open
    assert stage.pool.closed == {"server removed": 1}
    stage.asks(b"c\n")
    assert busy.got() == b"", "it gets nothing new"
    assert [upstream.server.address for upstream in stage.dials] == ["two:2"]
    busy.sends(b"a\n")
    assert ann.got() == b"a\n"
    assert not busy.is_open


def test_p1_holds_while_old_connections_owe() -> None:
    stage = Stage(Sharing.EXCLUSIVE, max_connections=1)
    ann = stage.asks(b"a\n")
    old = stage.connects()
    stage.configure("two:2")
    bob = stage.asks(b"b\n")
    assert not stage.dials
    old.sends(b"a\n")
    assert ann.got() == b"a\n"
    new = stage.connects()
    assert new.got() == b"b\n"
    new.sends(b"b\n")
    assert bob.got() == b"b\n"


def test_a_connect_under_way_to_a_removed_server_is_given_up_and_is_no_failure() -> None:
    stage = Stage(Sharing.EXCLUSIVE, max_connections=1)
    stage.asks(b"a\n")
    stage.configure("two:2")
    assert [upstream.server.address for upstream in stage.dials] == ["two:2"]
    assert stage.statistics()["servers"][0]["failures"] == 0
    assert stage.connects().got() == b"a\n"


def test_what_the_names_do_not_give_for_now_stays_when_something_else_is_removed() -> None:
    stage = Stage(Sharing.EXCLUSIVE, servers=("one:1",))
    server = stage.server(b"x\n", b"x\n")
    with stage.turn():
        stage.pool.set_servers(["two:2"], stage.world.now, removed={"three:3"})
    assert server.is_open
    with stage.turn():
        stage.pool.set_servers(["two:2"], stage.world.now, removed={"one:1"})
    assert not server.is_open


def test_what_was_gathered_for_a_connection_that_may_not_stay_goes_elsewhere() -> None:
    stage = Stage(Sharing.ORDERED, max_connections=2, max_in_flight=4)
    ann = stage.asks(b"a\n")
    old = stage.connects()
    assert old.got() == b"a\n"
    with stage.turn():
        bob = stage.client(b"b\n")  # gathered: it is written at the end of the turn
        changes_login(stage)
    assert old.got() == b""
    new = stage.connects()
    assert new.got() == b"b\n"
    new.sends(b"b\n")
    assert bob.got() == b"b\n"
    old.sends(b"a\n")
    assert ann.got() == b"a\n"
    assert not old.is_open
    assert stage.pool.closed == {"old login": 1}


def test_a_session_that_has_a_connection_alone_goes_on_and_its_connection_ends_with_it() -> None:
    stage = Stage(Toy(Sharing.ORDERED, sessions=True), max_connections=2, max_pinned=1)
    ann, server = pinned(stage)
    changes_login(stage)
    assert server.is_open
    ann.sends(b"b unpin\n")
    assert server.got() == b"b unpin\n"
    server.sends(b"b\n")
    assert ann.got() == b"b\n"
    if server.got() == b"reset\n":
        server.sends(b"ok\n")
    assert not server.is_open
    assert ann.is_open
    ann.sends(b"c\n")
    assert stage.connects().got() == b"c\n"


def test_who_leaves_a_pinned_connection_that_may_not_stay_takes_it_along() -> None:
    stage = Stage(Toy(Sharing.ORDERED, sessions=True), max_connections=2, max_pinned=1)
    ann, server = pinned(stage)
    changes_login(stage)
    ann.closes()
    assert not server.is_open
    assert server.got() == b""


def test_at_the_end_of_drain_timeout_sessions_are_cut_and_told() -> None:
    stage = Stage(Toy(Sharing.ORDERED, sessions=True), max_connections=3, max_pinned=1)
    ann, first = pinned(stage)
    bob = stage.asks(b"b\n")
    second = stage.connects()
    assert second.got() == b"b\n"
    stage.configure("two:2")
    with stage.turn():
        assert stage.pool.end_retiring(stage.world.now) == 2
    assert not first.is_open
    assert not second.is_open
    assert not ann.is_open, "its transaction is lost"
    assert b"server removed, and drain_timeout is over" in bob.got()
    with stage.turn():
        assert stage.pool.end_retiring(stage.world.now) == 0


def test_what_is_idempotent_is_sent_again_when_its_connection_is_cut() -> None:
    stage = Stage(Sharing.EXCLUSIVE, max_connections=1)
    server = stage.server(b"x\n", b"x\n")
    ann = stage.asks(b"a idem\n")
    assert server.got() == b"a idem\n"
    stage.configure("two:2")
    with stage.turn():
        stage.pool.end_retiring(stage.world.now)
    new = stage.connects()
    assert new.got() == b"a idem\n"
    new.sends(b"a\n")
    assert ann.got() == b"a\n"


def test_a_tunnel_on_a_removed_server_is_cut_at_the_end() -> None:
    stage = Stage(Sharing.EXCLUSIVE, max_connections=2)
    ann = stage.asks(b"a pin\n")
    server = stage.connects()
    server.sends(b"a 101\n")
    assert ann.got() == b"a 101\n"
    stage.configure("two:2")
    server.sends(b"words")
    assert ann.got() == b"words"
    with stage.turn():
        assert stage.pool.end_retiring(stage.world.now) == 1
    assert not server.is_open
    assert not ann.is_open


def test_sessions_of_their_own_last_until_they_are_cut_with_an_error_and_spares_end_at_once() -> None:
    stage = Stage(Sharing.DEDICATED, max_connections=3, min_connections=1)
    spare = stage.connects()
    ann = stage.asks(b"hello")
    taken = spare
    assert taken.got() == b"hello"
    spare = stage.connects()
    stage.configure("two:2")
    assert not spare.is_open
    taken.sends(b"hi")
    assert ann.got() == b"hi"
    with stage.turn():
        assert stage.pool.end_retiring(stage.world.now) == 1
    assert ann.wire.was_reset
    assert taken.wire.was_reset


def test_a_shorter_life_ends_those_that_are_too_old_and_no_session() -> None:
    stage = Stage(Toy(Sharing.ORDERED, sessions=True), max_connections=3, max_pinned=1)
    ann, owned = pinned(stage)
    idle = stage.server(b"x\n", b"x\n")
    stage.passes(20.0)
    stage.configure(max_lifetime=10.0)
    assert not idle.is_open
    assert stage.pool.closed == {"max_lifetime": 1}
    assert owned.is_open
    with stage.turn():
        assert stage.pool.end_retiring(stage.world.now) == 0
    ann.sends(b"b\n")
    assert owned.got() == b"b\n"


def test_a_longer_life_is_for_connections_to_come() -> None:
    stage = Stage(Sharing.EXCLUSIVE, max_connections=1, max_lifetime=10.0)
    server = stage.server(b"x\n", b"x\n")
    stage.configure(max_lifetime=0.0)
    stage.passes(11.0)
    ann = stage.asks(b"a\n")
    server.sends(b"a\n")
    assert ann.got() == b"a\n"
    assert not server.is_open


@pytest.mark.parametrize("sharing", [Sharing.EXCLUSIVE, Sharing.ORDERED])
def test_fewer_places_and_a_removed_server_at_once_use_no_connection_again(sharing: Sharing) -> None:
    """One that was to end for want of places is not called back when there are more again."""
    stage = Stage(sharing, max_connections=2, max_in_flight=1)
    ann, bob = stage.asks(b"a\n"), stage.asks(b"b\n")
    one, two = stage.connects(), stage.connects()
    with stage.turn():
        stage.pool.allowance.on_order(Order(1, 1, 0), stage.world.now)
    stage.configure("two:2")
    with stage.turn():
        stage.pool.allowance.on_order(Order(2, 2, 0), stage.world.now)
    for server, reply in ((one, b"a\n"), (two, b"b\n")):
        server.sends(reply)
        assert not server.is_open
    assert (ann.got(), bob.got()) == (b"a\n", b"b\n")


def test_places_that_are_too_many_are_not_cut() -> None:
    stage = Stage(Sharing.EXCLUSIVE, max_connections=2)
    ann, bob = stage.asks(b"a\n"), stage.asks(b"b\n")
    one, two = stage.connects(), stage.connects()
    with stage.turn():
        stage.pool.allowance.on_order(Order(1, 1, 0), stage.world.now)
    with stage.turn():
        assert stage.pool.end_retiring(stage.world.now) == 0
    one.sends(b"a\n")
    two.sends(b"b\n")
    assert (ann.got(), bob.got()) == (b"a\n", b"b\n")


def test_what_is_gathered_goes_to_none_of_those_that_are_about_to_close() -> None:
    stage = Stage(Sharing.ORDERED, max_connections=4, max_in_flight=4, suspect_after=60.0)
    stage.asks(b"a\n")
    busy = stage.connects()
    assert busy.got() == b"a\n"
    stage.configure(min_connections=3)
    with stage.turn():
        stage.client(b"b\n")
        idle = [stage.connects(), stage.connects()]
        changes_login(stage)
    assert [server.is_open for server in idle] == [False, False]
    assert [server.got() for server in (busy, *idle)] == [b"", b"", b""]
    assert stage.connects().got() == b"b\n"


def test_who_must_stay_on_its_connection_waits_there_as_he_is_told_too() -> None:
    stage = Stage(Sharing.ORDERED, max_connections=1, max_in_flight=2, timeout=4.0, suspect_after=60.0)
    ann, bob = stage.asks(b"a\n"), stage.client()
    stage.connects()
    bob.sends(b"b\n")
    ann.sends(b"c\n")
    stage.passes(0.1)
    stage.configure(timeout=0.5)
    bob.sends(b"d\n")
    stage.passes(0.6)
    assert stage.outcomes() == {"queue_timeout": 1}
    stage.passes(3.2)
    assert stage.outcomes() == {"queue_timeout": 1}
    stage.passes(0.2)
    assert stage.outcomes() == {"queue_timeout": 2}


def test_each_reload_gives_the_time_to_drain_to_what_it_has_ended_itself() -> None:
    stage = Stage(Sharing.EXCLUSIVE, max_connections=3)
    ann = stage.asks(b"a\n")
    one = stage.connects()
    began = stage.world.now
    stage.configure("two:2")
    stage.passes(5.0)
    bob = stage.asks(b"b\n")
    two = stage.connects()
    stage.configure("three:3")
    with stage.turn():
        assert stage.pool.end_retiring(stage.world.now, began) == 1
    assert (one.is_open, two.is_open) == (False, True)
    assert b"drain_timeout is over" in ann.got()
    two.sends(b"b\n")
    assert bob.got() == b"b\n"
