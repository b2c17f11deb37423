"""A backend whose requests have destinations, in a fake world: many servers, one bound.

city = City(Sharing.EXCLUSIVE, max_connections=2)
ann = city.goes(1)                  # a client whose connection was meant for the first destination
ann.sends(b"hello\n")
server = city.connects()
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from muxproxy.config.address import parse_server
from muxproxy.config.destination import Destination
from muxproxy.config.model import Backend
from muxproxy.metrics.snapshot import BackendSnapshot
from muxproxy.mux.base.accounts import Parts
from muxproxy.mux.base.pool import Pool
from muxproxy.mux.destinations.front import Front
from muxproxy.mux.destinations.totals import statistics
from muxproxy.mux.exclusive.client import ExclusiveClient
from muxproxy.mux.sharings import new_pool
from muxproxy.protocols.contract import Sharing
from tests.configured import backend
from tests.fakes import Peer, RecordingWire, Stage
from tests.toys import Toy


def place(number: int) -> Destination:
    return Destination(f"10.0.0.{number}", 80)


class City(Stage):
    """Keywords as Stage's."""

    def __init__(self, protocol: Sharing, **keys: Any) -> None:
        self.sharing = protocol
        super().__init__(protocol, servers=(), config=config(keys), **keys)
        self.looked_up: list[Pool] = []
        self.own: set[str] = set()
        self.given_back = 0
        parts = Parts(
            self.config,
            self.protocol(),
            self.world,
            self.world.fine,
            self.world.slow,
            ExclusiveClient,
            _nobody,
        )
        self.front = self.pool = Front(parts, self)

    # -- muxproxy.mux.destinations.front.Outside ----------------------------------------------------------

    def new_pool(self, backend: Backend) -> Pool:
        return new_pool(backend, self.protocol(), self.world, self.world.fine, self.world.slow)

    def protocol(self) -> Toy:
        return Toy(self.sharing)

    def look_up(self, pool: Pool) -> None:
        if pool.servers or pool in self.looked_up:
            return
        servers = [parse_server(text) for text in pool.config.servers]
        if servers[0].is_name:
            self.looked_up.append(pool)
        else:
            pool.set_servers([str(server) for server in servers], self.world.now)

    def forget(self, pool: Pool) -> None:
        if pool in self.looked_up:
            self.looked_up.remove(pool)

    def is_own(self, host: str) -> bool:
        return host in self.own

    def give_back(self) -> None:
        self.given_back += 1

    # -- what a test does ---------------------------------------------------------------------------------

    def goes(self, number: int | Destination, data: bytes = b"") -> Peer:
        """A client connects that was to go there."""
        destination = place(number) if isinstance(number, int) else number
        wire = RecordingWire(self.world, self.config.clients.response_buffer)
        with self.turn():
            pool = self.front.lead(destination, self.world.now)
            assert pool is not None, self.front.why
            brain = wire.brain = pool.new_client(wire, self.world.now)
            brain.on_opened(self.world.now, data)
        return Peer(self, wire)

    def pool_of(self, number: int | Destination) -> Pool:
        destination = place(number) if isinstance(number, int) else number
        return self.front.rooms[destination].pool

    def open(self) -> dict[str, int]:
        """Sockets by address, as the world counts them."""
        sockets: dict[str, int] = {}
        for upstream in self.world.sockets:
            sockets[upstream.server.address] = sockets.get(upstream.server.address, 0) + 1
        return sockets

    def change(self, **keys: Any) -> None:
        self.keys |= keys
        self.config = config(self.keys)
        with self.turn():
            self.front.configure(self.config, self.world.now)

    def statistics(self) -> BackendSnapshot:
        return statistics(self.front, self.world.now)


def config(keys: dict[str, Any]) -> Backend:
    made = backend((), keys)
    return replace(made, upstream=replace(made.upstream, to="original", servers=()))


def _nobody(*args: Any) -> Any:
    raise AssertionError("a front has no connections of its own")
