"""What a client gets: in its order, and what follows when it is out."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import Sharing
from tests.fakes import Stage
from tests.toys import Toy

EXCLUSIVE, ORDERED = Sharing.EXCLUSIVE, Sharing.ORDERED


def test_pipelined_requests_are_answered_in_order_each_when_the_one_before_is() -> None:
    stage = Stage(EXCLUSIVE, max_connections=2)
    ann = stage.asks(b"one\ntwo\nthr")
    server = stage.connects()
    assert server.got() == b"one\n"
    server.sends(b"one\n")
    assert server.got() == b"two\n"
    ann.sends(b"ee\n")
    assert server.got() == b""
    server.sends(b"two\n")
    server.sends(b"three\n")
    assert ann.got() == b"one\ntwo\nthree\n"
    assert stage.outcomes() == {"ok": 3}


def test_a_thousand_pipelined_refusals_do_not_recurse() -> None:
    stage = Stage(EXCLUSIVE, max_waiting=0, servers=())
    ann = stage.asks(b"x\n" * 5000)
    assert ann.got().count(b"no queue_full") == 5000
    assert stage.outcomes() == {"queue_full": 5000}


def test_a_client_that_asks_for_its_end_gets_it_after_its_reply() -> None:
    stage = Stage(EXCLUSIVE)
    ann = stage.asks(b"last bye\n")
    server = stage.connects()
    server.sends(b"last\n")
    assert ann.got() == b"last\n"
    assert not ann.is_open
    assert not ann.wire.aborted
    assert server.is_open


@pytest.mark.parametrize("how", ["breaks_off", "closes"])
def test_a_reply_cut_by_its_server_reaches_the_client_as_far_as_it_came_and_then_fin(how: str) -> None:
    """It can see that there is less than was said."""
    stage = Stage(EXCLUSIVE)
    ann = stage.asks(b"idem idem\n")
    server = stage.connects()
    ann.stops_reading()
    server.sends(b"idem +10\nhalf")
    getattr(server, how)()
    ann.reads()
    assert ann.got() == b"idem +10\nhalf"
    assert not ann.is_open
    assert not ann.wire.was_reset
    assert stage.outcomes() == {"server_closed": 1}


def test_thousands_of_answers_parked_behind_one_slow_reply_leave_without_recursion() -> None:
    stage = Stage(Toy(ORDERED, sessions=True))
    ann = stage.asks(b"slow\n" + b"x local\n" * 5000)
    server = stage.connects()
    assert ann.got() == b""
    server.sends(b"slow\n")
    assert ann.got() == b"slow\n" + b"x here\n" * 5000


def test_a_refused_one_way_request_says_nothing_that_could_be_taken_for_the_next_ones_reply() -> None:
    stage = Stage(Toy(ORDERED, sessions=True), max_waiting=0, servers=())
    ann = stage.asks(b"tell oneway\nhere local\n")
    assert ann.got() == b"here here\n"
    assert stage.outcomes() == {"queue_full": 1, "local": 1}


def test_an_upgrade_makes_both_directions_opaque_until_a_side_closes() -> None:
    stage = Stage(EXCLUSIVE)
    ann = stage.asks(b"up pin\n")
    server = stage.connects()
    server.sends(b"up 101\nwelcome")
    assert ann.got() == b"up 101\nwelcome"
    ann.sends(b"!anything\n")
    assert server.got() == b"up pin\n!anything\n"
    assert stage.statistics()["pinned"] == {"upgrade": 1}
    server.closes()
    ann.sends(b"still")  # half closed
    assert ann.wire.eof
    assert server.got() == b"still"
    ann.closes()
    assert not ann.is_open
    assert not server.is_open
    assert stage.outcomes() == {"ok": 1}
    assert stage.statistics()["upstream_sockets"] == 0


def test_a_client_whose_last_reply_finds_it_asking_on_is_not_closed_over_what_it_sent() -> None:
    """That would be an RST, and destroy the reply (RFC 9112 section 9.6)."""
    stage = Stage(EXCLUSIVE)
    ann = stage.asks(b"one\n")
    ann.sends(b"two\n")
    server = stage.connects()
    assert ann.is_paused
    ann.sends(b"three\n")
    server.sends(b"one ~\nall")
    server.closes()
    assert ann.got() == b"one ~\nall"
    assert ann.is_open
    assert ann.wire.eof
    ann.sends(b"four\n")
    ann.closes()
    assert not ann.is_open
    assert stage.statistics()["clients"] == 0
    assert stage.outcomes() == {"ok": 1}
