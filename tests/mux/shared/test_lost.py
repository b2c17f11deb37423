"""A connection that was reset: from the news of it to the end of its socket nothing is sent on it, and its
place counts (P1, P9)."""

from __future__ import annotations

import pytest

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


@pytest.mark.parametrize("sharing", [Sharing.ORDERED, Sharing.TAGGED])
def test_what_the_kernel_refused_to_take_goes_to_another_connection(sharing: Sharing) -> None:
    stage = Stage(sharing, max_connections=1)
    tag = b"" if sharing is Sharing.ORDERED else b"00000001 "
    server = stage.asks(tag + b"one\n") and stage.connects()
    server.sends(server.got())
    server.wire.refuses = "Broken pipe"
    ann = stage.asks(tag + b"two\n")
    assert stage.outcomes() == {"ok": 1}
    second = stage.connects()
    request = second.got()
    assert request.endswith(b"two\n")
    second.sends(request)
    assert ann.got() == tag + b"two\n"
    assert stage.statistics()["in_flight"] == 0


def test_a_request_in_parts_that_the_kernel_refused_goes_elsewhere_with_all_of_them() -> None:
    stage = Stage(Sharing.ORDERED, max_connections=1)
    server = stage.server(b"warm\n", b"warm\n")
    server.wire.refuses = "Broken pipe"
    ann = stage.asks(b"up +20\n1234567890")
    ann.sends(b"1234567890")
    second = stage.connects()
    assert second.got() == b"up +20\n12345678901234567890"
    second.sends(b"up\n")
    assert ann.got() == b"up\n"


def test_what_it_had_taken_before_is_lost_and_the_rest_keeps_its_order() -> None:
    stage = Stage(Sharing.ORDERED, max_connections=1)
    ann = stage.asks(b"one\n")
    server = stage.connects()
    assert server.got() == b"one\n"
    server.wire.refuses = "Broken pipe"
    ann.sends(b"two\nthree\n")
    bob = stage.asks(b"four\n")
    assert ann.got().startswith(b"no server_closed")
    second = stage.reconnects()
    assert second.got() == b"two\nfour\nthree\n"  # bob came while ann's third was held behind her second
    second.sends(b"two\nfour\nthree\n")
    assert ann.got() == b"two\nthree\n"
    assert bob.got() == b"four\n"
    assert stage.outcomes() == {"ok": 3, "server_closed": 1}


def test_what_a_server_said_before_it_broke_off_counts_though_nobody_had_read_it() -> None:
    """A byte of the reply has come: its request may not be sent again (P9)."""
    stage = Stage(EXCLUSIVE, max_connections=1, response_buffer=100, pipeline_buffer=10_000)
    ann = stage.client()
    ann.stops_reading()
    ann.sends(b"one\ntwo idem\n")
    server = stage.connects()
    server.sends(b"one +200\n" + b"x" * 200)
    assert server.got() == b"one\ntwo idem\n"
    server.sends(b"two +4\nha")
    assert server.is_paused
    server.breaks_off()
    ann.reads()
    assert ann.got().endswith(b"two +4\nha")
    assert stage.dials == []
    assert stage.outcomes() == {"ok": 1, "server_closed": 1}


@pytest.mark.parametrize("sharing", [EXCLUSIVE, Sharing.ORDERED, Sharing.TAGGED])
def test_a_connection_that_has_broken_is_nobodys_when_its_last_reply_is_read(sharing: Sharing) -> None:
    """Written to it, what may not be sent twice would be lost."""
    stage = Stage(sharing, max_connections=1, max_in_flight=1)
    tag = b"00000001 " if sharing is Sharing.TAGGED else b""
    stage.asks(tag + b"one\n")
    server = stage.connects()
    server.got()
    bob = stage.asks(tag + b"two\n")
    server.wire.pause_reading()
    server.sends(tag + b"one\n")
    server.breaks_off()
    assert server.got() == b""
    second = stage.connects()
    assert second.got().endswith(b"two\n")
    assert bob.got() == b""
    assert stage.outcomes() == {"ok": 1}
    assert stage.statistics()["closed"] == {"server closed": 1}


@pytest.mark.parametrize("sharing", [Sharing.ORDERED, Sharing.TAGGED])
def test_what_was_gathered_for_a_connection_that_has_broken_goes_elsewhere_in_its_order(
    sharing: Sharing,
) -> None:
    """With its last reply nothing is in flight on it any more, and those are not written there."""
    stage = Stage(sharing, max_connections=1, max_in_flight=8)
    tags = [b"%08d " % number if sharing is Sharing.TAGGED else b"" for number in range(1, 6)]
    ann = stage.asks(tags[0] + b"one\n")
    server = stage.connects()
    server.got()
    server.wire.pause_reading()
    server.sends(tags[0] + b"one\n")
    with stage.turn():
        ann.sends(b"".join(tag + b"more\n" for tag in tags[1:]))
        server.breaks_off()
    assert ann.got() == tags[0] + b"one\n"
    second = stage.connects()
    requests = second.got()
    assert requests.count(b"more\n") == 4
    second.sends(requests)
    assert ann.got().count(b"more\n") == 4
    assert stage.outcomes() == {"ok": 5}
