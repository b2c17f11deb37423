"""What many clients listen to over one connection: who gets what, and what happens when it is lost."""

from __future__ import annotations

from typing import Any

import pytest

from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer, Stage
from tests.toys import Toy


def stage_of(**keys: object) -> Stage:
    return Stage(Toy(Sharing.ORDERED, sessions=True), **({"max_connections": 2, "max_pinned": 1} | keys))


def listeners(stage: Stage, count: int = 2) -> tuple[Peer, list[Peer]]:
    """All listen to `news`."""
    clients = [stage.asks(b"go listen=news\n") for _ in range(count)]
    server = stage.connects()
    assert server.got() == b"sub news\n"
    server.sends(b"*sub news\n")
    assert [client.got() for client in clients] == [b"listening news\n"] * count
    return server, clients


def test_all_listen_over_one_connection_that_is_told_once_and_each_gets_what_comes() -> None:
    stage = stage_of()
    server, clients = listeners(stage, 3)
    late = stage.asks(b"go listen=news\n")
    assert late.got() == b"listening news\n"  # known already
    server.sends(b"*msg news one\n*msg news two\n*msg else\n")
    assert [client.got() for client in (*clients, late)] == [b"*msg news one\n*msg news two\n"] * 4
    assert server.got() == b""
    statistics = stage.statistics()
    assert statistics["pinned"] == {"listening": 1}
    assert statistics["listening"] == {"subjects": 1, "listeners": 4}
    assert statistics["pushed"] == {"messages": 2, "interrupted": 0, "cut": 0}
    assert statistics["waiting"] == 0


def test_the_last_one_gives_the_connection_back_to_the_many() -> None:
    stage = stage_of(max_connections=1)
    server, (ann, bob) = listeners(stage)
    ann.sends(b"go unlisten=news\n")
    assert ann.got() == b"unlistened\n"
    eve = stage.asks(b"ask\n")
    assert eve.got() == b""
    bob.closes()
    assert server.got() == b"unsub news\nreset\n"
    server.sends(b"*unsub news\nok\n")
    assert server.got() == b"ask\n"
    server.sends(b"ask\n")
    assert eve.got() == b"ask\n"
    assert stage.statistics()["pinned"] == {}


def test_nothing_stands_inside_a_reply() -> None:
    stage = stage_of()
    server, (ann, _) = listeners(stage)
    ann.sends(b"get\n")
    other = stage.connects()
    other.sends(b"get +10\n12345")
    server.sends(b"*msg news x\n")
    other.sends(b"67890")
    assert ann.got() == b"get +10\n1234567890*msg news x\n"


def test_what_a_client_asked_before_is_answered_before_it_listens_and_what_it_asks_after_waits() -> None:
    stage = stage_of()
    ann = stage.asks(b"a\ngo listen=news\nb\n")
    one = stage.connects()
    assert one.got() == b"a\n"
    one.sends(b"a\n")
    assert one.got() == b"sub news\n"
    one.sends(b"*sub news\n")
    two = stage.connects()
    assert two.got() == b"b\n"
    two.sends(b"b\n")
    assert ann.got() == b"a\nlistening news\nb\n"


def test_a_lost_connection_is_replaced_told_everything_again_and_the_gap_is_counted_and_logged() -> None:
    stage = stage_of()
    server, clients = listeners(stage)
    late = stage.asks(b"go listen=sport\n")
    server.breaks_off()
    stage.passes(0.1)
    server = stage.connects()
    assert server.got() == b"sub news\nsub sport\n"
    server.sends(b"*sub news\n*sub sport\n*msg news x\n")
    assert [client.got() for client in clients] == [b"*msg news x\n"] * 2
    assert late.got() == b"listening sport\n"
    assert stage.statistics()["pushed"]["interrupted"] == 1
    assert [line for line, _ in stage.world.lines] == ["listeners may miss something", "listening again"]


def test_a_server_that_takes_connections_and_drops_them_is_one_outage_and_one_line() -> None:
    stage = stage_of()
    server, (ann, bob) = listeners(stage)
    began = stage.world.now
    for _ in range(4):
        server.breaks_off()
        server = stage.reconnects()
        assert server.got() == b"sub news\n"
    server.sends(b"*sub news\n")
    assert stage.statistics()["pushed"]["interrupted"] == 1
    lines = [(line, fields.get("gap")) for line, fields in stage.world.lines if "listen" in line]
    gap = round(stage.world.now - began, 3)
    assert lines == [("listeners may miss something", None), ("listening again", gap)]
    before = len(stage.world.lines)
    server.breaks_off()
    ann.closes()
    bob.closes()
    stage.asks(b"go listen=news\n")
    stage.passes(0.1)
    stage.connects().sends(b"*sub news\n")
    assert len(stage.world.lines) == before + 1  # nobody listened all the time, so there is no gap


def test_who_listens_in_a_state_that_the_server_takes_no_more_is_closed() -> None:
    stage = stage_of()
    server, (ann, bob) = listeners(stage)
    server.breaks_off()
    stage.asks(b"go db=1\na\n")
    server = stage.connects()
    assert server.got() == b"select db=1\n"
    server.sends(b"ok\n")
    assert server.got() == b"a\n"
    server.sends(b"a\n")
    late = stage.asks(b"go listen=sport\n")
    stage.passes(0.1)
    assert server.got() == b"select db=0\n"
    server.sends(b"wrong\n")
    assert late.got().startswith(b"no state_refused")
    assert not ann.is_open
    assert not bob.is_open
    assert stage.statistics()["listening"] == {"subjects": 0, "listeners": 0}


def test_a_slow_listener_is_cut_and_the_others_do_not_notice() -> None:
    stage = stage_of(response_buffer=1000)
    server, (ann, bob) = listeners(stage)
    ann.stops_reading()
    for _ in range(3):
        server.sends(b"*msg news +900\n" + b"x" * 900)
    assert not ann.is_open  # P5: subscriber_buffer is 1000
    assert bob.is_open
    assert len(bob.got()) == 3 * 915
    assert stage.statistics()["pushed"]["cut"] == 1
    assert stage.statistics()["listening"]["listeners"] == 1


def test_a_listener_is_not_idle_and_a_silent_server_is_asked_whether_it_lives() -> None:
    stage = stage_of(client_idle_timeout=50.0, idle_timeout=20.0, reply_timeout=5.0)
    server, (ann, _) = listeners(stage)
    for _ in range(5):
        stage.passes(20.1)
        assert server.got() == b"unsub probe\n"
        server.sends(b"*unsub probe\n")
    assert ann.is_open
    stage.passes(26.0)
    assert not server.is_open
    assert ann.is_open
    stage.connects().sends(b"*sub news\n*msg news x\n")
    assert ann.got() == b"*msg news x\n"


def test_who_asks_while_no_connection_can_be_had_is_told_and_who_listened_before_still_does() -> None:
    stage = stage_of(timeout=1.0, max_connections=1)
    server, (ann, _) = listeners(stage)
    server.breaks_off()
    stage.passes(0.1)
    late = stage.asks(b"go listen=sport\n")
    stage.passes(1.1)
    assert late.got().startswith(b"no no_server")
    assert late.is_open
    while not stage.dials:
        stage.passes(0.1)
    server = stage.connects()
    stage.passes(1.0)
    assert server.got() == b"sub news\n"
    server.sends(b"*sub news\n*msg news x\n")
    assert ann.got() == b"*msg news x\n"


def test_who_asks_while_others_have_all_connections_alone_waits_as_long_as_anybody_does() -> None:
    stage = stage_of(timeout=3.0, reply_timeout=1.0, hold_timeout=60.0)
    ann = stage.asks(b"multi pin\n")
    pinned = stage.connects()
    pinned.sends(b"multi pin\n")
    early = stage.asks(b"go listen=news\n")
    stage.passes(2.0)
    late = stage.asks(b"go listen=sport\n")
    assert early.got() == late.got() == b""
    stage.passes(1.1)
    assert early.got() == (
        b"no queue_timeout retry=1 | toys: waited 3 s for one of 1 that clients have alone (toy 1): "
        b"raise [upstream] max_connections\n"
    )
    assert early.is_open
    other = stage.asks(b"multi pin\n")
    ann.sends(b"exec unpin\n")
    pinned.sends(b"exec unpin\n")
    assert pinned.got() == b"multi pin\nexec unpin\nsub sport\n"  # in its turn (P4)
    stage.passes(0.9)
    pinned.sends(b"*sub sport\n")  # within reply_timeout of its being asked
    assert late.got() == b"listening sport\n"
    assert other.got() == b""
    assert stage.statistics()["waiting"] == 1


def test_an_acknowledgement_that_does_not_come_costs_the_connection_and_an_error() -> None:
    stage = stage_of(reply_timeout=2.0)
    server, (ann, _) = listeners(stage)
    late = stage.asks(b"go listen=sport\n")
    stage.passes(2.1)
    assert late.got() == b"no reply_timeout | toys: no acknowledgement for 2 s\n"
    assert not server.is_open
    assert ann.is_open
    assert stage.statistics()["waiting"] == 1  # for a new connection


def test_no_more_than_max_waiting_wait_for_an_acknowledgement() -> None:
    stage = stage_of(max_waiting=3)
    stage.asks(b"go listen=a\n")
    stage.asks(b"go listen=b\n")
    assert stage.asks(b"go listen=c\n").got().startswith(b"no queue_full")


def in_turns(stage: Stage, count: int = 5) -> tuple[Peer, list[Peer]]:
    """Two of them get a message in each turn. The first turn begins anew."""
    server, clients = listeners(stage, count)
    stage.one_turn_each = True
    return server, clients


def test_a_message_of_many_goes_to_some_in_each_turn_and_all_get_all_in_order(monkeypatch: Any) -> None:
    """P10"""
    stage = stage_of()
    server, clients = in_turns(stage)
    server.sends(b"*msg news one\n*msg news two\n")
    assert [client.got() for client in clients] == [b"*msg news one\n"] * 2 + [b""] * 3
    assert server.is_paused  # so no more than this waits here
    stage.world.next_turn()
    assert [client.got() for client in clients] == [b""] * 2 + [b"*msg news one\n"] * 2 + [b""]
    stage.world.next_turns()
    assert not server.is_paused
    rest = [b"*msg news two\n"] * 4 + [b"*msg news one\n*msg news two\n"]
    assert [client.got() for client in clients] == rest
    server.sends(b"*msg news three\n")
    stage.world.next_turns()
    assert [client.got() for client in clients] == [b"*msg news three\n"] * 5


def test_an_acknowledgement_stands_behind_the_messages_that_came_before_it(monkeypatch: Any) -> None:
    """P2: who has been told that it has left gets nothing any more."""
    stage = stage_of()
    server, clients = in_turns(stage)
    server.sends(b"*msg news one\n")
    clients[4].sends(b"go unlisten=news\n")
    late = stage.asks(b"go listen=news\n")
    assert clients[4].got() == b""
    stage.world.next_turns()
    assert clients[4].got() == b"*msg news one\nunlistened\n"
    assert late.got() == b"listening news\n"


def test_who_leaves_or_stops_reading_while_a_message_is_on_its_way_keeps_nobody(monkeypatch: Any) -> None:
    stage = stage_of()
    server, clients = in_turns(stage)
    server.sends(b"*msg news one\n*msg news two\n")
    clients[2].closes()
    clients[3].stops_reading()
    stage.world.next_turns()
    assert clients[4].got() == b"*msg news one\n*msg news two\n"
    for client in (*clients[:2], *clients[3:]):
        client.closes()
    stage.world.next_turns()
    assert stage.statistics()["pinned"] == {}
    assert not server.is_paused


def test_a_connection_that_is_lost_while_a_message_is_on_its_way_takes_nothing_of_it_along(
    monkeypatch: Any,
) -> None:
    stage = stage_of()
    server, clients = in_turns(stage)
    server.sends(b"*msg news one\n")
    server.breaks_off()
    stage.world.next_turns()
    assert [client.got() for client in clients] == [b"*msg news one\n"] * 5
    stage.passes(0.1)
    server = stage.connects()
    assert server.got() == b"sub news\n"
    server.sends(b"*sub news\n*msg news two\n")
    stage.world.next_turns()
    assert [client.got() for client in clients] == [b"*msg news two\n"] * 5


def test_a_bug_of_ours_in_a_later_turn_is_a_gap_and_not_the_end(monkeypatch: Any) -> None:
    stage = stage_of()
    server, clients = in_turns(stage)
    server.sends(b"*msg news one\n")
    (mine,) = stage.pool.feeds.values()

    def broken(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(clients[2].wire, "write", broken)
    with pytest.raises(RuntimeError):
        stage.world.next_turn()
    monkeypatch.undo()
    mine.on_bug(stage.world.now)  # as worker/engine.py
    stage.passes(1)
    server = stage.connects()
    server.sends(b"*sub news\n*msg news two\n")
    stage.world.next_turns()
    assert clients[4].got() == b"*msg news two\n"
    assert stage.statistics()["pushed"]["interrupted"] == 1


def test_who_begins_to_listen_after_a_reload_waits_as_long_as_it_says() -> None:
    stage = stage_of(timeout=4.0)
    ann = stage.asks(b"go listen=news\n")
    stage.passes(0.1)
    stage.configure(timeout=0.5)
    bob = stage.asks(b"go listen=else\n")
    stage.passes(0.6)
    assert b"waited 0.5 s" in bob.got()
    assert ann.got() == b""
    stage.passes(3.4)
    assert b"waited 4 s" in ann.got()


def test_an_acknowledgement_is_waited_for_as_long_as_replies_are_now() -> None:
    stage = stage_of(reply_timeout=10.0)
    listeners(stage)
    stage.configure(reply_timeout=1.0)
    eve = stage.asks(b"go listen=else\n")
    stage.passes(1.1)
    assert b"no acknowledgement for 1 s" in eve.got()
