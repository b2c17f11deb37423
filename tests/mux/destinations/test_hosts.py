"""HTTP requests that say where they go, in a fake world: each to its pool, tunnels among them."""

from __future__ import annotations

from typing import Any

from muxproxy.config.destination import Destination
from muxproxy.config.model import Route, RouteQueue
from muxproxy.mux.destinations.lending import TURN
from muxproxy.protocols.contract import Sharing
from muxproxy.protocols.http.forward.protocol import ForwardProtocol
from tests.fakes import Peer
from tests.mux.destinations.city import City
from tests.protocols.http.forward.talk import VIA, proxy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
MARKED = OK[:-2] + VIA + b"\r\n"
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


def asked(number: int) -> bytes:
    """As the server has it."""
    return b"GET / HTTP/1.1\r\nHost: 10.0.0.%d\r\n" % number + VIA + b"\r\n"


class Hosts(City):
    """`http`: what all of its pools speak. Keywords as City's."""

    def __init__(self, *, routes: tuple[Route, ...] = (), **keys: Any) -> None:
        self.http = proxy(http__routes=routes)
        super().__init__(Sharing.EXCLUSIVE, **keys, **({"routes": routes} if routes else {}))

    def protocol(self) -> ForwardProtocol:
        return self.http

    def gets(self, number: int, client: Peer | None = None) -> Peer:
        client = client or self.client()
        client.sends(b"GET http://10.0.0.%d/ HTTP/1.1\r\nHost: 10.0.0.%d\r\n\r\n" % (number, number))
        return client

    def tunnels(self, number: int) -> Peer:
        return self.asks(b"CONNECT 10.0.0.%d:443 HTTP/1.1\r\nHost: x\r\n\r\n" % number)


def test_one_client_is_served_by_many_and_each_by_its_own_connection() -> None:
    city = Hosts(max_connections=4)
    ann = city.client()
    servers = {}
    for number in (1, 2, 1, 2):
        city.gets(number, ann)
        server = servers.get(number) or servers.setdefault(number, city.connects())
        assert server.got() == asked(number)
        server.sends(OK)
        assert ann.got() == MARKED
    assert city.open() == {"10.0.0.1:80": 1, "10.0.0.2:80": 1}
    assert city.outcomes() == {"ok": 4}


def test_pipelined_requests_are_answered_in_order_wherever_they_go() -> None:
    city = Hosts(max_connections=4)
    ann = city.client()
    with city.turn():
        for number in (1, 2):
            city.gets(number, ann)
    one = city.connects()
    assert not city.dials, "one at a time"
    one.sends(OK)
    assert city.connects().got() == asked(2)


def test_who_may_not_go_there_is_told_so_and_stays() -> None:
    city = Hosts(max_connections=4)
    ann = city.asks(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert ann.got().startswith(b"HTTP/1.1 403 Forbidden\r\n")
    city.gets(1, ann)
    assert city.connects().got() == asked(1)
    assert city.outcomes() == {"denied": 1}


def test_a_name_is_judged_by_the_address_that_is_dialled() -> None:
    """DNS rebinding: whoever owns the name says where it leads, and that is not where we go."""
    city = Hosts(max_connections=4)
    ann = city.asks(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    (pool,) = city.looked_up
    with city.turn():
        pool.set_servers(["169.254.169.254:80"], city.world.now)
    assert ann.got().startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert city.open() == {}
    city.gets(1, ann)
    assert city.connects().got() == asked(1)


def test_a_tunnel_has_a_destination_of_its_own_and_no_connection_that_was_another_s() -> None:
    city = Hosts(max_connections=4)
    ann = city.asks(b"GET / HTTP/1.1\r\nHost: 10.0.0.1:443\r\n\r\n")
    city.connects().sends(OK)
    assert ann.got() == MARKED
    bob = city.tunnels(1)
    assert bob.got() == b""
    server = city.connects()
    assert (server.got(), bob.got()) == (b"", ESTABLISHED)
    assert city.open() == {"10.0.0.1:443": 2}
    assert city.statistics()["pinned"] == {"tunnel": 1}


def test_there_are_no_more_tunnels_than_there_may_be_and_each_who_waits_has_a_turn() -> None:
    city = Hosts(max_connections=6, max_tunnels=2, timeout=60.0)
    open_ones = [(city.tunnels(number), city.connects()) for number in (1, 1)]
    waiting = [city.tunnels(number) for number in (2, 1, 3)]
    assert not city.dials, "though four places are free"
    city.gets(4)
    city.connects().sends(OK)
    served = []
    for _ in range(5):
        if not open_ones:
            break
        client, server = open_ones.pop(0)
        server.closes()
        client.closes()
        city.passes(TURN + 0.02)
        while city.dials:
            server = city.connects()
            client = next(each for each in waiting if each.wire.received)
            served.append(server.wire.brain.server.address)
            waiting.remove(client)
            open_ones.append((client, server))
        assert sum(count for place, count in city.open().items() if place.endswith(":443")) <= 2
    assert sorted(served) == ["10.0.0.1:443", "10.0.0.2:443", "10.0.0.3:443"]


def test_by_default_half_of_the_places_may_be_tunnels_and_a_reload_may_say_otherwise() -> None:
    city = Hosts(max_connections=4, timeout=60.0)
    for _ in range(2):
        city.tunnels(1)
        city.connects()
    ann = city.tunnels(2)
    assert not city.dials
    city.change(max_tunnels=3)
    city.connects()
    assert ann.got() == ESTABLISHED
    city.change(max_tunnels=0)
    city.tunnels(3)
    assert not city.dials


UPGRADE = b"GET http://10.0.0.%d/ HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"


def test_upgraded_connections_are_so_many_of_all_destinations_together() -> None:
    city = Hosts(max_connections=8, max_upgraded=2, timeout=1.0)

    def asks(number: int) -> Peer:
        return city.asks(UPGRADE % number)

    def upgraded() -> int:
        return sum(each.owner is not None for each in city.world.sockets)

    first = asks(1)
    server = city.connects()
    server.sends(SWITCHED)
    second = asks(2)
    city.connects().sends(SWITCHED)
    assert first.got().startswith(b"HTTP/1.1 101")
    assert second.got().startswith(b"HTTP/1.1 101")
    waiting = [asks(3), asks(4)]
    assert not city.dials
    city.gets(3)
    city.connects().sends(OK)
    assert upgraded() == 2
    server.closes()
    first.closes()
    city.passes(0.1)
    servers = {}
    while city.dials:
        server = city.connects()
        servers[server.wire.brain.server.address] = server
    assert upgraded() == 2, "over the connection that rested there"
    assert not waiting[1].got()
    city.change(max_upgraded=3)
    assert upgraded() == 3
    servers["10.0.0.4:80"].sends(OK)
    assert waiting[1].got().startswith(b"HTTP/1.1 200"), "it did not want to"
    assert upgraded() == 2
    asks(5)
    city.connects()
    late = asks(6)
    city.passes(1.1)
    why = b"one of 3 that clients have alone (over all destinations): raise [http] max_upgraded"
    assert why in late.got()


def test_an_idle_place_of_a_tunnel_that_nobody_wanted_any_more_is_no_bar() -> None:
    city = Hosts(max_connections=4, max_tunnels=1, timeout=60.0)
    ann = city.tunnels(1)
    dialled = city.dials[0]
    ann.closes()
    city.connects(dialled)
    bob = city.tunnels(2)
    city.passes(0.1)
    city.connects()
    assert bob.got() == ESTABLISHED


def test_what_is_otherwise_for_a_route() -> None:
    routes = (
        Route("orders.internal", ("10.9.0.1:80", "10.9.0.2:80"), 2, queue=RouteQueue(max_waiting=1)),
        Route("slow.internal", queue=RouteQueue(timeout=1.0)),
    )
    city = Hosts(routes=routes, max_connections=20, timeout=60.0)
    orders = b"GET / HTTP/1.1\r\nHost: orders.internal\r\n\r\n"
    for _ in range(3):
        city.asks(orders)
        if city.dials:
            city.connects()
    assert city.open() == {"10.9.0.1:80": 1, "10.9.0.2:80": 1}
    assert b" 503 " in city.asks(orders).got()
    ann = city.asks(b"GET / HTTP/1.1\r\nHost: slow.internal\r\n\r\n")
    city.passes(1.1)
    assert b" 50" in ann.got()
    pool = city.pool_of(Destination("orders.internal", 80))
    city.change(routes=(Route("orders.internal", ("10.9.0.1:80",), 3),))
    assert (pool.config.servers, pool.config.max_connections) == (("10.9.0.1:80",), 3)
    assert pool.gate.most == 1000
