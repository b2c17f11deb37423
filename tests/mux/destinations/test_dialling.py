"""An address is judged when it is dialled, whoever gave it."""

from __future__ import annotations

import pytest

from muxproxy.config.destination import Destination
from muxproxy.protocols.contract import Sharing
from tests.mux.destinations.city import City

EVIL = Destination("evil.example", 80)


@pytest.mark.parametrize(
    "address", ["169.254.169.254:80", "127.0.0.1:80", "[::1]:80", "[::ffff:127.0.0.1]:80", "10.9.9.9:80"]
)
def test_a_name_that_means_what_is_denied_opens_no_socket_and_says_why(address: str) -> None:
    city = City(Sharing.EXCLUSIVE, deny=("10.9.0.0/16",))
    ann = city.goes(EVIL, b"hello\n")
    with city.turn():
        city.looked_up[0].set_servers([address], city.world.now)
    assert not city.world.sockets
    assert city.outcomes() == {"denied": 1}
    assert b"denied" in ann.got()


def test_who_waits_is_told_only_when_no_address_may_be_had() -> None:
    city = City(Sharing.EXCLUSIVE)
    ann = city.goes(EVIL, b"hello\n")
    with city.turn():
        city.looked_up[0].set_servers(["127.0.0.1:80", "10.0.0.1:80"], city.world.now)
    assert city.open() == {"10.0.0.1:80": 1}
    city.connects().sends(b"yes\n")
    assert ann.got() == b"yes\n"


def test_its_place_is_given_back() -> None:
    city = City(Sharing.EXCLUSIVE, max_connections=1)
    city.goes(EVIL, b"hello\n")
    with city.turn():
        city.looked_up[0].set_servers(["127.0.0.1:80"], city.world.now)
    ann = city.goes(1, b"hello\n")
    city.connects().sends(b"yes\n")
    assert ann.got() == b"yes\n"
