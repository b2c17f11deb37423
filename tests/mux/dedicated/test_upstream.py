"""The ledger of sessions: both directions, both FINs, back-pressure, and every other end (P2, P6, P7)."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer, Stage
from tests.toys import Toy

DEDICATED = Sharing.DEDICATED


def session(**keys: object) -> tuple[Stage, Peer, Peer]:
    """A client and the server that it talks to."""
    stage = Stage(DEDICATED, **keys)
    return stage, stage.client(), stage.connects()


def test_a_session_owns_its_connection_from_its_first_byte_to_its_last() -> None:
    stage, ann, server = session(max_connections=1)
    server.sends(b"220 welcome\n")  # a server that speaks first
    assert ann.got() == b"220 welcome\n"
    ann.sends(b"HELO\n")
    assert server.got() == b"HELO\n"
    assert stage.statistics()["in_flight"] == 1
    ann.closes()
    assert server.wire.eof
    assert server.is_open  # half closed: its last words
    server.sends(b"221 bye\n")
    server.closes()
    assert ann.got() == b"221 bye\n"
    assert not ann.is_open
    assert not ann.wire.was_reset
    assert not server.wire.was_reset
    assert stage.outcomes() == {"ok": 1}
    assert stage.statistics()["upstream_sockets"] == 0
    assert stage.statistics()["closed"] == {"session ended": 1}


def test_a_server_may_be_the_first_to_have_said_all() -> None:
    stage, ann, server = session()
    server.sends(b"all")
    server.closes()
    assert ann.got() == b"all"
    assert ann.wire.eof
    ann.sends(b"more")
    assert server.got() == b"more"
    ann.closes()
    assert not server.is_open
    assert not server.wire.was_reset
    assert stage.outcomes() == {"ok": 1}


def test_a_session_ends_with_either_side_where_there_is_no_half_close() -> None:
    stage = Stage(Toy(DEDICATED, half_close=False))
    ann, bob = stage.client(), stage.client()
    anns, bobs = stage.connects(), stage.connects()
    ann.closes()
    assert not anns.is_open
    bobs.closes()
    assert bob.wire.eof
    stage.passes(2.5)
    assert not bob.is_open
    assert stage.outcomes() == {"ok": 2}


def test_back_pressure_goes_both_ways() -> None:
    stage = Stage(DEDICATED, response_buffer=100)
    stage.request_high = 50
    ann = stage.client()
    server = stage.connects()
    server.stops_reading()
    ann.sends(b"x" * 60)
    assert ann.is_paused
    server.reads()
    assert not ann.is_paused
    ann.stops_reading()
    server.sends(b"y" * 110)
    assert server.is_paused
    ann.reads()
    assert not server.is_paused
    assert ann.got() == b"y" * 110


def test_a_connection_is_never_used_for_a_second_session() -> None:
    stage, ann, server = session(max_connections=1)
    bob = stage.client()
    ann.closes()
    server.closes()
    (dialled,) = stage.dials  # another one, for who waited
    assert dialled is not server.wire.brain
    stage.connects().sends(b"hello bob")
    assert bob.got() == b"hello bob"


@pytest.mark.parametrize("said", [b"", b"half a rep"])
def test_a_reset_of_the_server_is_passed_on_as_a_reset(said: bytes) -> None:
    stage, ann, server = session()
    server.sends(said)
    server.breaks_off()
    assert ann.got() == said
    assert ann.wire.was_reset
    assert stage.outcomes() == {"server_closed": 1}


def test_a_reset_of_the_client_is_passed_on_as_a_reset() -> None:
    stage, ann, server = session()
    ann.sends(b"half a reque")
    ann.breaks_off()
    assert server.got() == b"half a reque"
    assert server.wire.was_reset
    assert stage.outcomes() == {"client_left": 1}
    assert stage.statistics()["upstream_sockets"] == 0


def test_a_server_that_has_said_all_and_takes_no_more_does_not_cost_its_client_what_is_on_its_way() -> None:
    stage, ann, server = session(response_buffer=1000)
    ann.stops_reading()
    server.sends(b"413 too much\n")
    server.closes()
    ann.sends(b"more")
    server.breaks_off("Broken pipe")
    assert ann.is_open  # FIN was passed on, and what it still sends is discarded
    stage.passes(3.0)
    ann.reads()
    assert ann.got() == b"413 too much\n"
    assert not ann.wire.was_reset
    assert stage.outcomes() == {"ok": 1}


def test_what_a_server_says_to_a_spare_is_for_the_session_to_come() -> None:
    stage = Stage(DEDICATED, min_connections=1, response_buffer=20)
    spare = stage.connects()
    spare.sends(b"220 wel")
    spare.sends(b"come\n")
    ann = stage.client()
    assert ann.got() == b"220 welcome\n"
    ann.sends(b"HELO\n")
    assert spare.got() == b"HELO\n"


def test_what_is_kept_of_a_server_that_speaks_first_is_bounded() -> None:
    stage = Stage(DEDICATED, min_connections=1, response_buffer=20)
    spare = stage.connects()
    spare.sends(b"x" * 19)
    assert not spare.is_paused
    spare.sends(b"x")
    assert spare.is_paused  # P7
    spare.sends(b"behind")
    ann = stage.client()
    assert ann.got() == b"x" * 20 + b"behind"
    assert not spare.is_paused


def test_a_client_that_does_not_read_a_greeting_stops_its_server() -> None:
    stage = Stage(DEDICATED, min_connections=1, response_buffer=20)
    spare = stage.connects()
    spare.sends(b"x" * 30)
    assert spare.is_paused
    ann = stage.client()
    assert ann.got() == b"x" * 30
    ann.stops_reading()
    spare.sends(b"y" * 30)
    assert spare.is_paused


def test_a_session_ends_with_its_time_however_busy_it_is() -> None:
    stage, ann, server = session(session_timeout=5.0)
    for _ in range(4):
        stage.passes(1.2)
        ann.sends(b"more")
        server.sends(b"more")
        assert ann.is_open
    stage.passes(0.3)
    assert ann.wire.was_reset  # P2: what it has got must not pass for the whole
    assert server.wire.was_reset
    assert stage.outcomes() == {"session_timeout": 1}


def test_a_session_that_stands_still_for_its_client_still_ends_with_its_time() -> None:
    stage, ann, server = session(session_timeout=5.0, response_buffer=10)
    ann.stops_reading()
    server.sends(b"x" * 20)
    assert server.is_paused
    stage.passes(5.1)
    assert ann.wire.was_reset
    assert stage.outcomes() == {"session_timeout": 1}


def test_a_server_may_take_the_last_bytes_of_a_session_slowly() -> None:
    stage, ann, server = session(stall_timeout=10.0)
    server.closes()
    server.stops_reading()
    ann.sends(b"x" * 100)
    ann.closes()
    for _ in range(5):
        stage.passes(8.0)
        server.reads(10)
    assert stage.statistics()["upstream"]["closing"] == 1
    server.reads()
    assert server.got() == b"x" * 100
    assert not server.wire.was_reset
    assert stage.statistics()["upstream_sockets"] == 0


def test_a_server_that_takes_nothing_of_the_last_bytes_is_reset() -> None:
    stage, ann, server = session(stall_timeout=10.0)
    server.closes()
    server.stops_reading()
    ann.sends(b"x" * 100)
    ann.closes()
    stage.passes(10.3)
    assert server.wire.was_reset
    assert stage.statistics()["upstream_sockets"] == 0


def test_our_own_bug_resets_both_sides() -> None:
    stage, ann, server = session()
    server.sends(b"half")
    with stage.turn():
        server.wire.brain.on_bug(stage.world.now)
    assert ann.wire.was_reset
    assert server.wire.was_reset
    assert stage.outcomes() == {"internal": 1}
