"""Clients that write all before they read anything: they cost their own allowance, and nobody's time (P5,
P7)."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer, Stage
from tests.tagged_toys import tagged
from tests.toys import Toy

EXCLUSIVE, ORDERED, TAGGED = Sharing.EXCLUSIVE, Sharing.ORDERED, Sharing.TAGGED
SHARINGS = pytest.mark.parametrize("sharing", [EXCLUSIVE, ORDERED, TAGGED])
REPLY = 20  # bytes of each, in all tests


def stage_of(sharing: Sharing | Toy, bound: int, **keys: float) -> Stage:
    """`bound`: where reading ends. Of requests it does so a fifth earlier."""
    keys = {"max_connections": 1, "response_buffer": 100, "stall_timeout": 10.0, **keys}
    return Stage(sharing, pipeline_buffer=bound * 4 // 5, **keys)


def request(sharing: Sharing, number: int) -> bytes:
    return tagged(number, b"r\n") if sharing is TAGGED else b"r%d\n" % number


def reply_to(line: bytes) -> bytes:
    return line + b"." * (REPLY - len(line) - 1) + b"\n"


def answer_all(server: Peer) -> int:
    """Whatever the server was asked, until it is asked no more: as fast as a server can."""
    answered = 0
    while lines := server.got().splitlines():
        for line in lines:
            server.sends(reply_to(line))
        answered += len(lines)
    return answered


@SHARINGS
def test_all_is_served_and_kept_and_read_afterwards(sharing: Sharing) -> None:
    stage = stage_of(sharing, 100_000, max_waiting=5000, request_buffer=200)
    ann = stage.client()
    ann.stops_reading()
    for number in range(1, 2001):
        ann.sends(request(sharing, number))
        if stage.dials:
            server = stage.connects()
        answer_all(server)
    assert len(ann.wire.buffer) <= 100 + REPLY  # the rest is kept in few parts
    stage.passes(9.0)
    ann.reads()
    told = ann.got()
    assert len(told) == 2000 * REPLY
    if sharing is not TAGGED:
        assert told == b"".join(reply_to(b"r%d" % number) for number in range(1, 2001))
    assert stage.outcomes() == {"ok": 2000}
    bob = stage.asks(request(sharing, 1))
    answer_all(server)
    assert len(bob.got()) == REPLY


@SHARINGS
def test_beyond_the_bound_each_is_told_so_and_who_then_reads_is_served_again(sharing: Sharing) -> None:
    stage = stage_of(sharing, 1250)
    ann = stage.client()
    ann.stops_reading()
    for number in range(1, 53):
        ann.sends(request(sharing, number))
        if stage.dials:
            server = stage.connects()
        answer_all(server)
    refused = stage.outcomes()["unread"]
    assert refused
    ann.reads()
    told = ann.got()
    assert told.count(b"no unread | toys: ") == refused
    assert b"bytes of replies are unread, pipeline_buffer is 1000\n" in told
    assert told.count(b"\n") == 52
    ann.sends(request(sharing, 99))
    answer_all(server)
    assert len(ann.got()) == REPLY


@SHARINGS
def test_a_quarter_beyond_it_ends_after_all_that_was_kept(sharing: Sharing) -> None:
    stage = stage_of(sharing, 1250)
    ann = stage.client()
    ann.stops_reading()
    for number in range(1, 1000):
        ann.sends(request(sharing, number))
        if stage.dials:
            server = stage.connects()
        answer_all(server)
    assert ann.wire.eof  # and what it still sends is thrown away
    assert len(ann.wire.buffer) < 1250 + 150
    for _ in range(20):  # it reads slowly, but reads
        stage.passes(1.5)
        ann.reads(60)
    assert ann.is_open
    ann.reads()
    assert ann.got().startswith(reply_to(request(sharing, 1).strip()[:8] if sharing is TAGGED else b"r1")[:2])
    stage.passes(3.0)
    assert not ann.is_open
    assert not ann.wire.was_reset
    assert stage.statistics()["in_flight"] == 0


@SHARINGS
def test_who_asks_on_is_borne_with_and_who_only_does_not_read_is_not(sharing: Sharing) -> None:
    stage = stage_of(sharing, 100_000)
    ann = stage.client()
    ann.stops_reading()
    for number in range(1, 31):
        ann.sends(request(sharing, number))
        if stage.dials:
            server = stage.connects()
        answer_all(server)
        stage.passes(2.0)
    assert ann.is_open
    stage.passes(13.0)
    assert not ann.is_open
    assert ann.wire.was_reset


def test_who_waits_for_us_to_read_on_is_not_blamed() -> None:
    stage = stage_of(ORDERED, 100_000, request_buffer=20, reply_timeout=100.0, max_in_flight=1)
    ann = stage.client()
    ann.stops_reading()
    ann.sends(b"r1\n")
    server = stage.connects()
    for number in range(2, 10):
        ann.sends(b"r%d\n" % number)
        answer_all(server)
    ann.sends(b"slow\n" + b"s\n" * 30)
    assert ann.is_paused
    stage.passes(60.0)
    assert ann.is_open
    answer_all(server)
    assert not ann.is_paused


def test_who_waits_for_us_to_read_on_and_has_left_is_found_out() -> None:
    stage = stage_of(ORDERED, 100_000, request_buffer=20, reply_timeout=100.0, max_in_flight=1)
    ann = stage.asks(b"r\n" * 50)
    ann.stops_reading()
    server = stage.connects()
    for _ in range(10):
        server.sends(reply_to(b"r"))
    assert ann.is_paused
    ann.wire.has_left = True
    stage.passes(2.0)
    assert not ann.is_open
    assert stage.outcomes()["client_left"]


def test_who_asks_on_behind_what_it_does_not_read_is_cut_with_what_it_holds() -> None:
    stage = stage_of(EXCLUSIVE, 1000, stall_timeout=5.0)
    ann = stage.asks(b"ann\nnext\n")
    server = stage.connects()
    ann.stops_reading()
    server.sends(b"ann +5000\n" + b"a" * 1200)
    assert server.is_paused
    assert ann.is_paused
    stage.passes(7.0)
    assert not ann.is_open


@pytest.mark.parametrize("sharing", [ORDERED, TAGGED])
def test_large_replies_that_nobody_reads_keep_no_shared_connection_up_to_the_bound(sharing: Sharing) -> None:
    def asked(tag: int, name: bytes) -> bytes:
        return tagged(tag, name) if sharing is TAGGED else name

    stage = stage_of(sharing, 100_000)
    ann = stage.asks(b"".join(asked(1 + number, b"ann\n") for number in range(3)))
    bob, eve = stage.asks(asked(1, b"bob\n")), stage.asks(asked(1, b"eve\n"))
    server = stage.connects()
    server.got()
    ann.stops_reading()
    server.sends(asked(1, b"ann +50000\n") + b"x" * 50_000)
    server.sends(asked(2, b"ann +30000\n") + b"x" * 30_000)
    assert not server.is_paused
    server.sends(asked(3, b"ann +40000\n") + b"x" * 20_000)
    server.sends(b"x" * 20_000 + asked(4, b"bob\n"))
    assert server.is_paused  # now it is in the way of others
    stage.passes(0.5)
    ann.reads(51_000)  # what its socket had; what is left is more than half of what may be
    assert server.is_paused
    ann.reads()
    assert not server.is_paused
    assert bob.got() == asked(1, b"bob\n")
    server.sends(asked(5, b"eve\n"))
    assert eve.got() == asked(1, b"eve\n")
    assert ann.got().count(b"x") == 120_000


def test_a_mere_download_is_taken_off_its_server_no_faster_than_it_is_read_until_more_is_asked_for() -> None:
    stage = stage_of(EXCLUSIVE, 10_000)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    ann.stops_reading()
    server.sends(b"ann +5000\n" + b"a" * 500)
    assert server.is_paused
    ann.sends(b"next\n")
    assert not server.is_paused
    server.sends(b"a" * 4500)
    assert server.got() == b"ann\nnext\n"
    server.sends(b"next\n")
    ann.reads()
    assert ann.got() == b"ann +5000\n" + b"a" * 5000 + b"next\n"


def test_what_asks_on_behind_a_download_beyond_the_bound_keeps_its_server_waiting_again() -> None:
    stage = stage_of(EXCLUSIVE, 1000)
    ann = stage.asks(b"ann\nnext\n")
    server = stage.connects()
    ann.stops_reading()
    server.sends(b"ann +5000\n" + b"a" * 900)
    assert not server.is_paused
    server.sends(b"a" * 200)
    assert server.is_paused
    ann.reads(900)
    assert not server.is_paused


def test_a_session_that_has_a_connection_alone_may_write_all_before_it_reads_too() -> None:
    stage = stage_of(Toy(ORDERED, sessions=True), 100_000, max_connections=2, request_buffer=100)
    ann = stage.asks(b"begin pin\n")
    ann.stops_reading()
    server = stage.connects()
    for number in range(500):
        ann.sends(b"r%d pin\n" % number)
        answer_all(server)
    assert not server.is_paused
    ann.reads()
    assert len(ann.got()) == 501 * REPLY


def test_what_was_kept_is_written_before_the_end_of_a_client_that_said_fin() -> None:
    stage = stage_of(ORDERED, 100_000)
    ann = stage.asks(b"r\n" * 100)
    ann.stops_reading()
    server = stage.connects()
    answer_all(server)
    ann.closes()
    ann.reads()
    assert len(ann.got()) == 100 * REPLY
    assert ann.wire.gone
    assert not ann.wire.was_reset


def test_what_was_kept_for_a_client_that_is_gone_is_gone_too() -> None:
    stage = stage_of(ORDERED, 100_000)
    ann = stage.asks(b"r\n" * 100)
    brain = ann.wire.brain
    ann.stops_reading()
    server = stage.connects()
    answer_all(server)
    assert brain.unread() > 1000
    ann.breaks_off()
    assert brain.unread() == 0
