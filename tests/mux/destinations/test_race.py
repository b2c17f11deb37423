"""A name with several addresses: the next is tried when the first takes too long, and within the bound."""

from __future__ import annotations

from muxproxy.config.destination import Destination
from muxproxy.mux.destinations.race import DELAY, in_turn
from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer
from tests.mux.destinations.city import City

NAME = Destination("api.example", 80)
SIX, FOUR = "[2001:db8::1]:80", "203.0.113.1:80"


def asks(city: City) -> Peer:
    ann = city.goes(NAME, b"hello\n")
    with city.turn():
        city.looked_up[0].set_servers([SIX, FOUR], city.world.now)
    return ann


def test_families_take_turns_in_the_resolvers_order() -> None:
    assert in_turn(["[::1]:1", "[::2]:1", "1.1.1.1:1"]) == ["[::1]:1", "1.1.1.1:1", "[::2]:1"]
    assert in_turn(["1.1.1.1:1", "2.2.2.2:1", "[::1]:1"]) == ["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"]
    assert in_turn([]) == []


def test_the_second_is_tried_beside_the_first_after_a_while_and_the_faster_one_serves() -> None:
    city = City(Sharing.EXCLUSIVE)
    ann = asks(city)
    city.passes(DELAY - 0.02)
    assert city.open() == {SIX: 1}
    city.passes(0.05)
    assert city.open() == {SIX: 1, FOUR: 1}
    city.connects(city.dials[1]).sends(b"yes\n")
    assert ann.got() == b"yes\n"


def test_who_may_have_one_socket_tries_the_second_when_the_first_has_failed() -> None:
    city = City(Sharing.EXCLUSIVE, max_connections=1)
    ann = asks(city)
    for _ in range(6):
        city.passes(0.1)
        assert len(city.world.sockets) <= 1
    city.passes(0.2)
    assert city.open() == {FOUR: 1}, "after connect_timeout"
    city.connects().sends(b"yes\n")
    assert ann.got() == b"yes\n"


def test_who_waits_for_nothing_has_no_second_tried() -> None:
    city = City(Sharing.EXCLUSIVE)
    ann = asks(city)
    city.connects().sends(b"yes\n")
    assert ann.got() == b"yes\n"
    city.passes(2 * DELAY)
    assert city.open() == {SIX: 1}


def test_a_family_that_failed_is_not_tried_first_again() -> None:
    city = City(Sharing.EXCLUSIVE)
    ann = asks(city)
    city.refuses()
    assert city.open() == {FOUR: 1}, "at once"
    city.connects().sends(b"yes\n")
    assert ann.got() == b"yes\n"
