"""HTTP as the heart sees it: the verbs of the contract, and what only both together do."""

from __future__ import annotations

from typing import Any

import pytest

from muxproxy.protocols.contract import Sharing
from tests.fakes import Stage
from tests.protocols.http.feeding import protocol


def test_one_exchange_at_a_time_and_no_half_open_connections() -> None:
    http = protocol()
    assert (http.name, http.sharing, http.half_close) == ("http", Sharing.EXCLUSIVE, False)


def test_requests_carry_all_they_need() -> None:
    http = protocol()
    assert http.session(http.requests()) is None
    assert http.connection(http.replies()) is None
    assert http.probe() is None


def test_framers_are_each_connections_own() -> None:
    http = protocol()
    assert http.requests() is not http.requests()
    one, other = http.requests(), http.requests()
    one.feed(b"GET")
    assert one.midway
    assert not other.midway


# Between the heart's fakes, where only the two together show what a client sees.

UPLOAD = b"POST / HTTP/1.1\r\nHost: a\r\n"


def between_client_and_server(**keys: Any) -> Stage:
    return Stage(protocol(), **keys)


@pytest.mark.parametrize("streams", [False, True])
def test_a_chunk_that_is_malformed_behind_its_head_gets_400_and_never_reaches_the_server(
    streams: bool,
) -> None:
    stage = between_client_and_server(request_buffer=1 if streams else 1000)
    ann = stage.asks(UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n")
    servers = [stage.connects() for _ in stage.dials[:]]
    ann.sends(b"3\r\nabc\r\n")
    ann.sends(b"zz\r\n")
    reply = ann.got()
    assert reply.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"Connection: close\r\n" in reply
    assert reply.endswith(b"bad chunk size or extension\n")
    assert ann.wire.eof
    assert len(servers) == streams
    for server in servers:  # half a request was out: that connection ends without the rest
        assert server.got().endswith(b"3\r\nabc\r\n")
        assert not server.is_open
    assert stage.outcomes() == {"bad_request": 1}


@pytest.mark.parametrize("length", [b"Content-Length: 2", b"Connection: x-y\r\nContent-Length: 2"])
def test_a_reply_before_the_requests_end_says_that_the_clients_connection_ends_with_it(length: bytes) -> None:
    stage = between_client_and_server(request_buffer=10)
    ann = stage.asks(UPLOAD + b"Content-Length: 5000000\r\n\r\n0123456789")
    stage.connects().sends(b"HTTP/1.1 413 Content Too Large\r\n" + length + b"\r\n\r\nno")
    assert b"Connection: close\r\n" in ann.got()
    assert ann.wire.eof
    ann.sends(b"x" * 4_000_000)  # all of it is taken, or the kernel would answer with RST
    assert ann.is_open


def test_a_reply_after_100_continue_and_the_body_keeps_the_clients_connection() -> None:
    stage = between_client_and_server()
    ann = stage.asks(UPLOAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    server = stage.connects()
    server.sends(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert ann.got() == b"HTTP/1.1 100 Continue\r\n\r\n"
    ann.sends(b"hi")
    server.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    assert ann.got() == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    assert ann.is_open
    assert server.is_open


def test_a_client_that_waits_for_100_continue_is_not_late_while_the_server_is() -> None:
    stage = between_client_and_server(max_connections=1, hold_timeout=1.0, stall_timeout=10.0)
    ann = stage.asks(UPLOAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    server = stage.connects()
    stage.asks(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    stage.passes(
        1.8
    )  # hold_timeout counts from when the server should have spoken, a second after it was asked
    assert ann.got() == b""
    server.sends(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert ann.got() == b"HTTP/1.1 100 Continue\r\n\r\n"
    stage.passes(1.5)  # from here on it is: somebody waits for the connection it holds (P5)
    assert ann.got().startswith(b"HTTP/1.1 408 ")
    assert not server.is_open


def test_a_client_that_waits_for_a_100_that_never_comes_is_refused_in_the_end() -> None:
    stage = between_client_and_server(reply_timeout=20.0, stall_timeout=10.0)
    ann = stage.asks(UPLOAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    server = stage.connects()
    stage.passes(29.0)
    assert ann.got() == b""
    stage.passes(3.0)
    assert ann.got().startswith(b"HTTP/1.1 408 ")
    assert not server.is_open
