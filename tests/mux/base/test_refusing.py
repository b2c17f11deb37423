"""How exchanges end: each counted once, with words that say why (P3, P8)."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import Sharing
from tests.fakes import Stage

EXCLUSIVE = Sharing.EXCLUSIVE


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    stage = Stage(EXCLUSIVE, max_connections=1, max_waiting=2)
    for _ in range(2):
        stage.asks(b"x\n")
    ann = stage.asks(b"ann\n")
    assert ann.got() == (
        b"no queue_full retry=1 | toys: 2 requests wait for 1 connections, max_waiting is 2\n"
    )
    assert ann.is_open
    stage.connects()
    ann.sends(b"again\n")
    assert ann.got() == b""
    assert stage.statistics()["waiting"] == 2


def test_who_waits_too_long_is_told_so() -> None:
    stage = Stage(EXCLUSIVE, max_connections=1, timeout=5.0)
    stage.asks(b"x\n")
    stage.connects()
    stage.passes(1.0)
    ann = stage.asks(b"ann\n")
    stage.passes(4.9)
    assert stage.statistics()["oldest_wait"] == pytest.approx(4.9)
    assert ann.got() == b""
    stage.passes(0.2)
    assert ann.got() == b"no queue_timeout retry=1 | toys: waited 5 s for one of 1 connections\n"
    assert ann.is_open
    assert stage.statistics()["waiting"] == 0


def test_who_waits_for_servers_that_cannot_be_reached_is_told_why() -> None:
    stage = Stage(EXCLUSIVE, servers=("one:1", "two:2"), timeout=5.0)
    ann = stage.asks(b"ann\n")
    while stage.world.now < 1005.5:
        for upstream in list(stage.dials):
            stage.refuses(upstream)
        stage.passes(0.1)
    assert ann.got() == (
        b"no no_server retry=1 | toys: waited 5 s for one of 8 connections "
        b"(one:1: Connection refused; two:2: Connection refused)\n"
    )
    assert stage.outcomes() == {"no_server": 1}


def test_a_name_that_means_nothing_is_the_reason_given() -> None:
    stage = Stage(EXCLUSIVE, servers=(), timeout=5.0)
    ann = stage.asks(b"ann\n")
    with stage.turn():
        stage.pool.set_servers([], stage.world.now, "api.internal:80: Name or service not known")
    stage.passes(5.1)
    assert ann.got().startswith(b"no no_server")
    assert ann.got() == b""
    assert stage.pool.resolve_error == "api.internal:80: Name or service not known"
