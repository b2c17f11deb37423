"""Where it is played: without namespaces it is said, and why."""

from __future__ import annotations

import pytest

from muxproxy.incident import world
from muxproxy.incident.world import World, look_for
from muxproxy.stage.hosts import Network, Unable


def test_without_namespaces_it_is_loopback_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> Network:
        raise Unable("not here")

    monkeypatch.setattr(world, "joined", refused)
    for each in (World(), World(use_namespaces=False)):
        assert not each.is_real
        assert "loopback" in each.notes[0]
        with each.network(1, {}) as network:
            assert network.addresses == ["127.0.2.1"]


def test_programs_are_looked_for_where_an_ordinary_user_does_not() -> None:
    assert look_for("sh")
    assert look_for("muxproxy-has-no-such-program") is None
