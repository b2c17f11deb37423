"""HTTP as the heart sees it: the verbs of the contract."""

from __future__ import annotations

from muxproxy.protocols.contract import Sharing
from tests.protocols.http.feeding import protocol


def test_one_exchange_at_a_time_and_no_half_open_connections() -> None:
    http = protocol()
    assert (http.name, http.sharing, http.half_close) == ("http", Sharing.EXCLUSIVE, False)


def test_requests_carry_all_they_need() -> None:
    http = protocol()
    assert http.session() is None
    assert http.connection() is None
    assert http.probe() is None
    assert http.retag(b"x", 1) == b"x"


def test_framers_are_each_connections_own() -> None:
    http = protocol()
    assert http.requests() is not http.requests()
    one, other = http.requests(), http.requests()
    one.feed(b"GET")
    assert one.midway
    assert not other.midway
