"""What is sent and how it is written: together, in the state it needs, behind a greeting (P2, P9)."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import Sharing
from tests.fakes import Stage
from tests.toys import Toy, ToyConnection

ORDERED = Sharing.ORDERED


# -- writing ---------------------------------------------------------------------------------------------


def test_a_lone_request_is_written_at_once_and_those_behind_it_once_per_turn() -> None:
    stage = Stage(ORDERED, max_connections=1)
    stage.asks(b"first\n")
    server = stage.connects()
    assert server.wire.writes == [b"first\n"]
    with stage.turn():
        stage.asks(b"a\n")
        stage.asks(b"b\nc\n")
        assert server.wire.writes == [b"first\n"]
    assert server.wire.writes == [b"first\n", b"a\nb\nc\n"]


@pytest.mark.parametrize("sharing", [ORDERED, Sharing.TAGGED])
def test_after_a_turn_that_brought_several_the_next_ones_are_written_at_its_end(sharing: Sharing) -> None:
    stage = Stage(sharing, max_connections=1)
    tags = [b"%08d " % n if sharing is Sharing.TAGGED else b"" for n in range(10)]
    answered = 0

    def answers(count: int) -> None:
        nonlocal answered
        server.sends(b"".join(tag + b"x\n" for tag in tags[answered + 1 : answered + count + 1]))
        answered += count

    def turn(count: int) -> list[bytes]:
        """So many clients ask. What was written meanwhile, and then."""
        before = len(server.wire.writes)
        with stage.turn():
            for tag in tags[1 : count + 1]:
                stage.asks(tag + b"x\n")
            at_once = len(server.wire.writes) - before
        written = [data.count(b"\n") for data in server.wire.writes[before:]]
        answers(count)
        return [at_once, *written]

    stage.asks(tags[1] + b"x\n")
    server = stage.connects()
    answers(1)
    assert turn(1) == [1, 1]
    assert turn(3) == [1, 1, 2], "nothing told that two more would come"
    assert turn(2) == [0, 2], "several had come in the turn before"
    assert turn(1) == [0, 1], "and then one"
    assert turn(1) == [1, 1], "the next one goes at once, as all that come alone"
    assert stage.outcomes() == {"ok": 9}


def test_no_more_than_max_in_flight_are_in_flight() -> None:
    stage = Stage(ORDERED, max_connections=1, max_in_flight=2)
    clients = [stage.asks(b"%d\n" % n) for n in range(5)]
    server = stage.connects()
    assert server.got() == b"0\n1\n"
    server.sends(b"0\n")
    assert server.got() == b"2\n"
    server.sends(b"1\n2\n")
    assert server.got() == b"3\n4\n"
    server.sends(b"3\n4\n")
    assert [client.got() for client in clients] == [b"%d\n" % n for n in range(5)]


# -- preludes --------------------------------------------------------------------------------------------


def sessions(**keys: object) -> Stage:
    return Stage(Toy(ORDERED, sessions=True), max_connections=1, **keys)


def test_a_connection_is_brought_into_the_state_that_each_request_needs_and_no_oftener() -> None:
    stage = sessions()
    ann = stage.asks(b"use db=1\na1\na2\n")
    bob = stage.asks(b"b1\n")
    server = stage.connects()
    assert server.got() == b"select db=1\n"  # and nothing behind it before it is so (P2)
    server.sends(b"ok\n")
    assert server.got() == b"a1\na2\nselect db=0\n"
    server.sends(b"a1\na2\nok\n")
    assert server.got() == b"b1\n"
    server.sends(b"b1\n")
    assert ann.got() == b"use remembered\na1\na2\n"
    assert bob.got() == b"b1\n"


def test_a_prelude_is_written_though_something_is_in_flight() -> None:
    stage = sessions()
    stage.asks(b"b1\n")
    server = stage.connects()
    stage.asks(b"use db=1\na1\n")
    assert server.got() == b"b1\nselect db=1\n"
    server.sends(b"b1\nok\n")
    assert server.got() == b"a1\n"


def test_a_quiet_request_is_first_in_its_write_with_nothing_in_flight() -> None:
    stage = sessions()
    bob = stage.asks(b"b1\n")
    server = stage.connects()
    with stage.turn():
        eve = stage.asks(b"e1\n")
        ann = stage.asks(b"login quiet\na2\n")
        bob.sends(b"b2\n")
    assert server.wire.writes == [b"b1\n", b"e1\n"]
    server.sends(b"b1\n")
    assert server.wire.writes == [b"b1\n", b"e1\n"]
    server.sends(b"e1\n")
    assert server.wire.writes == [b"b1\n", b"e1\n", b"login quiet\n", b"a2\nb2\n"]
    server.sends(b"login\na2\nb2\n")
    assert [peer.got() for peer in (ann, bob, eve)] == [b"login\na2\n", b"b1\nb2\n", b"e1\n"]


def test_two_quiet_requests_never_stand_in_one_write() -> None:
    stage = sessions()
    stage.asks(b"b1\n")
    server = stage.connects()
    with stage.turn():
        both = [stage.asks(b"one quiet\n"), stage.asks(b"two quiet\n")]
    server.sends(b"b1\n")
    assert server.got() == b"b1\none quiet\n"
    server.sends(b"one\n")
    assert server.got() == b"two quiet\n"
    server.sends(b"two\n")
    assert [peer.got() for peer in both] == [b"one\n", b"two\n"]


@pytest.mark.parametrize("who", ["it", "who was before it"])
def test_who_leaves_while_a_quiet_request_waits_stops_nobody(who: str) -> None:
    stage = sessions()
    bob = stage.asks(b"b1\n")
    server = stage.connects()
    ann = stage.asks(b"login quiet\n")
    eve = stage.asks(b"e1\n")
    (ann if who == "it" else bob).closes()
    assert server.got() == b"b1\n"
    server.sends(b"b1\n")
    if who != "it":
        assert server.got() == b"login quiet\ne1\n"
        server.sends(b"login\n")
        assert ann.got() == b"login\n"
    server.sends(b"e1\n")
    assert eve.got() == b"e1\n"


def test_a_quiet_request_that_was_not_written_goes_elsewhere_when_the_connection_dies() -> None:
    stage = sessions()
    bob = stage.asks(b"b1\n")
    server = stage.connects()
    server.sends(b"b1\n")
    bob.sends(b"b2\n")
    ann = stage.asks(b"login quiet\n")
    server.breaks_off()
    server = stage.connects()
    assert server.got() == b"login quiet\n"
    server.sends(b"login\n")
    assert ann.got() == b"login\n"


def test_a_quiet_request_of_who_has_a_connection_alone_waits_for_its_own_earlier_ones() -> None:
    stage = sessions()
    ann = stage.asks(b"a1 pin\na2\nlogin quiet\na3\n")
    server = stage.connects()
    assert server.got() == b"a1 pin\na2\n"
    server.sends(b"a1\na2\n")
    assert server.got() == b"login quiet\na3\n"
    assert stage.statistics()["pinned"] == {"toy": 1}
    server.sends(b"login\na3\n")
    assert ann.got() == b"a1\na2\nlogin\na3\n"


def test_a_connection_that_ends_with_the_reply_that_was_waited_for_serves_nobody_who_waited() -> None:
    class Tries(ToyConnection):
        def prelude(self, needs: object) -> tuple[bytes, int]:
            self.state = None if needs == "db=1" else needs
            return b"", 0

    class Needs(Toy):
        def connection(self, replies: object) -> ToyConnection:
            return Tries()

    stage = Stage(Needs(ORDERED, sessions=True), max_connections=1)
    ann = stage.asks(b"use db=1\nx\n")
    server = stage.connects()
    assert server.got() == b"x\n"
    bob = stage.asks(b"b1\n")
    assert server.got() == b""  # nothing behind it
    server.sends(b"x close\n")
    assert ann.got() == b"use remembered\nx close\n"
    assert not server.is_open
    server = stage.connects()
    assert server.got() == b"b1\n"
    server.sends(b"b1\n")
    assert bob.got() == b"b1\n"


def test_a_prelude_that_must_be_quiet_is_so_and_those_who_come_meanwhile_do_not_go_first() -> None:
    class Quiet(ToyConnection):
        def must_be_quiet(self, needs: object) -> bool:
            return needs == "db=1" and needs is not self.state

    class Needs(Toy):
        def connection(self, replies: object) -> ToyConnection:
            return Quiet()

    stage = Stage(Needs(ORDERED, sessions=True), max_connections=1)
    bob = stage.asks(b"b1\n")
    server = stage.connects()
    ann = stage.asks(b"use db=1\na1\n")
    bob.sends(b"b2\n")
    assert server.got() == b"b1\n"
    server.sends(b"b1\n")
    assert server.got() == b"select db=1\n"
    server.sends(b"ok\n")
    server.sends(b"a1\n")
    assert server.got() == b"a1\nselect db=0\n"
    server.sends(b"ok\n")
    server.sends(b"b2\n")
    assert (ann.got(), bob.got()) == (b"use remembered\na1\n", b"b1\nb2\n")


def test_what_means_the_same_in_every_state_waits_for_no_prelude_and_changes_nothing() -> None:
    stage = sessions()
    ann = stage.asks(b"a1\n")
    server = stage.connects()
    bob = stage.asks(b"use db=1\nb1 anywhere\n")
    eve = stage.asks(b"use db=2\ne1\n")
    fay = stage.asks(b"use db=3\nf1 anywhere\n")
    assert server.got() == b"a1\nb1 anywhere\nselect db=2\n"  # and f1 comes while that is in doubt
    server.sends(b"a1\nb1\ndenied\n")
    assert eve.got() == b"use remembered\nno state_refused | one:1: select: denied\n"
    assert server.got() == b"f1 anywhere\n"
    server.sends(b"f1\n")
    assert [peer.got() for peer in (ann, bob, fay)] == [
        b"a1\n",
        *[b"use remembered\n%b1\n" % c for c in (b"b", b"f")],
    ]


def test_what_means_the_same_in_every_state_does_not_overtake_its_clients_own() -> None:
    stage = sessions()
    stage.asks(b"b1\n")
    server = stage.connects()
    ann = stage.asks(b"use db=1\na1\na2 anywhere\n")
    server.sends(b"b1\n")
    assert server.got() == b"b1\nselect db=1\n"
    server.sends(b"ok\n")
    assert server.got() == b"a1\na2 anywhere\n"
    server.sends(b"a1\na2\n")
    assert ann.got() == b"use remembered\na1\na2\n"


def test_a_prelude_that_the_server_refuses_costs_who_needed_it_an_error_and_nobody_else_anything() -> None:
    stage = sessions()
    bob = stage.asks(b"b1\n")
    server = stage.connects()
    ann = stage.asks(b"use db=1\na1\n")
    eve = stage.asks(b"b2\n")
    server.sends(b"b1\ndenied\n")
    assert ann.got() == b"use remembered\nno state_refused | one:1: select: denied\n"
    assert server.got() == b"b1\nselect db=1\nselect db=0\n"  # b2 waited behind the first select
    server.sends(b"ok\n")
    assert server.got() == b"b2\n"
    server.sends(b"b2\n")
    assert (bob.got(), eve.got()) == (b"b1\n", b"b2\n")
    assert stage.outcomes() == {"local": 1, "ok": 2, "state_refused": 1}


def test_the_reply_to_a_prelude_reaches_nobody_though_its_client_has_left() -> None:
    stage = sessions()
    ann = stage.asks(b"use db=1\na1\n")
    server = stage.connects()
    ann.closes()
    bob = stage.asks(b"b1\n")
    for reply in (b"ok\n", b"ok\n", b"b1\n"):  # a1 had not been written, and is not any more
        server.sends(reply)
    assert bob.got() == b"b1\n"


def test_those_who_need_the_state_there_is_do_not_wait_for_those_who_need_another() -> None:
    stage = sessions()
    bob = stage.asks(b"b1\n")
    server = stage.connects()
    with stage.turn():
        ann = stage.asks(b"use db=1\na1\n")
        eve = stage.asks(b"b2\n")
    assert server.got() == b"b1\nb2\nselect db=1\n"
    server.sends(b"b1\nb2\nok\n")
    server.sends(b"a1\n")
    assert [peer.got() for peer in (ann, bob, eve)] == [b"use remembered\na1\n", b"b1\n", b"b2\n"]


def test_what_waits_behind_a_prelude_goes_elsewhere_when_the_connection_dies() -> None:
    stage = sessions()
    ann = stage.asks(b"use db=1\na1\n")
    server = stage.connects()
    server.breaks_off()
    server = stage.reconnects()
    server.sends(b"ok\n")
    server.sends(b"a1\n")
    assert ann.got() == b"use remembered\na1\n"
    assert stage.statistics()["retried"] == 0  # it was never written


def test_states_do_not_take_turns_on_one_connection_for_long_while_there_may_be_two() -> None:
    stage = Stage(Toy(ORDERED, sessions=True), max_connections=2)
    bob = stage.asks(b"b1\n")
    one = stage.connects()
    ann = stage.asks(b"use db=1\na1\n")
    one.sends(b"b1\nok\n")
    one.sends(b"a1\n")
    ann.sends(b"a2\n")
    one.sends(b"a2\n")
    assert stage.dials == []
    bob.sends(b"b2\n")
    one.sends(b"ok\n")
    one.sends(b"b2\n")
    two = stage.connects()
    ann.sends(b"a3\n")
    bob.sends(b"b3\n")
    assert one.got() == b"b1\nselect db=1\na1\na2\nselect db=0\nb2\nselect db=1\n"
    assert two.got() == b"b3\n"


# -- greeting, reset, fence --------------------------------------------------------------------------------


class Connection(ToyConnection):
    greets = True


class Greeting(Toy):
    def __init__(self, sharing: Sharing, *, sessions: bool = False) -> None:
        super().__init__(sharing, sessions=sessions)
        self.fence = 2

    def connection(self, replies: object) -> ToyConnection:
        return Connection()


def test_a_connection_is_used_when_its_greeting_has_been_answered() -> None:
    stage = Stage(Greeting(ORDERED, sessions=True), max_connections=1)
    ann = stage.asks(b"a1\n")
    server = stage.connects()
    assert server.got() == b"hi\n"
    assert stage.statistics()["upstream"]["connecting"] == 1
    server.sends(b"ok\n")
    assert server.got() == b"a1\n"
    server.sends(b"a1\n")
    assert ann.got() == b"a1\n"


@pytest.mark.parametrize("end", ["refused", "closed", "silent"])
def test_a_greeting_that_fails_is_a_connect_that_failed(end: str) -> None:
    stage = Stage(Greeting(ORDERED, sessions=True), max_connections=1, timeout=60.0)
    stage.asks(b"a1\n")
    server = stage.connects()
    if end == "refused":
        server.sends(b"no\n")
    elif end == "closed":
        server.closes()
    else:
        stage.passes(1.0)
    assert not server.is_open
    assert stage.statistics()["connect_failures"] == 1
    (seen,) = stage.statistics()["servers"]
    assert seen["last_error"] == {
        "refused": "select: no", "closed": "server closed", "silent": "connect timeout"
    }[end]  # a table  # fmt: skip
    stage.passes(1.0)
    assert len(stage.dials) == 1  # after its backoff


def test_a_fence_stands_behind_every_so_many_requests_and_a_wrong_answer_closes_the_connection() -> None:
    stage = Stage(Greeting(ORDERED, sessions=True), max_connections=1)
    ann = stage.asks(b"a1\na2\na3\n")
    server = stage.connects()
    server.sends(b"ok\n")
    assert server.got() == b"hi\na1\na2\nfence\na3\n"
    server.sends(b"a1\na2\nshifted\na3\n")
    assert ann.got().startswith(b"a1\na2\nno server_broke")
    assert not server.is_open
    assert stage.statistics()["closed"] == {"fence failed": 1}


# -- batches -------------------------------------------------------------------------------------------------


class Batching(Toy):
    def __init__(self, sharing: Sharing) -> None:
        super().__init__(sharing)
        self.batch = (3, 0.005)


def test_a_batch_goes_when_it_is_full_or_its_delay_is_over_or_nothing_is_in_flight() -> None:
    stage = Stage(Batching(ORDERED), max_connections=1)
    stage.asks(b"lone\n")
    server = stage.connects()
    assert server.got() == b"lone\n"  # never a timer for a lone one
    stage.asks(b"a1\n")
    stage.asks(b"a2\n")
    assert server.got() == b""
    stage.asks(b"a3\n")
    assert server.got() == b"a1\na2\na3\n"
    stage.asks(b"b1\n")
    stage.passes(0.006)
    assert server.got() == b"b1\n"
    stage.asks(b"c1\n")
    server.sends(b"lone\na1\na2\na3\nb1\n")
    assert server.got() == b"c1\n"


# -- blocking ------------------------------------------------------------------------------------------------


def test_a_request_that_blocks_is_alone_and_its_reply_may_take_longer_by_so_much() -> None:
    stage = Stage(Toy(ORDERED, sessions=True), max_connections=2, reply_timeout=1.0)
    ann = stage.asks(b"pop block=5\nnext\n")
    server = stage.connects()
    assert server.got() == b"pop block=5\nnext\n"
    stage.passes(5.5)
    server.sends(b"pop\n")
    stage.passes(0.9)  # the next one's time begins when it is its turn
    server.sends(b"next\n")
    assert ann.got() == b"pop\nnext\n"
    assert stage.statistics()["pinned"] == {}


def test_a_client_that_leaves_while_it_blocks_frees_its_place_at_once() -> None:
    stage = Stage(Toy(ORDERED, sessions=True), max_connections=1)
    ann = stage.asks(b"pop block=inf\n")
    server = stage.connects()
    ann.closes()
    assert not server.is_open
    assert stage.statistics()["upstream_sockets"] == 0


def test_preludes_that_lead_nowhere_end_with_the_connection_and_not_never(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = sessions()
    ann = stage.asks(b"use db=1\na1\n")
    server = stage.connects()
    monkeypatch.setattr(ToyConnection, "prelude", lambda connection, needs: (b"again\n", 1))
    for _ in range(200):
        server.sends(b"ok\n")
    assert not server.is_open
    assert len(server.wire.writes) < 110
    assert ann.is_open


def test_what_follows_a_one_way_request_that_waited_for_its_state_begins_to_wait_when_that_is_written() -> (
    None
):
    stage = sessions(timeout=60.0)
    ann = stage.asks(b"use db=1\ntell oneway\nuse db=2\nask\n")
    server = stage.connects()
    assert server.got() == b"select db=1\n"
    stage.passes(5.0)
    with stage.turn():
        server.sends(b"ok\n")
        assert ann.wire.brain.first.since == stage.world.now


def test_what_was_written_and_will_not_be_sent_again_is_not_kept() -> None:
    stage = Stage(Sharing.TAGGED, max_connections=1)
    ann = stage.asks(b"%08d big +20\n1234567890" % 1)
    ann.sends(b"1234567890")
    assert stage.connects().got() == b"00000001 big +20\n12345678901234567890"
    exchange = ann.wire.brain.first
    assert (exchange.data, exchange.more) == (b"", None)
