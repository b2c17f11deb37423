"""Dubbo consumers that know the providers themselves, as from a registry: each provider is a destination."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.system.dubbo.peers import Consumer, RealProvider
from tests.system.process import needs, wait_for
from tests.system.transparent.scene import add_places, bounded, led, place

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="the kernel's rules are root's"),
    needs("nft"),
    needs("ip"),
    needs("node"),
]
PORTS = (20881, 20882)
PROVIDERS = [f"{place(number)}:{port}" for number, port in enumerate(PORTS, 1)]
BOUNDS = {"max_connections": 2, "max_connections_each": 1}
AT_ONCE = 10


@pytest.fixture(scope="module", autouse=True)
def places(namespace: None) -> Iterator[None]:
    add_places(len(PORTS))
    return


class Calls(threading.Thread):
    """A consumer that calls until it is told to stop. A call has its own answer, or an error."""

    def __init__(self, consumer: Consumer, number: int) -> None:
        super().__init__(daemon=True)
        self.consumer = consumer
        self.number = number
        self.rounds = 0
        self.ends: Counter[str] = Counter()
        self.pids: set[str] = set()
        self.stopped = threading.Event()
        self.start()

    def run(self) -> None:
        while not self.stopped.is_set():
            names = [f"{self.number} {self.rounds} {n}" for n in range(AT_ONCE)]
            *said, who = self.consumer.calls(*(("echo", name) for name in names), ("who",))
            for name, answer in zip(names, said, strict=True):
                self.ends["right" if answer == name else str(answer)] += 1
            self.pids.add(str(who))
            self.rounds += 1

    def stop(self) -> None:
        self.stopped.set()
        self.join(60)
        assert not self.is_alive()


def test_a_provider_is_restarted_under_load_and_all_calls_have_their_own_answers(tmp_path: Path) -> None:
    with ExitStack() as stack:
        providers = [stack.enter_context(RealProvider("sofa", port)) for port in PORTS]
        queue = {"timeout": "50s"}
        proxy = stack.enter_context(
            led(tmp_path, "dubbo", ["10.77.0.0/24:20880-20889"], upstream=BOUNDS, queue=queue)
        )
        known = [("sofa", PROVIDERS), *(("dubbo2", [each]) for each in PROVIDERS)]
        consumers = [stack.enter_context(Consumer(kind, servers=servers)) for kind, servers in known]
        with bounded(proxy, PROVIDERS, BOUNDS):
            calls = [Calls(consumer, number) for number, consumer in enumerate(consumers)]

            def go_on() -> None:
                now = {each: each.rounds for each in calls}
                wait_for(lambda: all(each.rounds > now[each] + 2 for each in calls), within=60, what="calls")

            go_on()
            providers[0].close()
            wait_for(lambda: proxy.backend()["waiting"] > 0, within=20, what="calls wait for it", every=0.02)
            again = stack.enter_context(RealProvider("sofa", PORTS[0]))
            go_on()
            for each in calls:
                each.stop()
        backend = proxy.backend()
        assert set(backend["destinations"]) == set(PROVIDERS)
        assert not backend["outcomes"]["expired"], "who waited has been served"
        ends = sum((each.ends for each in calls), Counter())
        lost = f"muxproxy: orders: {PROVIDERS[0]}: "
        assert [end for end in ends if end != "right" and lost not in end] == []
        assert ends["right"] > ends.total() - backend["outcomes"]["lost"].get("server_closed", 0) - 1
        pids = set().union(*(each.pids for each in calls))
        assert {providers[0].pid, providers[1].pid, again.pid} <= pids
        print(f"{ends}")
