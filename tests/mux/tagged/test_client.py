"""TAGGED clients: replies in any order, never one inside another, never under another's tag (P2)."""

from __future__ import annotations

import pytest

from muxproxy.mux.base.failures import Failures
from muxproxy.mux.shared.pool import TOGETHER
from muxproxy.mux.tagged.client import APART, FEW, MAX_ASIDE
from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer, Stage
from tests.tagged_toys import GOODBYE, LIVES, TaggedToy, tagged
from tests.toys import Toy

TAGGED = Sharing.TAGGED


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


def test_what_a_client_asks_at_once_goes_to_one_connection_unless_that_has_far_more_than_another() -> None:
    stage = Stage(TAGGED, max_connections=2, min_connections=2)
    servers = [stage.connects(), stage.connects()]
    names = [b"n"] * 8
    clients = [ask(stage, *names) for _ in range(4)]
    assert [server.got().count(b"\n") for server in servers] == [16, 16]
    for server in servers:
        server.sends(b"".join(tagged(n, b"n\n") for n in range(1, 17)))
    for client in clients:
        assert len(client.wire.writes) == 1, "its replies came together"
        assert client.got() == b"".join(tagged(n, b"n\n") for n in range(1, 9))
    ask(stage, *[b"n"] * 100)
    one, two = [server.got().count(b"\n") for server in servers]
    assert one + two == 100
    assert abs(one - two) <= TOGETHER


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


def test_a_reply_cut_in_the_middle_ends_the_client() -> None:
    stage = Stage(TAGGED, max_connections=1)
    ann = ask(stage, b"a", b"b")
    server = stage.connects()
    server.sends(tagged(1, b"a +4\nab"))
    server.breaks_off()
    assert ann.got() == tagged(1, b"a +4\nab")
    assert not ann.is_open
    assert sum(stage.outcomes().values()) == 2


@pytest.mark.parametrize("many", [1, FEW - 1, FEW, FEW + 1, 3 * FEW])
def test_of_few_and_of_many_each_tag_that_is_in_flight_is_known_and_no_other(many: int) -> None:
    tags = [*range(1, many), (1 << 26) + many]
    names = b"".join(tagged(tag, b"x\n") for tag in tags)
    for again in tags:
        stage = Stage(TAGGED, max_connections=1)
        ann = stage.asks(names)
        ann.sends(tagged(5 * FEW, b"nobody oneway\n"))  # no reply is owed for it, and its tag is free
        ann.sends(tagged(5 * FEW, b"x\n"))
        assert not ann.wire.aborted
        ann.sends(tagged(again, b"x\n"))
        assert ann.wire.aborted
    stage = Stage(TAGGED, max_connections=1)
    ann = stage.asks(names)
    server = stage.connects()
    for n, tag in enumerate(tags, 1):  # each of them, as soon as its reply is out
        server.sends(tagged(n, b"x\n"))
        assert ann.got() == tagged(tag, b"x\n")
        ann.sends(tagged(tag, b"x\n"))
    assert not ann.wire.aborted
    server.sends(b"".join(tagged(n, b"x\n") for n in range(many + 1, 2 * many + 1)))
    assert ann.got() == names
    assert stage.outcomes() == {"ok": 2 * many}


def test_a_tag_that_is_in_flight_already_ends_that_client_and_says_why() -> None:
    stage = Stage(TAGGED, max_connections=1)
    ann, bob = ask(stage, b"a", b"b"), ask(stage, b"a")
    server = stage.connects()
    ann.sends(tagged(2, b"again\n"))
    assert ann.wire.aborted
    assert b"again" not in server.got()
    server.sends(b"".join(tagged(n, b"x\n") for n in (1, 2, 3)))
    assert bob.got() == tagged(1, b"x\n")
    assert stage.outcomes() == {"ok": 1, "bad_request": 1, "client_broke": 2}
    (line,) = [line for line in Failures(stage.pool).news() if line["reason"] == "bad_request"]
    assert line["last"] == "id 2 is in flight already"


def test_a_tag_may_come_again_when_its_reply_is_out() -> None:
    stage = Stage(TAGGED, max_connections=1)
    ann = ask(stage, b"a")
    server = stage.connects()
    server.sends(tagged(1, b"a\n"))
    ann.sends(tagged(1, b"b\n"))
    server.sends(tagged(2, b"b\n"))
    assert ann.got() == tagged(1, b"a\n") + tagged(1, b"b\n")
    assert stage.outcomes() == {"ok": 2}


def test_one_way_requests_may_share_a_tag() -> None:
    stage = Stage(TAGGED, max_connections=1)
    ann = ask(stage, b"a")
    server = stage.connects()
    ann.sends(tagged(1, b"note oneway\n") * 2)
    assert server.got().count(b"note") == 2
    ann.sends(tagged(1, b"again\n"))
    assert ann.wire.aborted


def test_a_malformed_message_ends_that_client_alone_and_says_why() -> None:
    stage = Stage(TAGGED, max_connections=1)
    ann, bob = ask(stage, b"a"), ask(stage, b"b")
    server = stage.connects()
    ann.sends(tagged(2, b"?what\n"))
    assert ann.wire.aborted
    server.sends(tagged(1, b"x\n") + tagged(2, b"x\n"))
    assert bob.got() == tagged(1, b"x\n")
    assert Failures(stage.pool).news()[0]["last"] == "malformed ?what"


def test_a_client_that_ends_in_the_middle_of_a_message_is_counted_and_told_in_the_log() -> None:
    stage = Stage(TAGGED, max_connections=1)
    ann = stage.asks(b"000")
    bob = stage.asks(tagged(1, b"b +10\nabc"))
    ann.closes()
    bob.closes()
    assert stage.outcomes() == {"client_broke": 2}
    (line,) = Failures(stage.pool).news()
    assert (line["reason"], line["count"]) == ("client_broke", 2)
    assert line["last"] == "the connection ended in the middle of a frame"


def test_who_asks_whether_we_live_is_answered_at_once_if_it_is_owed_nothing() -> None:
    stage = Stage(TaggedToy(), max_connections=1)
    ann = stage.asks(tagged(0, b"beat\n"))
    assert ann.got() == tagged(0, LIVES)
    assert stage.outcomes() == {"local": 1}
    assert not stage.dials


def test_and_while_replies_are_owed_in_a_write_of_its_own_from_which_what_follows_stands_apart() -> None:
    stage = Stage(TaggedToy(), max_connections=1)
    ann = ask(stage, b"a", b"b", b"c")
    server = stage.connects()
    with stage.turn():
        ann.sends(tagged(0, b"beat\n"))
        server.sends(tagged(2, b"b\n"))
        server.sends(tagged(3, b"c +4\nab"))
    assert ann.wire.writes == [tagged(0, LIVES)]
    stage.passes(APART)
    assert ann.wire.writes == [tagged(0, LIVES), tagged(2, b"b\n") + tagged(3, b"c +4\nab")]
    server.sends(b"cd" + tagged(1, b"a\n"))
    assert ann.wire.writes[2:] == [b"cd" + tagged(1, b"a\n")]
    assert ann.got().count(b"\n") == 4
    assert stage.outcomes() == {"ok": 3, "local": 1}


def test_a_consumer_that_asks_each_second_hears_us_each_second_of_a_long_call() -> None:
    stage = Stage(TaggedToy(), max_connections=1)
    ann = ask(stage, b"slow")
    server = stage.connects()
    for _ in range(8):
        ann.sends(tagged(0, b"beat\n"))
        assert ann.got() == tagged(0, LIVES)
        stage.passes(1.0)
    server.sends(tagged(1, b"slow\n"))
    assert ann.got() == tagged(1, b"slow\n")


def test_nor_in_the_middle_of_a_reply_and_then_before_those_that_waited_for_its_end() -> None:
    stage = Stage(TaggedToy(), max_connections=2, max_in_flight=1)
    ann = ask(stage, b"a", b"b")
    one, two = stage.connects(), stage.connects()
    one.sends(tagged(1, b"a +4\nab"))
    ann.sends(tagged(0, b"beat\n") * 3)
    two.sends(tagged(1, b"b\n"))
    assert ann.got() == tagged(1, b"a +4\nab")
    one.sends(b"cd")
    assert ann.got() == b"cd" + tagged(0, LIVES) * 3
    stage.passes(APART)
    assert ann.got() == tagged(2, b"b\n")


def test_questions_without_end_are_answered_in_few_writes_and_up_to_a_bound() -> None:
    stage = Stage(TaggedToy(), max_connections=1)
    ann = stage.asks(tagged(0, b"beat\n") * 10_000)
    assert ann.wire.writes == [tagged(0, LIVES)]
    stage.passes(APART)
    assert len(ann.wire.writes) == 2
    assert len(ann.wire.writes[1]) <= MAX_ASIDE
    assert stage.outcomes() == {"local": 10_000}


def test_what_stands_apart_has_a_bound_too() -> None:
    stage = Stage(TaggedToy(), max_connections=1, response_buffer=1000)
    ann = ask(stage, b"a", b"b")
    server = stage.connects()
    ann.sends(tagged(0, b"beat\n"))
    server.sends(tagged(1, b"a +900\n") + b"x" * 900)
    assert ann.got() == tagged(0, LIVES)
    server.sends(tagged(2, b"b +200\n") + b"x" * 200)
    assert len(ann.got()) == 1100 + len(tagged(1, b"a +900\n") + tagged(2, b"b +200\n"))


def test_a_client_that_does_not_read_is_answered_when_it_does() -> None:
    stage = Stage(TaggedToy(), max_connections=1, response_buffer=100)
    ann = ask(stage, b"a", b"b")
    server = stage.connects()
    ann.stops_reading()
    server.sends(tagged(1, b"a +200\n") + b"x" * 200)
    ann.sends(tagged(0, b"beat\n"))
    ann.reads()
    assert ann.got().endswith(b"x" + tagged(0, LIVES))


def test_who_leaves_or_is_closed_meanwhile_gets_what_stood_apart() -> None:
    stage = Stage(TaggedToy(), max_connections=1)
    ann, bob = ask(stage, b"a"), ask(stage, b"b")
    server = stage.connects()
    ann.sends(tagged(0, b"beat\n"))
    bob.sends(tagged(0, b"beat\n"))
    server.sends(tagged(1, b"a\n"))
    server.sends(tagged(2, b"b\n"))
    ann.closes()
    assert ann.got() == tagged(0, LIVES) + tagged(1, b"a\n")
    bob.breaks_off()
    stage.passes(APART)
    assert stage.outcomes() == {"ok": 2, "local": 2}


def test_an_answer_does_not_overtake_the_end_of_a_reply_that_is_kept_for_the_end_of_the_turn() -> None:
    stage = Stage(TaggedToy(), max_connections=1)
    ann = ask(stage, b"a")
    server = stage.connects()
    bob = ask(stage, b"b")
    server.sends(tagged(1, b"a +4\nab"))
    ann.sends(tagged(0, b"beat\n") + tagged(2, b"note oneway\n"))
    server.sends(b"cd" + tagged(2, b"b\n"))
    assert ann.got() == tagged(1, b"a +4\nabcd") + tagged(0, LIVES)
    assert bob.got() == tagged(1, b"b\n")


def test_questions_keep_a_client_that_is_idle() -> None:
    stage = Stage(TaggedToy(), max_connections=1, client_idle_timeout=60.0)
    ann = stage.client()
    for _ in range(5):
        stage.passes(50.0)
        ann.sends(tagged(0, b"beat\n"))
    assert ann.got() == tagged(0, LIVES) * 5
    stage.passes(61.0)
    assert ann.wire.closing


def test_in_a_drain_a_refusal_does_not_cost_the_others_their_replies() -> None:
    stage = Stage(TaggedToy(), max_connections=1, max_in_flight=1, timeout=5.0)
    ann = ask(stage, b"a", b"b")
    server = stage.connects()
    stage.pool.drain(stage.world.now)
    stage.passes(5.05)
    assert ann.got().startswith(tagged(0, GOODBYE) + tagged(2, b"no queue_timeout"))
    assert not ann.wire.closing
    server.sends(tagged(1, b"a\n"))
    assert ann.got() == tagged(1, b"a\n")
    assert ann.wire.eof  # and what it may be sending now is read


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


def test_a_connection_held_for_what_was_parked_is_read_again_when_that_has_begun_to_go_out() -> None:
    stage = Stage(TAGGED, max_connections=3, min_connections=3, max_in_flight=1, response_buffer=1000)
    servers = [stage.connects() for _ in range(3)]
    ann = ask(stage, b"a", b"b", b"c")
    one, two, three = servers
    asked = [server.got() for server in servers]
    one.sends(asked[0][:-1] + b" +10\n12345")
    two.sends(asked[1][:-1] + b" +6000\n" + b"x" * 3000)
    assert two.is_paused
    three.sends(asked[2])  # is parked, too, until that one is out
    one.sends(b"67890")
    assert not two.is_paused
    two.sends(b"x" * 3000)
    assert ann.got().count(b"x") == 6000
    assert stage.outcomes() == {"ok": 3}


def test_half_a_reply_that_was_parked_is_not_written_before_its_refusal() -> None:
    stage = Stage(Sharing.TAGGED, max_connections=2, min_connections=2, max_in_flight=1)
    one, two = stage.connects(), stage.connects()
    ann = stage.asks(b"%08d a\n%08d b\n" % (1, 2))
    tags = [int(server.got()[:8]) for server in (one, two)]
    one.sends(b"%08d a +10\n12345" % tags[0])
    two.sends(b"%08d b +30\nhalf" % tags[1])
    two.closes()
    one.sends(b"67890")
    first, _, refusal = ann.got().partition(b"\n1234567890")
    assert first == b"00000001 a +10"
    assert refusal.startswith(b"00000002 no server_closed")


def test_the_rest_of_a_request_whose_reply_is_parked_already_goes_nowhere() -> None:
    stage = Stage(Sharing.TAGGED, max_connections=2, min_connections=2, max_in_flight=1, request_buffer=10)
    one, two = stage.connects(), stage.connects()
    ann = stage.asks(b"%08d a\n" % 1)
    asked, other = (one, two) if one.wire.writes else (two, one)
    asked.sends(b"%s a +10\n12345" % asked.got()[:8])
    ann.sends(b"%08d b +30\n1234567890" % 2)
    other.sends(b"%s b\n" % other.got()[:8])
    ann.sends(b"12345678901234567890")
    asked.sends(b"67890")
    assert ann.got() == b"%08d a +10\n1234567890%08d b\n" % (1, 2)
    assert not other.is_open


def test_calls_of_one_turn_cost_one_write_and_replies_of_one_chunk_one_for_each_client() -> None:
    stage = Stage(Sharing.TAGGED, max_connections=1)
    busy = stage.asks(b"%08d a\n" % 9)  # something is in flight, so what follows gathers
    server = stage.connects()
    with stage.turn():
        ann, bob = stage.client(), stage.client()
        for client in (ann, bob):
            client.wire.bring(b"%08d a\n%08d b\n%08d c\n" % (1, 2, 3))
    assert len(server.wire.writes) == 2
    tags = [line[:8] for line in server.got().splitlines()]
    server.sends(b"".join(b"%s %d\n" % (tag, n) for n, tag in enumerate(reversed(tags))))
    assert ann.got() == b"%08d 3\n%08d 4\n%08d 5\n" % (3, 2, 1)
    assert [len(client.wire.writes) for client in (ann, bob, busy)] == [1, 1, 1]
    assert stage.outcomes() == {"ok": 7}


def test_a_large_request_that_is_refused_costs_its_client_nothing_else() -> None:
    stage = Stage(Sharing.TAGGED, max_connections=1, request_buffer=10, timeout=5.0)
    ann = stage.asks(b"%08d a\n" % 1)
    server = stage.connects()
    ann.sends(b"%08d big +40\n1234567890" % 2)  # needs a connection alone
    stage.passes(5.1)
    assert ann.got().startswith(b"00000002 no queue_timeout")
    ann.sends(b"12345678901234567890")
    ann.sends(b"1234567890%08d c\n" % 2)
    assert server.got() == b"00000001 a\n00000002 c\n"
    server.sends(b"00000002 c\n00000001 a\n")
    assert ann.got() == b"%08d c\n%08d a\n" % (2, 1)
    assert stage.outcomes() == {"queue_timeout": 1, "ok": 2}


def test_nor_does_one_that_is_answered_before_it_is_in() -> None:
    stage = Stage(Sharing.TAGGED, max_connections=2, min_connections=2, max_in_flight=1, request_buffer=10)
    one, two = stage.connects(), stage.connects()
    ann = stage.asks(b"%08d a\n" % 1)
    asked, other = (one, two) if one.wire.writes else (two, one)
    ann.sends(b"%08d big +30\n1234567890" % 2)
    other.sends(other.got()[:8] + b" too much\n")
    assert ann.got() == b"00000002 too much\n"
    assert not other.is_open
    stage.passes(30.0)
    ann.sends(b"12345678901234567890")
    asked.sends(asked.got()[:8] + b" a\n")
    assert ann.got() == b"00000001 a\n"
    ann.sends(b"%08d b\n" % 2)
    assert asked.got() == b"00000002 b\n"


def test_one_that_trickles_is_refused_and_its_client_closed() -> None:
    stage = Stage(Sharing.TAGGED, max_connections=1, request_buffer=100, stall_timeout=5.0)
    ann = stage.asks(b"%08d big +40\n1234567890" % 1)
    stage.passes(6.0)
    assert ann.got().startswith(b"00000001 no request_timeout")
    assert ann.wire.eof


def test_who_has_sent_more_than_is_kept_of_what_waits_is_not_read_until_some_of_it_goes() -> None:
    stage = Stage(Sharing.TAGGED, max_connections=1, max_in_flight=1, request_buffer=10_000)
    ann = stage.asks(b"%08d x\n" % 1)
    server = stage.connects()
    said = b"".join(b"%08d a +5000\n" % tag + b"x" * 5000 for tag in range(2, 9))
    for at in range(0, len(said), 4000):
        ann.sends(said[at : at + 4000])
    assert ann.is_paused
    assert stage.statistics()["waiting"] == 2
    for _ in range(8):
        server.sends(server.got()[:8] + b" r\n")
    assert len(ann.got().splitlines()) == 8
    assert not ann.is_paused
    assert stage.outcomes() == {"ok": 8}


def test_one_way_requests_that_a_server_does_not_take_stop_their_client() -> None:
    stage = Stage(Sharing.TAGGED, max_connections=1, request_buffer=10_000)
    ann = stage.asks(b"%08d x\n" % 1)
    server = stage.connects()
    server.stops_reading()
    sent = 0
    while not ann.is_paused and sent < 50:
        ann.sends(b"%08d a oneway +5000\n" % 2 + b"x" * 5000)
        sent += 1
    assert stage.statistics()["waiting"] == 2
    server.reads()
    assert not ann.is_paused
    assert server.got().count(b"oneway") == sent
    assert stage.outcomes() == {"ok": sent}
