"""Connections with many in flight: their readers, their deadlines and their ends (P2, P5, P7)."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer, Stage
from tests.toys import Toy

ORDERED, TAGGED = Sharing.ORDERED, Sharing.TAGGED


def slow(stage: Stage) -> tuple[Peer, Peer, Peer]:
    """Ann takes nothing of a large reply, and bob waits behind it."""
    ann, bob = stage.asks(b"ann\n"), stage.asks(b"bob\n")
    server = stage.connects()
    ann.stops_reading()
    server.sends(b"ann +6000\n" + b"x" * 600)
    server.sends(b"x" * 600)
    assert server.is_paused
    return ann, bob, server


def test_a_large_reply_waits_for_its_reader_for_hold_timeout_and_no_longer() -> None:
    stage = Stage(ORDERED, max_connections=1, response_buffer=1000, hold_timeout=1.0)
    ann, bob, server = slow(stage)
    eve = stage.asks(b"eve\n")
    assert server.got() == b"ann\nbob\n"  # nobody else is made to wait behind her
    stage.passes(1.6)
    assert not ann.is_open  # P5
    assert ann.wire.was_reset
    assert server.got() == b"eve\n"
    server.sends(b"x" * 4800 + b"bob\neve\n")
    assert (bob.got(), eve.got()) == (b"bob\n", b"eve\n")
    assert stage.outcomes() == {"client_stalled": 1, "ok": 2}


def test_a_reader_that_is_only_slower_than_the_server_gets_all_of_its_large_reply() -> None:
    stage = Stage(ORDERED, max_connections=1, response_buffer=1000, reply_timeout=1.0)
    ann, bob, server = slow(stage)
    for _ in range(8):
        stage.passes(0.1)
        ann.reads()
        assert not server.is_paused
        ann.stops_reading()
        server.sends(b"x" * 600)
    ann.reads()
    server.sends(b"bob\n")
    assert (len(ann.got()), bob.got()) == (6010, b"bob\n")  # bob's time began when the server could be heard


def test_who_takes_a_large_reply_in_sips_is_in_the_others_way_and_is_cut() -> None:
    stage = Stage(ORDERED, max_connections=1, response_buffer=1000, hold_timeout=1.0, hold_rate=10_000)
    ann, bob, server = slow(stage)
    for _ in range(3):
        stage.passes(0.9)
        ann.reads()
        ann.stops_reading()
        server.sends(b"x" * 1010)
    assert not ann.is_open
    assert bob.is_open


def test_a_large_reply_that_was_taken_fast_buys_no_time_to_sip_the_rest() -> None:
    """A minute's worth at hold_rate, and then silence: others wait for no more than a second."""
    stage = Stage(ORDERED, max_connections=1, response_buffer=1000, hold_timeout=1.0, hold_rate=10_000)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    stage.asks(b"bob\n")
    server.sends(b"ann +700000\n")
    for _ in range(60):
        ann.stops_reading()
        server.sends(b"x" * 10_000)
        stage.passes(0.1)
        ann.reads()
    ann.stops_reading()
    server.sends(b"x" * 10_000)
    for _ in range(3):
        stage.passes(0.9)
        ann.reads(10)  # headway, of a kind
    assert not ann.is_open


def test_alone_on_its_connection_it_has_the_time_that_any_slow_client_has() -> None:
    stage = Stage(ORDERED, max_connections=1, response_buffer=1000, hold_timeout=1.0, stall_timeout=10.0)
    ann, bob, server = slow(stage)
    bob.closes()
    stage.passes(8.0)
    assert not ann.is_open  # bob's place is still on the ledger: nobody knows what he asked for
    stage = Stage(ORDERED, max_connections=1, response_buffer=1000, hold_timeout=1.0, stall_timeout=10.0)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    ann.stops_reading()
    server.sends(b"ann +6000\n" + b"x" * 2000)
    stage.passes(8.0)
    assert ann.is_open


def test_many_whole_replies_that_a_client_does_not_read_are_bounded_too() -> None:
    stage = Stage(ORDERED, max_connections=1, response_buffer=1000)
    ann, bob = stage.asks(b"x\n" * 50), stage.asks(b"bob\n")
    server = stage.connects()
    ann.stops_reading()
    for _ in range(50):
        server.sends(b"x +100\n" + b"y" * 100)
    assert server.is_paused
    assert len(ann.wire.buffer) < 2 * 1000 + 200
    stage.passes(1.6)
    assert not ann.is_open
    server.sends(b"bob\n")
    assert bob.got() == b"bob\n"
    assert stage.statistics()["in_flight"] == 0


def test_one_late_reply_is_told_to_its_client_and_the_others_still_get_theirs() -> None:
    stage = Stage(ORDERED, max_connections=1, reply_timeout=10.0)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    stage.passes(6.0)
    bob = stage.asks(b"bob\n")
    stage.passes(4.1)
    assert ann.got() == b"no reply_timeout | one:1: no reply for 10 s\n"
    assert ann.is_open
    assert server.is_open
    server.sends(b"ann +5\nlater")
    server.sends(b"bob\n")
    assert ann.got() == b""
    assert bob.got() == b"bob\n"
    ann.sends(b"again\n")
    server.sends(b"again\n")
    assert ann.got() == b"again\n"
    assert stage.outcomes() == {"reply_timeout": 1, "ok": 2}


def test_a_connection_whose_oldest_reply_never_comes_is_closed_after_twice_the_timeout() -> None:
    stage = Stage(ORDERED, max_connections=1, reply_timeout=10.0)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    stage.passes(15.0)
    bob = stage.asks(b"bob\n")
    stage.passes(5.1)
    assert not server.is_open
    assert ann.got().startswith(b"no reply_timeout")
    assert bob.got() == b"no reply_timeout | toys: one:1: stuck for 20 s\n"


def test_a_one_way_request_is_replied_when_it_is_written() -> None:
    stage = Stage(ORDERED, max_connections=1)
    ann = stage.asks(b"tell oneway\nask\n")
    server = stage.connects()
    assert server.got() == b"tell oneway\nask\n"
    assert stage.outcomes() == {"ok": 1}
    server.sends(b"ask\n")
    assert ann.got() == b"ask\n"
    assert stage.outcomes() == {"ok": 2}


def test_a_server_that_says_close_gets_no_more_and_is_closed_when_it_owes_nothing() -> None:
    stage = Stage(ORDERED, max_connections=2)
    ann, bob = stage.asks(b"ann\n"), stage.asks(b"bob\n")
    server = stage.connects()
    server.sends(b"ann close\n")
    eve = stage.asks(b"eve\n")
    assert server.got() == b"ann\nbob\n"
    server.sends(b"bob\n")
    assert (ann.got(), bob.got()) == (b"ann close\n", b"bob\n")
    assert not server.is_open
    assert stage.connects().got() == b"eve\n"
    assert eve.is_open


# -- streaming -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reply", [b"ann\n", b"ann +2\nx"])
def test_a_bug_while_a_reply_is_delivered_leaves_nobody_waiting_for_ever(
    reply: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(ORDERED, max_connections=1)
    ann = stage.asks(b"ann\n")
    server = stage.connects()

    def raises(*_: object) -> None:
        monkeypatch.undo()  # once
        raise ZeroDivisionError

    monkeypatch.setattr(ann.wire, "write", raises)
    with pytest.raises(ZeroDivisionError):
        server.sends(reply)
    assert not ann.is_open
    assert stage.outcomes() == {"internal": 1}


def test_a_bug_while_a_reply_is_delivered_keeps_nobody_elses_back(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(ORDERED, max_connections=1)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    bob = stage.asks(b"bob\n")
    ann.sends(b"x\n")

    def raises(*_: object) -> None:
        monkeypatch.undo()  # once
        raise ZeroDivisionError

    monkeypatch.setattr(bob.wire, "write", raises)
    with pytest.raises(ZeroDivisionError):
        server.sends(b"ann\nbob\n")
    assert ann.got() == b"ann\n"


def test_a_late_reply_before_a_request_that_is_still_coming_in_is_told_and_no_clock_stops() -> None:
    stage = Stage(Toy(ORDERED, sessions=True), max_connections=1, reply_timeout=3.0, request_buffer=10)
    ann = stage.asks(b"pop block=2\n")
    stage.connects()
    ann.sends(b"big +30\n1234567890")
    for _ in range(6):
        stage.passes(1.0)
        ann.sends(b"1")
    assert ann.got().startswith(b"no reply_timeout")
