"""Places that only sessions with certain first bytes get, when all others are taken (P1, P4, P8)."""

from __future__ import annotations

from typing import Any

from muxproxy.config.model import Tcp
from muxproxy.mux.dedicated.reserve import MOMENT
from muxproxy.protocols.tcp import TcpProtocol
from tests.fakes import Peer, Stage

CANCEL = b"\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x10\x01\x12\x34\x56\x78"


def stage_of(**keys: Any) -> Stage:
    return Stage(TcpProtocol(Tcp()), **{"max_connections": 3, "reserve": 1, "timeout": 5.0} | keys)


def sessions(stage: Stage, number: int) -> list[tuple[Peer, Peer]]:
    return [(stage.asks(b"%d" % each), stage.connects()) for each in range(number)]


def test_when_all_other_places_are_taken_a_cancel_request_gets_the_one_that_is_kept() -> None:
    stage = stage_of()
    sessions(stage, 2)
    ann = stage.asks(b"ann")
    assert stage.dials == []  # the third place is not hers
    bob = stage.asks(CANCEL)
    assert stage.connects().got() == CANCEL
    assert ann.is_open
    assert bob.is_open
    assert stage.statistics()["waiting"] == 1
    assert stage.statistics()["upstream_sockets"] == 3
    assert stage.statistics()["events"] == {"reserved": 1}
    cyd = stage.asks(CANCEL)  # two at a time: in the queue, in front
    assert stage.dials == []
    bob.closes()
    assert cyd.is_open


def test_it_may_come_in_pieces_and_what_only_begins_alike_is_no_claim() -> None:
    stage = stage_of()
    sessions(stage, 2)
    ann, bob = stage.client(), stage.client()
    ann.sends(CANCEL[:5])
    bob.sends(CANCEL[:4] + b"\x00\x03\x00\x00user")
    assert stage.dials == []
    ann.sends(CANCEL[5:])
    assert stage.connects().got() == CANCEL
    assert stage.dials == []


def test_when_it_is_over_its_place_is_kept_again_and_who_waits_gets_the_others() -> None:
    stage = stage_of()
    (one, theirs), _ = sessions(stage, 2)
    ann = stage.asks(b"ann")
    bob = stage.asks(CANCEL)
    kept = stage.connects()
    kept.closes()
    bob.closes()
    assert stage.dials == []
    one.closes()
    theirs.closes()
    assert stage.connects().got() == b"ann"
    assert ann.is_open


def test_while_there_are_other_places_a_cancel_request_is_a_session_as_any() -> None:
    stage = stage_of()
    stage.asks(CANCEL)
    assert stage.connects().got() == CANCEL
    sessions(stage, 1)
    assert stage.statistics()["upstream_sockets"] == 2


def test_spares_leave_it_too() -> None:
    stage = stage_of(min_connections=3)
    assert len(stage.dials) == 2


def test_who_finds_the_queue_full_has_a_moment_to_say_what_it_is() -> None:
    stage = stage_of(max_waiting=1)
    sessions(stage, 2)
    ann, bob, cyd = stage.asks(b"ann"), stage.asks(b"bob"), stage.client()
    assert ann.is_open
    assert bob.is_open
    cyd.sends(CANCEL)
    assert stage.connects().got() == CANCEL
    stage.passes(MOMENT + 0.02)
    assert not bob.is_open
    assert (ann.is_open, cyd.is_open) == (True, True)
    assert stage.outcomes() == {"queue_full": 1}


def test_who_leaves_in_that_moment_is_counted_once() -> None:
    stage = stage_of(max_waiting=0)
    sessions(stage, 2)
    ann = stage.client()
    ann.breaks_off()
    stage.passes(MOMENT + 0.02)
    assert stage.outcomes() == {"client_left": 1}
    assert stage.statistics()["waiting"] == 0


def test_a_cancel_request_waits_no_longer_than_anybody() -> None:
    stage = stage_of()
    sessions(stage, 2)
    ann = stage.asks(CANCEL)
    stage.passes(5.1)  # its server is not there
    assert not ann.is_open
    assert stage.statistics()["waiting"] == 0


def test_a_server_answers_a_cancel_request_by_closing_and_has_not_failed() -> None:
    for reserve in (0, 1):
        stage = stage_of(reserve=reserve)
        ann = stage.client()
        ann.sends(CANCEL[:9])
        server = stage.connects()
        ann.sends(CANCEL[9:])
        server.closes()
        ann.closes()
        assert stage.statistics()["connect_failures"] == 0
        assert stage.outcomes() == {"ok": 1}
