"""A client's large request among those that share a connection: alone while it comes in (P5)."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import Sharing
from tests.fakes import Stage
from tests.tagged_toys import tagged

ORDERED, TAGGED = Sharing.ORDERED, Sharing.TAGGED


def test_who_streams_on_a_connection_that_is_full_already_is_stopped_at_once() -> None:
    stage = Stage(ORDERED, max_connections=1, max_pinned=1, request_buffer=10)
    stage.request_high = 50
    ann = stage.asks(b"ann +80\n" + b"ann." * 5)
    server = stage.connects()
    server.stops_reading()
    ann.sends(b"ann." * 15)
    server.sends(b"ann\n")
    assert ann.got() == b"ann\n"
    bob = stage.asks(b"bob +80\n" + b"bob." * 5)
    assert bob.is_paused
    server.reads()
    assert not bob.is_paused
    bob.sends(b"bob." * 15)
    assert server.got().endswith(b"bob +80\n" + b"bob." * 20)


@pytest.mark.parametrize("sharing", [ORDERED, TAGGED])
def test_a_large_request_is_alone_until_it_is_in_and_then_no_longer(sharing: Sharing) -> None:
    stage = Stage(sharing, max_connections=1, max_pinned=1, request_buffer=10)
    head = b"big +30\n" if sharing is ORDERED else tagged(7, b"big +30\n")
    small = b"small\n" if sharing is ORDERED else tagged(7, b"small\n")
    ann = stage.asks(head + b"1234567890")
    server = stage.connects()
    assert server.got().endswith(b"+30\n1234567890")
    assert stage.statistics()["pinned"] == {"streaming": 1}
    stage.asks(small)
    ann.sends(b"1234567890")
    assert server.got() == b"1234567890"
    ann.sends(b"1234567890")
    assert server.got()[:10] == b"1234567890"
    assert server.wire.writes[-1].endswith(b"small\n")  # before the reply to the large one
    assert stage.statistics()["pinned"] == {}


def test_a_large_request_waits_for_a_connection_that_is_emptied_for_it() -> None:
    stage = Stage(ORDERED, min_connections=2, max_connections=2, max_pinned=1, request_buffer=10)
    servers = [stage.connects(), stage.connects()]
    for _ in range(2):
        stage.asks(b"x\n")
    ann = stage.asks(b"big +20\n1234567890")
    ann.sends(b"1234567890")
    assert ann.is_open
    assert stage.statistics()["waiting"] == 1
    for server in servers:
        server.sends(b"x\n")
    assert sorted(server.got() for server in servers) == [b"x\n", b"x\nbig +20\n12345678901234567890"]


def test_a_server_that_takes_no_more_stops_the_client_of_a_large_request() -> None:
    stage = Stage(ORDERED, max_connections=1, max_pinned=1, request_buffer=10)
    stage.request_high = 50
    ann = stage.asks(b"big +1000\n1234567890")
    server = stage.connects()
    server.stops_reading()
    ann.sends(b"x" * 60)
    assert ann.is_paused  # P7
    server.reads()
    assert not ann.is_paused


def test_a_large_request_that_trickles_is_refused_and_costs_the_connection() -> None:
    stage = Stage(ORDERED, max_connections=1, max_pinned=1, request_buffer=10, stall_timeout=5.0, min_rate=10)
    ann = stage.asks(b"big +1000\n1234567890")
    server = stage.connects()
    stage.passes(6.0)
    assert ann.got() == b"no request_timeout bye | toys: the request body is incomplete\n"
    assert not server.is_open
    assert stage.outcomes() == {"request_timeout": 1}


def test_a_server_is_not_late_while_a_large_request_is_still_coming_in() -> None:
    stage = Stage(ORDERED, max_connections=1, max_pinned=1, request_buffer=10, reply_timeout=3.0)
    ann = stage.asks(b"big +30\n1234567890")
    server = stage.connects()
    stage.passes(8.0)
    ann.sends(b"12345678901234567890")
    stage.passes(2.0)
    server.sends(b"big\n")
    assert ann.got() == b"big\n"


def test_an_early_reply_to_a_large_request_costs_the_connection() -> None:
    stage = Stage(ORDERED, max_connections=1, max_pinned=1, request_buffer=10)
    ann = stage.asks(b"big +1000\n1234567890")
    server = stage.connects()
    server.sends(b"big\n")
    assert ann.got() == b"big\n"
    assert ann.wire.eof
    assert not server.is_open
    assert stage.statistics()["closed"] == {"reply before the request's end": 1}
