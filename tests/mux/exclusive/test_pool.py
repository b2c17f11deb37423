"""Upgrades and their limit. And servers that close after a reply without having said so: nothing is written
on a connection that may be closed, as far as can be known, and with a server that does not do it nobody waits
(P4, P9)."""

from __future__ import annotations

import pytest

from muxproxy.mux.base.server import MOST_DOUBLINGS, MOST_ENDINGS, REST
from muxproxy.mux.base.upstream import CLOSE_TIMEOUT
from muxproxy.mux.exclusive.upstream import BEHIND_REPLY
from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer, Stage
from tests.toys import Toy

EXCLUSIVE = Sharing.EXCLUSIVE
BEHIND = REST + 0.02  # and the grains of the wheel


def stage_of(**keys: object) -> Stage:
    toy = Toy(Sharing.EXCLUSIVE)
    toy.may_close_unsaid = True
    return Stage(toy, **{"max_connections": 1, "timeout": 60.0, **keys})


def answers(server: Peer) -> bytes:
    request = server.got()
    server.sends(b"re " + request)
    return request


def proven(stage: Stage) -> Peer:
    """A connection that lived on behind its first reply."""
    stage.asks(b"first\n")
    server = stage.connects()
    answers(server)
    stage.passes(BEHIND)
    return server


def resting(stage: Stage) -> int:
    return stage.statistics()["upstream"]["resting"]


def test_what_may_not_be_sent_twice_is_not_written_before_a_new_server_has_kept_a_connection() -> None:
    stage = stage_of()
    ann, bob = stage.asks(b"ann\n"), stage.asks(b"bob\n")
    first = stage.connects()
    answers(first)
    assert ann.got() == b"re ann\n"
    assert (first.got(), resting(stage)) == (b"", 1)
    first.closes()  # after its reply, and had not said so
    second = stage.connects()
    assert answers(second) == b"bob\n"
    assert bob.got() == b"re bob\n"
    assert stage.outcomes() == {"ok": 2}
    assert stage.statistics()["closed"] == {"server closed": 1}


def test_a_server_that_keeps_one_connection_is_trusted_with_all() -> None:
    stage = stage_of(max_connections=2)
    for name in (b"a\n", b"b\n", b"c\n", b"d\n"):
        stage.asks(name)
    first, second = stage.connects(), stage.connects()
    answers(first)
    stage.passes(0.03)
    answers(second)
    assert resting(stage) == 2
    stage.passes(BEHIND - 0.03)
    assert (answers(first), answers(second), resting(stage)) == (b"c\n", b"d\n", 0)
    for _ in range(20):
        stage.asks(b"more\n")
        assert answers(second) == b"more\n"
        assert resting(stage) == 0


def test_who_may_be_sent_again_finds_out_whether_a_new_server_keeps_its_connections() -> None:
    stage = stage_of()
    stage.asks(b"a idem\n")
    stage.asks(b"b idem\n")
    stage.asks(b"c\n")
    server = stage.connects()
    assert [answers(server) for _ in range(3)] == [b"a idem\n", b"b idem\n", b"c\n"]
    assert (stage.outcomes(), stage.statistics()["events"]) == ({"ok": 3}, {})


def test_also_if_it_comes_while_the_connection_rests() -> None:
    stage = stage_of()
    stage.asks(b"a\n")
    server = stage.connects()
    answers(server)
    assert resting(stage) == 1
    stage.asks(b"b idem\n")
    assert (answers(server), resting(stage)) == (b"b idem\n", 0)
    stage.asks(b"c\n")
    assert answers(server) == b"c\n"


def test_and_it_is_sent_again_if_the_server_does_not() -> None:
    stage = stage_of()
    stage.asks(b"a idem\n")
    bob = stage.asks(b"b idem\n")
    carl = stage.asks(b"c idem\n")
    first = stage.connects()
    answers(first)
    assert first.got() == b"b idem\n"
    first.closes()
    second = stage.connects()
    answers(second)  # one of the two; nobody is risked on this connection from now on
    assert (second.got(), resting(stage)) == (b"", 1)
    second.closes()
    answers(stage.connects())
    assert {bob.got(), carl.got()} == {b"re b idem\n", b"re c idem\n"}
    assert (stage.outcomes(), stage.statistics()["retried"]) == ({"ok": 3}, 1)


def test_nobody_overtakes_who_waits_for_a_rest() -> None:
    stage = stage_of()
    stage.asks(b"a\n")
    stage.asks(b"b\n")
    server = stage.connects()
    answers(server)
    stage.asks(b"c idem\n")
    assert (server.got(), resting(stage)) == (b"", 1)
    stage.passes(BEHIND)
    assert answers(server) == b"b\n"


@pytest.mark.parametrize("reset", [False, True])
def test_a_server_that_was_trusted_and_closes_after_a_reply_loses_one_and_no_other(reset: bool) -> None:
    stage = stage_of()
    old = proven(stage)
    stage.passes(5.0)
    old.closes()
    ann = stage.asks(b"a\n")
    server = stage.connects()
    answers(server)
    assert ann.got() == b"re a\n"
    kept = stage.asks(b"b\n")
    assert server.got() == b"b\n"
    server.breaks_off() if reset else server.closes()
    assert b"no server_closed" in kept.got()
    for _ in range(10):  # learned: none of these is risked
        ann, bob = stage.asks(b"ann\n"), stage.asks(b"bob\n")
        first = stage.connects()
        assert answers(first) == b"ann\n"
        assert (first.got(), resting(stage)) == (b"", 1)
        first.closes()
        second = stage.connects()
        assert answers(second) == b"bob\n"
        second.closes()
        assert (ann.got(), bob.got()) == (b"re ann\n", b"re bob\n")
    assert stage.outcomes() == {"ok": 22, "server_closed": 1}


def test_what_was_learned_is_forgotten_by_connections_that_live_on() -> None:
    stage = stage_of()
    for _ in range(50):
        stage.asks(b"a\n")
        server = stage.connects()
        answers(server)
        server.closes()
    (known,) = stage.pool.servers
    assert (known.endings, known.lasts) == (MOST_ENDINGS, 1)
    assert [event for event, *_ in stage.world.lines].count(
        "server closes after replies without saying so"
    ) == 1
    for _ in range(MOST_ENDINGS):
        stage.asks(b"a\n")
        server = stage.connects()
        answers(server)
        assert resting(stage) == 1
        stage.passes(known.rest() + 0.02)
        next(iter(stage.pool.upstreams)).close("so that the next one is new", stage.world.now)
        stage.passes(0.01)
    assert known.endings == 0
    stage.asks(b"a\n")
    server = stage.connects()
    answers(server)
    assert resting(stage) == 0


def test_a_server_that_closes_after_every_third_reply_is_found_out() -> None:
    stage = stage_of()
    server = proven(stage)
    for ends, replies in enumerate((2, 3, 3, 3)):
        for number in range(replies):
            stage.asks(b"%d\n" % number)
            server = server if number or not ends else stage.connects()
            assert answers(server) == b"%d\n" % number
        assert resting(stage) == (ends > 1)  # twice after the same number is no chance
        server.closes()
    assert stage.outcomes() == {"ok": 12}


def test_a_reply_that_is_cut_or_an_idle_timeout_teaches_nothing() -> None:
    stage = stage_of()
    server = proven(stage)
    stage.asks(b"a\n")
    server.sends(b"re +9\n123")
    server.closes()
    stage.asks(b"b\n")
    server = stage.connects()
    answers(server)
    stage.passes(3.0)
    server.closes()
    (known,) = stage.pool.servers
    assert known.endings == 0


def test_a_short_idle_timeout_is_not_taken_for_an_end_behind_a_reply_however_many_end_together() -> None:
    """Rests that outlast it would bring about what they are for, and a place would serve one for each."""
    stage = stage_of(max_connections=8)
    for _ in range(2):
        for _ in range(8):
            stage.asks(b"a\n")
        servers = [stage.connects() for _ in range(len(stage.dials))]
        for server in servers:
            answers(server)
        stage.passes(BEHIND_REPLY + 0.02)
        for server in servers:
            server.closes()
    (known,) = stage.pool.servers
    assert known.endings == 0
    assert REST * 2**MOST_DOUBLINGS < BEHIND_REPLY


def test_nobody_is_refused_for_want_of_a_place_that_only_rests() -> None:
    """A pool where nobody may wait (max_waiting = 0) waits for a rest as it waits for a connect."""
    stage = stage_of(max_waiting=0)
    stage.asks(b"a\n")
    server = stage.connects()
    answers(server)
    bob = stage.asks(b"b\n")
    assert bob.got() == b""
    stage.passes(BEHIND)
    answers(server)
    assert bob.got() == b"re b\n"


def test_other_protocols_connections_do_not_rest() -> None:
    stage = Stage(Sharing.EXCLUSIVE, max_connections=1)
    server = stage.server(b"a\n", b"re a\n")
    stage.asks(b"b\n")
    assert server.got() == b"b\n"


def test_who_waits_behind_a_tunnel_and_the_longest_rest_is_served_in_the_time_that_these_take() -> None:
    """On the only connection: a server that closes often and does not read what a tunnel has left it."""
    stage = stage_of(max_upgraded=1)
    for _ in range(MOST_ENDINGS):
        stage.asks(b"a\n")
        server = stage.connects()
        answers(server)
        server.closes()
    ann = stage.asks(b"ann pin\n")
    server = stage.connects()
    server.sends(b"ann 101\n")
    server.stops_reading()
    ann.sends(b"unread")
    bob, carl = stage.asks(b"bob\n"), stage.asks(b"carl\n")
    ann.breaks_off()
    stage.passes(CLOSE_TIMEOUT - 0.1)
    assert stage.dials == []  # P1: its socket is still there
    stage.passes(0.2)
    server = stage.connects()
    answers(server)
    assert bob.got() == b"re bob\n"
    stage.passes(REST * 2**MOST_DOUBLINGS + 0.02)
    answers(server)
    assert carl.got() == b"re carl\n"


def test_upgrades_stay_within_their_limit_and_their_waiters_stand_in_nobodys_way() -> None:
    stage = Stage(EXCLUSIVE, max_connections=3, max_pinned=1)
    stage.asks(b"one pin\n")
    first = stage.connects()
    first.sends(b"one 101\n")
    bob = stage.asks(b"two pin\n")
    assert stage.dials == []  # beyond the limit no connection is dialled for it
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    server.sends(server.got())
    assert ann.got() == b"ann\n"  # P4: bob came before, but waits for something else
    assert stage.statistics()["waiting"] == 1
    first.breaks_off()
    assert server.got() == b"two pin\n"
    server.sends(b"two 101\n")
    assert bob.got() == b"two 101\n"


def test_max_upgraded_is_the_limit_where_it_is_set() -> None:
    stage = Stage(EXCLUSIVE, max_connections=4, max_upgraded=0, timeout=1.0)
    ann = stage.asks(b"up pin\n")
    assert stage.dials == []
    stage.passes(1.1)
    assert ann.got().startswith(b"no queue_timeout")
