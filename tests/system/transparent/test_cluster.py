"""Redis Cluster without a setting: clients that learn nodes from nodes, each of which is a destination."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.system.process import needs, wait_for
from tests.system.proxy import Proxy
from tests.system.transparent.cluster import NODES, IoRedis, Nodes, RedisPy, is_whole, tag_of
from tests.system.transparent.scene import bounded, led, run

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="the kernel's rules are root's"),
    needs("nft"),
    needs("ip"),
    needs("redis-server"),
    needs("redis-cli"),
]
SLOTS = ("--cluster-slots", "3", "--cluster-yes")
BOUNDS = {"max_connections": 5, "max_connections_each": 2}


@pytest.fixture(scope="module")
def cluster(namespace: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with Nodes(tmp_path_factory.mktemp("nodes")) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def proxy(cluster: Nodes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("led")
    with led(folder, "redis", ["10.77.0.0/24:7000"], upstream=BOUNDS, queue={"timeout": "10s"}) as proxy:
        yield proxy


def cli(node: str, *words: str) -> str:
    host, _, port = node.partition(":")
    return run("redis-cli", "-h", host, "-p", port, *words).stdout


@contextmanager
def crowd(proxy: Proxy, tags: list[str]) -> Iterator[Counter[str]]:
    """Apps that work meanwhile. Yields what errors they will have got, when they have ended."""
    errors: Counter[str] = Counter()
    with bounded(proxy, NODES, BOUNDS), IoRedis(tags) as node:
        apps = [RedisPy(tags[number::2]) for number in range(2)]
        wait_for(lambda: all(app.rounds > 2 for app in apps), within=20, what="they work")
        yield errors
        now = {app: app.rounds for app in apps}
        wait_for(lambda: all(app.rounds > now[app] + 1 for app in apps), within=20, what="they go on")
        results = [node.stop(), *(app.stop() for app in apps)]
    for result in results:
        assert result["wrong"] == []
        errors.update(result["errors"])
    print(f"{[result['rounds'] for result in results]} rounds, {errors}")


def test_slots_are_moved_under_load_and_every_reply_is_right(proxy: Proxy, cluster: Nodes) -> None:
    """By hand, and by redis-cli; ioredis and redis-py are told ASK, TRYAGAIN and MOVED."""
    said = cli(NODES[0], "-c", "SET", "app0:key1", "x")  # whose slot it is, the next line goes to its node
    assert said == "OK\n"
    assert [cli(node, "-c", "GET", "app0:key1") for node in NODES] == ["x\n"] * 3
    source, target, other = NODES
    tags = [tag_of(slot) for slot in (0, 1, 2, 6000, 12000)]
    with crowd(proxy, tags) as errors:
        for slot in (0, 1):
            cluster.move(slot, source, target)
        words = ["--cluster-from", cluster.ids[source], "--cluster-to", cluster.ids[other]]
        with cluster.telling("MOVED"):
            moved = run("redis-cli", "--cluster", "reshard", source, *words, *SLOTS)
        assert "Moving slot 2 from" in moved.stdout
    # What a pipeline was told in the middle is its app's to see, as without muxproxy.
    assert [each for each in errors if not re.search("ASK |MOVED|TRYAGAIN|EXECABORT", each)] == []
    backend = proxy.backend()
    assert set(backend["destinations"]) == set(NODES)
    assert not backend["outcomes"]["lost"]


def test_a_node_is_killed_and_comes_back_under_load(proxy: Proxy, cluster: Nodes) -> None:
    """What was in flight is lost, and said to be; what waits is done when the node is there again."""
    node = NODES[1]
    with crowd(proxy, [tag_of(slot) for slot in (4000, 6001, 12001)]) as errors:
        cluster.kill(node)
        wait_for(lambda: proxy.backend()["waiting"] > 0, within=20, what="somebody waits for it")
        cluster.start(node)
        wait_for(lambda: all(map(is_whole, NODES)), within=20, what="the cluster is whole again", every=0.1)
    may = f"muxproxy: cache: {node}: |The cluster is down|CLUSTERDOWN|EXECABORT|Too many Cluster redirections"
    assert [each for each in errors if not re.search(may, each)] == []
    assert not proxy.backend()["outcomes"]["expired"]
