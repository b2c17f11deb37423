"""Pools of one backend in several shards and the ledger that lends to them, all in one process.

Real pools and the real ledger, with outboxes between them; the network is the test's: `settle` is one that is
well, and whoever takes orders and reports from where they wait may lose, repeat and delay them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from muxproxy.budget import Order, Report
from muxproxy.config.limits import CLIENTS, PLACES, QUEUED
from muxproxy.config.model import Tcp
from muxproxy.messages import Lend
from muxproxy.mux.base.lending.rations import WAIT
from muxproxy.mux.exchange import WAITING
from muxproxy.protocols.contract import Protocol, Sharing
from muxproxy.protocols.tcp import TcpProtocol
from muxproxy.supervisor.ledger import Ledger
from muxproxy.supervisor.outbox import Outbox
from tests.fakes import FINE_GRAIN, Peer, Stage
from tests.toys import Toy

DECIDED = WAIT + 2 * FINE_GRAIN  # seconds after which nobody is undecided, where the shard is not new
KEYS = {"max_connections": 2, "max_clients": 6, "max_waiting": 5, "max_pinned": 1, "timeout": 60.0}


def protocol(sharing: Sharing, keys: dict[str, Any]) -> Protocol:
    if "reserve" in keys:
        return TcpProtocol(Tcp())
    return Toy(sharing, sessions=sharing is Sharing.ORDERED)


def one_pool(sharing: Sharing, keys: dict[str, Any]) -> Stage:
    return Stage(protocol(sharing, keys), **keys)


Make = Callable[[Sharing, dict[str, Any]], Stage]


class Shard:
    """A pool, its clients, and what is under way between it and the ledger."""

    def __init__(
        self, ledger: Ledger, index: int, sharing: Sharing, keys: dict[str, Any], make: Make = one_pool
    ) -> None:
        self.stage = make(sharing, keys)
        self.holder, lent = ledger.open("toys", index)
        self.index = index
        with self.stage.turn():
            self.stage.pool.begin(lent, self.stage.world.now)
        self.clients: list[tuple[float, Peer]] = []  # when each came
        self.servers: list[Peer] = []
        self.outbox = Outbox()  # the supervisor's
        self.orders: list[tuple[str, Order]] = []

    def go_out(self) -> None:
        """What was replaced before is never heard."""
        self.orders += [(each.number, each.order) for each in self.outbox.take()]

    def hears(self, number: str, order: Order) -> None:
        pool, now = self.stage.pool, self.stage.world.now
        with self.stage.turn():
            if number == PLACES:
                pool.allowance.on_order(order, now)
            elif number in pool.rations:
                pool.rations[number].on_order(order, now)

    def says(self) -> list[tuple[str, Report]]:
        world = self.stage.world
        said = [(PLACES, report) for report in world.reports] + world.rations
        world.reports, world.rations = [], []
        return said

    def comes(self, data: bytes = b"") -> Peer:
        peer = self.stage.client(data)
        self.clients.append((self.stage.world.now, peer))
        return peer

    def inside(self, age: float) -> int:
        """Clients that came so long ago, and were not refused."""
        now = self.stage.world.now
        inside = sum(came <= now - age and is_inside(peer) for came, peer in self.clients)
        return inside - self.undecided(CLIENTS)

    def waiting(self, age: float) -> int:
        pool, now = self.stage.pool, self.stage.world.now
        exchanges = [exchange for queue in pool.queues() for exchange in queue.all()]
        waiting = sum(each.state == WAITING and each.since <= now - age for each in exchanges)
        return waiting - self.undecided(QUEUED)

    def undecided(self, number: str) -> int:
        """Where it has just begun, for longer than elsewhere."""
        ration = self.stage.pool.rations[number]
        return ration.missing() if ration._is_new else 0


def is_inside(peer: Peer) -> bool:
    return peer.is_open and not peer.wire.eof and b"clients_full" not in peer.wire.received


class Shards:
    """`make`: what each of them has."""

    def __init__(
        self, number: int, sharing: Sharing = Sharing.EXCLUSIVE, make: Make = one_pool, **keys: Any
    ) -> None:
        self.make = make
        self.keys = KEYS | keys
        self.sharing = sharing
        self.ledger = Ledger()
        self.bounds: dict[str, int] = {}
        self.set_bounds()
        self.all: list[Shard] = []
        for index in range(number):
            self.all.append(Shard(self.ledger, index, sharing, self.keys, make))
        self.settle()

    def set_bounds(self) -> None:
        sample = self.make(self.sharing, self.keys).pool
        self.bounds = {**sample.bounds, PLACES: sample.config.max_connections}
        self.ledger.set_bounds("toys", self.bounds)

    def send(self) -> None:
        """As far as the outboxes."""
        for index, holder, number, order in self.ledger.news():
            if self.all[index].holder == holder:
                self.all[index].outbox.put(Lend(holder, order, number))

    def say_again(self) -> None:
        for budget in self.ledger._budgets["toys"].values():
            budget.repeat()

    def settle(self) -> None:
        """The network is well."""
        for _ in range(60):
            self.send()
            reports = [(shard, *each) for shard in self.all for each in shard.says()]
            for shard in self.all:
                shard.go_out()
            orders = [(shard, *each) for shard in self.all for each in shard.orders]
            for shard, number, report in reports:
                self.ledger.on_report(shard.index, shard.holder, report, number)
            for shard, number, order in orders:
                shard.hears(number, order)
            for shard in self.all:
                shard.orders.clear()
            if not reports and not orders:
                return

    def passes(self, seconds: float) -> None:
        """A network that takes no time."""
        end = self.all[0].stage.world.now + seconds
        while self.all[0].stage.world.now < end - 1e-9:
            for shard in self.all:
                shard.stage.passes(0.001)
            self.settle()
