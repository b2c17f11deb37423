"""Two shards of one backend: the bound is exact however clients are spread, no place idle beside a queue.

The supervisor's ledger between two real workers that listen on sockets of their own, so that the test says
which shard gets which clients; and the real program, whose kernel spreads them.
"""

from __future__ import annotations

import select
import socket
import time
from contextlib import ExitStack

import msgspec

from muxproxy.config.limits import CLIENTS, numbers
from muxproxy.messages import Ask, Configure, Holds, Lend, Ready, Stats
from muxproxy.supervisor.ledger import Ledger
from tests.sizes import size
from tests.system.load import RIGHT, Plan, run
from tests.system.origins import Program
from tests.system.process import wait_for
from tests.system.proxy import Proxy
from tests.system.sockdiag import Sampler
from tests.worker.spawned import Place, Spawned, spawned

BOUND = 4


class Pair:
    """Two workers, the ledger between them, and an origin whose connections the test answers by hand."""

    def __init__(self, stack: ExitStack) -> None:
        self.fronts = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        self.place = Place(max_connections=BOUND)
        stack.callback(self.place.close)
        self.workers: list[Spawned] = [stack.enter_context(spawned(front.fileno())) for front in self.fronts]
        self.ledger = Ledger()
        self.ledger.set_bounds("web", numbers(self.place.backend))
        self.clients: list[socket.socket] = []
        self.servers: list[socket.socket] = []
        self.stack = stack
        self.stats: dict[int, Stats] = {}
        for index, (worker, front) in enumerate(zip(self.workers, self.fronts, strict=True)):
            start = Configure([self.place.backend], {"web": [("127.0.0.1:0", front.fileno())]})
            worker.says(msgspec.structs.replace(start, holders={"web": self.ledger.open("web", index)}))
        for worker in self.workers:
            assert worker.hears() == Ready()
        self.relay(0.1)

    def relay(self, seconds: float, *, until: int = -1) -> float:
        """What the supervisor does; returns after how long the origin had `until` connections."""
        began = time.monotonic()
        channels = {worker.control: index for index, worker in enumerate(self.workers)}
        while (left := began + seconds - time.monotonic()) > 0:
            for worker, holder, number, order in self.ledger.news():
                self.workers[worker].says(Lend(holder, order, number))
            readable, _, _ = select.select([*channels, self.place.origin], [], [], left)
            for ready in readable:
                if ready is self.place.origin:
                    self.servers.append(self.stack.enter_context(self.place.origin.accept()[0]))
                else:
                    self.hear(channels[ready])
            if len(self.servers) == until:
                return time.monotonic() - began
        return time.monotonic() - began

    def hear(self, index: int) -> None:
        for word in self.workers[index].hears_all():
            if isinstance(word, Holds):
                self.ledger.on_report(index, word.holder, word.report, word.number)
            elif isinstance(word, Stats):
                self.stats[index] = word

    def asks(self, shard: int, count: int) -> None:
        for _ in range(count):
            client = socket.create_connection(self.fronts[shard].getsockname(), 10)
            self.stack.enter_context(client)
            client.sendall(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
            self.clients.append(client)

    def refused(self) -> list[socket.socket]:
        """Or answered, which the origin does not do here by itself."""
        return select.select(self.clients, [], [], 0)[0]

    def holds(self, shard: int) -> tuple[int, int]:
        """Upstream sockets, and those that wait."""
        self.stats.pop(shard, None)
        self.workers[shard].says(Ask(1))
        while shard not in self.stats:
            self.relay(0.01)
        backend = self.stats[shard].snapshot["backends"]["web"]
        return backend["upstream_sockets"], backend["waiting"]

    def come_to_hold(self, shard: int, sockets: int, waiting: int) -> bool:
        return wait_for(lambda: self.holds(shard) == (sockets, waiting), within=10, what="who holds what")


def test_all_places_go_to_the_shard_that_has_all_clients_and_come_back_one_by_one() -> None:
    with ExitStack() as stack:
        pair = Pair(stack)
        pair.asks(0, BOUND + 2)
        took = pair.relay(20, until=BOUND)
        assert pair.come_to_hold(0, BOUND, 2)
        print(f"all {BOUND} places used by one shard after {took * 1000:.1f} ms")
        pair.asks(1, 1)  # the other has none: it gets the next that comes free, and not before
        pair.relay(0.2)
        assert pair.come_to_hold(1, 0, 1)
        moment = time.monotonic()
        pair.place.answers(pair.servers[0])
        pair.relay(20, until=BOUND + 1)
        print(f"from free there to used here {(time.monotonic() - moment) * 1000:.1f} ms")
        assert pair.holds(0)[0] + pair.holds(1)[0] <= BOUND  # P1
        assert pair.come_to_hold(1, 1, 0)


def test_all_clients_that_may_be_there_may_be_on_one_shard_and_no_more() -> None:
    """Where this process stands still for 20 ms some are refused, and come again: nobody lends meanwhile."""
    with ExitStack() as stack:
        pair = Pair(stack)
        bound = numbers(pair.place.backend)[CLIENTS]

        def fills() -> bool:
            pair.asks(0, bound - len(pair.clients))
            pair.relay(0.1)
            for client in pair.refused():
                pair.clients.remove(client)
                client.close()
            return len(pair.clients) == bound

        wait_for(fills, within=20, what="all clients on one shard, which began with a half")
        pair.asks(0, 1)
        one_more = pair.clients[-1]
        wait_for(lambda: pair.relay(0.02) and pair.refused() == [one_more], within=20, what="a refusal")
        assert one_more.recv(1000).startswith(b"HTTP/1.1 503 ")


def test_two_shards_of_the_real_program_share_its_load_and_never_exceed_the_bound() -> None:
    with (
        Program("slots", seconds=0.002) as origin,
        Proxy(
            origin.address,
            node={"workers": 2},
            top={"shards": 2},
            upstream={"max_connections": BOUND},
            queue={"max_waiting": 400, "timeout": "10s"},
        ) as proxy,
        Sampler(origin.address) as sampler,
    ):
        plan = Plan(proxy.host, proxy.port, parallel=40, requests=size(3_000, 60_000), keep_alive=True)
        results = run(plan, within=120)
        assert set(results.outcomes) == {RIGHT}, results.examples
        status = proxy.status()
        assert status["backends"]["web"]["outcomes"]["replied"]["ok"] == plan.requests
        assert len(status["workers"]) == 2
        assert 1 <= sampler.result().held <= BOUND  # P1
        assert wait_for(
            lambda: proxy.backend()["upstream_allowed"] == BOUND, within=10, what="all places lent"
        )
