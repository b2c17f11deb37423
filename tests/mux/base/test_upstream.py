"""One connection's life: it counts until its socket is gone (P1)."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import Sharing
from tests.fakes import Stage

EXCLUSIVE = Sharing.EXCLUSIVE


def closed(stage: Stage) -> dict[str, int]:
    return stage.statistics()["closed"]


def test_a_connect_that_takes_too_long_is_given_up_and_counts_until_it_is_gone() -> None:
    stage = Stage(EXCLUSIVE, max_connections=1, connect_timeout=1.0, timeout=60.0)
    stage.world.lingering_connects = True
    stage.asks(b"ann\n")
    (upstream,) = stage.dials
    stage.passes(1.02)
    assert stage.world.hung_up == [upstream]
    assert stage.statistics()["upstream"]["closing"] == 1
    stage.passes(10.0)
    assert stage.dials == []  # P1: the bound is 1, and that socket may still be there
    stage.world.end_connect(upstream, "cancelled")
    stage.passes(0.1)
    assert len(stage.dials) == 1
    assert stage.statistics()["servers"][0]["last_error"] == "connect timeout"
    assert stage.statistics()["connect_failures"] == 1


def test_a_connect_that_succeeds_after_it_was_given_up_is_cut() -> None:
    stage = Stage(EXCLUSIVE, connect_timeout=1.0)
    stage.world.lingering_connects = True
    stage.asks(b"ann\n")
    (upstream,) = stage.dials
    stage.passes(1.02)
    stage.world.hung_up.remove(upstream)
    stage.dials.append(upstream)
    server = stage.connects(upstream)
    assert not server.is_open
    assert server.got() == b""
    assert stage.statistics()["upstream_sockets"] == 0
    stage.passes(0.1)
    assert stage.connects().got() == b"ann\n"


def test_a_servers_fin_on_an_idle_connection_removes_it_at_once() -> None:
    stage = Stage(EXCLUSIVE)
    server = stage.server(b"a\n", b"a\n")
    server.closes()
    assert stage.statistics()["upstream_sockets"] == 0
    assert closed(stage) == {"server closed": 1}
    stage.asks(b"b\n")
    assert len(stage.dials) == 1


def test_bytes_that_nobody_asked_for_close_an_idle_connection() -> None:
    stage = Stage(EXCLUSIVE)
    server = stage.server(b"a\n", b"a\n")
    server.sends(b"surprise\n")
    assert not server.is_open
    assert closed(stage) == {"unsolicited bytes": 1}


@pytest.mark.parametrize("sharing", [Sharing.EXCLUSIVE, Sharing.DEDICATED])
def test_what_is_not_shared_owes_one_exchange_and_when_that_is_taken_none(
    sharing: Sharing,
) -> None:
    stage = Stage(sharing, max_connections=1)
    ann = stage.asks(b"ann\n")
    brain = stage.connects().wire.brain
    exchange = ann.wire.brain.first
    assert (brain.load(), brain.current, brain.is_shared()) == (1, exchange, False)
    assert exchange.upstream is brain
    assert brain.server.in_flight == 1
    assert brain.take_owed() == [exchange]
    assert (brain.load(), exchange.upstream, brain.server.in_flight) == (0, None, 0)
    assert brain.take_owed() == []
