"""A silent server is asked whether it lives; one that does not say so has failed."""

from __future__ import annotations

from tests.fakes import Peer, Stage
from tests.tagged_toys import TaggedToy, tagged

PROBE = tagged(0, b"alive?\n")


def beating(**keys: float) -> tuple[Stage, Peer]:
    """One connection that has served, asked after 10 s, given up after two misses."""
    keys = {"suspect_after": 1000} | keys  # that asks too
    stage = Stage(
        TaggedToy(probe_interval=10.0), min_connections=1, max_connections=1, idle_timeout=1000, **keys
    )
    return stage, stage.connects()


def test_a_connection_that_is_heard_from_is_not_asked() -> None:
    stage, server = beating()
    for _ in range(5):
        stage.passes(8.0)
        server.sends(tagged(99, b"whatever\n"))
    assert server.got() == b""


def test_a_silent_one_is_asked_once_in_an_interval_and_any_byte_is_an_answer() -> None:
    stage, server = beating()
    for _ in range(4):
        stage.passes(10.02)
        assert server.got() == PROBE
        server.sends(tagged(0, b"of course\n"))
    assert stage.statistics()["closed"] == {}


def test_a_server_that_misses_them_is_closed_and_left_alone() -> None:
    stage, server = beating(backoff_min=2.0, backoff_max=2.0, reply_timeout=1000)
    ann = stage.asks(tagged(7, b"a\n"))
    server.got()
    stage.passes(20.05)
    assert server.got() == PROBE * 2
    assert not server.wire.closing
    stage.passes(10.0)
    assert server.wire.aborted
    assert ann.got() == tagged(7, b"no server_closed | toys: one:1: no answer to 2 heartbeats\n")
    (server_now,) = stage.statistics()["servers"]
    assert server_now["state"] == "backing_off"
    assert server_now["last_error"] == "no answer to 2 heartbeats"
    assert stage.statistics()["closed"] == {"silent": 1}
    assert ("server is silent", "one:1") in [(event, fields["server"]) for event, fields in stage.world.lines]
    assert not stage.dials
    stage.passes(1.1)
    assert len(stage.dials) == 1


def test_an_answer_between_two_misses_begins_the_count_again() -> None:
    stage, server = beating()
    stage.passes(21.0)
    assert server.got() == PROBE * 2
    server.sends(tagged(0, b"here\n"))
    stage.passes(29.0)
    assert server.got() == PROBE * 2
    assert not server.wire.closing


def test_a_closed_connection_is_not_asked() -> None:
    stage, server = beating()
    server.breaks_off()
    stage.passes(50.0)
    assert server.got() == b""


def test_a_request_that_streams_is_neither_broken_into_nor_taken_for_silence() -> None:
    stage, server = beating(
        stall_timeout=1000, hold_timeout=1000, request_buffer=10, max_in_flight=5, reply_timeout=1000
    )
    ann = stage.asks(tagged(1, b"big +40\n0123456789"))
    assert server.got().endswith(b"0123456789")
    stage.passes(100.0)
    assert server.got() == b""
    ann.sends(b"x" * 30)
    stage.passes(9.0)
    assert server.got() == b"x" * 30 + PROBE


def test_without_an_interval_nobody_is_asked() -> None:
    stage = Stage(TaggedToy(), min_connections=1, max_connections=1, idle_timeout=1000)
    server = stage.connects()
    stage.passes(900.0)
    assert server.got() == b""


def quiet(**keys: float) -> tuple[Stage, Peer, Peer]:
    """A connection with a long request in flight, of which its server hears every 5 s at least."""
    keys = {"suspect_after": 1000, "idle_timeout": 1000, "reply_timeout": 1000} | keys
    stage = Stage(TaggedToy(probe_interval=60.0, probe_keep=5.0), max_connections=1, **keys)
    ann = stage.asks(tagged(9, b"short\n"))
    server = stage.connects()
    server.sends(tagged(1, b"short\n"))
    ann.sends(tagged(1, b"long\n"))
    server.got()
    ann.got()
    return stage, ann, server


def test_a_server_that_owes_a_reply_hears_of_us_and_need_not_answer() -> None:
    stage, ann, server = quiet()
    stage.passes(31.0)
    assert server.got() == PROBE * 6
    assert server.is_open
    stage.passes(145.0)  # asked twice in its time and not heard from: it is too busy
    assert server.is_open
    server.sends(tagged(2, b"long\n"))
    assert ann.got() == tagged(1, b"long\n")
    server.got()
    stage.passes(50.0)  # nothing is owed
    assert server.got() == b""


def test_a_server_that_closes_for_silence_shows_its_pace_and_the_log_names_the_key() -> None:
    stage, ann, server = quiet(min_connections=1)
    stage.passes(3.0)
    server.closes()
    assert ann.got().startswith(tagged(1, b"no server_closed"))
    ((event, fields),) = [line for line in stage.world.lines if "silent" in line[0]]
    assert event == "server closes silent connections"
    assert fields["error"] == "closed after 3 s of silence with requests in flight"
    assert fields["advice"] == "if it does so by its own heartbeat, set heartbeat to 1s or less"
    again = stage.connects()
    ann.sends(tagged(2, b"long\n"))
    again.got()
    stage.passes(4.5)
    assert again.got() == PROBE * 4
    again.closes()  # of something else: it heard of us a moment ago
    assert len([line for line in stage.world.lines if "silent" in line[0]]) == 1


def test_a_connection_that_is_in_use_hurries_with_the_one_that_was_closed() -> None:
    stage = Stage(
        TaggedToy(probe_interval=60.0, probe_keep=50.0),
        max_connections=2,
        max_in_flight=1,
        suspect_after=1000,
        reply_timeout=1000,
    )
    clients = [stage.asks(tagged(1, b"short\n")) for _ in range(2)]
    one, two = stage.connects(), stage.connects()
    one.sends(tagged(1, b"short\n"))
    two.sends(tagged(1, b"short\n"))
    for client in clients:
        client.sends(tagged(2, b"long\n"))
    two.got()
    stage.passes(9.0)
    one.closes()
    stage.passes(3.1)
    assert two.got() == PROBE


def test_a_server_that_ends_in_the_middle_of_its_work_has_shown_nothing() -> None:
    stage, _, server = quiet()
    stage.passes(0.5)
    server.closes()
    assert not [line for line in stage.world.lines if "silent" in line[0]]
