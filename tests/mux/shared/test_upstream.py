"""Connections with many in flight: by order and by tag, their preludes, their writes and their ends (P2,
P7)."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer, Stage
from tests.toys import Toy

ORDERED, TAGGED = Sharing.ORDERED, Sharing.TAGGED


def tagged(tag: int, rest: bytes) -> bytes:
    return b"%08d " % tag + rest


# -- by order --------------------------------------------------------------------------------------------


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
