"""Who gets what where connections are shared: the least loaded, who must stay, who needs one alone (P4)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from muxproxy.mux.dedicated.pool import DedicatedPool
from muxproxy.mux.exclusive.pool import ExclusivePool
from muxproxy.mux.ordered.pool import OrderedPool
from muxproxy.mux.tagged.pool import TaggedPool
from muxproxy.protocols.contract import Frame, RequestFramer, Sharing
from tests.fakes import Peer, Stage
from tests.toys import Toy, ToyConnection, ToyRequests

ORDERED = Sharing.ORDERED


def sessions(**keys: object) -> Stage:
    return Stage(Toy(ORDERED, sessions=True), **keys)


def both(stage: Stage) -> tuple[Peer, Peer]:
    return stage.connects(), stage.connects()


def test_each_sharing_has_its_pool() -> None:
    kinds = {sharing: type(Stage(sharing).pool) for sharing in Sharing}
    assert kinds == {
        Sharing.EXCLUSIVE: ExclusivePool,
        Sharing.DEDICATED: DedicatedPool,
        Sharing.ORDERED: OrderedPool,
        Sharing.TAGGED: TaggedPool,
    }


def test_one_connection_is_dialled_for_as_many_as_it_has_room_for() -> None:
    stage = Stage(ORDERED, max_connections=3, max_in_flight=2)
    for count, sockets in enumerate((1, 1, 2, 2, 3, 3, 3), start=1):
        stage.asks(b"%d\n" % count)
        assert len(stage.world.sockets) == sockets


def test_the_least_loaded_connection_is_taken() -> None:
    stage = Stage(ORDERED, min_connections=2, max_connections=2)
    one, two = both(stage)
    for _ in range(4):
        stage.asks(b"x\n")
    assert one.got() == b"x\nx\n"
    assert two.got() == b"x\nx\n"
    one.sends(b"x\nx\n")
    stage.asks(b"y\n")
    assert one.got() == b"y\n"


def test_of_all_connections_one_stays_with_the_many() -> None:
    assert sessions(max_connections=4, max_pinned=4).pool.pinned_limit == 3
    assert sessions(max_connections=4).pool.pinned_limit == 3
    assert sessions(max_connections=4, max_pinned=2).pool.pinned_limit == 2
    assert sessions(max_connections=1).pool.pinned_limit == 1


def test_a_connection_is_emptied_for_who_needs_one_alone_and_used_by_the_many_again_after() -> None:
    stage = sessions(min_connections=2, max_connections=2, max_in_flight=4, max_pinned=1)
    one, two = both(stage)
    for _ in range(2):
        stage.asks(b"x\n")
    ann = stage.asks(b"multi pin\n")
    assert stage.statistics()["waiting"] == 1
    stage.asks(b"y\n")
    stage.asks(b"y\n")
    asked = {server: server.got() for server in (one, two)}
    reserved = next(server for server in asked if asked[server] == b"x\n")
    other = two if reserved is one else one
    assert asked[other] == b"x\ny\ny\n"
    reserved.sends(b"x\n")
    assert reserved.got() == b"multi pin\n"
    stage.asks(b"z\n")
    assert reserved.got() == b""
    ann.sends(b"exec unpin\n")
    reserved.sends(b"multi\nexec\n")
    stage.asks(b"w\n")
    assert reserved.got() == b"exec unpin\nw\n"


def test_a_pin_that_comes_free_goes_to_who_waits_for_it_on_whichever_connection() -> None:
    stage = sessions(max_connections=2, max_in_flight=4, max_pinned=1)
    ann = stage.asks(b"multi pin\n")
    one = stage.connects()
    stage.asks(b"his pin\n")
    assert stage.dials == []  # max_pinned
    ann.closes()
    assert stage.connects().got() == b"his pin\n"
    assert one.got() == b"multi pin\nreset\n"


def test_a_connection_whose_session_left_is_reset_and_used_again() -> None:
    stage = sessions(max_connections=1)
    ann = stage.asks(b"multi pin\n")
    server = stage.connects()
    ann.closes()
    bob = stage.asks(b"b1\n")
    assert server.got() == b"multi pin\nreset\n"  # and nothing behind it before it is so
    server.sends(b"multi\nok\n")
    assert server.got() == b"b1\n"
    server.sends(b"b1\n")
    assert bob.got() == b"b1\n"
    assert stage.statistics()["closed"] == {}
    assert stage.statistics()["pinned"] == {}


def test_a_session_that_forgets_everything_gives_its_connection_back_and_stays() -> None:
    stage = sessions(max_connections=1)
    ann = stage.asks(b"multi pin\nall reset\n")
    server = stage.connects()
    server.sends(b"multi\nok\n")
    assert ann.got() == b"multi\nforgotten\n"
    assert ann.is_open
    assert stage.statistics()["pinned"] == {}


def test_a_connection_that_cannot_be_reset_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyConnection, "resets", False)
    stage = sessions(max_connections=1)
    ann = stage.asks(b"multi pin\n")
    server = stage.connects()
    ann.closes()
    assert server.is_open
    server.sends(b"multi\n")
    assert not server.is_open
    assert stage.statistics()["closed"] == {"session left a state behind": 1}


def test_a_connection_that_was_emptied_for_somebody_who_left_serves_the_many_again() -> None:
    stage = sessions(min_connections=2, max_connections=2, max_in_flight=4, max_pinned=1)
    servers = both(stage)
    for _ in range(2):
        stage.asks(b"x\n")
    ann = stage.asks(b"multi pin\n")
    ann.closes()
    for server in servers:
        server.sends(server.got())
    for _ in range(4):
        stage.asks(b"y\n")
    assert [server.got() for server in servers] == [b"y\ny\n", b"y\ny\n"]


def test_who_waited_in_vain_to_have_one_alone_is_told_who_has_them() -> None:
    stage = sessions(max_connections=8, max_pinned=1, timeout=5.0)
    stage.asks(b"mine pin\n")
    stage.connects()
    ann = stage.asks(b"hers pin\n")
    stage.passes(5.1)
    assert b"toys: waited 5 s for one of 1 that clients have alone (toy 1)" in ann.got()


@pytest.mark.parametrize("how", ["leaves", "expires"])
def test_those_who_wait_beside_a_connection_emptied_for_somebody_are_served_when_he_gives_up(
    how: str,
) -> None:
    stage = sessions(min_connections=2, max_connections=2, max_in_flight=2, max_pinned=1, timeout=5.0)
    servers = both(stage)
    for _ in range(4):
        stage.asks(b"x\n")
    ann = stage.asks(b"multi pin\n")
    stage.passes(0.5)
    stage.asks(b"y\n")
    assert [server.got() for server in servers] == [b"x\nx\n"] * 2
    emptied = next(u for u in stage.pool.servers[0].open if u.reserved)
    number = 0 if emptied.wire is servers[0].wire else 1
    servers[number].sends(b"x\n")
    assert servers[number].got() == b""  # it is being emptied
    if how == "leaves":
        ann.closes()
    else:
        stage.passes(4.6)
    assert servers[number].got() == b"y\n"


def only(**keys: object) -> tuple[Stage, Peer, Peer, Peer]:
    """One connection that never falls idle by itself, and ann, who needs it alone while her request comes
    in."""
    stage = Stage(Sharing.TAGGED, max_connections=1, max_in_flight=2, request_buffer=10, timeout=5.0, **keys)
    bob = stage.asks(b"%08d b\n" % 1)
    server = stage.connects()
    assert server.got() == b"00000001 b\n"
    return stage, stage.asks(b"%08d ann +20\n1234567890" % 1), bob, server


def test_the_only_connection_is_emptied_for_a_large_request_whose_turn_it_is() -> None:
    stage, ann, bob, server = only()
    late = stage.asks(b"%08d late\n" % 1)
    server.sends(b"00000001 b\n")
    assert bob.got() == b"00000001 b\n"
    assert server.got() == b"00000002 ann +20\n1234567890"
    ann.sends(b"1234567890")
    assert server.got() == b"123456789000000003 late\n"
    server.sends(b"00000003 late\n00000002 ann\n")
    assert late.got() == b"00000001 late\n"
    assert ann.got() == b"00000001 ann\n"


def test_but_not_before_those_who_came_before_it() -> None:
    stage, ann, _, server = only()
    two = stage.asks(b"%08d c\n" % 1)
    ann.closes()
    assert server.got() == b"00000002 c\n"
    old = stage.asks(b"%08d old\n" % 1)
    stage.passes(1.0)
    ann = stage.asks(b"%08d ann +20\n1234567890" % 1)
    late = stage.asks(b"%08d late\n" % 1)
    server.sends(b"00000001 b\n")
    assert server.got() == b"00000003 old\n"
    server.sends(b"00000002 c\n")
    assert server.got() == b""  # late's turn comes after ann's
    server.sends(b"00000003 old\n")
    assert server.got() == b"00000004 ann +20\n1234567890"
    assert (two.got(), old.got(), late.got()) == (b"00000001 c\n", b"00000001 old\n", b"")


def test_when_its_time_is_up_those_behind_it_go_on_before_the_next_such_request() -> None:
    stage, ann, _, server = only()
    stage.passes(0.5)
    late = stage.asks(b"%08d late\n" % 1)
    stage.passes(0.5)
    stage.asks(b"%08d next +20\n1234567890" % 1)
    assert server.got() == b""
    stage.passes(4.1)
    assert ann.got().startswith(b"00000001 no queue_timeout")
    assert server.got() == b"00000002 late\n"
    assert late.is_open


def test_one_that_came_in_whole_while_it_waited_needs_no_connection_alone() -> None:
    stage, ann, _, server = only()
    ann.sends(b"1234567890")
    server.sends(b"00000001 b\n")
    assert server.got() == b"00000002 ann +20\n12345678901234567890"
    stage.asks(b"%08d late\n" % 1)
    assert server.got() == b"00000003 late\n"
    assert stage.statistics()["pinned"] == {}


@pytest.mark.parametrize("sharing", [ORDERED, Sharing.TAGGED])
def test_who_comes_before_any_address_is_known_waits_for_one(sharing: Sharing) -> None:
    stage = Stage(sharing, servers=())
    rest = b" x\n"
    ann = stage.asks(b"00000001" + rest)
    assert (ann.got(), ann.is_open) == (b"", True)
    with stage.turn():
        stage.pool.set_servers(["one:1"], stage.world.now)
    assert stage.connects().got() == b"00000001" + rest


class _Several(ToyRequests):
    """Each line is three requests."""

    def feed(self, data: bytes) -> Sequence[Frame]:
        frames = super().feed(data)
        for frame in frames:
            frame.weight = 3
        return frames


class _SeveralToy(Toy):
    def requests(self) -> RequestFramer:
        return _Several(self)


def test_what_is_more_than_may_be_in_flight_goes_alone() -> None:
    """As pipelined commands that went as one may be after a reload."""
    stage = Stage(_SeveralToy(ORDERED), max_connections=1, max_in_flight=2)
    ann = stage.asks(b"a\n")
    server = stage.connects()
    assert server.got() == b"a\n"
    bob = stage.asks(b"b\n")
    assert server.got() == b""
    server.sends(b"a\n")
    assert ann.got() == b"a\n"
    assert server.got() == b"b\n"
    server.sends(b"b\n")
    assert bob.got() == b"b\n"
    ann.sends(b"c\n")
    assert server.got() == b"c\n"
