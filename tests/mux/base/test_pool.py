"""Who gets what: the bound, the queue, growing, servers that fail and servers that come and go (P1, P4,
P8)."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer, Stage

EXCLUSIVE = Sharing.EXCLUSIVE


def serves(server: Peer, client: Peer) -> bytes:
    """The server answers what it was asked for, by name; returns what it was asked."""
    asked = server.got()
    server.sends(asked.partition(b"\n")[0].partition(b" ")[0] + b"\n")
    assert client.got() == asked
    return asked


# -- the bound and the queue ---------------------------------------------------------------------------


def test_connections_are_dialled_by_demand_and_never_beyond_the_bound() -> None:
    stage = Stage(EXCLUSIVE, max_connections=3)
    assert stage.dials == []
    for count in (1, 2, 3, 3, 3):
        stage.asks(b"x\n")
        assert len(stage.world.sockets) == count  # P1: connecting ones count
    assert stage.statistics()["waiting"] == 5


def test_a_free_connection_is_taken_before_another_is_dialled_and_the_last_used_first() -> None:
    stage = Stage(EXCLUSIVE, max_connections=3)
    clients = [stage.asks(b"x\n") for _ in range(3)]
    servers = [stage.connects() for _ in range(3)]
    for number in (1, 0, 2):
        assert serves(servers[number], clients[number]) == b"x\n"
    clients[0].sends(b"y\n")
    assert servers[2].got() == b"y\n"  # LIFO, so that the pool can shrink
    clients[1].sends(b"z\n")
    assert servers[0].got() == b"z\n"
    assert len(stage.world.sockets) == 3


def test_who_waits_is_served_in_the_order_of_coming() -> None:
    stage = Stage(EXCLUSIVE, max_connections=1)
    clients = [stage.asks(b"%d\n" % n) for n in range(5)]
    server = stage.connects()
    for n, client in enumerate(clients):
        assert serves(server, client) == b"%d\n" % n
    assert stage.statistics()["waiting"] == 0


def test_max_waiting_0_serves_who_finds_a_free_connection_and_refuses_all_others() -> None:
    stage = Stage(EXCLUSIVE, max_waiting=0, max_connections=1, min_connections=1)
    stage.pool.warm(stage.world.now)
    server = stage.connects()
    ann, bob = stage.asks(b"ann\n"), stage.asks(b"bob\n")
    assert server.got() == b"ann\n"
    assert bob.got().startswith(b"no queue_full")
    assert ann.got() == b""


@pytest.mark.parametrize("sharing", [EXCLUSIVE, Sharing.ORDERED])
def test_and_whom_a_new_connection_will_serve(sharing: Sharing) -> None:
    stage = Stage(sharing, max_waiting=0, max_connections=1, max_in_flight=1)
    ann, bob = stage.asks(b"ann\n"), stage.asks(b"bob\n")
    assert bob.got().startswith(b"no queue_full")
    assert stage.connects().got() == b"ann\n"
    assert ann.got() == b""


def test_but_nobody_where_no_server_may_be_dialled() -> None:
    stage = Stage(EXCLUSIVE, max_waiting=0, max_connections=2)
    ann = stage.asks(b"ann\n")
    stage.refuses()
    assert stage.asks(b"bob\n").got().startswith(b"no queue_full")
    assert ann.got() == b""


def test_requests_wait_for_a_server_that_comes_back_within_the_timeout() -> None:
    stage = Stage(EXCLUSIVE, timeout=5.0)
    ann = stage.asks(b"ann\n")
    stage.refuses()
    stage.passes(3.0)
    server = stage.connects()
    assert serves(server, ann) == b"ann\n"
    assert [event for event, _ in stage.world.lines] == ["server cannot be reached", "server is back"]


# -- pins --------------------------------------------------------------------------------------------------


def test_the_elder_of_both_queues_is_served_first() -> None:
    stage = Stage(EXCLUSIVE, max_connections=1, max_pinned=1)
    ann = stage.asks(b"x\n")
    server = stage.connects()
    stage.passes(0.1)
    stage.asks(b"up pin\n")
    stage.passes(0.1)
    stage.asks(b"y\n")
    serves(server, ann)
    assert server.got() == b"up pin\n"


# -- keeping connections ----------------------------------------------------------------------------------


def test_an_idle_connection_is_closed_after_idle_timeout_but_for_min_connections() -> None:
    stage = Stage(EXCLUSIVE, min_connections=1, max_connections=2, idle_timeout=30.0)
    clients = [stage.asks(b"x\n"), stage.asks(b"y\n")]
    servers = [stage.connects(), stage.connects()]
    for server, client in zip(servers, clients, strict=True):
        serves(server, client)
    stage.passes(31.0)
    assert sum(server.is_open for server in servers) == 1
    stage.passes(300.0)
    assert sum(server.is_open for server in servers) == 1
    assert stage.statistics()["closed"] == {"idle_timeout": 1}


def test_a_connection_is_closed_before_the_server_does_it_where_the_server_said_when() -> None:
    stage = Stage(EXCLUSIVE, idle_timeout=30.0)
    server = stage.server(b"a\n", b"a hint=5\n")
    stage.passes(3.9)
    assert server.is_open
    stage.passes(0.2)
    assert not server.is_open
    assert stage.statistics()["closed"] == {"idle_timeout": 1}


def test_min_connections_are_warm_before_anybody_asks_and_after_they_are_lost() -> None:
    stage = Stage(EXCLUSIVE, min_connections=2, max_connections=4, connect_timeout=100.0)
    assert len(stage.dials) == 2
    one, _ = stage.connects(), stage.connects()
    stage.passes(1.0)
    one.closes()
    assert len(stage.dials) == 1
    stage.refuses()
    stage.passes(1.0)
    assert len(stage.dials) == 1  # min_connections is kept though nobody asks


def test_a_connection_is_not_used_beyond_max_lifetime() -> None:
    stage = Stage(EXCLUSIVE, max_lifetime=60.0, idle_timeout=1000.0, client_idle_timeout=1000.0)
    ann = stage.asks(b"x\n")
    server = stage.connects()
    serves(server, ann)
    stage.passes(50.0)
    ann.sends(b"y\n")
    stage.passes(11.0)
    server.sends(b"y\n")
    assert ann.got() == b"y\n"
    assert not server.is_open
    assert stage.statistics()["closed"] == {"max_lifetime": 1}


# -- several servers ----------------------------------------------------------------------------------------


def test_several_servers_share_the_connections_in_turn() -> None:
    stage = Stage(EXCLUSIVE, servers=("one:1", "two:2", "three:3"), max_connections=6)
    for _ in range(6):
        stage.asks(b"x\n")
    assert sorted(str(upstream.server) for upstream in stage.dials) == sorted(
        ["one:1", "two:2", "three:3"] * 2
    )


def test_the_server_with_the_least_in_flight_is_taken_and_ties_in_turn() -> None:
    stage = Stage(EXCLUSIVE, servers=("one:1", "two:2"), max_connections=4, min_connections=4)
    servers = [stage.connects() for _ in range(4)]
    taken = []
    for _ in range(4):
        stage.asks(b"x\n")
        for server in servers:
            if server.got():
                taken.append(str(server.wire.brain.server))
    assert taken in (["one:1", "two:2"] * 2, ["two:2", "one:1"] * 2)


def test_a_server_that_fails_is_left_alone_while_another_is_up() -> None:
    stage = Stage(EXCLUSIVE, servers=("one:1", "two:2"), max_connections=4)
    stage.asks(b"x\n")
    stage.refuses()
    failed = next(s["address"] for s in stage.statistics()["servers"] if s["failures"])
    (upstream,) = stage.dials
    assert upstream.server.address != failed
    assert stage.connects().got() == b"x\n"


def test_an_address_that_is_gone_loses_idle_connections_at_once_and_busy_ones_after_their_reply() -> None:
    stage = Stage(EXCLUSIVE, max_connections=2, name_grace=0.0)
    ann, bob = stage.asks(b"ann\n"), stage.asks(b"bob\n")
    anns, bobs = stage.connects(), stage.connects()
    serves(anns, ann)
    with stage.turn():
        stage.pool.set_servers(["two:2"], stage.world.now)
    assert not anns.is_open
    assert bobs.is_open
    assert stage.statistics()["upstream"]["draining"] == 1
    serves(bobs, bob)
    assert not bobs.is_open
    assert stage.statistics()["closed"] == {"server removed": 2}
    ann.sends(b"ann\n")
    assert str(stage.dials[0].server) == "two:2"


def test_the_same_addresses_again_change_nothing() -> None:
    stage = Stage(EXCLUSIVE, servers=("one:1", "two:2"))
    server = stage.server(b"x\n", b"x\n")
    with stage.turn():
        stage.pool.set_servers(["two:2", "one:1", "one:1"], stage.world.now)
    assert server.is_open
    assert [s["address"] for s in stage.statistics()["servers"]] == ["two:2", "one:1"]


def test_connections_at_the_bound_move_to_a_server_that_came_back() -> None:
    stage = Stage(EXCLUSIVE, max_connections=4)
    clients = [stage.asks(b"x\n") for _ in range(4)]
    servers = [stage.connects() for _ in range(4)]
    for server, client in zip(servers, clients, strict=True):
        serves(server, client)
    with stage.turn():
        stage.pool.set_servers(["one:1", "two:2"], stage.world.now)
    for _ in range(200):
        clients[0].sends(b"x\n")
        for server in servers:
            if server.got():
                server.sends(b"x\n")
        while stage.dials:
            servers.append(stage.connects())
    numbers = {s["address"]: s["connections"] for s in stage.statistics()["servers"]}
    assert numbers["two:2"] >= 1
    assert sum(numbers.values()) <= 4
    assert stage.statistics()["closed"].keys() == {"rebalance"}


def under_load(
    stage: Stage, servers: list[Peer], clients: list[Peer], seconds: float, dead: str = ""
) -> None:
    """More clients than connections, each asks again when it is answered; `dead` refuses."""
    end = stage.world.now + seconds
    while stage.world.now < end:
        for upstream in tuple(stage.dials):
            if str(upstream.server) == dead:
                stage.refuses(upstream)
            else:
                servers.append(stage.connects(upstream))
        for server in servers:
            said = server.got()
            if said:
                server.sends(b"".join(line.split(b" ")[0] + b"\n" for line in said.splitlines()))
        for client in clients:
            if client.got():
                client.sends(b"x\n")
        stage.passes(0.01)


def connections(stage: Stage) -> dict[str, int]:
    return {server["address"]: server["connections"] for server in stage.statistics()["servers"]}


@pytest.mark.parametrize("bound", [2, 4, 8])
def test_no_connection_is_closed_for_a_server_that_cannot_be_reached(bound: int) -> None:
    stage = Stage(EXCLUSIVE, servers=("one:1", "dead:2"), max_connections=bound)
    servers: list[Peer] = []
    clients = [stage.asks(b"x\n") for _ in range(2 * bound)]
    under_load(stage, servers, clients, 10.0, "dead:2")
    assert stage.statistics()["closed"] == {}
    assert connections(stage)["one:1"] == (bound if bound < 4 else bound - 1)
    assert len(servers) <= bound


@pytest.mark.parametrize("warm", [0, 4])
@pytest.mark.parametrize("sharing", [EXCLUSIVE, Sharing.ORDERED])
def test_and_it_gets_its_share_when_it_is_back_all_the_same(sharing: Sharing, warm: int) -> None:
    stage = Stage(
        sharing, servers=("one:1", "dead:2"), max_connections=4, min_connections=warm, max_in_flight=1
    )
    servers: list[Peer] = []
    clients = [stage.asks(b"x\n") for _ in range(8)]
    under_load(stage, servers, clients, 5.0, "dead:2")
    under_load(stage, servers, clients, 1.0)
    assert connections(stage)["dead:2"] >= 1
    under_load(stage, servers, clients, 5.0)
    assert connections(stage) == {"one:1": 2, "dead:2": 2}


@pytest.mark.parametrize("sharing", [EXCLUSIVE, Sharing.ORDERED])
def test_a_name_that_gives_other_addresses_each_time_costs_no_connection(sharing: Sharing) -> None:
    stage = Stage(sharing, servers=("a:1", "b:1"), max_connections=2, max_lifetime=0.0, idle_timeout=1e6)
    ann, bob = stage.asks(b"ann\n"), stage.asks(b"bob\n")
    first = [stage.connects() for _ in tuple(stage.dials)]
    for server in first:
        server.sends(server.got())
    for number in range(20):
        with stage.turn():
            stage.pool.set_servers(
                [["a:1", "c:1"], ["b:1", "d:1"], ["c:1", "d:1"]][number % 3], stage.world.now
            )
        ann.sends(b"ann\n")
        bob.sends(b"bob\n")
        for server in first:
            server.sends(server.got())
        stage.passes(15.0)
    assert all(server.is_open for server in first)
    assert (ann.got(), bob.got()) == (b"ann\n" * 21, b"bob\n" * 21)


def test_what_its_name_has_not_given_for_name_grace_is_gone_and_nobody_dials_it_before() -> None:
    stage = Stage(EXCLUSIVE, max_connections=4, name_grace=60.0, idle_timeout=1e6, max_lifetime=0.0)
    server = stage.server(b"x\n", b"x\n")
    for seconds in (0.0, 30.0, 29.0):
        stage.passes(seconds)
        with stage.turn():
            stage.pool.set_servers(["two:2"], stage.world.now)
        assert server.is_open
        states = {s["address"]: s["state"] for s in stage.statistics()["servers"]}
        assert states == {"two:2": "up", "one:1": "absent"}
    stage.asks(b"y\n")
    assert server.got() == b"y\n"  # it works, and is at hand
    assert [str(upstream.server) for upstream in stage.dials] == ["two:2"]
    server.sends(b"y\n")
    stage.passes(2.0)
    with stage.turn():
        stage.pool.set_servers(["two:2"], stage.world.now)
    assert not server.is_open
    assert connections(stage).keys() == {"two:2"}


def test_a_connect_under_way_to_an_address_that_is_given_no_more_is_given_up() -> None:
    stage = Stage(EXCLUSIVE, max_connections=1)
    ann = stage.asks(b"x\n")
    with stage.turn():
        stage.pool.set_servers(["two:2"], stage.world.now)
    assert [str(upstream.server) for upstream in stage.dials] == ["two:2"]
    assert stage.connects().got() == b"x\n"
    assert ann.is_open


def test_without_any_address_nothing_is_kept() -> None:
    stage = Stage(EXCLUSIVE)
    server = stage.server(b"x\n", b"x\n")
    with stage.turn():
        stage.pool.set_servers([], stage.world.now)
    assert not server.is_open


# -- the end -------------------------------------------------------------------------------------------------


def test_a_pool_without_clients_is_drained_at_once() -> None:
    stage = Stage(EXCLUSIVE)
    stage.server(b"x\n", b"x\n")
    with stage.turn():
        stage.pool.drain(stage.world.now)
    assert stage.world.drained_pools == [stage.pool]


def test_a_draining_pool_still_dials_for_those_it_owes() -> None:
    stage = Stage(EXCLUSIVE, max_connections=1)
    ann = stage.asks(b"ann\n")
    with stage.turn():
        stage.pool.drain(stage.world.now)
    stage.refuses()
    stage.passes(0.2)
    server = stage.connects()
    server.sends(server.got())
    assert ann.got() == b"ann\n"
    assert stage.world.drained_pools == [stage.pool]


def test_pipelined_waits_are_in_the_histogram() -> None:
    stage = Stage(EXCLUSIVE, max_connections=1)
    ann, bob = stage.asks(b"ann\n"), stage.asks(b"bob\n")
    stage.passes(0.5)
    server = stage.connects()
    serves(server, ann)
    stage.passes(0.25)
    serves(server, bob)
    ann.sends(b"ann\n")
    waits = stage.statistics()["queue_wait"]
    assert sum(waits["counts"]) == 3
    assert waits["sum"] == pytest.approx(1.0)
    assert waits["counts"][0] == 1  # who found it free
