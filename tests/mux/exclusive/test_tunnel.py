"""A request that opens a tunnel (contract.TUNNEL), as CONNECT does: a connection alone, opaque at once."""

from __future__ import annotations

from typing import Any

from tests.fakes import Stage
from tests.protocols.http.forward.talk import proxy

CONNECT = b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


def stage(**keys: Any) -> Stage:
    return Stage(proxy(), **{"max_connections": 2, **keys})


def test_it_is_open_when_there_is_a_connection_and_what_came_before_goes_first() -> None:
    one = stage()
    ann = one.asks(CONNECT + b"early")
    assert ann.got() == b""
    server = one.connects()
    assert ann.got() == ESTABLISHED
    assert server.got() == b"early", "and nothing of the request"
    ann.sends(b"hello")
    server.sends(b"hello yourself")
    assert (server.got(), ann.got()) == (b"hello", b"hello yourself")
    assert one.statistics()["pinned"] == {"tunnel": 1}


def test_one_direction_may_end_first() -> None:
    one = stage()
    ann = one.asks(CONNECT)
    server = one.connects()
    ann.got()
    ann.sends(b"all that I have")
    ann.closes()
    assert server.wire.eof
    assert server.got() == b"all that I have"
    server.sends(b"and the answer")
    assert ann.got() == b"and the answer"
    server.closes()
    assert not ann.is_open
    assert one.outcomes() == {"ok": 1}
    bob = one.asks(CONNECT)
    server = one.connects()
    bob.got()
    server.sends(b"bye")
    server.closes()
    assert (bob.got(), bob.wire.eof) == (b"bye", True)
    bob.sends(b"more")
    assert server.got() == b"more"
    bob.closes()
    assert one.outcomes() == {"ok": 2}


def test_who_says_nothing_for_too_long_is_ended_and_who_leaves_takes_the_connection_along() -> None:
    one = stage(max_connections=2, max_upgraded=2)
    ann, bob = one.asks(CONNECT), one.asks(CONNECT)
    first, second = one.connects(), one.connects()
    bob.breaks_off()
    assert not second.is_open
    one.passes(3601.0)
    assert not ann.is_open
    assert not first.is_open
    assert one.outcomes() == {"ok": 1, "tunnel_timeout": 1}


def test_one_that_cannot_be_opened_is_refused_in_http() -> None:
    one = stage(timeout=1.0)
    ann = one.asks(CONNECT)
    one.refuses()
    one.passes(1.1)
    assert ann.got().startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert one.outcomes() == {"no_server": 1}


def test_it_waits_for_its_turn_like_every_other() -> None:
    one = stage(max_connections=1, timeout=60.0)
    ann = one.asks(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    server = one.connects()
    bob = one.asks(CONNECT)
    assert bob.got() == b""
    server.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    assert ann.got()
    assert one.connects().got() == b""
    assert bob.got() == ESTABLISHED
