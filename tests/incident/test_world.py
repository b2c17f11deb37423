"""Where it is played: without namespaces it is said, and why."""

from __future__ import annotations

import pytest

from muxproxy.incident import world
from muxproxy.incident.world import World, look_for
from muxproxy.stage.hosts import Host, Network, Unable


def test_without_namespaces_it_is_loopback_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> Network:
        raise Unable("not here")

    monkeypatch.setattr(world, "joined", refused)
    for each in (World(), World(use_namespaces=False)):
        assert not each.is_real
        assert "loopback" in each.notes[0]
        with each.network(1, {}) as network:
            assert network.addresses == ["127.0.2.1"]
            assert 1 < network.port(1) != network.port(1)
            now = network.client.setting("tcp_tw_reuse")
        assert each.settings({"tcp_tw_reuse": "7"}) == {"tcp_tw_reuse": now}


def test_with_namespaces_settings_and_ports_are_the_incidents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "joined", lambda *_: Network(Host(), Host(), [], is_real=True))
    each = World()
    assert each.is_real
    assert each.settings({"tcp_tw_reuse": "7"}) == {"tcp_tw_reuse": "7"}
    assert each.network(1, {}).port(6379) == 6379


def test_programs_are_looked_for_where_an_ordinary_user_does_not() -> None:
    assert look_for("sh")
    assert look_for("muxproxy-has-no-such-program") is None
