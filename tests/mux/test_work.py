"""P10: a connection does so much in a turn of the loop, then the others are served, and nothing else
changes."""

from __future__ import annotations

import pytest

from muxproxy.mux.work import BYTES
from muxproxy.protocols.contract import FRAMES, Sharing
from tests.fakes import Peer, Stage
from tests.tagged_toys import TaggedToy
from tests.toys import Toy

EXCLUSIVE, ORDERED, TAGGED, DEDICATED = Sharing
SHARED = (ORDERED, TAGGED)


def hurried(sharing: Sharing, frames: int = 3, **keys: object) -> Stage:
    """So many frames in a turn, and turns are the test's."""
    toy = TaggedToy() if sharing is TAGGED else Toy(sharing, sessions=sharing is ORDERED)
    toy.frames = frames
    stage = Stage(toy, max_connections=1, **keys)
    stage.one_turn_each = True
    return stage


def lines(sharing: Sharing, count: int, word: str = "") -> bytes:
    tag = "{0:08d} " if sharing is TAGGED else ""
    return "".join(f"{tag}{{0}}{word}\n".format(number) for number in range(1, count + 1)).encode()


def events(stage: Stage) -> dict[str, int]:
    return dict(stage.statistics()["events"])


@pytest.mark.parametrize("sharing", SHARED)
def test_a_client_s_requests_are_framed_so_many_in_a_turn(sharing: Sharing) -> None:
    stage = hurried(sharing)
    ann = stage.client()
    ann.sends(lines(sharing, 10))
    assert ann.is_paused
    assert len(stage.pool.queue) + sum(c.last is not c.first for c in stage.pool.clients) > 0
    assert stage.world.next_turns() == 3
    assert not ann.is_paused
    server = stage.connects()
    server.sends(lines(sharing, 10))
    stage.world.next_turns()
    assert ann.got() == lines(sharing, 10)
    assert events(stage) == {"client_turns_over_budget": 3, "server_turns_over_budget": 3}


def test_others_are_served_between_two_turns_of_one() -> None:
    stage = hurried(ORDERED)
    ann, bob = stage.client(), stage.client()
    ann.sends(lines(ORDERED, 10, " local"))
    assert ann.got().count(b"\n") == 3
    bob.sends(b"bob local\n")
    assert bob.got() == b"bob here\n"
    stage.world.next_turns()
    assert ann.got().count(b"\n") == 7


def test_what_is_answered_at_once_and_goes_on_by_itself_is_bounded_too() -> None:
    """EXCLUSIVE frames one request at a time: the loop is the client's."""
    stage = hurried(EXCLUSIVE, max_waiting=0)
    stage.asks(b"holds the only connection\n")
    stage.connects()
    ann = stage.client()
    ann.sends(b"refused\n" * (3 * FRAMES))
    assert ann.got().count(b"\n") == FRAMES + 1
    bob = stage.asks(b"bob\n")
    assert bob.got().startswith(b"no queue_full")
    stage.world.next_turns()
    assert ann.got().count(b"\n") == 2 * FRAMES - 1
    assert not ann.is_paused


def test_a_server_s_interim_replies_are_passed_on_so_many_in_a_turn() -> None:
    stage = hurried(EXCLUSIVE)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    server.sends(b"wait 100\n" * 10 + b"done\n")
    assert ann.got() == b"wait 100\n" * 3
    assert server.is_paused
    assert stage.world.next_turns() == 3
    assert ann.got() == b"wait 100\n" * 7 + b"done\n"
    assert not server.is_paused
    assert stage.outcomes() == {"ok": 1}


@pytest.mark.parametrize("sharing", SHARED)
def test_a_connection_whose_replies_are_held_back_gets_no_new_requests_and_then_those_that_wait(
    sharing: Sharing,
) -> None:
    stage = hurried(sharing)
    ann = stage.asks(lines(sharing, 5))
    stage.world.next_turns()
    server = stage.connects()
    assert server.got() == lines(sharing, 5)
    server.sends(lines(sharing, 5))
    bob = stage.asks(lines(sharing, 1))
    assert server.got() == b""
    stage.world.next_turns()
    assert ann.got() == lines(sharing, 5)
    assert server.got()  # bob's (P4)
    server.sends(b"00000006 yes\n" if sharing is TAGGED else b"yes\n")
    assert bob.got().endswith(b"yes\n")


def test_a_slow_client_s_server_is_not_read_though_its_turn_has_come() -> None:
    stage = hurried(EXCLUSIVE, response_buffer=10)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    ann.stops_reading()
    server.sends(b"wait 100\n" * 10 + b"done\n")
    stage.world.next_turns()
    assert server.is_paused
    assert ann.wire.brain.unread() == 9 * 3
    ann.reads()
    stage.world.next_turns()
    assert ann.got() == b"wait 100\n" * 10 + b"done\n"


def test_a_slow_client_s_requests_are_framed_in_their_turns_until_it_has_too_much_unread() -> None:
    stage = hurried(ORDERED, response_buffer=10, pipeline_buffer=30)
    ann = stage.client()
    ann.stops_reading()
    ann.sends(lines(ORDERED, 10, " local"))
    assert ann.wire.brain.unread() == 3 * 7
    stage.world.next_turns()
    assert ann.wire.eof  # a quarter more than that, unread
    ann.reads()
    assert ann.got().count(b"\n") == 6


def reset(stage: Stage, peer: Peer) -> None:
    peer.breaks_off()
    assert stage.world.next_turns() == 1


@pytest.mark.parametrize("sharing", SHARED)
def test_a_client_that_leaves_has_no_more_turns(sharing: Sharing) -> None:
    stage = hurried(sharing)
    ann = stage.client()
    ann.sends(lines(sharing, 10))
    reset(stage, ann)
    assert stage.statistics()["clients"] == 0
    assert stage.outcomes() == {"client_left": 3}


@pytest.mark.parametrize("sharing", SHARED)
def test_replies_that_had_come_before_a_connection_broke_are_delivered(sharing: Sharing) -> None:
    stage = hurried(sharing)
    ann = stage.asks(lines(sharing, 10))
    stage.world.next_turns()
    server = stage.connects()
    server.sends(lines(sharing, 9))
    server.breaks_off()
    stage.world.next_turns()
    assert ann.got().startswith(lines(sharing, 9))
    assert stage.outcomes()["ok"] == 9


def test_a_fin_behind_what_is_held_back_comes_after_it() -> None:
    stage = hurried(EXCLUSIVE)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    server.sends(b"wait 100\n" * 10 + b"done\n")
    server.closes()
    stage.world.next_turns()
    assert ann.got() == b"wait 100\n" * 10 + b"done\n"
    assert not server.is_open


def test_a_drain_waits_for_what_is_held_back() -> None:
    stage = hurried(ORDERED)
    ann = stage.client()
    ann.sends(lines(ORDERED, 10, " local"))
    with stage.turn():
        stage.pool.drain(stage.world.now)
    assert ann.is_open
    stage.world.next_turns()
    assert ann.got().count(b"\n") == 10
    stage.passes(0.4)  # a moment for what else it may have asked
    assert ann.wire.eof  # and no more than that: it had not been read for a while
    ann.closes()
    assert stage.world.drained_pools


def test_who_is_held_back_is_not_silent() -> None:
    stage = hurried(ORDERED, client_idle_timeout=5.0, reply_timeout=5.0)
    ann = stage.client()
    ann.sends(lines(ORDERED, 10, " local"))
    stage.passes(20.0)  # other work takes all that time
    assert ann.is_open
    bob = stage.asks(lines(ORDERED, 10))
    server = stage.connects()
    stage.world.next_turns()
    server.sends(lines(ORDERED, 10))
    stage.passes(20.0)
    stage.world.next_turns()
    assert bob.got() == lines(ORDERED, 10)


@pytest.mark.parametrize("sharing", [EXCLUSIVE, DEDICATED])
def test_bytes_have_a_budget_too(sharing: Sharing) -> None:
    stage = hurried(sharing, request_buffer=BYTES)
    chunk = b"x" * (BYTES // 4)
    ann = stage.client()
    server = None
    if sharing is DEDICATED:
        server = stage.connects()
    with stage.turn():
        if sharing is EXCLUSIVE:
            ann.sends(b"ann eager +%d\n" % (2 * BYTES))
            server = stage.connects()
        for _ in range(8):
            ann.sends(chunk)
    assert server is not None
    assert ann.wire.unread() == 4
    assert len(server.got()) < BYTES + 100
    assert stage.world.next_turns() in (1, 2)
    assert len(server.got()) == BYTES
    with stage.turn():
        if sharing is EXCLUSIVE:
            server.sends(b"bob +%d\n" % (2 * BYTES))
        for _ in range(8):
            server.sends(chunk)
    assert server.wire.unread() == 4
    stage.world.next_turns()
    assert len(ann.got()) >= 2 * BYTES
    assert events(stage) == {}  # as any large body


def test_what_is_thrown_away_has_a_budget_too() -> None:
    stage = hurried(EXCLUSIVE)
    ann = stage.client()
    with stage.turn():
        ann.sends(b"!\n")
        for _ in range(8):
            ann.sends(b"x" * (BYTES // 4))
    assert ann.got().startswith(b"no bad_request")
    assert ann.wire.unread() == 4
    assert stage.world.next_turns() >= 1
    assert ann.wire.unread() == 0
    assert not ann.is_paused


def test_an_idle_connection_stays_idle_though_its_last_reply_was_large() -> None:
    """Its own time, or its server closes it just when it is used again."""
    stage = hurried(EXCLUSIVE, reply_timeout=60.0, response_buffer=4 * BYTES)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    with stage.turn():
        server.sends(b"ann +%d hint=5\n" % BYTES)
        for _ in range(4):
            server.sends(b"x" * (BYTES // 4))
    assert len(ann.got()) > BYTES
    stage.world.next_turns()
    assert server.is_open
    stage.passes(4.5)
    assert not server.is_open
