"""ORDERED clients: what they ask for in order is done in order, on however many connections (P2)."""

from __future__ import annotations

import gc

import pytest

from muxproxy.mux.ordered.client import OrderedClient
from muxproxy.protocols.contract import Sharing
from tests.fakes import Stage
from tests.toys import Toy


def stage_of(**keys: object) -> Stage:
    return Stage(Toy(Sharing.ORDERED, sessions=True), **keys)


def test_pipelined_requests_that_had_to_wait_all_go_to_one_connection() -> None:
    stage = stage_of(max_connections=2, max_in_flight=1)
    busy = [stage.asks(b"x\n"), stage.asks(b"y\n")]
    one, two = stage.connects(), stage.connects()
    ann = stage.asks(b"set\nget\n")
    assert stage.statistics()["waiting"] == 1  # the other is held behind it
    assert not ann.is_paused  # or its leaving would not be seen
    one.sends(b"x\n")
    two.sends(b"y\n")
    assert one.got() == b"x\nset\n"
    assert two.got() == b"y\n"  # `get` must not overtake `set`
    one.sends(b"set\n")
    assert one.got() + two.got() == b"get\n"
    assert not ann.is_paused
    assert [client.got() for client in busy] == [b"x\n", b"y\n"]


def test_thousands_of_held_requests_are_refused_without_recursion() -> None:
    toy = Toy(Sharing.ORDERED, sessions=True)
    toy.frames = 5000  # all in one turn, or those of later turns have more time
    stage = Stage(toy, min_connections=1, max_connections=1, max_in_flight=5000, max_waiting=0, timeout=5.0)
    server = stage.connects()
    with stage.turn():
        ann = stage.asks(b"first\n" + b"x\n" * 3000)
        server.closes()  # `first` was written, the others were gathered for the end of the turn
    assert stage.statistics()["waiting"] == 1
    stage.passes(5.1)
    assert stage.outcomes() == {"server_closed": 1, "no_server": 3000}
    assert ann.got().count(b"no ") == 3001


def test_a_pipeline_that_waits_expires_as_a_whole_and_not_one_by_one() -> None:
    stage = stage_of(max_connections=1, timeout=5.0)
    stage.asks(b"x pin\n")
    stage.connects()
    ann = stage.asks(b"1\n2\n3\n")
    stage.passes(3.0)
    ann.sends(b"4\n")
    stage.passes(2.1)
    assert ann.got().count(b"no queue_timeout") == 3
    stage.passes(5.1)  # the fourth was not read while the first waited
    assert ann.got().count(b"no queue_timeout") == 1


def test_a_transaction_stays_on_one_connection_that_nobody_else_uses_meanwhile() -> None:
    stage = stage_of(max_connections=2, max_in_flight=8, max_pinned=1)
    bob = stage.asks(b"b1\n")
    stage.passes(0.1)
    ann = stage.asks(b"multi pin\nset\nexec unpin\n")
    one = stage.connects()
    two = stage.connects()
    assert one.got() == b"b1\n"
    assert two.got() == b"multi pin\nset\nexec unpin\n"
    assert stage.statistics()["pinned"] == {"toy": 1}
    bob.sends(b"b2\n")
    assert one.got() == b"b2\n"
    two.sends(b"multi\nset\nexec\n")
    assert stage.statistics()["pinned"] == {}
    assert ann.got() == b"multi\nset\nexec\n"


def test_a_transaction_behind_other_requests_waits_for_their_replies_and_keeps_max_pinned() -> None:
    stage = stage_of(max_connections=2, max_in_flight=8, max_pinned=1)
    ann = stage.asks(b"set\nmulti pin\n")
    one = stage.connects()
    assert one.got() == b"set\n"
    assert stage.statistics()["pinned"] == {}
    one.sends(b"set\n")
    assert one.got() == b"multi pin\n"
    one.sends(b"multi\n")
    assert ann.got() == b"set\nmulti\n"
    bob = stage.asks(b"multi pin\n")
    assert stage.dials == []
    ann.sends(b"exec unpin\n")
    one.sends(b"exec\n")
    assert one.got() == b"exec unpin\nmulti pin\n"
    assert stage.statistics()["pinned"] == {"toy": 1}
    assert bob.is_open


def test_a_transaction_does_not_pass_over_those_who_wait_for_the_same_connection() -> None:
    stage = stage_of(max_connections=1, max_in_flight=1, max_pinned=1)
    ann = stage.asks(b"a1\n")
    server = stage.connects()
    stage.passes(0.1)
    bob = stage.asks(b"b1\nmulti pin\n")
    stage.passes(0.1)
    ann.sends(b"a2\na3\n")
    for reply in (b"a1\n", b"b1\n", b"a2\n", b"a3\n", b"multi\n"):
        server.sends(reply)
    assert server.got() == b"a1\nb1\na2\na3\nmulti pin\n"
    assert (ann.got(), bob.got()) == (b"a1\na2\na3\n", b"b1\nmulti\n")


def test_room_that_comes_free_in_a_chunk_of_replies_is_for_who_waits() -> None:
    stage = stage_of(max_connections=1, max_in_flight=2)
    ann = stage.asks(b"a1\na2\na3\na4\n")
    server = stage.connects()
    stage.passes(0.1)
    bob = stage.asks(b"b\n")
    stage.passes(0.1)
    server.sends(b"a1\na2\n")
    assert server.got() == b"a1\na2\na3\nb\n"
    assert ann.is_open
    assert bob.is_open


def test_a_client_whose_connection_was_lost_in_the_middle_of_a_transaction_is_told_and_closed() -> None:
    stage = stage_of(max_connections=1, max_in_flight=8, max_pinned=1)
    ann = stage.asks(b"multi pin\nset\n")
    server = stage.connects()
    server.sends(b"multi\n")
    server.breaks_off()
    assert ann.got() == b"multi\nno server_closed | toys: one:1: Connection reset by peer\n"
    assert not ann.is_open  # its next request would not be in the transaction


def test_a_transaction_is_not_interrupted_by_time() -> None:
    stage = stage_of(max_connections=1, max_pinned=1, idle_timeout=5.0, max_lifetime=20.0)
    ann = stage.asks(b"multi pin\n")
    server = stage.connects()
    server.sends(b"multi\n")
    stage.passes(30.0)
    ann.sends(b"exec unpin\n")
    assert server.got() == b"multi pin\nexec unpin\n"
    server.sends(b"exec\n")
    assert not server.is_open  # max_lifetime


def test_two_transactions_in_one_chunk_do_not_share_the_pin_of_the_first() -> None:
    stage = stage_of(max_connections=1, max_in_flight=8, max_pinned=1)
    stage.asks(b"multi pin\nexec unpin\nmulti pin\nset\n")
    server = stage.connects()
    assert server.got() == b"multi pin\nexec unpin\n"
    server.sends(b"multi\nexec\n")
    assert server.got() == b"multi pin\nset\n"
    assert stage.statistics()["pinned"] == {"toy": 1}


def test_a_large_request_refused_before_its_turn_is_told_in_its_turn_and_once() -> None:
    patience = {"stall_timeout": 2.0, "hold_timeout": 2.0, "min_rate": 100}
    stage = stage_of(max_connections=1, max_pinned=1, request_buffer=10, **patience)
    ann = stage.asks(b"slow\nbig +1000\n12345")
    server = stage.connects()
    stage.passes(6.0)
    assert ann.got() == b""
    ann.sends(b"more")
    server.sends(b"slow\n")
    assert ann.got().startswith(b"slow\nno request_timeout bye")
    assert ann.wire.eof
    assert stage.outcomes() == {"ok": 1, "request_timeout": 1}


def test_who_was_not_written_and_who_waited_behind_it_do_not_part_when_their_connection_dies() -> None:
    stage = stage_of(max_connections=2, max_in_flight=2, min_connections=1)
    stage.asks(b"x\n")
    server = stage.connects()
    with stage.turn():
        ann = stage.asks(b"one\ntwo\nthree\n")  # `one` gathered, `two` waits, `three` held
        server.closes()
    assert stage.statistics()["waiting"] == 1
    again = stage.reconnects()
    assert again.got() == b"one\ntwo\n"
    again.sends(b"one\ntwo\n")
    again.sends(b"three\n")
    assert ann.got() == b"one\ntwo\nthree\n"


def test_of_several_requests_that_a_dead_connection_owed_only_the_last_may_be_retried() -> None:
    stage = stage_of(max_connections=2)
    server = stage.server(b"warm\n", b"warm\n")
    ann = stage.asks(b"one idem\ntwo idem\n")
    server.breaks_off()
    assert ann.got().startswith(b"no server_closed")
    again = stage.connects()
    assert again.got() == b"two idem\n"


def test_what_was_not_written_when_its_connection_died_goes_elsewhere_in_order() -> None:
    stage = stage_of(max_connections=1)
    first = stage.asks(b"x\n")
    server = stage.connects()
    with stage.turn():
        ann = stage.asks(b"one\ntwo\nthree\n")  # gathered for the end of the turn
        server.closes()
    assert first.got().startswith(b"no server_closed")
    assert stage.statistics()["waiting"] == 1
    again = stage.reconnects()
    assert again.got() == b"one\ntwo\nthree\n"
    again.sends(b"one\ntwo\nthree\n")
    assert ann.got() == b"one\ntwo\nthree\n"
    assert stage.statistics()["retried"] == 0


def test_a_transaction_of_which_nothing_was_written_begins_elsewhere() -> None:
    stage = stage_of(max_connections=1, max_pinned=1)
    ann = stage.asks(b"use db=1\nmulti pin\nset\n")
    server = stage.connects()
    assert server.got() == b"select db=1\n"
    server.breaks_off()
    server = stage.reconnects()
    server.sends(b"ok\n")
    assert server.got() == b"select db=1\nmulti pin\nset\n"
    assert ann.is_open


def test_what_was_not_written_of_a_transaction_that_had_begun_is_not_done_outside_of_it() -> None:
    stage = stage_of(max_connections=1, max_pinned=1, max_in_flight=1)
    ann = stage.asks(b"multi pin\n")
    server = stage.connects()
    server.sends(b"multi\n")
    ann.sends(b"set idem\n")
    ann.sends(b"exec unpin\n")  # has to wait
    server.breaks_off()
    assert ann.got().count(b"no server_closed") == 2
    assert ann.is_open  # it knows: its `exec` has failed
    assert stage.statistics()["waiting"] == 0
    assert stage.dials == []


def test_a_request_in_a_transaction_that_is_refused_ends_its_client_who_might_think_it_done() -> None:
    stage = stage_of(max_connections=1, min_connections=1, max_pinned=1, max_waiting=0)
    stage.connects()
    stage.asks(b"multi pin\n")
    bob = stage.asks(b"multi pin\nset\nexec unpin\n")
    (line,) = bob.got().splitlines()
    assert line.startswith(b"no queue_full")
    assert not bob.is_open


def test_a_large_request_behind_the_end_of_a_pin_keeps_the_connection_until_it_is_in() -> None:
    stage = stage_of(max_connections=1, max_pinned=1, request_buffer=10)
    ann = stage.asks(b"multi pin\nexec unpin\nbig +30\n1234567890")
    server = stage.connects()
    server.sends(b"multi\nexec\n")
    stage.asks(b"bob\n")
    ann.sends(b"12345678901234567890")
    assert server.got() == b"multi pin\nexec unpin\nbig +30\n" + b"1234567890" * 3 + b"bob\n"


def test_the_reply_to_a_large_request_does_not_end_the_pin_of_who_came_after_it() -> None:
    stage = stage_of(max_connections=1, max_pinned=1, request_buffer=10, max_in_flight=8)
    ann = stage.asks(b"big +20\n1234567890")
    server = stage.connects()
    ann.sends(b"1234567890")
    server.sends(b"big\n")
    ann.sends(b"big +20\n1234567890")
    ann.sends(b"1234567890")
    bob = stage.client()
    server.sends(b"big\n")
    bob.sends(b"multi pin\n")
    server.sends(b"multi\n")
    assert stage.statistics()["pinned"] == {"toy": 1}


@pytest.mark.parametrize("last", [b"a pin\n", b"a pin\nb\nc unpin\n", b"a\nb\n"])
def test_nothing_keeps_a_client_that_has_left_but_what_still_owes_it(last: bytes) -> None:
    """A cycle would wait for the collector, with all that the client had sent (P7)."""
    stage = stage_of(max_connections=2, max_pinned=1)
    gc.collect()
    gc.disable()
    try:
        known = {id(each) for each in gc.get_objects() if isinstance(each, OrderedClient)}
        bob = stage.asks(last)
        server = stage.connects()
        server.sends(server.got())
        bob.closes()
        server.closes()
        stage.passes(0.01)
        bob.wire.brain = None  # the fakes keep their wires
        del bob, server
        left = [
            each for each in gc.get_objects() if isinstance(each, OrderedClient) and id(each) not in known
        ]
        assert left == []
    finally:
        gc.enable()
