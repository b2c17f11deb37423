"""A connection that was reset: from the news of it to the end of its socket nothing is sent on it, and its
place counts (P1, P9)."""

from __future__ import annotations

from muxproxy.protocols.contract import Sharing
from tests.fakes import Stage

EXCLUSIVE = Sharing.EXCLUSIVE


def test_a_reset_idle_connection_is_not_given_to_who_comes_in_the_same_turn() -> None:
    stage = Stage(EXCLUSIVE, max_connections=1)
    server = stage.server(b"one\n", b"one\n")
    with stage.turn():
        server.breaks_off()
        ann = stage.asks(b"two\n")
        assert stage.dials == []  # the socket is still there (P1)
    second = stage.connects()
    assert second.got() == b"two\n"
    second.sends(b"two\n")
    assert ann.got() == b"two\n"
    assert stage.statistics()["closed"] == {"server closed": 1}


def test_a_body_that_comes_after_its_connection_was_reset_is_not_sent_on_it() -> None:
    stage = Stage(EXCLUSIVE, request_buffer=10)
    ann = stage.asks(b"up +20\n1234567890")
    server = stage.connects()
    with stage.turn():
        server.breaks_off()
        ann.sends(b"12345")
    assert b"no server_closed" in ann.got()
    assert stage.outcomes() == {"server_closed": 1}
