"""The ledger of replies in order: each to whom it belongs, or none of them (P2)."""

from __future__ import annotations

from muxproxy.protocols.contract import Sharing
from tests.fakes import Stage

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
