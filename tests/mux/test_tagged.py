"""TAGGED clients: replies in any order, never one inside another, never under another's tag (P2)."""

from __future__ import annotations

from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer, Stage
from tests.toys import Toy

TAGGED = Sharing.TAGGED


def tagged(tag: int, rest: bytes) -> bytes:
    return b"%08d " % tag + rest


def ask(stage: Stage, *names: bytes) -> Peer:
    """One client that asks for all of them at once, under the tags 1, 2, 3 ..."""
    return stage.asks(b"".join(tagged(n, name + b"\n") for n, name in enumerate(names, 1)))


def test_a_client_gets_its_replies_in_the_order_they_come() -> None:
    stage = Stage(TAGGED, max_connections=1)
    ann = ask(stage, b"a", b"b", b"c")
    server = stage.connects()
    assert server.got() == tagged(1, b"a\n") + tagged(2, b"b\n") + tagged(3, b"c\n")
    server.sends(tagged(3, b"c\n"))
    assert ann.got() == tagged(3, b"c\n")
    server.sends(tagged(1, b"a\n") + tagged(2, b"b\n"))
    assert ann.got() == tagged(1, b"a\n") + tagged(2, b"b\n")
    assert stage.outcomes() == {"ok": 3}


def test_parts_of_replies_from_several_connections_never_mingle() -> None:
    stage = Stage(TAGGED, max_connections=2, max_in_flight=1)
    ann = ask(stage, b"a", b"b")
    one, two = stage.connects(), stage.connects()
    one.sends(tagged(1, b"a +6\naa"))
    two.sends(tagged(1, b"b +6\nbb"))
    one.sends(b"aa")
    two.sends(b"bbbb")
    assert ann.got() == tagged(1, b"a +6\naaaa")
    one.sends(b"aa")
    assert ann.got() == b"aa" + tagged(2, b"b +6\nbbbbbb")


def test_many_whole_replies_parked_behind_one_that_streams_leave_in_their_order_without_recursion() -> None:
    stage = Stage(TAGGED, max_connections=2, max_in_flight=3000, min_connections=2, response_buffer=1_000_000)
    one, two = stage.connects(), stage.connects()
    names = [b"n%d" % n for n in range(2000)]
    ann = ask(stage, *names)
    asked = {server: server.got().splitlines() for server in (one, two)}
    (first, *rest), others = asked[one], asked[two]
    one.sends(first + b" +4\nab")
    two.sends(b"".join(line + b"\n" for line in others))
    assert ann.got().count(b"\n") == 1
    one.sends(b"cd" + b"".join(line + b"\n" for line in rest))
    assert ann.got().count(b"\n") == 1999
    assert stage.outcomes() == {"ok": 2000}


def test_a_local_answer_does_not_wait_for_slower_ones_nor_break_into_one_that_streams() -> None:
    stage = Stage(Toy(TAGGED, sessions=True), max_connections=1)
    ann = ask(stage, b"slow", b"here local")
    assert ann.got() == tagged(2, b"here here\n")
    server = stage.connects()
    server.sends(tagged(1, b"slow +4\nab"))
    ann.sends(tagged(3, b"here local\n"))
    assert ann.got() == tagged(1, b"slow +4\nab")
    server.sends(b"cd")
    assert ann.got() == b"cd" + tagged(3, b"here here\n")


def test_a_refusal_carries_the_tag_of_what_it_refuses() -> None:
    stage = Stage(TAGGED, max_connections=1, max_waiting=1)
    ann = stage.asks(tagged(41, b"a\n") + tagged(42, b"b\n"))
    assert ann.got() == tagged(
        42, b"no queue_full retry=1 | toys: 1 requests wait for 1 connections, max_waiting is 1\n"
    )
    assert stage.connects().got() == tagged(1, b"a\n")


def test_a_reply_cut_in_the_middle_ends_the_client_with_an_error() -> None:
    stage = Stage(TAGGED, max_connections=1)
    ann = ask(stage, b"a", b"b")
    server = stage.connects()
    server.sends(tagged(1, b"a +4\nab"))
    server.breaks_off()
    assert ann.wire.was_reset
    assert sum(stage.outcomes().values()) == 2


def test_large_replies_behind_one_that_is_half_out_hold_their_connection_and_all_go_on_when_it_is_out() -> (
    None
):
    stage = Stage(Sharing.TAGGED, max_connections=2, min_connections=2, max_in_flight=1, response_buffer=1000)
    one, two = stage.connects(), stage.connects()
    ann = stage.asks(b"%08d a\n%08d b\n" % (1, 2))
    tags = [int(server.got()[:8]) for server in (one, two)]
    one.sends(b"%08d a +10\n12345" % tags[0])
    two.sends(b"%08d b +3000\n" % tags[1] + b"x" * 3000)
    assert two.is_paused  # more than is parked for one client
    one.sends(b"67890")
    assert not two.is_paused
    assert ann.got() == b"%08d a +10\n1234567890%08d b +3000\n" % (1, 2) + b"x" * 3000
    stage.passes(20.0)
    assert ann.is_open
