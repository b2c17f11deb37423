"""The honest ones: `python -m tests.flood.looking`, a program of its own.

The servers and clients of tests/fuzz/probes.py. Each further line of orders is answered with what the clients
have seen since the one before; it names the worker's process.

A reply that comes late on a machine with other work says nothing. What counts is how much the worker worked
from a question to its reply while we slept: neither what it had to wait for a CPU is in that, nor what it did
while we had our reply and could not run.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from tests.fuzz.probes import HOST, REPLY, Honest, Probe
from tests.system.process import go_first, say, take_orders


class Meter:
    """Seconds of CPU that the worker has had, less those that this process had or waited for (proc(5),
    schedstat; the kernel counts at each tick of its clock, so it is right to a few milliseconds)."""

    def __init__(self, worker: int) -> None:
        self._worker, self._mine = (
            os.open(f"/proc/{pid}/schedstat", os.O_RDONLY) for pid in (worker, "self")
        )

    def __call__(self) -> float:
        try:
            ran = int(os.pread(self._worker, 100, 0).split()[0])
        except ProcessLookupError:
            return float("inf")
        mine, waited, _ = os.pread(self._mine, 100, 0).split()
        return (ran - int(mine) - int(waited)) / 1e9

    def close(self) -> None:
        os.close(self._worker)
        os.close(self._mine)


async def run() -> None:
    loop = asyncio.get_running_loop()
    ports = {}
    for protocol, reply in REPLY.items():
        server = await loop.create_server(lambda reply=reply: Honest(reply), HOST, 0)  # type: ignore[misc]
        ports[protocol] = server.sockets[0].getsockname()[1]
    say(ports)
    orders = await loop.run_in_executor(None, take_orders)
    probes = [Probe(protocol, port) for protocol, port in orders.items()]
    stopped = asyncio.Event()
    meters: list[Meter] = []

    def on_line() -> None:
        line = sys.stdin.buffer.readline()
        if not line:
            loop.remove_reader(sys.stdin.fileno())
            stopped.set()
            return
        say({probe.protocol: probe.result() for probe in probes})
        meters.append(Meter(json.loads(line)["worker"]))
        for probe in probes:
            probe.begin_anew(meters[-1])
        for meter in meters[:-1]:
            meter.close()
        del meters[:-1]

    loop.add_reader(sys.stdin.fileno(), on_line)
    await asyncio.gather(*(probe.run(stopped) for probe in probes))
    say({})


def main() -> None:
    take_orders()
    go_first()  # what it measures is muxproxy's time, not the wait for a core that the flooder keeps busy
    asyncio.run(run())


if __name__ == "__main__":
    main()
