"""How long a client is borne with, and how its connection ends: the phases of patience.py and their clocks
(P5, P7)."""

from __future__ import annotations

from typing import Any

import pytest

from muxproxy.mux.base.failures import Failures
from muxproxy.mux.base.patience import LINGER_BYTES
from muxproxy.protocols.contract import Sharing
from tests.fakes import Stage
from tests.toys import Toy

EXCLUSIVE, ORDERED = Sharing.EXCLUSIVE, Sharing.ORDERED


def test_a_reader_that_makes_no_headway_is_cut_after_a_generous_while() -> None:
    stage = Stage(EXCLUSIVE, max_connections=1, response_buffer=100, stall_timeout=10.0)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    ann.stops_reading()
    server.sends(b"ann +1000\n" + b"a" * 500)
    stage.passes(9.0)
    ann.reads(50)  # headway
    stage.passes(9.5)
    assert ann.is_open
    stage.passes(2.0)
    assert not ann.is_open
    assert ann.wire.was_reset


def test_a_reader_that_holds_what_others_wait_for_is_cut_soon_and_sees_it() -> None:
    stage = Stage(EXCLUSIVE, max_connections=1, response_buffer=100, hold_timeout=1.0, timeout=60.0)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    ann.stops_reading()
    server.sends(b"ann +1000\n" + b"a" * 500)
    stage.passes(5.0)
    assert ann.is_open  # nobody waits
    ann.reads(50)  # headway
    stage.passes(1.0)
    bob = stage.asks(b"bob\n")
    stage.passes(1.5)
    assert not ann.is_open
    assert ann.wire.was_reset  # P2: a part must not pass for the whole
    assert stage.outcomes()["client_stalled"] == 1
    assert not server.is_paused  # the rest is swallowed
    server.sends(b"a" * 500)
    assert server.got().endswith(b"bob\n")
    server.sends(b"bob\n")
    assert bob.got() == b"bob\n"


def test_a_head_that_trickles_is_refused_and_counted() -> None:
    stage = Stage(EXCLUSIVE, head_timeout=10.0)
    ann = stage.client()
    for _ in range(9):
        ann.sends(b"x")
        stage.passes(1.0)
    stage.passes(0.9)
    assert ann.got() == b""
    stage.passes(0.5)
    assert ann.got() == b"no request_timeout bye | toys: the request head is incomplete\n"
    assert ann.wire.eof
    assert stage.outcomes() == {"request_timeout": 1}


def test_a_pipelined_head_that_trickles_is_refused_too() -> None:
    stage = Stage(EXCLUSIVE, head_timeout=10.0)
    ann = stage.asks(b"one\ntw")
    stage.connects().sends(b"one\n")
    assert ann.got() == b"one\n"
    stage.passes(10.5)
    assert ann.got().startswith(b"no request_timeout")


@pytest.mark.parametrize("streams", [False, True])
def test_a_body_that_trickles_is_refused_and_one_that_keeps_min_rate_is_not(streams: bool) -> None:
    stage = Stage(EXCLUSIVE, stall_timeout=10.0, min_rate=10, request_buffer=1 if streams else 100_000)
    ann, bob = stage.asks(b"slow +1000\nx"), stage.asks(b"fine +1000\nx")
    servers = [stage.connects() for _ in stage.dials[:]]
    for _ in range(24):
        ann.sends(b"x")
        bob.sends(b"x" * 11)
        stage.passes(1.0)
    assert ann.got() == b"no request_timeout bye | toys: the request body is incomplete\n"
    assert ann.wire.eof
    assert bob.is_open
    assert bob.got() == b""
    if streams:
        assert [server.is_open for server in servers] == [False, True]  # half a request cannot be taken back


@pytest.mark.parametrize("sharing", [EXCLUSIVE, ORDERED, Sharing.TAGGED])
def test_what_came_fast_before_buys_no_silence_now(sharing: Sharing) -> None:
    """9 MB of a body would be two and a half hours at min_rate."""
    stage = Stage(sharing, max_connections=1, request_buffer=1000, min_rate=1000, stall_timeout=10.0)
    tag = b"00000001 " if sharing is Sharing.TAGGED else b""
    ann = stage.asks(tag + b"up +10000000\n" + b"x" * 9_000_000)
    server = stage.connects()
    stage.passes(9.0)
    ann.sends(b"x" * 9000)
    stage.passes(9.0)
    assert ann.is_open  # nobody waits
    assert server.is_open
    bob = stage.asks(tag + b"bob\n")
    stage.passes(2.5)
    assert stage.outcomes()["request_timeout"] == 1
    assert not server.is_open
    assert b"bob" in stage.connects().got()
    assert bob.is_open


def test_but_what_keeps_its_rate_in_spells_is_borne_with() -> None:
    stage = Stage(EXCLUSIVE, request_buffer=1, min_rate=10, stall_timeout=10.0)
    ann = stage.asks(b"up +1000\nx")
    stage.connects()
    for _ in range(10):
        stage.passes(8.0)
        ann.sends(b"x" * 80)
    assert ann.is_open
    for _ in range(5):
        stage.passes(8.0)
        ann.sends(b"x" * 10)
    assert not ann.is_open or ann.wire.eof


def test_who_waits_for_100_continue_holds_its_connection_only_while_nobody_else_wants_it() -> None:
    keys = {"max_connections": 1, "reply_timeout": 60.0, "hold_timeout": 1.0, "timeout": 10.0}
    stage = Stage(EXCLUSIVE, **keys)
    ann = stage.asks(b"up eager +1000\n")
    server = stage.connects()
    stage.passes(59.0)
    assert ann.is_open
    assert ann.got() == b""
    stage = Stage(EXCLUSIVE, **keys)
    ann = stage.asks(b"up eager +1000\n")
    server = stage.connects()
    bob = stage.asks(b"bob\n")
    stage.passes(1.8)  # the server should have spoken after one second
    assert ann.got() == b""
    stage.passes(0.8)
    assert ann.got().startswith(b"no request_timeout")
    assert not server.is_open
    assert stage.connects().got() == b"bob\n"
    assert bob.is_open


def test_after_100_continue_the_clock_is_the_clients() -> None:
    stage = Stage(EXCLUSIVE, max_connections=1, reply_timeout=60.0, hold_timeout=1.0, timeout=60.0)
    ann = stage.asks(b"up eager +1000\n")
    server = stage.connects()
    stage.passes(0.5)
    server.sends(b"go 100\n")
    assert ann.got() == b"go 100\n"
    stage.asks(b"bob\n")
    stage.passes(0.7)
    ann.sends(b"x" * 500)
    stage.passes(0.7)
    assert ann.is_open
    stage.passes(1.0)
    assert ann.wire.eof


def test_an_early_reply_is_delivered_and_the_rest_of_the_body_discarded() -> None:
    stage = Stage(EXCLUSIVE, request_buffer=10)
    ann = stage.asks(b"up +1000\n1234567890")
    server = stage.connects()
    server.sends(b"up +5\nno no")
    assert ann.got() == b"up +5\nno no"
    assert ann.wire.eof  # FIN, and it may go on sending for a while: an RST would destroy the reply
    assert not server.is_open
    assert stage.statistics()["closed"] == {"reply before the request's end": 1}
    ann.sends(b"x" * 500)
    assert ann.is_open
    stage.passes(3.0)
    assert not ann.is_open
    assert stage.outcomes() == {"ok": 1}


def test_what_a_refused_client_still_sends_is_bounded() -> None:
    stage = Stage(EXCLUSIVE)
    ann = stage.asks(b"!\n")
    assert ann.wire.eof
    for _ in range(16):
        ann.sends(bytes(LINGER_BYTES // 16))
    assert ann.is_open
    ann.sends(b"x")
    assert not ann.is_open


def test_an_idle_client_is_closed_after_idle_timeout_and_every_request_starts_it_anew() -> None:
    stage = Stage(EXCLUSIVE, client_idle_timeout=100.0)
    ann, bob = stage.client(), stage.client()
    stage.passes(60.0)
    bob.sends(b"bob\n")
    stage.connects().sends(b"bob\n")
    stage.passes(60.0)
    assert not ann.is_open
    assert bob.is_open
    stage.passes(60.0)
    assert not bob.is_open
    assert stage.outcomes() == {"ok": 1}


def test_more_clients_than_allowed_are_told_so() -> None:
    stage = Stage(EXCLUSIVE, max_clients=1)
    stage.client()
    bob = stage.client()
    assert bob.got() == b"no clients_full retry=1 bye | toys: 1 clients are connected\n"
    assert bob.wire.eof
    stage.passes(3.0)
    assert stage.statistics()["clients"] == 1
    assert stage.outcomes() == {"clients_full": 1}


def test_what_is_parked_for_one_client_is_bounded() -> None:
    stage = Stage(Toy(ORDERED, sessions=True), response_buffer=1000)
    ann = stage.asks(b"slow\n")
    ann.sends(b"x local\n" * 500)
    assert ann.is_paused
    server = stage.connects()
    server.sends(server.got())
    assert ann.got() == b"slow\n" + b"x here\n" * 500
    assert not ann.is_paused


def test_a_tunnel_in_which_nobody_speaks_ends_after_a_timeout_of_its_own_and_says_so() -> None:
    stage = Stage(EXCLUSIVE, client_idle_timeout=10.0, tunnel_timeout=100.0)
    failures = Failures(stage.pool)
    ann = stage.asks(b"up pin\n")
    server = stage.connects()
    server.sends(b"up 101\n")
    stage.passes(90.0)
    server.sends(b"ping")
    stage.passes(90.0)
    ann.sends(b"pong")
    stage.passes(90.0)
    assert ann.is_open
    stage.passes(11.0)
    assert not ann.is_open
    assert stage.statistics()["upstream_sockets"] == 0
    assert stage.outcomes() == {"tunnel_timeout": 1}
    assert [(line["reason"], line["count"]) for line in failures.news()] == [("tunnel_timeout", 1)]


def test_a_reply_that_a_slow_client_takes_steadily_is_never_cut() -> None:
    stage = Stage(EXCLUSIVE, response_buffer=1000, stall_timeout=10.0)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    ann.stops_reading()
    server.sends(b"ann +5000\n" + b"a" * 2000)
    for _ in range(100):  # 2 bytes a second
        stage.passes(5.0)
        ann.reads(10)
    assert ann.is_open
    server.sends(b"a" * 3000)
    ann.reads()
    assert len(ann.got()) == 5010


def test_a_client_with_its_last_reply_on_the_way_is_closed_when_it_takes_nothing() -> None:
    stage = Stage(EXCLUSIVE, stall_timeout=10.0)
    ann = stage.asks(b"ann bye\n")
    server = stage.connects()
    ann.stops_reading()
    server.sends(b"ann +100\n" + b"a" * 100)
    assert not ann.wire.gone  # closing, with bytes to send
    stage.passes(9.0)
    ann.reads(10)
    stage.passes(11.0)
    assert not ann.wire.gone
    stage.passes(10.0)
    assert ann.wire.gone
    assert ann.wire.was_reset
    assert stage.statistics()["clients"] == 0


def test_a_refused_client_that_never_closes_is_closed_after_a_while() -> None:
    stage = Stage(EXCLUSIVE)
    ann = stage.asks(b"!\n")
    stage.passes(1.5)
    assert not ann.wire.gone
    stage.passes(1.0)
    assert ann.wire.gone
    assert not ann.wire.was_reset  # it has had all of its refusal


def test_a_client_whose_server_is_silent_has_all_the_time_in_the_world() -> None:
    stage = Stage(EXCLUSIVE, client_idle_timeout=10.0, reply_timeout=1000.0)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    stage.passes(900.0)
    server.sends(b"ann\n")
    assert ann.got() == b"ann\n"


def test_who_is_not_read_by_us_is_not_blamed_for_the_silence() -> None:
    stage = Stage(EXCLUSIVE, request_buffer=10, stall_timeout=10.0, timeout=60.0)
    ann = stage.asks(b"up +100\n" + b"x" * 20)
    ann.sends(b"y" * 20)
    assert ann.is_paused
    while stage.world.now < 1040.0:
        stage.passes(0.5)
        for upstream in list(stage.dials):
            stage.refuses(upstream)
    assert ann.got() == b""
    assert ann.is_open


def test_clients_that_leave_leave_nothing_on_the_wheel() -> None:
    stage = Stage(EXCLUSIVE, client_idle_timeout=300.0)
    for _ in range(1000):
        stage.client().closes()
    assert sum(len(slot) for slot in stage.world.slow._slots.values()) == 0


def test_a_client_that_sends_fin_and_takes_nothing_is_closed_in_the_end() -> None:
    stage = Stage(EXCLUSIVE, stall_timeout=10.0)
    ann = stage.asks(b"one\ntwo\n")
    server = stage.connects()
    ann.stops_reading()
    server.sends(b"one +100\n" + b"o" * 100)
    ann.closes()  # with a reply in our buffer and another one to come
    assert not ann.wire.gone
    stage.passes(9.0)
    ann.reads(10)
    stage.passes(11.0)
    assert not ann.wire.gone
    stage.passes(10.0)
    assert ann.wire.gone
    assert stage.statistics()["clients"] == 0


def test_a_client_that_sends_fin_in_the_middle_of_a_reply_does_not_take_the_part_for_the_whole() -> None:
    stage = Stage(EXCLUSIVE)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    server.sends(b"ann ~\nall that there")
    ann.closes()
    assert ann.wire.was_reset  # P2: FIN is how this reply would end
    assert stage.outcomes() == {"client_left": 1}


def test_a_client_that_ends_its_request_and_takes_no_reply_is_still_a_stalled_one() -> None:
    stage = Stage(EXCLUSIVE, response_buffer=100, request_buffer=10, stall_timeout=10.0, reply_timeout=60.0)
    ann = stage.asks(b"ann +40\n" + b"ann." * 5)
    server = stage.connects()
    ann.stops_reading()
    server.sends(b"ann +1000\n" + b"a" * 500)
    ann.sends(b"ann." * 5)
    stage.passes(11.0)
    assert not ann.is_open
    assert stage.outcomes() == {"client_stalled": 1}


def test_a_bug_at_a_clients_deadline_ends_the_client() -> None:
    class Broken(Toy):
        def refusal(self, *args: object, **more: object) -> Any:
            raise ZeroDivisionError("a bug of ours")

    stage = Stage(Broken(EXCLUSIVE), head_timeout=10.0)
    ann = stage.client()
    ann.sends(b"a")
    with pytest.raises(ZeroDivisionError):
        stage.passes(11.0)
    stage.world.end_turn()
    assert ann.wire.gone
    assert stage.statistics()["clients"] == 0


def test_who_leaves_while_it_is_not_read_is_found_out() -> None:
    stage = Stage(
        Toy(ORDERED, sessions=True), max_connections=1, request_buffer=100, stall_timeout=5.0, timeout=60.0
    )
    ann = stage.asks(b"pop block=inf\n")
    server = stage.connects()
    ann.sends(b"pop block=inf\n" * 50)
    assert ann.is_paused
    stage.passes(5.5)
    assert server.is_open
    ann.wire.has_left = True
    stage.passes(5.5)
    assert not server.is_open
    assert stage.statistics()["pinned"] == {}


def test_who_asks_on_and_has_its_last_reply_on_the_way_has_as_long_for_it_as_any_other() -> None:
    stage = Stage(Sharing.EXCLUSIVE, response_buffer=100, pipeline_buffer=100_000, stall_timeout=10.0)
    ann = stage.asks(b"one\ntwo\n")
    ann.sends(b"three\n")
    ann.stops_reading()
    server = stage.connects()
    server.sends(b"one ~\n" + b"x" * 1000)
    server.closes()
    assert ann.wire.eof
    stage.passes(9.0)
    ann.reads()
    assert len(ann.got()) == 1006
    stage.passes(11.0)  # and then it must close
    assert not ann.is_open
