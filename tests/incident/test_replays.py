"""The table of replays: every one that can be typed, each complete before anything has happened."""

from __future__ import annotations

import pytest

from muxproxy.cli.incident.command import NAMES
from muxproxy.incident.replays import REPLAYS
from muxproxy.incident.world import World


def test_every_replay_can_be_typed() -> None:
    assert set(NAMES) == REPLAYS.keys()


@pytest.mark.parametrize("size", ["full", "quick", "small"])
@pytest.mark.parametrize("name", NAMES)
def test_each_begins_with_direct_and_ends_with_a_bound(name: str, size: str) -> None:
    record = REPLAYS[name].recording(size, World(use_namespaces=False))
    assert (record.name, record.size) == (name, size)
    assert record.legs[0].name == "direct"
    assert record.legs[0].bound is None
    assert record.legs[-1].name == "muxproxy"
    assert record.legs[-1].bound
    assert "on loopback, as was asked for" in record.notes
    assert REPLAYS[name].problems(record)  # nothing has been shown yet
    assert "Through muxproxy" in REPLAYS[name].finding(record)
    assert REPLAYS[name].headlines(record).keys() == {leg.name for leg in record.legs}
    assert all(REPLAYS[name].programs().values())
