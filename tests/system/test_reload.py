"""Reloads under load: nobody notices, and the kernel never counts more than the larger of two bounds.

HTTP, Redis and Dubbo at once; bounds, queues and limits go up and down, servers and listeners come and go,
and so do whole backends. At its full size (tests/sizes.py) a thousand reloads.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from contextlib import ExitStack
from typing import Any

from tests.sizes import size
from tests.system.dubbo.own import Shuffler
from tests.system.origins import Program
from tests.system.process import Child, wait_for
from tests.system.proxy import Proxy, memory, toml
from tests.system.redis.server import RedisServer
from tests.system.sockdiag import Sampler

RELOADS = size(12, 1000)
CLIENTS = size(6, 8)  # of each protocol
BOUND = 8  # the largest there is; the smallest is 1
PROTOCOLS = {"web": "http", "cache": "redis", "orders": "dubbo"}


class Files(Proxy):
    """Several backends, whose files change."""

    def write(self, name: str, protocol: str, shards: int = 1, **tables: dict[str, Any]) -> None:
        text = f'protocol = "{protocol}"\nshards = {shards}\n'
        text += "".join(f"[{table}]\n{toml(keys)}" for table, keys in tables.items())
        (self.folder / "backends" / f"{name}.toml").write_text(text)

    def remove(self, name: str) -> None:
        (self.folder / "backends" / f"{name}.toml").unlink()

    def reload(self) -> None:
        before = self.log().count("reloaded")
        self.process.send_signal(signal.SIGHUP)
        wait_for(lambda: self.log().count("reloaded") > before, within=20, what="a reload", every=0.01)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


class Node:
    """What runs: three backends of which everything changes, and one that comes and goes."""

    def __init__(self, proxy: Files, web: list[str], cache: str, orders: list[str]) -> None:
        self.proxy = proxy
        self.servers = {"web": web, "cache": [cache], "orders": orders}
        self.ports = {name: free_port() for name in (*self.servers, "side", "second")}
        self.bounds = dict.fromkeys(self.servers, BOUND)
        self.chance = random.Random(11)
        self.number = 0

    def change(self) -> None:
        """All files anew."""
        chance = self.chance
        for name, protocol in PROTOCOLS.items():
            shards = chance.choice([1, 2])
            self.bounds[name] = chance.randint(shards, BOUND)
            servers = self.servers[name]
            listen = [self.place(name)]
            if name == "web" and chance.random() < 0.5:
                listen.append(self.place("second"))
            self.proxy.write(
                name,
                protocol,
                shards,
                clients={"listen": listen, "idle_timeout": chance.choice(["1m", "5m"])},
                queue={"max_waiting": chance.randint(200, 400), "timeout": f"{chance.randint(8, 12)}s"},
                upstream={
                    "servers": chance.sample(servers, k=chance.randint(1, len(servers))),
                    "max_connections": self.bounds[name],
                    **({} if protocol == "http" else {"max_in_flight": chance.choice([8, 32, 128])}),
                },
            )
        self.number += 1
        if self.number % 3 == 1:
            upstream = {"servers": self.servers["web"][:1]}
            self.proxy.write("side", "tcp", clients={"listen": [self.place("side")]}, upstream=upstream)
        elif self.number % 3 == 2:
            self.proxy.remove("side")

    def place(self, name: str) -> str:
        return f"127.0.0.1:{self.ports[name]}"


def test_nobody_notices_reloads_and_the_bound_holds_through_all_of_them() -> None:
    with ExitStack() as stack:
        web = [stack.enter_context(Program("slots", seconds=0.002)).address for _ in range(2)]
        cache = stack.enter_context(RedisServer()).address
        orders = [stack.enter_context(Shuffler()).address for _ in range(2)]
        proxy = stack.enter_context(Files(web[0]))
        node = Node(proxy, web, cache, orders)
        node.change()
        proxy.reload()
        samplers = {name: stack.enter_context(Sampler(*servers)) for name, servers in node.servers.items()}
        asks = {protocol: [node.place(name)] for name, protocol in PROTOCOLS.items()}
        traffic = stack.enter_context(Child("tests.system.traffic", asks | {"clients": CLIENTS}))
        used = []
        for number in range(RELOADS):
            before = dict(node.bounds)
            for name, sampler in samplers.items():
                keeps_to(sampler, before[name])
            node.change()
            proxy.reload()
            time.sleep(0.05)  # requests go on for a while with these numbers, and the kernel is asked
            for name, sampler in samplers.items():
                tally = sampler.afresh()
                assert tally.held <= max(node.bounds[name], before[name]), ("P1", number, name, tally.worst)
            if number in (RELOADS // 4, RELOADS - 1):
                pids = [*proxy.workers(), proxy.process.pid]
                used.append([sum(map(memory, pids)), *map(descriptors, pids)])
        end = traffic.results()
        print(end["right"], f"slowest {end['slowest']:.3f} s; memory and descriptors {used}")
        if end["wrong"]:
            print(*(line for line in proxy.log().splitlines() if "reloaded" not in line), sep="\n")
        assert end["wrong"] == []
        assert min(end["right"].get(protocol, 0) for protocol in asks) > RELOADS
        first, last = used
        assert last[0] < 1.2 * first[0], "memory grows"
        for before, after in zip(first[1:], last[1:], strict=True):
            assert abs(after - before) <= 3 * CLIENTS + 3 * BOUND + 6, "descriptors leak"


def keeps_to(sampler: Sampler, bound: int) -> None:
    """A lowered bound is reached as exchanges end; what is counted from now on is compared with this one."""

    def is_reached() -> bool:
        tally = sampler.now()
        if tally.held > bound:
            sampler.afresh()
        return tally.samples > 0 and tally.held <= bound

    wait_for(is_reached, within=10, what=f"no more than {bound} connections", every=0.005)


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
