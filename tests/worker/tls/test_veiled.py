"""The random conversations of every protocol, by TLS: the same promises hold (P1 to P9)."""

from __future__ import annotations

from typing import Any

import pytest

from tests import fakes
from tests.plays import played
from tests.protocols.dubbo import test_conversations as dubbo
from tests.protocols.http import test_conversations as http
from tests.protocols.redis import test_conversations as redis
from tests.protocols.redis.pubsub import test_conversations as pubsub
from tests.protocols.tcp import test_conversations as tcp
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
    for play in played(lambda seed: protocol.Play(seed, losses=losses), seeds=3, steps=120):
        assert "internal" not in play.stage.outcomes()
    assert VeiledWire.made > before
