"""A Redis Cluster in the namespace, and apps that know nothing but its nodes.

What an app writes it reads, for as long as it is told to; what has failed it does again. So there is one
right answer to everything, whatever becomes of slots and nodes meanwhile.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot
from redis.exceptions import MovedError, RedisError

from tests.system.dubbo.peers import Program
from tests.system.process import ROOT, end, tool, wait_for
from tests.system.transparent.scene import add_places, place, run

PORT = 7000
NODES = [f"{place(number)}:{PORT}" for number in (1, 2, 3)]
OPTIONS = ("--save", "", "--appendonly", "yes", "--protected-mode", "no", "--cluster-enabled", "yes")
IOREDIS = "ioredis@5.11.1"


def asked(node: str, *words: Any) -> Any:
    """A connection, and a question: the answer, or the error."""
    host, _, port = node.partition(":")
    with Redis(host, int(port), decode_responses=True) as admin:
        try:
            return admin.execute_command(*words)
        except RedisError as error:
            return error


def tag_of(slot: int) -> str:
    return next(f"t{each}" for each in range(1 << 20) if key_slot(b"t%d" % each) == slot)


class Nodes:
    """Three primaries, and slots evenly among them. What they say to each other goes over other ports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Nodes:
        add_places(len(NODES))
        for node in NODES:
            self.start(node)
        for node in NODES:
            wait_for(lambda node=node: is_up(node), within=20, what=f"{node} answers")
        run("redis-cli", "--cluster", "create", *NODES, "--cluster-yes")
        wait_for(lambda: all(map(is_whole, NODES)), within=20, what="the cluster")
        self.ids = {node: asked(node, "CLUSTER MYID") for node in NODES}
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers.values():
            end(server)

    def start(self, node: str) -> None:
        host = node.partition(":")[0]
        folder = self.folder / host
        folder.mkdir(exist_ok=True)
        place_of = ("--bind", host, "--bind-source-addr", host, "--port", str(PORT), "--dir", str(folder))
        words = [tool("redis-server"), *place_of, *OPTIONS]
        self.servers[node] = subprocess.Popen(words, stdout=subprocess.DEVNULL)

    def kill(self, node: str) -> None:
        self.servers[node].kill()
        self.servers[node].wait()

    def told(self, error: str) -> int:
        """How often nodes have answered with it."""
        stats = [asked(node, "INFO", "errorstats") for node in NODES]
        return sum(each.get(f"errorstat_{error}", {"count": 0})["count"] for each in stats)

    @contextmanager
    def telling(self, error: str) -> Iterator[None]:
        """Goes on when an app has been told so."""
        before = self.told(error)
        yield
        wait_for(lambda: self.told(error) > before, within=20, what=f"somebody is told {error}", every=0.02)

    def move(self, slot: int, source: str, target: str) -> None:
        """Step by step, and clients see each: keys that are not there yet, half of them, all of them."""
        with self.telling("ASK"):
            asked(target, "CLUSTER SETSLOT", slot, "IMPORTING", self.ids[source])
            asked(source, "CLUSTER SETSLOT", slot, "MIGRATING", self.ids[target])
        migrate = ("MIGRATE", *target.split(":"), "", 0, 5000, "KEYS")
        with self.telling("TRYAGAIN"):
            a = f"{{{tag_of(slot)}}}:ioredis:a"  # and not b, which goes with it
            assert asked(source, *migrate, a) == "OK"
        while keys := asked(source, "CLUSTER GETKEYSINSLOT", slot, 10):
            asked(source, *migrate, *keys)
        assert isinstance(asked(target, "GET", a), MovedError), "without ASKING"
        with self.telling("MOVED"):
            for node in (target, source, *NODES):
                asked(node, "CLUSTER SETSLOT", slot, "NODE", self.ids[target])


def is_up(node: str) -> bool:
    return asked(node, "PING") is True


def is_whole(node: str) -> bool:
    nodes = asked(node, "CLUSTER NODES")
    info = asked(node, "CLUSTER INFO")
    return info["cluster_state"] == "ok" and sum(each["connected"] for each in nodes.values()) == len(NODES)


def client() -> RedisCluster:
    host, _, port = NODES[0].partition(":")
    return RedisCluster(startup_nodes=[ClusterNode(host, int(port))], socket_timeout=20)


class RedisPy(threading.Thread):
    """As node/ioredis-cluster.cjs."""

    def __init__(self, tags: Sequence[str]) -> None:
        super().__init__(daemon=True)
        self.tags = tags
        self.rounds = 0
        self.wrong: list[str] = []
        self.errors: Counter[str] = Counter()
        self.stopped = threading.Event()
        self.failed: BaseException | None = None
        self.app = client()
        self.start()

    def run(self) -> None:
        try:
            while not self.stopped.is_set():
                self.rounds += 1
                for tag in self.tags:
                    self.turn(f"{{{tag}}}:redis-py:", self.rounds)
        except BaseException as error:
            self.failed = error

    def turn(self, key: str, n: int) -> None:
        app = self.app
        fresh, a, b, c = f"{key}{n % 50}", f"{key}a", f"{key}b", f"{key}c"
        said = b"%d" % n
        self.step(True, lambda: app.set(fresh, n))
        self.step(said, lambda: app.get(fresh))
        self.step(True, lambda: app.mset({a: n, b: n}))
        self.step([said, said], lambda: app.mget(a, b))
        self.step([True, n + 1], lambda: app.pipeline().set(c, n).incr(c).execute())
        self.step([b"OK", n + 1], lambda: app.pipeline(transaction=True).set(c, n).incr(c).execute())

    def step(self, expected: Any, action: Callable[[], Any]) -> None:
        while True:
            try:
                got = action()
            except RedisError as error:
                self.errors[str(error)] += 1
                time.sleep(0.02)
                continue
            if got != expected:
                self.wrong.append(f"{got!r}, not {expected!r}")
            return

    def stop(self) -> dict[str, Any]:
        self.stopped.set()
        self.join(30)
        assert not self.is_alive()
        assert self.failed is None, self.failed
        self.app.close()
        return {"rounds": self.rounds, "wrong": self.wrong, "errors": self.errors}


class IoRedis(Program):
    def __init__(self, tags: Sequence[str]) -> None:
        nodes = [node.split(":") for node in NODES]
        script = ROOT / "tests" / "system" / "redis" / "node" / "ioredis-cluster.cjs"
        super().__init__([tool("node"), str(script)], (IOREDIS,), {"nodes": nodes, "tags": tags})

    def stop(self) -> dict[str, Any]:
        result: dict[str, Any] = self.ask("stop")
        self.close()
        return result
