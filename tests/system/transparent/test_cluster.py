"""Redis Cluster without a setting: clients that learn nodes from nodes, each of which is a destination."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis.cluster import ClusterNode, RedisCluster

from tests.sizes import size
from tests.system.process import end, needs, tool, wait_for
from tests.system.proxy import Proxy
from tests.system.transparent.scene import add_places, held, led, place, run

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="the kernel's rules are root's"),
    needs("nft"),
    needs("ip"),
    needs("redis-server"),
    needs("redis-cli"),
]
PORT = 7000
NODES = [f"{place(number)}:{PORT}" for number in (1, 2, 3)]
BOUNDS = {"max_connections": 5, "max_connections_each": 2}
OPTIONS = ("--save", "", "--appendonly", "no", "--protected-mode", "no", "--cluster-enabled", "yes")


@pytest.fixture(scope="module")
def cluster(namespace: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Three primaries, and slots evenly among them. What they say to each other goes over other ports."""
    add_places(len(NODES))
    servers = []
    try:
        for node in NODES:
            host = node.partition(":")[0]
            folder = tmp_path_factory.mktemp("node")
            place_of = ("--bind", host, "--bind-source-addr", host, "--port", str(PORT), "--dir", str(folder))
            words = [tool("redis-server"), *place_of, *OPTIONS]
            servers.append(subprocess.Popen(words, stdout=subprocess.DEVNULL))
        for node in NODES:
            wait_for(lambda node=node: answers(node), within=20, what=f"{node} answers")
        run("redis-cli", "--cluster", "create", *NODES, "--cluster-yes")
        wait_for(lambda: all(map(is_whole, NODES)), within=20, what="the cluster")
        yield
    finally:
        for server in servers:
            end(server)


def cli(node: str, *words: str) -> str:
    host, _, port = node.partition(":")
    return run("redis-cli", "-h", host, "-p", port, *words, check=False).stdout


def answers(node: str) -> bool:
    return cli(node, "PING") == "PONG\n"


def is_whole(node: str) -> bool:
    nodes = cli(node, "CLUSTER", "NODES")
    return "cluster_state:ok" in cli(node, "CLUSTER", "INFO") and nodes.count(" connected ") == len(NODES)


@pytest.fixture(scope="module")
def proxy(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("led")
    with led(folder, "redis", ["10.77.0.0/24:7000"], upstream=BOUNDS, queue={"timeout": "10s"}) as proxy:
        yield proxy


def client() -> RedisCluster:
    host, _, port = NODES[0].partition(":")
    return RedisCluster(startup_nodes=[ClusterNode(host, int(port))], socket_timeout=20)


def works(number: int) -> int:
    """A program with a client of its own: what it has set it reads. Returns how often."""
    app = client()
    names = [f"app{number}:key{each}" for each in range(size(40, 2000))]
    for name in names:
        app.set(name, name * 3)
    random.Random(number).shuffle(names)
    wrong = [name for name in names if app.get(name) != (name * 3).encode()]
    app.close()
    assert wrong == []
    return len(names)


def test_clients_follow_moved_through_muxproxy_and_the_bound_holds(proxy: Proxy) -> None:
    with ThreadPoolExecutor(6) as crowd:
        jobs = [crowd.submit(works, number) for number in range(6)]
        while not all(job.done() for job in jobs):
            now = held(proxy, *NODES)
            assert max(now.values()) <= BOUNDS["max_connections_each"], now
            assert sum(now.values()) <= BOUNDS["max_connections"], now
            time.sleep(0.01)
    done = sum(job.result() for job in jobs)
    backend = proxy.backend()
    assert set(backend["destinations"]) == set(NODES)
    assert backend["outcomes"]["replied"]["ok"] >= 2 * done
    assert not backend["outcomes"]["lost"]
    said = cli(NODES[0], "-c", "SET", "app0:key1", "x")  # whose slot it is, the next line goes to its node
    assert said == "OK\n"
    assert [cli(node, "-c", "GET", "app0:key1") for node in NODES] == ["x\n"] * 3


def test_a_slot_that_is_on_its_way_is_asked_for_at_its_new_node(proxy: Proxy) -> None:
    """ASK, and ASKING before the command: as resharding tells clients."""
    app = client()
    app.set("{moving}a", "1")
    slot = app.keyslot("{moving}a")
    source = app.nodes_manager.get_node_from_slot(slot)
    target = next(node for node in app.get_primaries() if node.name != source.name)
    ids = {node.name: cli(node.name, "CLUSTER", "MYID").strip() for node in (source, target)}
    cli(target.name, "CLUSTER", "SETSLOT", str(slot), "IMPORTING", ids[source.name])
    cli(source.name, "CLUSTER", "SETSLOT", str(slot), "MIGRATING", ids[target.name])
    try:
        for number in range(20):  # not there yet: the source says ASK
            name = f"{{moving}}{number}"
            assert app.set(name, name) is True
            assert app.get(name) == name.encode()
        assert app.get("{moving}a") == b"1"
        assert cli(target.name, "GET", "{moving}1").startswith("MOVED"), "without ASKING"
    finally:
        for name in ("{moving}a", *cli(source.name, "CLUSTER", "GETKEYSINSLOT", str(slot), "100").split()):
            cli(source.name, "MIGRATE", target.host, str(target.port), name, "0", "5000")
        for node in app.get_primaries():
            cli(node.name, "CLUSTER", "SETSLOT", str(slot), "NODE", ids[target.name])
    assert app.get("{moving}a") == b"1"
    assert app.get("{moving}7") == b"{moving}7"
    app.close()
