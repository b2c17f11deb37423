"""Each connection is replaced as it comes free, whatever shares it: nothing that is owed is lost, and the
bound holds meanwhile (P1, P3)."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import Sharing
from tests.fakes import Stage
from tests.toys import Toy


def reconnect(stage: Stage, address: str = "") -> None:
    with stage.turn():
        stage.pool.reconnect(stage.world.now, address)


@pytest.mark.parametrize("sharing", [Sharing.EXCLUSIVE, Sharing.ORDERED])
def test_idle_ones_go_at_once_and_the_next_request_gets_a_new_one(sharing: Sharing) -> None:
    stage = Stage(Toy(sharing), max_connections=1)
    old = stage.server(b"one\n", b"one\n")
    reconnect(stage)
    assert not old.is_open
    ann = stage.asks(b"two\n")
    new = stage.connects()
    new.sends(new.got())
    assert ann.got() == b"two\n"
    assert stage.statistics()["closed"] == {"reconnect": 1}


@pytest.mark.parametrize("sharing", [Sharing.EXCLUSIVE, Sharing.ORDERED])
def test_one_in_use_finishes_what_it_owes_and_gets_nothing_new(sharing: Sharing) -> None:
    stage = Stage(Toy(sharing), max_connections=1, max_waiting=5)
    ann = stage.asks(b"one\n")
    old = stage.connects()
    reconnect(stage)
    reconnect(stage)
    bob = stage.asks(b"two\n")
    assert (old.is_open, old.got(), stage.dials) == (True, b"one\n", [])
    old.sends(b"one\n")
    assert ann.got() == b"one\n"
    assert not old.is_open
    new = stage.connects()
    assert new.got() == b"two\n"
    new.sends(b"two\n")
    assert bob.got() == b"two\n"
    assert stage.outcomes() == {"ok": 2}


def test_one_that_is_being_made_is_new() -> None:
    stage = Stage(Toy(Sharing.EXCLUSIVE), max_connections=1)
    ann = stage.asks(b"one\n")
    reconnect(stage)
    server = stage.connects()
    server.sends(server.got())
    assert ann.got() == b"one\n"
    assert server.is_open


def test_a_session_that_has_one_alone_keeps_it_to_its_end_and_spares_are_made_anew() -> None:
    stage = Stage(Sharing.DEDICATED, max_connections=3, min_connections=1)
    with stage.turn():
        stage.pool.warm(stage.world.now)
    session = stage.connects()
    ann = stage.asks(b"hello")
    spare = stage.connects()
    reconnect(stage)
    assert not spare.is_open
    stage.connects()
    ann.sends(b" again")
    assert session.got() == b"hello again"
    session.sends(b"welcome")
    assert ann.got() == b"welcome"


def test_of_a_session_that_shares_no_more_it_is_the_last() -> None:
    stage = Stage(Toy(Sharing.ORDERED, sessions=True), max_connections=2, max_waiting=5)
    ann = stage.asks(b"mine pin\n")
    alone = stage.connects()
    alone.sends(b"mine\n")
    reconnect(stage)
    ann.sends(b"more\n")
    assert alone.got() == b"mine pin\nmore\n"
    alone.sends(b"more\n")
    ann.sends(b"last unpin\n")
    alone.sends(b"last\n")
    assert ann.got() == b"mine\nmore\nlast\n"
    assert not alone.is_open
    ann.sends(b"x\n")
    assert stage.connects().got() == b"x\n"


def test_min_connections_are_made_anew_and_only_those_of_the_server_that_is_named() -> None:
    stage = Stage(Toy(Sharing.EXCLUSIVE), servers=("a:1", "b:1"), max_connections=4, min_connections=2)
    with stage.turn():
        stage.pool.warm(stage.world.now)
    one, two = stage.connects(), stage.connects()
    reconnect(stage, "b:1")
    assert (one.is_open, two.is_open) == (True, False)
    assert stage.dials
