"""The state machine in numbers: what operators see is what is."""

from __future__ import annotations

from muxproxy.metrics.snapshot import BackendSnapshot
from muxproxy.protocols.contract import Sharing
from tests.fakes import Stage


def test_every_key_of_the_snapshot_is_there_and_no_other() -> None:
    known = BackendSnapshot.__annotations__.keys() - {"tls"}  # which the worker adds: no pool's
    assert Stage(Sharing.EXCLUSIVE).statistics().keys() == known


def test_every_socket_is_in_exactly_one_state() -> None:
    stage = Stage(Sharing.EXCLUSIVE, max_connections=6, max_pinned=1)
    stage.world.lingering_connects = True
    clients = [stage.asks(b"x pin\n" if n == 0 else b"x\n") for n in range(6)]
    servers = [stage.connects() for _ in range(4)]
    servers[1].sends(b"x\n")  # idle
    with stage.turn():
        stage.dials[0].close("test", stage.world.now)
    numbers = stage.statistics()
    assert numbers["upstream"] == {
        "connecting": 1,
        "idle": 0,  # it took the next waiter
        "busy": 3,
        "resting": 0,
        "suspect": 0,
        "pinned": 1,
        "draining": 0,
        "closing": 1,
    }
    assert sum(numbers["upstream"].values()) == numbers["upstream_sockets"] == len(stage.world.sockets) == 6
    assert numbers["in_flight"] == 4
    assert numbers["waiting"] == 1
    assert numbers["clients"] == len(clients)


def test_bytes_connects_and_reuse_are_counted() -> None:
    stage = Stage(Sharing.EXCLUSIVE)
    stage.asks(b"one\n")
    stage.refuses()
    stage.passes(0.1)
    server = stage.connects()
    server.sends(b"one +4\nbody")
    bob = stage.asks(b"two\n")
    server.sends(b"two\n")
    assert bob.got() == b"two\n"
    numbers = stage.statistics()
    assert numbers["bytes"] == {"from_clients": 8, "to_clients": 15}
    assert (numbers["connects"], numbers["connect_failures"], numbers["reused"]) == (2, 1, 1)
    assert numbers["outcomes"] == {
        "replied": {"ok": 2},
        "refused": {},
        "expired": {},
        "lost": {},
        "abandoned": {},
    }


def test_every_outcome_is_under_its_kind_and_reason() -> None:
    stage = Stage(Sharing.EXCLUSIVE, max_connections=1, max_waiting=1)
    stage.asks(b"x\n")
    stage.asks(b"y\n")
    stage.asks(b"!\n")
    stage.connects()
    stage.asks(b"z\n").closes()
    outcomes = stage.statistics()["outcomes"]
    assert outcomes["refused"] == {"bad_request": 1, "queue_full": 1}
    assert outcomes["abandoned"] == {"client_left": 1}
