"""Replies by tag: in any order, to whom they belong (P2)."""

from __future__ import annotations

import random

from muxproxy.config.model import Dubbo
from muxproxy.protocols.contract import FRAMES, Sharing
from muxproxy.protocols.dubbo import DubboProtocol
from tests.fakes import Peer, Stage
from tests.protocols.dubbo.feeding import BEAT_REPLY, CALL, NULL, REPLY, frame
from tests.tagged_toys import LIVES, TaggedToy, tagged

TAGGED = Sharing.TAGGED


def tags_of(server: Peer) -> dict[bytes, int]:
    """Name -> the tag it has on this connection."""
    return {line[9:]: int(line[:8]) for line in server.got().splitlines()}


def test_replies_by_tag_may_come_in_any_order_and_carry_the_clients_own_tags() -> None:
    stage = Stage(TAGGED, max_connections=1)
    clients = [stage.asks(tagged(77, b"c%d\n" % n)) for n in range(10)]  # all of them use the same tag
    server = stage.connects()
    tags = tags_of(server)
    assert len(set(tags.values())) == 10
    names = list(tags)
    random.Random(1).shuffle(names)
    server.sends(b"".join(tagged(tags[name], name + b"\n") for name in names))
    assert [client.got() for client in clients] == [tagged(77, b"c%d\n" % n) for n in range(10)]


def test_a_stray_tag_is_counted_and_hurts_nobody() -> None:
    stage = Stage(TAGGED, max_connections=1)
    ann = stage.asks(tagged(5, b"ann\n"))
    server = stage.connects()
    (tag,) = tags_of(server).values()
    server.sends(tagged(9999, b"who\n") + tagged(tag, b"ann\n") + tagged(tag, b"twice\n"))
    assert ann.got() == tagged(5, b"ann\n")
    assert server.is_open
    assert stage.statistics()["events"] == {"unknown_tags": 2}
    assert stage.statistics()["closed"] == {}


def test_a_stray_reply_that_comes_in_parts_counts_once() -> None:
    stage = Stage(TAGGED, max_connections=1, min_connections=1)
    server = stage.connects()
    for part in (tagged(9999, b"who +20\n"), b"x" * 10, b"x" * 10):
        server.sends(part)
    assert stage.statistics()["events"] == {"unknown_tags": 1}


def test_a_late_reply_by_tag_is_told_and_swallowed_when_it_comes() -> None:
    stage = Stage(TAGGED, max_connections=1, reply_timeout=10.0)
    ann = stage.asks(tagged(5, b"slow\n"))
    server = stage.connects()
    (tag,) = tags_of(server).values()
    stage.passes(10.1)
    assert ann.got() == tagged(5, b"no reply_timeout | one:1: no reply for 10 s\n")
    server.sends(tagged(tag, b"slow\n"))
    assert ann.got() == b""
    assert server.is_open


def test_a_tag_is_never_used_again_on_the_same_connection() -> None:
    stage = Stage(TAGGED, max_connections=1)
    ann = stage.client()
    ann.sends(tagged(1, b"x\n"))
    server = stage.connects()
    seen = set()
    for _ in range(50):
        (tag,) = tags_of(server).values()
        seen.add(tag)
        server.sends(tagged(tag, b"x\n"))
        ann.sends(tagged(1, b"x\n"))
    assert len(seen) == 50


def test_a_one_way_request_has_a_tag_of_its_own_so_that_a_reply_to_it_is_nobodys() -> None:
    """Some servers answer those, too: with the client's tag it would have been another's reply."""
    stage = Stage(TAGGED, max_connections=1)
    ann = stage.asks(tagged(1, b"a\n") + tagged(1, b"note oneway\n"))
    bob = stage.asks(tagged(1, b"b\n"))
    server = stage.connects()
    tags = tags_of(server)
    assert sorted(tags.values()) == [1, 2, 3]
    server.sends(tagged(tags[b"note oneway"], b"noted\n") + tagged(tags[b"b"], b"b\n"))
    assert ann.got() == b""
    assert bob.got() == tagged(1, b"b\n")
    assert stage.statistics()["in_flight"] == 1


def test_what_the_server_asks_is_answered_where_it_came_from() -> None:
    stage = Stage(TaggedToy(), max_connections=1)
    ann = stage.asks(tagged(1, b"a\n"))
    server = stage.connects()
    server.got()
    server.sends(tagged(44, b"asks\n"))
    assert server.got() == tagged(44, LIVES)
    assert ann.got() == b""


def test_and_not_in_the_middle_of_a_request() -> None:
    stage = Stage(TaggedToy(), max_connections=1, request_buffer=10)
    ann = stage.asks(tagged(1, b"big +30\n0123456789"))
    server = stage.connects()
    assert server.got() == tagged(1, b"big +30\n0123456789")
    server.sends(tagged(44, b"asks\n"))
    assert server.got() == b""
    ann.sends(b"x" * 20)
    assert server.got() == b"x" * 20 + tagged(44, LIVES)


def test_a_server_that_does_not_read_gets_no_more_answers_than_a_bound() -> None:
    stage = Stage(TaggedToy(), max_connections=1, min_connections=1)
    server = stage.connects()
    server.stops_reading()
    for _ in range(40):
        server.sends(tagged(44, b"asks\n") * 1000)
    server.reads()
    answers = server.got()
    assert 120_000 < len(answers) < 2 * 64 * 1024 + 100  # the wire's own buffer, and as much kept behind it
    assert answers.count(LIVES) * len(tagged(44, LIVES)) == len(answers)


def test_a_last_call_lets_what_is_in_flight_finish_and_sends_nothing_new_there() -> None:
    stage = Stage(TaggedToy(), max_connections=2)
    ann = stage.asks(tagged(1, b"a\n"))
    server = stage.connects()
    assert server.got() == tagged(1, b"a\n")
    with stage.turn():  # b is gathered for that connection when it says so
        ann.sends(tagged(2, b"b\n"))
        server.sends(tagged(0, b"stops\n"))
    assert server.got() == b""
    other = stage.connects()
    assert other.got() == tagged(1, b"b\n")
    ann.sends(tagged(3, b"c\n"))
    assert other.got() == tagged(2, b"c\n")
    assert not server.wire.closing
    server.sends(tagged(1, b"a\n"))
    assert ann.got() == tagged(1, b"a\n")
    assert server.wire.closing
    assert stage.statistics()["closed"] == {"server stops": 1}


def test_an_idle_connection_ends_with_the_last_call() -> None:
    stage = Stage(TaggedToy(), max_connections=1, min_connections=1)
    server = stage.connects()
    server.sends(tagged(0, b"stops\n"))
    assert server.wire.closing


def test_a_reply_that_never_comes_does_not_cost_the_connection_while_its_server_lives() -> None:
    stage = Stage(TAGGED, max_connections=1, reply_timeout=10.0)
    ann = stage.asks(tagged(1, b"mute\n"))
    server = stage.connects()
    mute = tags_of(server)[b"mute"]
    for n in range(2, 6):
        stage.passes(6.0)
        ann.sends(tagged(n, b"x\n"))
        server.sends(tagged(tags_of(server)[b"x"], b"x\n"))
    assert ann.got().count(b"no reply_timeout") == 1
    assert server.is_open
    assert stage.statistics()["in_flight"] == 0
    assert stage.statistics()["events"]["replies_that_never_came"] == 1
    server.sends(tagged(mute, b"at last\n"))
    assert ann.got() == b""
    assert stage.outcomes() == {"ok": 4, "reply_timeout": 1}


def test_a_server_that_is_silent_for_twice_the_time_is_stuck() -> None:
    stage = Stage(TAGGED, max_connections=1, reply_timeout=10.0)
    ann = stage.asks(tagged(1, b"a\n"))
    server = stage.connects()
    stage.passes(15.0)
    ann.sends(tagged(2, b"b\n"))
    stage.passes(5.05)
    assert server.wire.aborted
    assert ann.got().count(b"no reply_timeout") == 2


def test_a_long_reply_may_take_longer_than_its_time_while_it_comes() -> None:
    stage = Stage(TAGGED, max_connections=1, reply_timeout=10.0)
    ann = stage.asks(tagged(1, b"a\n"))
    server = stage.connects()
    server.sends(tagged(1, b"a +50\n"))
    for _ in range(5):
        stage.passes(8.0)
        server.sends(b"0123456789")
    assert ann.got() == tagged(1, b"a +50\n" + b"0123456789" * 5)
    assert stage.outcomes() == {"ok": 1}


def test_a_server_that_does_not_read_gets_no_more_requests_until_it_does() -> None:
    stage = Stage(TAGGED, max_connections=1, request_buffer=1000)
    stage.request_high = 100
    ann = stage.asks(tagged(1, b"a\n"))
    server = stage.connects()
    server.stops_reading()
    ann.sends(tagged(2, b"b +90\n") + b"x" * 90)
    assert stage.statistics()["in_flight"] == 2
    bob = stage.asks(tagged(1, b"c\n"))
    assert (stage.statistics()["in_flight"], stage.statistics()["waiting"]) == (2, 1)
    server.reads()
    assert server.got().endswith(tagged(3, b"c\n"))
    server.sends(tagged(3, b"c\n"))
    assert bob.got() == tagged(1, b"c\n")


def test_or_another_connection_takes_them() -> None:
    stage = Stage(TAGGED, max_connections=2, request_buffer=1000)
    stage.request_high = 100
    stage.asks(tagged(1, b"a\n"))
    server = stage.connects()
    server.stops_reading()
    stage.asks(tagged(2, b"b +90\n") + b"x" * 90)
    stage.asks(tagged(1, b"c\n"))
    assert stage.connects().got() == tagged(1, b"c\n")


def test_what_the_protocol_says_is_held_until_it_is_whole() -> None:
    toy = TaggedToy()
    toy.request_buffer = 200
    stage = Stage(toy, max_connections=1, request_buffer=10)
    ann = stage.asks(tagged(1, b"slow\n"))
    server = stage.connects()
    server.got()
    bob = stage.asks(tagged(1, b"big +100\n" + b"x" * 60))
    assert server.got() == b""
    bob.sends(b"x" * 40)
    assert server.got() == tagged(2, b"big +100\n" + b"x" * 100)
    assert ann.got() == b""


def test_servers_get_requests_by_what_they_have_in_flight_and_each_gets_its_first_connection() -> None:
    stage = Stage(TAGGED, servers=("one:1", "two:2"), max_connections=4)
    ann = stage.asks(tagged(1, b"a\n"))
    one = stage.connects()
    ann.sends(tagged(2, b"b\n"))
    assert one.got().count(b"\n") == 2
    two = stage.connects()
    assert one.wire.brain.server is not two.wire.brain.server
    ann.sends(tagged(3, b"c\n") + tagged(4, b"d\n") + tagged(5, b"e\n"))
    assert (one.wire.brain.server.in_flight, two.wire.brain.server.in_flight) in ((2, 3), (3, 2))
    assert not stage.dials


def stalled(**keys: float) -> tuple[Stage, Peer, Peer, Peer, int]:
    """Ann takes nothing of a large reply, and bob waits behind it, under that tag."""
    stage = Stage(TAGGED, max_connections=1, response_buffer=1000, hold_timeout=1.0, **keys)
    ann, bob = stage.asks(tagged(1, b"ann\n")), stage.asks(tagged(1, b"bob\n"))
    server = stage.connects()
    tags = tags_of(server)
    ann.stops_reading()
    server.sends(tagged(tags[b"ann"], b"ann +6000\n") + b"x" * 600)
    server.sends(b"x" * 600)
    assert server.is_paused
    return stage, ann, bob, server, tags[b"bob"]


def test_a_slow_reader_is_cut_after_hold_timeout_if_others_wait_by_tag_too() -> None:
    stage, ann, bob, server, tag = stalled(stall_timeout=10.0)
    stage.passes(1.6)
    assert not ann.is_open  # P5
    assert ann.wire.was_reset
    server.sends(b"x" * 4800 + tagged(tag, b"bob\n"))
    assert bob.got() == tagged(1, b"bob\n")


def test_the_time_in_which_a_server_could_not_be_heard_is_not_the_replys() -> None:
    stage, ann, bob, server, tag = stalled(reply_timeout=0.5)
    stage.passes(0.9)
    ann.reads()
    stage.passes(0.1)
    assert bob.got() == b""
    server.sends(b"x" * 4800 + tagged(tag, b"bob\n"))
    assert (len(ann.got()), bob.got()) == (6019, tagged(1, b"bob\n"))


def test_replies_in_one_chunk_are_delivered_so_many_a_turn_and_as_they_would_one_by_one() -> None:
    """Dubbo's own framer makes no frames of them; P10, P6."""
    stage = Stage(DubboProtocol(Dubbo()), max_connections=1, max_in_flight=1000)
    calls = 2 * FRAMES + 10
    ann = stage.asks(b"".join(frame(CALL, 1000 + n, b"body") for n in range(calls)))
    server = stage.connects()
    sent = server.got()
    size = len(sent) // calls
    ids = [int.from_bytes(sent[n * size + 4 : n * size + 12], "big") for n in range(calls)]
    replies = [frame(REPLY, tag, b"r%d" % n, 20) for n, tag in enumerate(ids)]
    wanted = [frame(REPLY, 1000 + n, b"r%d" % n, 20) for n in range(calls)]
    stray = frame(REPLY, ids[-1] + 1, b"whose?", 20)
    replies[5:5] = [stray, frame(BEAT_REPLY, 0, NULL)]
    stage.one_turn_each = True
    server.sends(b"".join(replies)[:-3])
    first = ann.got()
    assert first == b"".join(wanted[: FRAMES - 2])
    stage.world.next_turns()
    server.sends(b"".join(replies)[-3:])
    stage.world.next_turns()
    assert first + ann.got() == b"".join(wanted)
    assert stage.statistics()["events"]["unknown_tags"] == 1
    assert stage.outcomes() == {"ok": calls}
