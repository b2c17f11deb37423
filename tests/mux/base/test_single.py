"""A connection that has one exchange or none."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import Sharing
from tests.fakes import Stage


@pytest.mark.parametrize("sharing", [Sharing.EXCLUSIVE, Sharing.DEDICATED])
def test_its_ledger_is_one_exchange_and_taking_that_leaves_none(sharing: Sharing) -> None:
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
