"""A pool comes down to what it may have, gives what others ask for, and says when it wants more (P1, P4)."""

from __future__ import annotations

import pytest

from muxproxy.budget import Order, Report
from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer, Stage
from tests.tagged_toys import tagged
from tests.toys import Toy


def a_stage(sharing: Sharing = Sharing.EXCLUSIVE, connections: int = 4, **keys: object) -> Stage:
    return Stage(Toy(sharing, sessions=sharing is Sharing.ORDERED), max_connections=connections, **keys)


def order(stage: Stage, most: int, asked: int = 0) -> None:
    share = stage.pool.allowance.share
    with stage.turn():
        stage.pool.allowance.on_order(Order(share.serial + 1, most, asked), stage.world.now)


def busy(stage: Stage, number: int) -> tuple[list[Peer], list[Peer]]:
    """So many clients, each with a request under way on a connection of its own."""
    clients, servers = [], []
    for at in range(number):
        client = stage.client()
        client.sends(b"r%d\n" % at)
        clients.append(client)
        if stage.dials:
            servers.append(stage.connects())
    return clients, servers


def last(stage: Stage) -> Report:
    return stage.world.reports[-1]


def test_the_longest_idle_go_at_once() -> None:
    stage = a_stage()
    _, servers = busy(stage, 3)
    for at in (1, 0, 2):
        servers[at].sends(b"done\n")
        stage.passes(0.1)
    order(stage, 1)
    assert [server.is_open for server in servers] == [False, False, True]
    assert last(stage) == Report(1, 1, 0)


def test_whichever_comes_free_first_goes_and_the_others_go_on() -> None:
    stage = a_stage()
    clients, servers = busy(stage, 3)
    order(stage, 2)
    assert [server.is_open for server in servers] == [True] * 3
    assert last(stage).held == 3
    servers[1].sends(b"done\n")
    assert clients[1].got() == b"done\n"
    assert [server.is_open for server in servers] == [True, False, True]
    assert last(stage).held == 2
    servers[0].sends(b"done\n")
    clients[1].sends(b"again\n")
    assert servers[0].got() == b"r0\nagain\n"  # it is used again: it is not too many


def test_who_waits_goes_on_one_that_stays() -> None:
    stage = a_stage(connections=2, max_waiting=5)
    _, servers = busy(stage, 3)
    order(stage, 1)
    servers[0].sends(b"done\n")
    assert not servers[0].is_open
    servers[1].sends(b"done\n")
    assert servers[1].got() == b"r1\nr2\n"
    assert not stage.dials


@pytest.mark.parametrize("sharing", [Sharing.EXCLUSIVE, Sharing.ORDERED])
def test_with_more_it_grows_at_once_for_who_waits(sharing: Sharing) -> None:
    stage = a_stage(sharing, connections=4, max_waiting=5, max_in_flight=1)
    order(stage, 1)
    busy(stage, 3)
    assert len(stage.world.sockets) == 1
    order(stage, 3)
    assert len(stage.dials) == 2


def test_with_none_all_wait_and_it_says_what_it_wants() -> None:
    stage = a_stage(connections=4, max_waiting=9)
    order(stage, 0)
    clients, _ = busy(stage, 2)
    assert not stage.world.sockets
    assert last(stage).wanted == 0  # not before somebody has waited for a moment
    stage.passes(0.02)
    assert last(stage) == Report(1, 0, 2)
    order(stage, 1)
    assert last(stage) == Report(2, 1, 1)  # one is being dialled
    stage.connects().sends(b"done\n")
    assert clients[0].got() == b"done\n"


def test_what_is_not_wanted_any_more_is_said_too() -> None:
    stage = a_stage(connections=4, max_waiting=9)
    order(stage, 0)
    (client,), _ = busy(stage, 1)
    stage.passes(0.02)
    assert last(stage).wanted == 1
    client.closes()
    stage.passes(0.1)
    assert last(stage).wanted == 0


def test_who_may_not_wait_is_refused_and_a_place_is_wanted_for_the_next() -> None:
    stage = a_stage(connections=4, max_waiting=0)
    order(stage, 0)
    (client,), _ = busy(stage, 1)
    assert client.got().startswith(b"no ")
    stage.passes(0.02)
    assert last(stage).wanted == 1


def test_what_is_idle_is_given_to_who_asks() -> None:
    stage = a_stage(connections=4)
    _, servers = busy(stage, 2)
    order(stage, 4, asked=3)
    # two were never opened; the third is the next that comes free
    assert last(stage) == Report(1, 2, 0)
    servers[0].sends(b"done\n")
    assert not servers[0].is_open
    assert last(stage) == Report(1, 1, 0)
    servers[1].sends(b"done\n")
    assert servers[1].is_open
    assert stage.pool.max_connections == 1


def test_nothing_is_given_while_somebody_waits_here() -> None:
    stage = a_stage(connections=2, max_waiting=5)
    _, servers = busy(stage, 3)
    order(stage, 2, asked=2)
    servers[0].sends(b"done\n")
    assert servers[0].got() == b"r0\nr2\n"
    assert last(stage).held == 2


def test_the_least_loaded_of_shared_ones_gets_nothing_new_and_ends() -> None:
    stage = a_stage(Sharing.ORDERED, connections=2, max_in_flight=2, max_waiting=5)
    clients, servers = busy(stage, 4)
    assert [server.got() for server in servers] == [b"r0\nr1\n", b"r2\nr3\n"]
    servers[1].sends(b"done\n")
    order(stage, 1)
    clients[2].sends(b"r4\n")
    servers[1].sends(b"done\n")
    assert not servers[1].is_open
    servers[0].sends(b"done\n")
    assert servers[0].got() == b"r4\n"


def test_min_connections_are_kept_within_what_it_may_have() -> None:
    stage = a_stage(connections=4, min_connections=3)
    with stage.turn():
        stage.pool.warm(stage.world.now)
    assert len(stage.world.sockets) == 3
    order(stage, 1)
    assert len(stage.world.sockets) == 1
    order(stage, 2)
    assert len(stage.world.sockets) == 2


def test_an_order_that_is_older_changes_nothing() -> None:
    stage = a_stage()
    order(stage, 2)
    with stage.turn():
        stage.pool.allowance.on_order(Order(0, 4, 0), stage.world.now)
    assert stage.pool.max_connections == 2


def test_one_that_ends_for_another_reason_is_not_called_back_when_there_may_be_more_again() -> None:
    stage = a_stage(Sharing.TAGGED, 2, max_in_flight=4)
    stage.asks(tagged(1, b"a\n"))
    closing = stage.connects()
    ann = stage.asks(tagged(1, b"b\n"))
    assert closing.got().count(b"\n") == 2
    closing.sends(tagged(1, b"a close\n"))
    stage.asks(tagged(1, b"c\n") + tagged(2, b"d\n"))
    other = stage.connects()
    order(stage, 0)
    order(stage, 2)
    bob = stage.asks(tagged(1, b"e\n"))
    assert closing.got() == b"", "its server has said that it closes"
    closing.sends(tagged(2, b"b\n"))
    assert ann.got() == tagged(1, b"b\n")
    assert not closing.is_open
    assert bob.is_open
    assert other.got().endswith(b"e\n")
