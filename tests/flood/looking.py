"""The honest ones: `python -m tests.flood.looking`, a program of its own.

The servers and clients of tests/fuzz/probes.py. Each further line of orders is answered with what the clients
have seen since the one before.
"""

from __future__ import annotations

import asyncio
import sys

from tests.fuzz.probes import HOST, REPLY, Honest, Probe
from tests.system.process import go_first, say, take_orders


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

    def on_line() -> None:
        if not sys.stdin.buffer.readline():
            loop.remove_reader(sys.stdin.fileno())
            stopped.set()
            return
        say({probe.protocol: probe.result() for probe in probes})
        for probe in probes:
            probe.times.clear()
            probe.wrong.clear()

    loop.add_reader(sys.stdin.fileno(), on_line)
    await asyncio.gather(*(probe.run(stopped) for probe in probes))
    say({})


def main() -> None:
    take_orders()
    go_first()  # what it measures is muxproxy's time, not the wait for a core that the flooder keeps busy
    asyncio.run(run())


if __name__ == "__main__":
    main()
