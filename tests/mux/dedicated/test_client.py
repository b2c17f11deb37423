"""A client whose one exchange is its session: how it waits, how it is turned away, how slow it may be."""

from __future__ import annotations

import pytest

from muxproxy.config.model import Tcp
from muxproxy.protocols.contract import Sharing
from muxproxy.protocols.tcp import TcpProtocol
from tests.fakes import Peer, Stage

DEDICATED = Sharing.DEDICATED


def tcp(refuse: str = "rst", **keys: object) -> Stage:
    return Stage(TcpProtocol(Tcp(refuse=refuse)), **keys)


def busy(refuse: str = "rst", **keys: object) -> tuple[Stage, Peer, Peer]:
    """One connection, and a session that has it: its client and its server."""
    stage = tcp(refuse, max_connections=1, **keys)
    return stage, stage.client(), stage.connects()


def test_what_a_client_says_before_it_has_its_connection_is_kept_up_to_a_bound() -> None:
    stage = tcp(request_buffer=10)
    ann = stage.client()
    ann.sends(b"12345")
    ann.sends(b"67890")
    assert ann.is_paused
    ann.sends(b"more")
    server = stage.connects()
    assert server.got() == b"1234567890more"
    assert not ann.is_paused


def test_who_waits_gets_the_next_place_in_its_turn() -> None:
    stage, ann, server = busy()
    bob, cid = stage.asks(b"bob"), stage.asks(b"cid")
    ann.closes()
    server.closes()
    server = stage.connects()
    assert server.got() == b"bob"
    bob.closes()
    server.closes()
    assert stage.connects().got() == b"cid"
    assert cid.is_open
    assert stage.outcomes() == {"ok": 2}


def test_a_fin_that_comes_while_its_client_waits_is_passed_on_behind_its_bytes() -> None:
    stage, ann, server = busy()
    bob = stage.asks(b"all that I have to say")
    bob.closes()
    assert bob.is_open
    ann.closes()
    server.closes()
    server = stage.connects()
    assert server.got() == b"all that I have to say"
    assert server.wire.eof
    assert bob.is_open
    server.sends(b"answer")
    server.closes()
    assert bob.got() == b"answer"
    assert not bob.is_open
    assert stage.outcomes() == {"ok": 2}


def test_a_fin_that_comes_while_its_client_reads_slowly_is_passed_on() -> None:
    stage, ann, server = busy(response_buffer=100)
    ann.stops_reading()
    server.sends(b"x" * 200)
    ann.closes()
    assert server.wire.eof
    server.sends(b"y" * 10)
    server.closes()
    ann.reads()
    assert ann.got() == b"x" * 200 + b"y" * 10
    assert stage.outcomes() == {"ok": 1}


def test_a_client_that_resets_while_it_waits_gives_up_its_turn() -> None:
    stage, _, _ = busy()
    bob = stage.asks(b"bob")
    bob.breaks_off()
    assert stage.statistics()["waiting"] == 0
    assert stage.outcomes() == {"client_left": 1}


REFUSALS = {
    "queue_full": {"max_waiting": 0},
    "queue_timeout": {"timeout": 2.0},
    "clients_full": {"max_clients": 1},
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_client_that_gets_no_place_is_reset(reason: str) -> None:
    stage, ann, _ = busy(**REFUSALS[reason])
    bob = stage.client()
    bob.sends(b"hello")
    stage.passes(2.1)
    assert bob.got() == b""
    assert bob.wire.was_reset
    assert ann.is_open
    assert stage.outcomes() == {reason: 1}


@pytest.mark.parametrize("reason", REFUSALS)
def test_or_gets_fin_and_time_to_see_it(reason: str) -> None:
    stage, ann, _ = busy("fin", **REFUSALS[reason])
    bob = stage.client()
    if reason == "queue_timeout":
        stage.passes(2.1)
    assert bob.wire.eof
    bob.sends(b"hello")  # discarded: closing now would make the kernel answer with RST
    assert bob.is_open
    stage.passes(2.3)
    assert not bob.is_open
    assert not bob.wire.was_reset
    assert ann.is_open
    assert stage.outcomes() == {reason: 1}


def test_a_client_that_has_ended_and_is_turned_away_with_fin_is_not_waited_for() -> None:
    stage, _, _ = busy("fin", timeout=2.0)
    bob = stage.client()
    bob.closes()
    stage.passes(2.1)
    assert not bob.is_open
    assert not bob.wire.was_reset


def test_a_client_that_waits_for_a_server_that_is_gone_is_turned_away_when_its_time_is_up() -> None:
    stage = tcp(timeout=1.0)
    ann = stage.client()
    stage.refuses()
    for _ in range(20):
        stage.passes(0.1)
        if stage.dials:
            stage.refuses()
    assert ann.wire.was_reset
    assert stage.outcomes() == {"no_server": 1}


def test_a_connect_that_hangs_is_given_up_and_tried_again() -> None:
    stage = tcp(connect_timeout=0.5, backoff_max=0.5, timeout=5.0)
    ann = stage.asks(b"hello")
    (first,) = stage.dials
    stage.passes(1.1)
    (second,) = stage.dials
    assert second is not first
    assert stage.connects().got() == b"hello"
    assert ann.is_open


def test_a_session_in_which_nothing_passes_is_cut() -> None:
    stage, ann, server = busy(client_idle_timeout=10.0)
    stage.passes(9.0)
    ann.sends(b"x")
    stage.passes(9.0)
    server.sends(b"y")
    stage.passes(9.0)
    assert ann.is_open
    stage.passes(1.5)
    assert ann.wire.was_reset
    assert server.wire.was_reset
    assert stage.outcomes() == {"idle_timeout": 1}
    assert stage.statistics()["upstream_sockets"] == 0


def test_a_client_that_reads_slowly_is_not_cut_though_others_wait() -> None:
    stage, ann, server = busy(client_idle_timeout=30.0, response_buffer=10, timeout=1000.0)
    stage.client()
    ann.stops_reading()
    server.sends(b"x" * 100)
    assert server.is_paused
    for _ in range(6):
        stage.passes(20.0)
        ann.reads(10)
    assert ann.is_open  # it has taken something every 20 s
    stage.passes(61.0)
    assert ann.wire.was_reset
    assert stage.outcomes() == {"idle_timeout": 1}


def test_nor_is_one_whose_server_reads_slowly() -> None:
    stage = tcp(client_idle_timeout=30.0)
    stage.request_high = 10
    ann = stage.client()
    server = stage.connects()
    server.stops_reading()
    ann.sends(b"x" * 100)
    for _ in range(6):
        stage.passes(20.0)
        server.reads(10)
    assert ann.is_open
    stage.passes(61.0)
    assert server.wire.was_reset
    assert ann.wire.was_reset


def test_a_client_may_take_the_last_bytes_of_its_session_slowly() -> None:
    stage, ann, server = busy(client_idle_timeout=30.0, stall_timeout=1.0)
    ann.stops_reading()
    server.sends(b"x" * 100)
    ann.closes()
    server.closes()
    assert stage.statistics()["upstream_sockets"] == 0  # P5
    stage.passes(25.0)
    ann.reads(10)
    stage.passes(25.0)
    ann.reads()
    assert ann.got() == b"x" * 100
    assert not ann.wire.was_reset


def test_a_client_that_takes_nothing_of_its_last_bytes_is_reset() -> None:
    stage, ann, server = busy(client_idle_timeout=30.0, stall_timeout=1.0)
    ann.stops_reading()
    server.sends(b"x" * 100)
    ann.closes()
    server.closes()
    stage.passes(30.5)
    assert ann.wire.was_reset
    assert stage.outcomes() == {"ok": 1}
    assert stage.statistics()["clients"] == 0


def test_a_drain_lets_sessions_end_and_then_cuts_them() -> None:
    stage, ann, server = busy()
    bob = stage.asks(b"bob")
    with stage.turn():
        stage.pool.drain(stage.world.now)
    ann.sends(b"x")
    server.sends(b"y")
    assert (server.got(), ann.got()) == (b"x", b"y")
    with stage.turn():
        assert stage.pool.cut_off(stage.world.now) == 2
    assert ann.wire.was_reset
    assert server.wire.was_reset
    assert bob.wire.was_reset
    assert stage.outcomes() == {"draining": 2}
    assert stage.world.drained_pools == [stage.pool]


def test_our_own_bug_resets_both_sides_of_the_session_and_nothing_else() -> None:
    stage = Stage(DEDICATED)
    ann, bob = stage.client(), stage.client()
    anns, bobs = stage.connects(), stage.connects()
    with stage.turn():
        ann.wire.brain.on_bug(stage.world.now)
    assert ann.wire.was_reset
    assert anns.wire.was_reset
    bobs.sends(b"bob")
    assert bob.got() == b"bob"
    assert stage.outcomes() == {"internal": 1}
