"""`python -m tests.bench.caller dubbo|tcp ADDRESS CONNECTIONS IN_FLIGHT SIZE SECONDS`: the echo suites' load.

Every connection counts its calls from 0, as consumers do, so that ids of different connections collide. For
that long each keeps so many calls in flight; then what is owed is waited for, and the figures are written as
one line of JSON. A call without its reply, or with another's, is an error.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import uvloop

from tests.bench.frames import Collector, Dubbo, Plain

PATIENCE = 20.0  # seconds for what is owed at the end
WIRES = {"dubbo": Dubbo, "tcp": Plain}


class Score:
    """What all connections have done."""

    def __init__(self) -> None:
        self.running = True
        self.latencies: list[float] = []
        self.errors = 0


class Consumer(asyncio.Protocol):
    def __init__(self, wire: Dubbo | Plain, score: Score) -> None:
        self.wire = wire
        self.score = score
        self.collector = Collector(wire)
        self.called: dict[int, float] = {}  # what is in flight: its number -> when
        self.next_number = 0
        self.idle = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def start(self, in_flight: int) -> None:
        self._call(in_flight, time.perf_counter())

    def _call(self, count: int, now: float) -> None:
        first = self.next_number
        self.next_number += count
        numbers = range(first, self.next_number)
        self.called.update(dict.fromkeys(numbers, now))
        self.transport.write(b"".join([self.wire.request(number) for number in numbers]))

    def data_received(self, data: bytes) -> None:
        data, spans = self.collector.take(data)
        if not spans:
            return
        now = time.perf_counter()
        for at, _ in spans:
            number, good = self.wire.identify(data, at)
            called = self.called.pop(number, None)
            if called is None or not good:
                self.score.errors += 1
            else:
                self.score.latencies.append(now - called)
        if self.score.running:
            self._call(len(spans), now)
        elif not self.called:
            self.idle.set()

    def connection_lost(self, _error: Exception | None) -> None:
        """Nothing more will come: what is in flight is left there, and counted as errors at the end."""
        self.idle.set()


async def connect(address: str, consumer: Consumer) -> None:
    loop = asyncio.get_running_loop()
    if address.startswith("unix:"):
        await loop.create_unix_connection(lambda: consumer, address.removeprefix("unix:"))
    else:
        host, _, port = address.rpartition(":")
        await loop.create_connection(lambda: consumer, host, int(port))


async def run(
    wire: Dubbo | Plain, address: str, connections: int, in_flight: int, seconds: float
) -> dict[str, float]:
    score = Score()
    consumers = [Consumer(wire, score) for _ in range(connections)]
    for one in consumers:
        await connect(address, one)
    began = time.perf_counter()
    for one in consumers:
        one.start(in_flight)
    await asyncio.sleep(seconds)
    score.running = False
    took = time.perf_counter() - began
    try:
        async with asyncio.timeout(PATIENCE):
            for one in consumers:
                await one.idle.wait()
    except TimeoutError:
        pass  # what did not come is counted below
    score.errors += sum(len(one.called) for one in consumers)
    for one in consumers:
        one.transport.close()
    return figures(score, took)


def figures(score: Score, seconds: float) -> dict[str, float]:
    """Calls that were answered after the end count too: they cost what the others did, and are a few."""
    ordered = sorted(score.latencies) or [0.0]
    return {
        "done": len(score.latencies),
        "microseconds": seconds * 1e6,
        "p50": ordered[len(ordered) // 2] * 1e6,
        "p99": ordered[len(ordered) * 99 // 100] * 1e6,
        "errors": score.errors,
    }


def main(protocol: str, address: str, connections: str, in_flight: str, size: str, seconds: str) -> None:
    wire = WIRES[protocol](int(size))
    outcome = uvloop.run(run(wire, address, int(connections), int(in_flight), float(seconds)))
    print(json.dumps(outcome))


if __name__ == "__main__":
    main(*sys.argv[1:])
