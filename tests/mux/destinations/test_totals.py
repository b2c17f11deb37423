"""Numbers of all destinations, and of the busiest by name: never more names than are shown."""

from __future__ import annotations

from muxproxy.mux.destinations.totals import OTHERS, SHOWN
from muxproxy.protocols.contract import Sharing
from tests.mux.destinations.city import City


def serve(city: City, number: int) -> None:
    ann = city.goes(number, b"hello\n")
    while city.dials:
        city.connects()
    (server,) = city.pool_of(number).upstreams
    with city.turn():
        server.on_data(b"yes\n", city.world.now)
    assert ann.got() == b"yes\n"
    ann.closes()


def test_the_busiest_have_names_and_the_rest_is_one() -> None:
    city = City(Sharing.EXCLUSIVE, max_connections=100)
    for number in range(1, SHOWN + 6):
        for _ in range(number):
            serve(city, number)
    numbers = city.statistics()
    told = numbers["destinations"]
    assert len(told) == SHOWN + 1
    assert told[f"10.0.0.{SHOWN + 5}:80"]["sent"] == SHOWN + 5
    assert told[OTHERS]["sent"] == 1 + 2 + 3 + 4 + 5
    assert "10.0.0.1:80" not in told
    assert numbers["destinations_known"] == SHOWN + 5
    assert len(numbers["servers"]) == SHOWN
    assert numbers["upstream_sockets"] == sum(numbers["upstream"].values()) == SHOWN + 5
    assert sum(numbers["queue_wait"]["counts"]) == numbers["outcomes"]["replied"]["ok"]


def test_one_that_is_forgotten_is_still_counted() -> None:
    city = City(Sharing.EXCLUSIVE, max_destinations=1)
    for number in range(1, 5):
        serve(city, number)
    numbers = city.statistics()
    assert numbers["connects"] == 4
    assert numbers["outcomes"]["replied"]["ok"] == 4
    assert (numbers["destinations_known"], numbers["destinations_forgotten"]) == (1, 3)
    assert numbers["upstream_sockets"] == len(city.world.sockets)
