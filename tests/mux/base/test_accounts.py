"""How exchanges end: each once, counted (P3); and what a client is told beside why."""

from __future__ import annotations

import pytest

from muxproxy.errors import BugError
from muxproxy.mux.exchange import DONE, Exchange
from muxproxy.protocols.contract import FIRST, LAST, Frame, Reason, Sharing
from tests.fakes import Stage

EXCLUSIVE = Sharing.EXCLUSIVE


def test_an_exchange_ends_once_and_as_many_as_it_is_are_counted() -> None:
    pool = Stage(EXCLUSIVE).pool
    one = Exchange(None, Frame(b"one", FIRST | LAST, weight=3))
    pool.end(one, Reason.DENIED)
    assert (one.state, one.reason, pool.ended) == (DONE, Reason.DENIED, {Reason.DENIED: 3})
    with pytest.raises(BugError):
        pool.end(one, Reason.DENIED)
    assert pool.ended == {Reason.DENIED: 3}


def test_one_who_may_not_connect_is_told_if_it_costs_nothing_and_counted() -> None:
    stage = Stage(EXCLUSIVE)
    ann = stage.client()
    stage.pool.turn_away(ann.wire, "not from here", stage.world.now)
    assert ann.got() == b"no denied bye | toys: not from here\n"
    assert stage.pool.ended == {Reason.DENIED: 1}
    assert stage.pool.faults == {Reason.DENIED: "not from here"}


def test_who_was_cut_again_and_again_may_hold_others_up_for_less() -> None:
    stage = Stage(EXCLUSIVE)
    ann = stage.client().wire.brain
    before = stage.pool.grace(ann, stage.world.now)
    assert before == stage.pool.clients_config.hold_timeout
    for _ in range(20):
        stage.pool.on_offence(ann, stage.world.now)
    assert stage.pool.grace(ann, stage.world.now) < before / 2
    assert stage.pool.events == {"cut_in_the_way": 20}
