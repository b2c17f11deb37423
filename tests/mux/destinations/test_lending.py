"""Places of one bound: lent in the turn in which they are wanted, to whoever has waited longest."""

from __future__ import annotations

import pytest

from muxproxy.mux.destinations.lending import TURN
from muxproxy.protocols.contract import Sharing
from tests.mux.destinations.city import City
from tests.toys import Toy, ToyReplies


def hold(city: City, number: int) -> None:
    """One place, for an exchange that goes on."""
    city.goes(number, b"hello\n")
    city.connects(city.dials[-1])


def test_a_place_that_is_free_is_lent_in_the_turn_in_which_it_is_wanted() -> None:
    city = City(Sharing.EXCLUSIVE, max_connections=2)
    city.goes(1, b"hello\n")
    assert city.open() == {"10.0.0.1:80": 1}


def test_where_nothing_is_idle_the_one_that_has_most_gives_up_the_next_that_comes_free() -> None:
    city = City(Sharing.EXCLUSIVE, max_connections=3)
    ones = [city.goes(1, b"hello\n") for _ in range(3)]
    servers = [city.connects() for _ in range(3)]
    ann = city.goes(2, b"hello\n")
    city.goes(1, b"hello\n")
    servers[0].sends(b"yes\n")
    assert ones[0].got() == b"yes\n"
    assert city.open() == {"10.0.0.1:80": 2, "10.0.0.2:80": 1}
    city.connects().sends(b"yes\n")
    assert ann.got() == b"yes\n"


def test_those_that_have_one_each_take_turns_with_those_that_have_none() -> None:
    city = City(Sharing.EXCLUSIVE, max_connections=1)
    city.goes(1, b"one\n")
    server = city.connects()
    city.goes(1, b"again\n")
    city.goes(2, b"two\n")
    server.sends(b"ONE\n")
    assert server.got() == b"one\nagain\n", "it stays for TURN"
    city.passes(TURN + 0.02)
    city.goes(1, b"and again\n")
    server.sends(b"AGAIN\n")
    assert city.open() == {"10.0.0.2:80": 1}
    other = city.connects()
    assert other.got() == b"two\n"


def test_what_is_not_used_any_more_goes_back_by_itself() -> None:
    city = City(Sharing.EXCLUSIVE, max_connections=2, idle_timeout=1.0)
    ann = city.goes(1, b"hello\n")
    city.connects().sends(b"yes\n")
    assert ann.got() == b"yes\n"
    places = city.front.lending.places
    assert places.lent() == 1
    city.passes(1.5)
    assert places.lent() == 0
    assert not places.holds(city.pool_of(1)), "and it is no holder any more"
    city.goes(1, b"hello\n")
    assert city.open() == {"10.0.0.1:80": 1}


def test_whom_a_bug_kept_from_hearing_hears_it_later() -> None:
    bugs = [ZeroDivisionError()]

    class Buggy(Toy):
        def replies(self) -> ToyReplies:
            if bugs:
                raise bugs.pop()
            return super().replies()

    class Town(City):
        def protocol(self) -> Toy:
            return Buggy(self.sharing)

    city = Town(Sharing.EXCLUSIVE, max_connections=2)
    with pytest.raises(ZeroDivisionError):
        city.goes(1, b"hello\n")
    city.passes(0.1)
    assert city.open() == {"10.0.0.1:80": 1}
