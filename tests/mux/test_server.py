"""A server in doubt: left for a growing, jittered time, then probed by one connection at a time."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import Sharing
from tests.fakes import Stage


def pauses(stage: Stage, count: int) -> list[float]:
    """How long the server is left alone after each of so many failures in a row."""
    found = []
    for _ in range(count):
        stage.refuses()
        failed_at = stage.world.now
        while not stage.dials:
            stage.passes(0.01)
            assert stage.world.now < failed_at + 10.0
        found.append(stage.world.now - failed_at)
    return found


@pytest.mark.parametrize(("random", "share"), [(0.0, 0.5), (0.5, 0.75), (0.999, 1.0)])
def test_the_time_it_is_left_doubles_up_to_its_bound_with_jitter(random: float, share: float) -> None:
    stage = Stage(Sharing.EXCLUSIVE, backoff_min=0.1, backoff_max=0.8, timeout=1000.0)
    stage.world.random = random
    stage.asks(b"x\n")
    whole = [0.1, 0.2, 0.4, 0.8, 0.8, 0.8]
    assert pauses(stage, 6) == pytest.approx([share * pause for pause in whole], abs=0.025)


def test_only_one_connection_at_a_time_knocks() -> None:
    stage = Stage(Sharing.EXCLUSIVE, max_connections=8, connect_timeout=100.0, timeout=1000.0)
    for _ in range(8):
        stage.asks(b"x\n")
    assert len(stage.dials) == 8
    while stage.dials:
        stage.refuses()
    stage.passes(10.0)
    assert len(stage.dials) == 1
    assert stage.statistics()["servers"][0]["state"] == "probing"
    stage.connects()
    assert len(stage.dials) == 7  # it is back: everybody may
    assert stage.statistics()["servers"][0]["state"] == "up"


def test_the_states_are_told() -> None:
    stage = Stage(Sharing.EXCLUSIVE)
    stage.asks(b"x\n")
    (server,) = stage.statistics()["servers"]
    assert server == {
        "address": "one:1",
        "state": "up",
        "connections": 1,
        "in_flight": 0,
        "failures": 0,
        "last_error": "",
    }
    stage.refuses(error="No route to host")
    (server,) = stage.statistics()["servers"]
    assert (server["state"], server["failures"]) == ("backing_off", 1)
    assert server["last_error"] == "No route to host"


def test_nobody_knocks_for_nobody() -> None:
    stage = Stage(Sharing.EXCLUSIVE)
    ann = stage.asks(b"x\n")
    stage.refuses()
    ann.closes()
    stage.passes(100.0)
    assert stage.dials == []


def test_a_server_that_fails_for_days_is_still_knocked_at_in_time() -> None:
    stage = Stage(Sharing.EXCLUSIVE, backoff_max=0.8, timeout=1e9)
    stage.asks(b"x\n")
    stage.pool.servers[0].failures = 100_000
    assert pauses(stage, 1) == pytest.approx([0.4], abs=0.025)


def test_a_bug_at_a_servers_deadline_does_not_end_its_probing() -> None:
    stage = Stage(Sharing.EXCLUSIVE, backoff_max=0.7, timeout=60.0)
    stage.asks(b"ann\n")
    grow, stage.pool.grow = stage.pool.grow, lambda now: 1 // 0
    with pytest.raises(ZeroDivisionError):
        stage.refuses()  # on_closed looks for a place for who waits
    with pytest.raises(ZeroDivisionError):
        stage.passes(0.5)
    stage.world.alarm(stage.world.fine.next_deadline())  # as worker/engine.py does after a bug
    stage.pool.grow = grow
    stage.passes(1.0)
    assert len(stage.dials) == 1
