"""A client whose connection becomes a tunnel."""

from __future__ import annotations

from muxproxy.protocols.contract import Sharing
from tests.fakes import Stage

EXCLUSIVE, ORDERED = Sharing.EXCLUSIVE, Sharing.ORDERED


def test_a_client_that_ends_its_tunnel_with_fin_gets_fin_and_no_reset() -> None:
    stage = Stage(EXCLUSIVE)
    stage.pool.protocol.half_close = False
    ann = stage.asks(b"up pin\n")
    server = stage.connects()
    server.sends(b"up 101\n")
    ann.closes()
    assert not ann.is_open
    assert not ann.wire.was_reset
    assert not server.is_open
    assert stage.outcomes() == {"ok": 1}


def test_what_was_pipelined_behind_an_upgrade_goes_through_it() -> None:
    stage = Stage(EXCLUSIVE)
    stage.asks(b"up pin\nfirst words")
    server = stage.connects()
    server.sends(b"up 101\n")
    assert server.got() == b"up pin\nfirst words"


def test_a_tunnel_flows_though_an_upload_before_it_was_answered_before_it_was_read() -> None:
    stage = Stage(EXCLUSIVE, request_buffer=10)
    stage.request_high = 50
    ann = stage.asks(b"a +100\n" + b"." * 40)
    server = stage.connects()
    server.stops_reading()
    ann.sends(b"." * 60)
    server.sends(b"a\n")
    assert not server.is_open
    ann.sends(b"up pin\nfirst")
    server = stage.connects()
    server.sends(b"up 101\n")
    assert ann.got() == b"a\nup 101\n"
    ann.sends(b"second")
    assert server.got() == b"up pin\nfirstsecond"
