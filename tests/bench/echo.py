"""Dubbo and raw TCP: caller.py -> muxproxy, HAProxy in TCP mode or nobody -> provider.py, which echoes.

The same loads for both; a Dubbo connection may have several calls in flight, plain bytes have no id by which
replies could be told apart. Both programs are Python and share a core, so calls/s are theirs as much as a
proxy's: CPU per call is what to compare.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench import measure, report, servers
from tests.bench.builds import Build
from tests.bench.frames import Dubbo, Plain
from tests.bench.measure import Figures
from tests.bench.servers import Command, Contestant, Server
from tests.bench.suite import Suite

UPSTREAMS = 8
IN_FLIGHT = 1024  # per connection: no bound for any load here
SMALL, LARGE = 200, 64 * 1024  # bytes of a frame, there and back


@dataclass(frozen=True)
class Load(measure.Load):
    size: int = SMALL
    in_flight: int = 1  # calls of each connection


LOADS = [
    Load("64-small", "64 connections, 200 B", 64),
    Load("64-large", "64 connections, 64 KiB", 64, size=LARGE),
    Load("1000-small", "1,000 connections, 200 B", 1000),
]
LOADS_TAGGED = [
    *LOADS,
    Load("64x8-small", "64 connections, 8 in flight each, 200 B", 64, in_flight=8),
]
# One upstream connection for each of the clients that `tcp` serves at a time.
MUXPROXY: dict[str, dict[str, Any]] = {
    "dubbo": {"max_connections": UPSTREAMS, "max_in_flight": IN_FLIGHT},
    "tcp": {"max_connections": 1000},
}
WIRES = {"dubbo": Dubbo, "tcp": Plain}


def caller_command(protocol: str, load: Load, address: str, seconds: float) -> Command:
    amounts = [load.connections, load.in_flight, load.size, seconds]
    return [sys.executable, "-m", "tests.bench.caller", protocol, address, *map(str, amounts)]


class EchoSuite(Suite):
    unit = "call"
    reference = "haproxy"
    programs = ("haproxy",)
    versions = (("HAProxy", "haproxy -v"),)
    columns = (
        report.rate("calls/s"),
        report.ratio("rate vs direct", servers.DIRECT, lambda one: one.rate),
        report.cpu("CPU µs/call"),
        report.ratio("CPU vs HAProxy", "haproxy", lambda one: one.cpu_us, proxies_only=True),
        report.spread("provider CPU µs/call", lambda one: one.origin_cpu_us, ".1f"),
        *report.LATENCY,
        report.ERRORS,
        report.SOCKETS,
        report.BUSY,
    )

    def __init__(self, protocol: str, builds: Sequence[Build]) -> None:
        self.name = self.protocol = protocol
        self.loads = LOADS_TAGGED if WIRES[protocol].tagged else LOADS
        ours = servers.ours(builds, protocol, **MUXPROXY[protocol])
        self.contestants = ours | {"haproxy": Contestant(servers.haproxy_tcp)}

    def start_origin(self) -> None:
        ports = list(self.origin_ports.values())
        command = [sys.executable, "-m", "tests.bench.provider", self.protocol, *map(str, ports)]
        room = self.stage.room("provider")
        address = f"127.0.0.1:{ports[0]}"
        self.provider = self.stage.launch(
            "provider", room, address, command, self.stage.load_core, self.probe
        )

    def probe(self, address: str) -> str:
        wire = WIRES[self.protocol](SMALL)
        answer = servers.ask(address, wire.request(1), SMALL)
        good = len(answer) == SMALL and wire.identify(answer, 0) == (1, True)
        return "" if good else repr(answer[:200])

    def run(self, load: measure.Load, name: str, server: Server | None, seconds: float) -> Figures:
        assert isinstance(load, Load)
        command = caller_command(self.protocol, load, self.address(name, server), seconds)
        cpu = measure.Cpu(server.pid if server else None)
        return measure.run_reporting(
            command, cpu, measure.Cpu(self.provider.pid), f"127.0.0.1:{self.origin_ports[name]}"
        )
