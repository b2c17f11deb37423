"""A connection that owes and is silent is not for those who come after, while another can serve them."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer, Stage
from tests.tagged_toys import TaggedToy, tagged
from tests.toys import Toy

ORDERED = Sharing.ORDERED


def ordered(**keys: object) -> Stage:
    return Stage(Toy(ORDERED, sessions=True), suspect_after=0.2, **keys)


def stuck(stage: Stage, request: bytes = b"stuck\n") -> Peer:
    """A connection whose server has a request and says nothing."""
    stage.asks(request)
    server = stage.connects()
    assert server.got() == request
    return server


def test_who_comes_to_a_silent_connection_gets_a_new_one() -> None:
    stage = ordered(max_connections=2)
    silent = stuck(stage)
    stage.asks(b"early\n")
    assert silent.got() == b"early\n"
    stage.passes(0.25)
    assert stage.statistics()["upstream"]["suspect"] == 1
    assert stage.statistics()["events"] == {"suspected": 1}
    ann = stage.asks(b"late\n")
    server = stage.connects()
    server.sends(server.got())
    assert (silent.got(), ann.got()) == (b"", b"late\n")


def test_or_an_existing_one_even_if_it_has_no_room_for_the_moment() -> None:
    stage = ordered(min_connections=2, max_connections=2, max_in_flight=1)
    silent, other = stage.connects(), stage.connects()
    stage.asks(b"stuck\n")
    if not silent.got():
        silent, other = other, silent
    stage.passes(0.25)
    stage.asks(b"one\n")
    ann = stage.asks(b"two\n")
    assert other.got() == b"one\n"
    other.sends(b"one\n")
    assert other.got() == b"two\n"
    other.sends(b"two\n")
    assert ann.got() == b"two\n"


def test_a_server_that_speaks_is_not_silent_though_its_oldest_reply_takes_its_time() -> None:
    stage = ordered(max_connections=2)
    server = stuck(stage, b"large\n")
    server.sends(b"large +100\n")
    for _ in range(10):
        stage.passes(0.15)
        server.sends(b"1234567")
    stage.asks(b"x\n")
    assert server.got() == b"x\n"


def test_it_is_for_everybody_again_when_it_has_spoken() -> None:
    stage = ordered(max_connections=2)
    silent = stuck(stage)
    stage.passes(0.25)
    silent.sends(b"stuck\n")
    stage.asks(b"x\n")
    assert silent.got() == b"x\n"
    assert stage.statistics()["upstream"]["suspect"] == 0
    silent.sends(b"x\n")
    stage.passes(1.0)
    stage.asks(b"y\n")  # idle is not silent
    assert silent.got() == b"y\n"


def test_where_there_can_be_no_other_it_serves_as_before() -> None:
    stage = ordered(max_connections=1)
    silent = stuck(stage)
    stage.passes(0.25)
    stage.asks(b"x\n")
    assert silent.got() == b"x\n"


def test_who_waits_for_a_connect_that_fails_makes_do_with_it() -> None:
    stage = ordered(max_connections=2)
    silent = stuck(stage)
    stage.passes(0.25)
    stage.asks(b"x\n")
    assert silent.got() == b""
    stage.refuses()
    assert silent.got() == b"x\n"
    stage.passes(0.1)  # and the next one tries again
    stage.asks(b"y\n")
    assert silent.got() == b""
    assert stage.connects().got() == b"y\n"


def test_where_nobody_may_wait_who_finds_only_a_silent_one_is_not_refused() -> None:
    stage = ordered(min_connections=2, max_connections=2, max_in_flight=2, max_waiting=0)
    one, two = stage.connects(), stage.connects()
    stage.asks(b"stuck\n")
    silent, other = (one, two) if one.got() else (two, one)
    stage.passes(0.25)
    for _ in range(2):
        stage.asks(b"x\n")
    assert other.got() == b"x\nx\n"
    stage.asks(b"y\n")
    assert silent.got() == b"y\n"


def test_who_waits_for_the_other_one_does_so_no_longer_when_that_is_silent_too() -> None:
    stage = ordered(min_connections=2, max_connections=2, max_in_flight=2)
    one, two = stage.connects(), stage.connects()
    stage.asks(b"stuck\n")
    silent, other = (one, two) if one.got() else (two, one)
    stage.passes(0.25)
    for _ in range(2):
        stage.asks(b"x\n")
    stage.asks(b"y\n")
    assert (other.got(), silent.got()) == (b"x\nx\n", b"")
    stage.passes(0.25)
    assert silent.got() == b"y\n"


def test_what_is_unwritten_behind_it_moves_in_its_clients_order() -> None:
    stage = ordered(max_connections=2)
    silent = stuck(stage)
    ann, bob = stage.client(), stage.client()
    ann.sends(b"me db=1\na1\na2\n")
    bob.sends(b"b0\n")
    bob.sends(b"b1\n")
    assert silent.got() == b"select db=1\n"  # nothing is written before the reply to that
    stage.passes(0.25)
    server = stage.connects()
    assert server.got() == b"select db=1\n"
    server.sends(b"ok\n")
    assert server.got().startswith(b"a1\na2\n")
    server.sends(b"a1\na2\n")
    assert ann.got() == b"me remembered\na1\na2\n"
    server.sends(b"ok\n")
    assert server.got() == b"b0\nb1\n"
    server.sends(b"b0\nb1\n")
    silent.sends(b"stuck\nok\n")
    assert (bob.got(), silent.got()) == (b"b0\nb1\n", b"")
    assert stage.outcomes() == {"local": 1, "ok": 5}


def test_and_takes_along_what_its_client_would_have_sent_there_behind_it() -> None:
    stage = ordered(max_connections=2, max_in_flight=2)
    silent = stuck(stage)
    ann = stage.client()
    ann.sends(b"me db=1\na1\n")
    ann.sends(b"a2\n")  # there is no room for it
    stage.passes(0.25)
    silent.sends(b"stuck\nok\n")
    server = stage.connects()
    server.sends(b"ok\n")
    assert silent.got() + server.got() in (b"select db=1\na1\na2\n", b"select db=1\nselect db=1\na1\na2\n")
    assert stage.statistics()["waiting"] == 0


def test_but_not_what_is_behind_its_clients_own() -> None:
    stage = ordered(max_connections=2)
    ann = stage.asks(b"a0\n")
    silent = stage.connects()
    stage.asks(b"me db=1\nx\n")
    ann.sends(b"a1\n")
    assert silent.got() == b"a0\nselect db=1\n"
    stage.passes(0.25)
    assert stage.connects().got() == b"select db=1\n"
    silent.sends(b"a0\nok\n")
    assert silent.got() == b"select db=0\n"
    silent.sends(b"ok\n")
    assert silent.got() == b"a1\n"
    silent.sends(b"a1\n")
    assert ann.got() == b"a0\na1\n"


def test_who_has_it_alone_may_block_for_as_long_as_it_asks() -> None:
    stage = ordered(max_connections=2)
    server = stuck(stage, b"pop block=60\n")
    stage.passes(5.0)
    assert stage.statistics()["events"] == {}
    assert server.is_open


def calls(**keys: object) -> Stage:
    return Stage(TaggedToy(probe_interval=60.0), suspect_after=0.2, max_connections=2, **keys)


def test_a_slow_call_is_no_silence_where_the_server_answers_a_heartbeat() -> None:
    stage = calls()
    server = stuck(stage, tagged(1, b"slow\n"))
    stage.passes(0.25)
    assert server.got() == tagged(0, b"alive?\n")
    server.sends(tagged(0, b"lives\n"))
    stage.passes(30.0)
    assert server.got() == b""  # no other call was written: there is nothing to know
    stage.asks(tagged(1, b"x\n"))
    assert server.got() == tagged(2, b"x\n")
    assert stage.statistics()["upstream"]["suspect"] == 0


@pytest.mark.parametrize("interval", [60.0, 0.0])
def test_a_server_that_does_not_answer_that_either_is_left_to_what_it_has(interval: float) -> None:
    stage = Stage(TaggedToy(probe_interval=interval), suspect_after=0.2, max_connections=2)
    silent = stuck(stage, tagged(1, b"slow\n"))
    stage.passes(0.45)
    assert silent.got() == (tagged(0, b"alive?\n") if interval else b"")
    ann = stage.asks(tagged(7, b"x\n"))
    server = stage.connects()
    assert server.got() == tagged(1, b"x\n")
    server.sends(tagged(1, b"x\n"))
    assert (ann.got(), silent.got()) == (tagged(7, b"x\n"), b"")


def test_a_server_of_several_that_is_silent_gets_no_more() -> None:
    stage = Stage(ORDERED, servers=("one:1", "two:2"), suspect_after=0.2, max_connections=4)
    silent = stuck(stage)
    stage.asks(b"a\n")
    other = stage.connects()
    stage.passes(0.25)
    for _ in range(4):
        stage.asks(b"x\n")
    got = silent.got() + other.got()
    assert got.count(b"x\n") == 4
    assert len(stage.dials) <= 1
