"""Who needs a connection alone: sessions up to max_pinned; what is merely large takes its turn on any."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer, Stage
from tests.toys import Toy

LARGE = b"big +20\n1234567890"  # half of it
REST = b"1234567890"


def sessions(**keys: object) -> Stage:
    return Stage(Toy(Sharing.ORDERED, sessions=True), request_buffer=10, timeout=5.0, **keys)


def held(connections: int = 2, **keys: object) -> tuple[Stage, Peer, Peer]:
    """All but the last connection belong to sessions; that one owes the reply to `x`, and is bob's."""
    stage = sessions(max_connections=connections, **keys)
    for _ in range(connections - 1):
        stage.asks(b"mine pin\n")
        stage.connects().sends(b"mine\n")
    bob = stage.asks(b"x\n")
    last = stage.connects()
    assert last.got() == b"x\n"
    return stage, last, bob


@pytest.mark.parametrize("connections", [2, 4])
def test_a_large_request_takes_its_turn_on_the_last_connection_that_is_shared(connections: int) -> None:
    stage, last, bob = held(connections)
    ann = stage.asks(LARGE)
    late = stage.asks(b"late\n")
    assert last.got() == b""  # it is emptied, and late's turn comes after ann's
    last.sends(b"x\n")
    assert last.got() == LARGE
    ann.sends(REST)
    assert last.got() == REST + b"late\n"  # it is everybody's again, with the reply to come
    last.sends(b"big\nlate\n")
    assert (ann.got(), bob.got(), late.got()) == (b"big\n", b"x\n", b"late\n")
    assert stage.outcomes() == {"ok": connections + 2}


def test_who_came_before_it_goes_before_it() -> None:
    stage, last, _ = held(max_in_flight=1)
    early = stage.asks(b"early\n")
    stage.passes(0.1)
    ann = stage.asks(LARGE)
    last.sends(b"x\n")
    assert last.got() == b"early\n"
    last.sends(b"early\n")
    assert last.got() == LARGE
    assert (early.got(), ann.got()) == (b"early\n", b"")


def test_it_needs_no_place_among_max_pinned_and_takes_none() -> None:
    stage = sessions(max_connections=3, max_pinned=0)
    stage.asks(LARGE)
    assert stage.connects().got() == LARGE
    stage = sessions(max_connections=3, max_pinned=1)
    stage.asks(LARGE)
    stage.connects()
    stage.asks(b"mine pin\n")
    assert stage.connects().got() == b"mine pin\n"
    assert stage.statistics()["pinned"] == {"streaming": 1, "toy": 1}


def test_several_leave_the_others_a_connection_while_they_can() -> None:
    stage = sessions(min_connections=3, max_connections=3)
    servers = [stage.connects() for _ in range(3)]
    for _ in range(3):
        stage.asks(b"x\n")
    for _ in range(3):
        stage.asks(LARGE)
    late = stage.asks(b"late\n")
    asked = [server.got() for server in servers]
    assert sorted(asked) == [b"x\n", b"x\n", b"x\nlate\n"]
    free = servers[asked.index(b"x\nlate\n")]
    for server in servers:
        server.sends(b"x\n")
    assert sorted(server.got() for server in servers) == [b"", LARGE, LARGE]
    free.sends(b"late\n")
    assert late.got() == b"late\n"
    assert free.got() == LARGE  # its turn on the last one: nobody else waits


def test_one_that_came_in_whole_while_it_waited_is_as_any_other() -> None:
    stage, last, _ = held()
    ann = stage.asks(LARGE)
    ann.sends(REST)
    last.sends(b"x\n")
    assert last.got() == LARGE + REST
    stage.asks(b"late\n")
    assert last.got() == b"late\n"
    assert stage.statistics()["pinned"] == {"toy": 1}


def test_a_large_one_whose_client_leaves_stops_nobody() -> None:
    stage, last, _ = held()
    ann = stage.asks(LARGE)
    stage.asks(b"late\n")
    assert last.got() == b""
    ann.closes()
    assert last.got() == b"late\n"


@pytest.mark.parametrize(
    ("limit", "key"), [({"max_pinned": 1}, "max_pinned"), ({}, "max_connections")], ids=["few", "all but one"]
)
def test_who_finds_no_place_is_told_the_key_to_raise_and_the_log_who_has_them(
    limit: dict[str, int], key: str
) -> None:
    stage = sessions(max_connections=3, **limit)
    for _ in range(stage.pool.pinned_limit):
        stage.asks(b"mine pin\n")
        stage.connects()
    clients = [stage.asks(b"hers pin\n") for _ in range(3)]
    stage.passes(5.1)
    number = stage.pool.pinned_limit
    for client in clients:
        assert client.got().endswith(
            b"waited 5 s for one of %d that clients have alone (toy %d): raise [upstream] %b\n"
            % (number, number, key.encode())
        )
    fields = {"backend": "toys", "held": f"toy {number}", "key": f"[upstream] {key}"}
    assert stage.world.lines == [("no connection is left to have alone", fields)]


def test_where_nobody_may_wait_too() -> None:
    stage = sessions(min_connections=3, max_connections=3, max_pinned=1, max_waiting=0)
    for _ in range(3):
        stage.connects()
    stage.asks(b"mine pin\n")
    told = stage.asks(b"hers pin\n").got()
    assert b"taken are all of 1 that clients have alone (toy 1): raise [upstream] max_pinned" in told
