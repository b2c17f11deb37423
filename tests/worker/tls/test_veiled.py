"""The random conversations of every protocol, by TLS: the same promises hold (P1 to P9)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from muxproxy.mux.base.upstream import Upstream
from tests import fakes
from tests.mux.destinations import city
from tests.mux.test_machine import PICK, SETTINGS, ExclusiveMachine, Machine, OrderedMachine
from tests.mux.test_machine_dedicated import SessionsMachine
from tests.mux.test_machine_destinations import ExclusiveDestinations
from tests.mux.test_machine_limited import LimitedMachine
from tests.plays import played
from tests.protocols.dubbo import test_conversations as dubbo
from tests.protocols.http import test_conversations as http
from tests.protocols.redis import test_conversations as redis
from tests.protocols.redis.pubsub import test_conversations as pubsub
from tests.protocols.tcp import test_conversations as tcp
from tests.sizes import size
from tests.worker.tls.veiled import VeiledWire


@pytest.mark.parametrize("losses", [False, True], ids=["no losses", "losses"])
@pytest.mark.parametrize(
    "protocol", [http, redis, pubsub, dubbo, tcp], ids=lambda it: it.__name__.split(".")[-2]
)
def test_conversations_keep_all_promises_by_tls(
    protocol: Any, losses: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fakes, "RecordingWire", VeiledWire)
    before = VeiledWire.made
    for play in played(lambda seed: protocol.Play(seed, losses=losses), seeds=2, steps=120):
        assert "internal" not in play.stage.outcomes()
    assert VeiledWire.made > before


class Shaking(Machine):
    """Of any machine: a connect may be in its handshake, for any time."""

    @precondition(lambda self: self.stage.dials)
    @rule(pick=PICK)
    def a_handshake_begins(self, pick: int) -> None:
        with self.stage.turn():
            self.stage.dials[pick % len(self.stage.dials)].on_reached(self.stage.world.now)


class Exclusive(Shaking, ExclusiveMachine):
    pass


class Ordered(Shaking, OrderedMachine):
    pass


class Tagged(Shaking, LimitedMachine):
    pass


class Everywhere(Shaking, ExclusiveDestinations):
    pass


class Sessions(SessionsMachine):
    a_handshake_begins = Shaking.a_handshake_begins


@pytest.mark.parametrize("machine", [Exclusive, Ordered, Tagged, Everywhere, Sessions])
def test_anything_may_happen_in_any_order_by_tls(
    machine: type[Machine | SessionsMachine], monkeypatch: pytest.MonkeyPatch
) -> None:
    connects = fakes.Stage.connects

    def connects_and_shakes(stage: fakes.Stage, upstream: Upstream | None = None) -> fakes.Peer:
        upstream = upstream or stage.dials[0]
        upstream.on_reached(stage.world.now)
        return connects(stage, upstream)

    monkeypatch.setattr(fakes.Stage, "connects", connects_and_shakes)
    monkeypatch.setattr(fakes, "RecordingWire", VeiledWire)
    monkeypatch.setattr(city, "RecordingWire", VeiledWire)
    monkeypatch.setattr(VeiledWire, "cuts", True)
    before = VeiledWire.made
    run_state_machine_as_test(machine, settings=settings(SETTINGS, max_examples=size(16, 1_000)))
    assert VeiledWire.made > before
