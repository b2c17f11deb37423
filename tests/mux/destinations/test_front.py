"""Destinations of one backend: each has a pool, all have one bound."""

from __future__ import annotations

import pytest

from muxproxy.budget import Order
from muxproxy.config.destination import Destination
from muxproxy.config.limits import CLIENTS
from muxproxy.mux.base.lending.rations import WAIT
from muxproxy.mux.destinations.front import MANY, SWEEP
from muxproxy.protocols.contract import Sharing
from tests.mux.destinations.city import City, place

ALL = [Sharing.EXCLUSIVE, Sharing.ORDERED, Sharing.TAGGED]


def serve(city: City, number: int, text: bytes = b"hello\n") -> None:
    """A client comes, is served and leaves."""
    ann = city.goes(number)
    ann.sends(text)
    if city.dials:
        server = city.connects()
        server.sends(text)
    assert ann.got() == text
    ann.closes()


def test_a_client_is_served_by_the_server_that_it_meant() -> None:
    city = City(Sharing.EXCLUSIVE, max_connections=4)
    ann, bob = city.goes(1, b"one\n"), city.goes(2, b"two\n")
    addresses = [upstream.server.address for upstream in city.dials]
    assert addresses == ["10.0.0.1:80", "10.0.0.2:80"]
    first, second = city.connects(), city.connects()
    assert (first.got(), second.got()) == (b"one\n", b"two\n")
    second.sends(b"TWO\n")
    first.sends(b"ONE\n")
    assert (ann.got(), bob.got()) == (b"ONE\n", b"TWO\n")


def test_all_pools_together_have_no_more_than_the_bound() -> None:
    city = City(Sharing.EXCLUSIVE, max_connections=3)
    for number in range(1, 9):
        city.goes(number, b"hello\n")
    assert len(city.world.sockets) == 3
    assert city.statistics()["waiting"] == 8


def test_of_clients_that_other_workers_have_too_all_pools_know() -> None:
    city = City(Sharing.EXCLUSIVE, max_connections=3, max_clients=4)
    crowd = city.front.rations[CLIENTS]
    with city.turn():
        crowd.begin(Order(1, 1, 0), city.world.now)
    peers = [city.goes(1), city.goes(1), city.goes(2)]
    assert [peer.is_paused for peer in peers] == [False, True, True]
    assert crowd.report().wanted > 0
    with city.turn():
        crowd.on_order(Order(2, 2, 0), city.world.now)
    assert [peer.is_paused for peer in peers] == [False, False, True]
    city.passes(WAIT + 0.1)
    assert b"clients_full" in peers[2].got()


def test_one_destination_has_no_more_than_its_own_bound() -> None:
    city = City(Sharing.EXCLUSIVE, max_connections=8, max_connections_each=2)
    for _ in range(5):
        city.goes(1, b"hello\n")
    assert city.open() == {"10.0.0.1:80": 2}


def test_an_idle_connection_makes_room_for_who_waits_of_the_one_that_has_most() -> None:
    city = City(Sharing.EXCLUSIVE, max_connections=3)
    ann, bob = city.goes(1, b"one\n"), city.goes(1, b"two\n")
    for server in [city.connects(), city.connects()]:
        server.sends(b"yes\n")
    assert (ann.got(), bob.got()) == (b"yes\n", b"yes\n")
    serve(city, 2)
    assert city.open() == {"10.0.0.1:80": 2, "10.0.0.2:80": 1}
    city.goes(3, b"hello\n")
    assert city.open() == {"10.0.0.1:80": 1, "10.0.0.2:80": 1, "10.0.0.3:80": 1}
    assert city.world.dials[0].server.address == "10.0.0.3:80"


def test_no_more_idle_ones_are_closed_than_places_are_wanted() -> None:
    city = City(Sharing.EXCLUSIVE, max_connections=6)
    for number in range(1, 7):
        serve(city, number)
    assert len(city.open()) == 6
    city.goes(7, b"hello\n")
    assert len(city.open()) == 6
    assert sorted(city.open()) == [f"10.0.0.{number}:80" for number in range(2, 8)]


@pytest.mark.parametrize("sharing", ALL)
def test_forty_destinations_on_few_places_one_of_them_hot_are_all_served_in_turn(sharing: Sharing) -> None:
    city = City(sharing, max_connections=4, max_in_flight=1, timeout=60.0)
    for number in range(30):
        city.goes(1, b"hot%d\n" % number if sharing is not Sharing.TAGGED else b"%08d hot\n" % number)
    others = range(2, 42)
    for number in others:
        city.goes(number, b"hello\n" if sharing is not Sharing.TAGGED else b"00000001 hello\n")
    served: dict[str, int] = {}
    servers = []
    for _ in range(300):
        while city.dials:
            servers.append(city.connects())
        for server in servers:
            data = server.got()
            if data and server.is_open:
                address = server.wire.brain.server.address
                served[address] = served.get(address, 0) + 1
                server.sends(data)
        assert len(city.world.sockets) <= 4
        city.passes(0.02)
        if len(served) == 41 and served["10.0.0.1:80"] == 30:
            break
    assert len(served) == 41
    assert served["10.0.0.1:80"] == 30


def test_a_destination_that_hangs_fills_no_queue_but_its_own() -> None:
    city = City(Sharing.EXCLUSIVE, max_connections=8, max_connections_each=2, max_waiting=16)
    for _ in range(40):
        city.goes(1, b"hello\n")
    assert city.pool_of(1).gate.waiting == 8  # half of it: as much as is left free
    assert city.outcomes()["queue_full"] > 0
    ann = city.goes(2, b"hello\n")
    assert [upstream.server.address for upstream in city.dials[-1:]] == ["10.0.0.2:80"]
    city.connects(city.dials[-1]).sends(b"yes\n")
    assert ann.got() == b"yes\n"


def test_who_cannot_be_reached_keeps_no_place_from_others() -> None:
    city = City(Sharing.EXCLUSIVE, max_connections=2, max_connections_each=2)
    for number in (1, 2):
        city.goes(number, b"hello\n")
    city.refuses()
    city.refuses()
    ann = city.goes(3, b"hello\n")
    city.connects(next(u for u in city.dials if u.server.address == "10.0.0.3:80")).sends(b"yes\n")
    assert ann.got() == b"yes\n"
    city.passes(0.3)
    assert {u.server.address for u in city.dials} == {"10.0.0.1:80", "10.0.0.2:80"}, "it is tried again"


def test_where_nobody_may_wait_a_free_place_is_one_all_the_same() -> None:
    city = City(Sharing.EXCLUSIVE, max_connections=2, max_waiting=0)
    ann, bob, eve = (city.goes(number, b"hello\n") for number in (1, 2, 3))
    assert b"queue_full" in eve.got()
    for _ in range(2):
        city.connects().sends(b"yes\n")
    assert (ann.got(), bob.got()) == (b"yes\n", b"yes\n")


def test_a_bound_that_is_lowered_is_kept_by_all_together_and_said() -> None:
    city = City(Sharing.EXCLUSIVE, max_connections=4)
    for number in range(1, 5):
        serve(city, number)
    with city.turn():
        city.front.allowance.on_order(Order(1, 1, 0), city.world.now)
    assert len(city.world.sockets) == 1
    assert city.world.reports[-1].held == 1
    with city.turn():
        city.front.allowance.on_order(Order(2, 0, 0), city.world.now)
    assert not city.world.sockets
    ann = city.goes(1, b"hello\n")
    assert not city.dials
    assert city.world.reports[-1] == (2, 0, 1)
    with city.turn():
        city.front.allowance.on_order(Order(3, 1, 0), city.world.now)
    city.connects().sends(b"yes\n")
    assert ann.got() == b"yes\n"


def test_what_is_idle_here_goes_to_another_worker_that_asks() -> None:
    city = City(Sharing.EXCLUSIVE, max_connections=4)
    for number in range(1, 4):
        serve(city, number)
    with city.turn():
        city.front.allowance.on_order(Order(0, 4, 2), city.world.now)
    assert len(city.world.sockets) == 2
    assert city.world.reports[-1].held == 2


def test_what_is_not_allowed_is_not_led_anywhere() -> None:
    city = City(Sharing.EXCLUSIVE, deny=("10.0.0.9",))
    assert city.front.lead(place(9), city.world.now) is None
    assert "denied" in city.front.why
    assert city.front.lead(Destination("127.0.0.1", 80), city.world.now) is None


def test_of_a_name_each_address_is_judged_when_it_is_dialled() -> None:
    city = City(Sharing.EXCLUSIVE)
    evil = Destination("evil.example", 80)
    ann = city.goes(evil, b"hello\n")
    with city.turn():
        city.looked_up[0].set_servers(["169.254.169.254:80"], city.world.now)
    assert not city.world.sockets
    assert b"denied" in ann.got()
    bob = city.goes(evil, b"hello\n")
    with city.turn():
        city.looked_up[0].set_servers(["10.0.0.1:80", "127.0.0.1:80"], city.world.now)
    city.passes(1.0)
    assert city.open() == {"10.0.0.1:80": 1}
    city.connects().sends(b"yes\n")
    assert bob.got() == b"yes\n"


def test_a_destination_that_a_reload_forbids_ends_with_what_it_owes() -> None:
    city = City(Sharing.EXCLUSIVE, max_connections=2)
    ann = city.goes(1, b"one\n")
    server = city.connects()
    bob = city.goes(2, b"two\n")
    other = city.connects()
    city.change(deny=("10.0.0.1",))
    server.sends(b"ONE\n")
    other.sends(b"TWO\n")
    assert (ann.got(), bob.got()) == (b"ONE\n", b"TWO\n")
    assert not ann.is_open
    assert bob.is_open
    city.passes(SWEEP + 1)
    assert city.open() == {"10.0.0.2:80": 1}
    assert not city.front.leaving


def test_at_max_destinations_the_longest_idle_is_forgotten() -> None:
    city = City(Sharing.EXCLUSIVE, max_connections=4, max_destinations=2)
    serve(city, 1)
    city.passes(0.1)
    serve(city, 2)
    serve(city, 3)
    assert set(city.front.rooms) == {place(2), place(3)}
    assert city.statistics()["destinations_forgotten"] == 1
    assert city.outcomes()["ok"] == 3
    city.goes(2, b"hello\n")
    city.goes(3, b"hello\n")
    assert city.front.lead(place(4), city.world.now) is None
    assert "max_destinations" in city.front.why


def test_a_destination_that_is_idle_is_forgotten_after_a_while_and_what_it_counted_is_not() -> None:
    city = City(Sharing.EXCLUSIVE, idle_timeout=5.0)
    serve(city, 1)
    city.passes(30.0)
    assert not city.front.rooms
    assert not city.world.sockets
    numbers = city.statistics()
    assert (numbers["connects"], numbers["outcomes"]["replied"]["ok"]) == (1, 1)


def test_memory_is_given_back_when_many_are_forgotten() -> None:
    city = City(Sharing.EXCLUSIVE, idle_timeout=5.0, max_connections=300)
    for number in range(MANY):
        city.front.lead(Destination(f"10.0.{number // 200}.{number % 200}", 80), city.world.now)
    city.passes(20.0)
    assert not city.front.rooms
    assert city.given_back == 1


def test_a_drain_ends_all() -> None:
    city = City(Sharing.EXCLUSIVE, max_connections=2)
    ann = city.goes(1, b"one\n")
    server = city.connects()
    serve(city, 2)
    with city.turn():
        city.front.drain(city.world.now)
    server.sends(b"ONE\n")
    assert ann.got() == b"ONE\n"
    assert city.world.drained_pools
    with city.turn():
        city.front.close_connections("the end", city.world.now)
    assert city.front.close_connections("the end", city.world.now)
    assert not city.world.sockets


def test_connections_are_replaced_everywhere() -> None:
    city = City(Sharing.EXCLUSIVE)
    serve(city, 1)
    serve(city, 2)
    with city.turn():
        city.front.reconnect(city.world.now, "10.0.0.2:80")
    assert city.open() == {"10.0.0.1:80": 1}


def test_clients_are_the_backends_over_all_destinations() -> None:
    city = City(Sharing.EXCLUSIVE, max_clients=2)
    city.goes(1)
    city.goes(2)
    assert b"clients_full" in city.goes(3).got()
