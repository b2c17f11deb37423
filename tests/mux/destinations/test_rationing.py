"""Destinations of a backend that has shards: the queue and the tunnels are the whole backend's, wherever its
clients are, and no shard refuses beside what others do not use."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.config.limits import PINNED, QUEUED
from muxproxy.mux.destinations.lending import TURN
from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer, Stage
from tests.mux.base.lending.shards import DECIDED, KEYS, Shards
from tests.mux.destinations.city import City
from tests.mux.destinations.test_hosts import ESTABLISHED, Hosts
from tests.mux.test_machine import SETTINGS
from tests.sizes import size

CITY = KEYS | {"max_connections": 4, "max_clients": 999, "max_waiting": 12, "max_pinned": None}
ENOUGH = 0.5  # seconds in which all is lent that is wanted, and nobody is refused at once any more


def a_city(sharing: Sharing, keys: dict[str, Any]) -> Stage:
    return City(sharing, **keys)


def hosts(sharing: Sharing, keys: dict[str, Any]) -> Stage:
    return Hosts(**keys)


class Cities(Shards):
    """Two, and what is theirs together."""

    def set_bounds(self) -> None:
        super().set_bounds()
        del self.bounds[PINNED]  # one destination's
        self.ledger.set_bounds("toys", self.bounds)


def come(city: Stage, destination: int, number: int) -> list[Peer]:
    """So many want to go there; its server does not answer."""
    assert isinstance(city, City)
    return [city.goes(destination, b"r\n") for _ in range(number)]


def waiting(city: Stage) -> list[int]:
    assert isinstance(city, City)
    return [room.pool.gate.waiting for room in city.front.rooms.values()]


@pytest.mark.parametrize("crowds", [[(1, 30)], [(1, 30), (2, 30)], [(1, 3), (2, 30), (3, 30), (1, 30)]])
def test_on_one_shard_as_many_wait_as_if_there_were_no_other(crowds: list[tuple[int, int]]) -> None:
    cities = Cities(2, make=a_city, **CITY)
    hot = cities.all[0].stage
    alone = City(Sharing.EXCLUSIVE, **CITY)
    for destination, number in crowds:
        come(hot, destination, number)
        cities.passes(ENOUGH)
        come(alone, destination, number)
    assert waiting(hot) == waiting(alone)
    assert hot.outcomes() == alone.outcomes()


@settings(SETTINGS, max_examples=size(20, 2_000))
@given(
    st.integers(1, 15),
    st.lists(st.tuples(st.integers(0, 1), st.integers(1, 3), st.integers(-9, 9)), max_size=10),
)
def test_all_together_never_exceed_it(bound: int, steps: list[tuple[int, int, int]]) -> None:
    cities = Cities(2, make=a_city, **(CITY | {"max_waiting": bound}))
    peers: list[list[Peer]] = [[], []]
    for pick, destination, change in steps:
        if change > 0:
            peers[pick] += come(cities.all[pick].stage, destination, change)
        for peer in peers[pick][:-change] if change < 0 else []:
            peers[pick].remove(peer)
            peer.breaks_off()
        assert sum(each.stage.pool.rations[QUEUED].used() for each in cities.all) <= bound
        cities.passes(DECIDED)
        assert sum(sum(waiting(each.stage)) for each in cities.all) <= bound


def test_tunnels_are_where_they_are_wanted_and_no_more_than_there_may_be() -> None:
    cities = Cities(2, make=hosts, **(CITY | {"max_connections": 8, "max_tunnels": 2, "routes": ()}))
    hot, cold = (each.stage for each in cities.all)
    assert isinstance(hot, Hosts)
    assert isinstance(cold, Hosts)
    open_ones = []
    for _ in range(2):
        client = hot.tunnels(1)
        cities.passes(0.1)
        open_ones.append((client, hot.connects()))
    late, elsewhere = hot.tunnels(1), cold.tunnels(2)
    cities.passes(4 * TURN)
    assert not hot.dials
    assert not cold.dials
    for client, server in open_ones:
        server.closes()
        client.closes()
    cities.passes(4 * TURN)
    for city, client in ((hot, late), (cold, elsewhere)):
        city.connects()
        assert client.got() == ESTABLISHED
