"""Who is asked for an idle place.

The law is the machine's (tests/mux/test_machine_destinations.py): sums are those of all, and none is above
the bound.
"""

from __future__ import annotations

from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer
from tests.mux.destinations.city import City


def idle(city: City, number: int, connections: int = 1) -> None:
    """So many connections there, which owe nothing."""
    clients = [city.goes(number, b"hello\n") for _ in range(connections)]
    servers: list[Peer] = [city.connects() for _ in range(connections)]
    for server in servers:
        server.sends(b"yes\n")
    assert [client.got() for client in clients] == [b"yes\n"] * connections


def test_of_those_that_have_most_the_longest_there_is_asked_first() -> None:
    city = City(Sharing.EXCLUSIVE, max_connections=7)
    idle(city, 1)
    idle(city, 2, 2)
    idle(city, 3, 2)
    idle(city, 4, 2)
    for number in (5, 6, 7):
        city.goes(number, b"hello\n")
        assert city.front.lending.places.is_right()
    left = {f"10.0.0.{number}:80": 1 for number in range(1, 8)}
    assert city.open() == left, "one of each that had two"
    city.goes(8, b"hello\n")
    assert "10.0.0.1:80" not in city.open()


def test_who_is_busy_is_passed_over() -> None:
    city = City(Sharing.EXCLUSIVE, max_connections=2)
    city.goes(1, b"hello\n")
    city.connects()
    idle(city, 2)
    city.goes(3, b"hello\n")
    assert city.open() == {"10.0.0.1:80": 1, "10.0.0.3:80": 1}
