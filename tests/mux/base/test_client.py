"""One client: its replies in its order, its body in time with who takes it, its patience and ours (P2, P5,
P7, P8)."""

from __future__ import annotations

import pytest

from muxproxy.mux.deadlines import INF
from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer, Stage
from tests.toys import Toy

EXCLUSIVE, ORDERED = Sharing.EXCLUSIVE, Sharing.ORDERED


def test_a_request_goes_out_as_it_came_and_its_reply_comes_back_as_it_went() -> None:
    stage = Stage(EXCLUSIVE)
    ann = stage.client()
    assert stage.dials == []  # a client that says nothing costs the servers nothing
    ann.sends(b"he")
    ann.sends(b"llo +4\nbod")
    assert stage.dials == []  # a request is held until it is whole, or request_buffer of it is in (P5)
    ann.sends(b"y")
    server = stage.connects()
    assert server.got() == b"hello +4\nbody"
    server.sends(b"hello +3\nbo")
    assert ann.got() == b"hello +3\nbo"
    server.sends(b"w")
    assert ann.got() == b"w"
    assert ann.is_open
    assert stage.outcomes() == {"ok": 1}


def test_a_client_that_pipelines_more_is_not_read_while_it_is_owed() -> None:
    stage = Stage(EXCLUSIVE)
    ann = stage.asks(b"one\ntwo\n")
    assert ann.is_paused
    server = stage.connects()
    server.sends(b"one\n")
    assert not ann.is_paused
    server.sends(b"two\n")
    assert ann.got() == b"one\ntwo\n"


def test_a_body_beyond_request_buffer_flows_as_it_comes() -> None:
    stage = Stage(EXCLUSIVE, request_buffer=10)
    ann = stage.asks(b"up +20\n12345")
    server = stage.connects()
    assert server.got() == b"up +20\n12345"
    ann.sends(b"67890")
    assert server.got() == b"67890"
    ann.sends(b"1234567890")
    server.sends(b"up\n")
    assert ann.got() == b"up\n"
    assert stage.statistics()["upstream"]["idle"] == 1


def test_an_eager_request_is_sent_before_its_body() -> None:
    stage = Stage(EXCLUSIVE)
    ann = stage.asks(b"up eager +3\n")
    server = stage.connects()
    assert server.got() == b"up eager +3\n"
    server.sends(b"up 100\n")
    assert ann.got() == b"up 100\n"
    ann.sends(b"abc")
    server.sends(b"up\n")
    assert server.got() == b"abc"
    assert ann.got() == b"up\n"


def test_a_client_is_not_read_while_it_waits_with_request_buffer_of_body() -> None:
    stage = Stage(EXCLUSIVE, request_buffer=10)
    ann = stage.asks(b"up +30\n12345")
    ann.sends(b"1234567890")
    assert ann.is_paused
    ann.sends(b"abcdefghij")
    server = stage.connects()
    assert not ann.is_paused
    assert server.got() == b"up +30\n" + b"12345" + b"1234567890" + b"abcdefghij"


def test_a_server_that_takes_no_more_stops_the_client_and_a_client_that_takes_no_more_the_server() -> None:
    stage = Stage(EXCLUSIVE, request_buffer=10, response_buffer=100)
    stage.request_high = 50
    ann = stage.asks(b"up +1000\n" + b"x" * 20)
    server = stage.connects()
    server.stops_reading()
    ann.sends(b"y" * 40)
    assert not ann.is_paused
    ann.sends(b"z" * 40)
    assert ann.is_paused
    server.reads()
    assert not ann.is_paused
    ann.sends(b"w" * 900)

    ann.stops_reading()
    server.sends(b"up +1000\n" + b"a" * 50)
    assert not server.is_paused
    server.sends(b"b" * 50)
    assert server.is_paused
    ann.reads()
    assert not server.is_paused
    server.sends(b"c" * 900)
    assert ann.got() == b"up +1000\n" + b"a" * 50 + b"b" * 50 + b"c" * 900
    assert stage.outcomes() == {"ok": 1}


def test_a_connection_is_free_when_the_reply_is_in_though_its_client_reads_slowly() -> None:
    stage = Stage(EXCLUSIVE, max_connections=1, response_buffer=1000)
    ann, bob = stage.asks(b"ann\n"), stage.asks(b"bob\n")
    server = stage.connects()
    ann.stops_reading()
    server.sends(b"ann +900\n" + b"a" * 900)
    assert server.got() == b"ann\nbob\n"  # P5
    server.sends(b"bob\n")
    assert bob.got() == b"bob\n"
    ann.reads()
    assert ann.got() == b"ann +900\n" + b"a" * 900


def test_a_malformed_request_is_refused_in_its_turn_and_ends_the_connection() -> None:
    stage = Stage(ORDERED)
    ann = stage.asks(b"one\n!two\nthree\n")
    server = stage.connects()
    assert server.got() == b"one\n"
    assert ann.got() == b""
    server.sends(b"one\n")
    assert ann.got() == b"one\nno bad_request bye | malformed !two\n"
    assert ann.wire.eof
    assert stage.outcomes() == {"ok": 1, "bad_request": 1}


def test_a_client_that_cannot_be_answered_is_cut() -> None:
    stage = Stage(EXCLUSIVE)
    ann = stage.asks(b"?\n")
    assert ann.got() == b""
    assert not ann.is_open
    assert stage.outcomes() == {"bad_request": 1}


def test_a_session_answers_by_itself_in_the_order_of_requests() -> None:
    stage = Stage(Toy(ORDERED, sessions=True))
    ann = stage.asks(b"one\nhere local\ntwo\n")
    server = stage.connects()
    assert server.got() == b"one\ntwo\n"
    assert ann.got() == b""
    server.sends(b"one\ntwo\n")
    assert ann.got() == b"one\nhere here\ntwo\n"
    assert ann.is_open
    assert stage.outcomes() == {"ok": 2, "local": 1}


def test_a_session_may_refuse_and_end_the_connection() -> None:
    stage = Stage(Toy(ORDERED, sessions=True))
    ann = stage.asks(b"one refuse\n")
    assert ann.got() == b"no way\n"
    assert ann.wire.eof
    assert stage.outcomes() == {"bad_request": 1}


def test_a_client_whose_body_came_in_parts_is_read_on_after_its_reply() -> None:
    stage = Stage(ORDERED)
    ann = stage.asks(b"a +2\nx")
    ann.sends(b"y")
    server = stage.connects()
    server.sends(b"a\n")
    ann.sends(b"b\n")
    assert server.got() == b"a +2\nxyb\n"


def test_a_drain_closes_the_idle_at_once_and_the_others_after_what_is_owed() -> None:
    stage = Stage(EXCLUSIVE, max_connections=1)
    idle = stage.asks(b"x\n")
    server = stage.connects()
    server.sends(b"x\n")
    ann, bob = stage.asks(b"ann\n"), stage.asks(b"bob\n")
    with stage.turn():
        stage.pool.drain(stage.world.now)
    assert not idle.is_open
    assert stage.world.drained_pools == []
    server.sends(b"ann\n")
    server.sends(b"bob\n")
    assert (ann.got(), bob.got()) == (b"ann\n", b"bob\n")
    assert not ann.is_open
    assert not bob.is_open
    assert stage.world.drained_pools == [stage.pool]


def test_a_drain_gives_who_has_just_connected_a_moment_to_ask() -> None:
    stage = Stage(EXCLUSIVE)
    ann, bob = stage.client(), stage.client()
    with stage.turn():
        stage.pool.drain(stage.world.now)
    ann.sends(b"ann\n")
    stage.connects().sends(b"ann\n")
    assert ann.got() == b"ann\n"
    assert not ann.is_open
    assert bob.is_open
    stage.passes(1.5)
    assert not bob.is_open
    assert stage.world.drained_pools == [stage.pool]


def test_cut_off_refuses_who_waits_and_cuts_who_is_served() -> None:
    stage = Stage(EXCLUSIVE, max_connections=1)
    ann, bob = stage.asks(b"ann\n"), stage.asks(b"bob\n")
    server = stage.connects()
    server.sends(b"ann +10\nhalf")
    with stage.turn():
        stage.pool.drain(stage.world.now)
        assert stage.pool.cut_off(stage.world.now) == 2
    assert bob.got() == b"no draining retry=1 bye | toys: muxproxy is stopping\n"
    assert not ann.is_open
    assert ann.wire.was_reset
    assert stage.outcomes() == {"draining": 2}


def test_our_own_bug_ends_what_the_client_touched_and_nothing_else() -> None:
    stage = Stage(EXCLUSIVE, max_connections=2)
    ann, bob = stage.asks(b"ann\n"), stage.asks(b"bob\n")
    anns, bobs = stage.connects(), stage.connects()
    with stage.turn():
        ann.wire.brain.on_bug(stage.world.now)
    assert not ann.is_open
    assert not anns.is_open
    assert stage.outcomes() == {"internal": 1}
    bobs.sends(b"bob\n")
    assert bob.got() == b"bob\n"


def leaves(peer: Peer, how: str) -> None:
    peer.closes() if how == "FIN" else peer.breaks_off()


@pytest.mark.parametrize("how", ["FIN", "RST"])
def test_a_client_that_leaves_while_waiting_costs_nothing(how: str) -> None:
    stage = Stage(EXCLUSIVE, max_connections=1)
    stage.asks(b"first\n")
    server = stage.connects()
    ann, bob = stage.asks(b"ann\n"), stage.asks(b"bob\n")
    leaves(ann, how)
    assert stage.statistics()["waiting"] == 1
    server.sends(b"first\n")
    assert server.got() == b"first\nbob\n"
    server.sends(b"bob\n")
    assert bob.got() == b"bob\n"
    assert stage.outcomes() == {"ok": 2, "client_left": 1}


@pytest.mark.parametrize("how", ["FIN", "RST"])
def test_a_client_that_leaves_in_the_middle_of_its_request_takes_the_connection_with_it(how: str) -> None:
    stage = Stage(EXCLUSIVE, request_buffer=1)
    ann = stage.asks(b"up +100\nx")
    server = stage.connects()
    leaves(ann, how)
    assert not server.is_open
    assert stage.outcomes() == {"client_left": 1}


def test_a_drain_closes_who_is_owed_nothing_but_the_rest_of_a_reply_in_our_buffer() -> None:
    stage = Stage(EXCLUSIVE, response_buffer=100)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    ann.stops_reading()
    server.sends(b"ann +500\n" + b"a" * 500)
    stage.pool.drain(stage.world.now)
    ann.reads()
    assert len(ann.got()) == 509
    assert not ann.is_open
    assert stage.world.drained_pools == [stage.pool]


def test_the_hands_may_ask_whether_it_is_owed_anything_and_whether_it_is_read() -> None:
    stage = Stage(Sharing.EXCLUSIVE)
    ann = stage.client()
    brain = ann.wire.brain
    for said, is_owed, is_paused in (
        (b"hel", False, False),
        (b"lo\n", True, False),
        (b"again\n", True, True),  # held back behind the first
    ):
        ann.sends(said)
        assert (brain.is_owed(), brain.is_read_paused()) == (is_owed, is_paused), said
    server = stage.connects()
    for _ in range(2):
        server.sends(b"re\n")
    assert (brain.is_owed(), brain.is_read_paused()) == (False, False)


def test_whose_connection_is_no_session_is_a_visitor() -> None:
    assert {s for s in Sharing if not Stage(s).pool.is_visited()} == {Sharing.DEDICATED}


@pytest.mark.parametrize("sharing", [Sharing.EXCLUSIVE, Sharing.ORDERED])
@pytest.mark.parametrize(
    ("said", "is_watched"), [(b"", True), (b"hel", True), (b"up +20\n12345", True), (b"hello\n", False)]
)
def test_who_comes_with_its_request_is_not_waited_for_and_idle_it_is(
    sharing: Sharing, said: bytes, is_watched: bool
) -> None:
    stage = Stage(sharing, client_idle_timeout=10.0)
    ann = stage.client(said)
    assert (ann.wire.brain.wake != INF) is is_watched
    if not is_watched:
        stage.connects().sends(b"re\n")
        assert ann.got() == b"re\n"
        stage.passes(9.0)
        assert ann.is_open
    stage.passes(70.0)  # of all timeouts the longest
    assert not ann.is_open


def test_idle_is_who_has_had_its_reply_and_has_said_nothing_since() -> None:
    stage = Stage(Sharing.EXCLUSIVE)
    ann = stage.client()
    brain = ann.wire.brain
    assert brain.idle_since() == INF  # it has not asked yet
    ann.sends(b"one\n")
    assert brain.idle_since() == INF
    server = stage.connects()
    server.sends(b"re\n")
    began = stage.world.now
    stage.passes(5.0)
    assert brain.idle_since() == pytest.approx(began)
    ann.sends(b"hel")
    assert brain.idle_since() == INF
    ann.sends(b"lo +10\n123")
    assert brain.idle_since() == INF
