"""The ledger of replies in order: each to whom it belongs, or none of them (P2)."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import Sharing
from tests.fakes import Stage
from tests.toys import Toy, ToyReplies

ORDERED, TAGGED = Sharing.ORDERED, Sharing.TAGGED


def test_replies_go_to_whom_they_belong_in_whatever_chunks_they_come() -> None:
    stage = Stage(ORDERED, max_connections=1)
    clients = [stage.asks(b"%d\n" % n) for n in range(4)]
    server = stage.connects()
    for chunk in (b"0 +2\na", b"a1 +0\n2 +", b"3\nxyz3", b"\n"):
        server.sends(chunk)
    assert [client.got() for client in clients] == [b"0 +2\naa", b"1 +0\n", b"2 +3\nxyz", b"3\n"]


def test_a_reply_that_nobody_asked_for_closes_the_connection_before_it_shifts_anything() -> None:
    stage = Stage(ORDERED, max_connections=1)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    server.sends(b"ann\nextra\n")
    assert ann.got() == b"ann\n"
    assert not server.is_open
    assert stage.statistics()["closed"] == {"server broke the protocol": 1}


def test_a_broken_connection_costs_each_of_its_clients_an_explicit_error() -> None:
    stage = Stage(ORDERED, max_connections=1)
    ann, bob, eve = stage.asks(b"ann\n"), stage.asks(b"bob +2\nxy"), stage.asks(b"eve\n")
    server = stage.connects()
    server.sends(b"ann\nbob +9\nhalf")
    server.breaks_off()
    assert ann.got() == b"ann\n"
    assert bob.got() == b"bob +9\nhalf"
    assert not bob.is_open
    assert eve.got() == b"no server_closed | toys: one:1: Connection reset by peer\n"
    assert eve.is_open
    assert stage.outcomes() == {"ok": 1, "server_closed": 2}


def test_a_client_that_leaves_keeps_its_place_in_the_ledger() -> None:
    stage = Stage(ORDERED, max_connections=1)
    ann, bob = stage.asks(b"ann\n"), stage.asks(b"bob\n")
    server = stage.connects()
    ann.closes()
    server.sends(b"ann +3\nabc")
    server.sends(b"bob\n")
    assert bob.got() == b"bob\n"
    assert stage.outcomes() == {"client_left": 1, "ok": 1}


def test_what_a_server_says_beyond_what_it_was_asked_is_not_for_what_is_written_meanwhile() -> None:
    stage = Stage(Toy(ORDERED, sessions=True), max_connections=1)
    ann = stage.asks(b"set\nmulti pin\n")
    server = stage.connects()
    assert server.got() == b"set\n"
    server.sends(b"set\nextra\n")  # the first lets the second go, in the middle of this chunk
    assert ann.got().startswith(b"set\n")
    assert b"extra" not in ann.got()
    assert not server.is_open


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("size", [1000, 7, 3])
def test_replies_are_the_same_with_frames_and_without(
    whole: bool, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    if whole:
        known = ToyReplies.whole
        monkeypatch.setattr(ToyReplies, "whole", lambda self, data: calls.extend(a := known(self, data)) or a)
    else:
        monkeypatch.setattr(ToyReplies, "whole", lambda self, data: [])
    stage = Stage(Toy(ORDERED, sessions=True), max_connections=1)
    several = stage.asks(b"a\nb +1\nxc\nd\n")
    leaver, ann, late = stage.asks(b"e\n"), stage.asks(b"f +2\nxy"), stage.asks(b"g\nh pin\n")
    server = stage.connects()
    leaver.closes()
    assert server.got() == b"a\nb +1\nxc\nd\ne\nf +2\nxyg\n"
    replies = b"a\nb +3\nabcc\nd\ne\nf\ng\n"
    for at in range(0, len(replies), size):
        server.sends(replies[at : at + size])
    assert server.got() == b"h pin\n"
    server.sends(b"h\n")
    assert several.got() == b"a\nb +3\nabcc\nd\n"
    assert (ann.got(), late.got()) == (b"f\n", b"g\nh\n")
    assert stage.outcomes() == {"client_left": 1, "ok": 7}
    assert bool(calls) == whole
