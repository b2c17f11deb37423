"""What a proxy adds to each request: pinger.py at 1, 4 and 16 connections, same origins, same proxies.

The load is a closed loop, so with 16 connections p50 is already the rate turned round. `adds` is the proxy's
figure less that of no proxy at all, round by round.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.bench import measure, report, servers
from tests.bench.builds import Build
from tests.bench.http import HttpSuite
from tests.bench.measure import Figures
from tests.bench.redis import RedisSuite
from tests.bench.servers import Command, Server
from tests.bench.suite import Suite

CONNECTIONS = (1, 4, 16)


def loads(protocol: str) -> list[measure.Load]:
    return [
        measure.Load(f"{protocol}-{count}", f"{protocol}, {count} connection{'s' * (count > 1)}", count)
        for count in CONNECTIONS
    ]


def pinger_command(protocol: str, load: measure.Load, address: str, seconds: float) -> Command:
    words = [sys.executable, "-m", "tests.bench.pinger", protocol, address]
    return [*words, str(load.connections), str(seconds)]


COLUMNS = (
    report.spread("p50 µs", lambda one: one.p50_us, ".1f"),
    report.difference("adds p50 µs", servers.DIRECT, lambda one: one.p50_us),
    report.spread("p99 µs", lambda one: one.p99_us, ".1f"),
    report.difference("adds p99 µs", servers.DIRECT, lambda one: one.p99_us),
    report.rate("requests/s"),
    report.cpu("CPU µs/request"),
    report.ERRORS,
    report.BUSY,
)


def ping(
    suite: Suite, protocol: str, load: measure.Load, name: str, server: Server | None, seconds: float
) -> Figures:
    command = pinger_command(protocol, load, suite.address(name, server), seconds)
    cpu = measure.Cpu(server.pid if server else None)
    return measure.run_reporting(command, cpu, measure.Cpu(None), f"127.0.0.1:{suite.origin_ports[name]}")


class HttpLatency(HttpSuite):
    name = "latency of http"
    loads = loads("http")
    columns = COLUMNS
    reference = ""
    has_idle = False

    def __init__(self, builds: Sequence[Build]) -> None:
        super().__init__(builds)
        del self.contestants["nginx"]  # it opens and closes connections as it likes: the table is long enough

    def run(self, load: measure.Load, name: str, server: Server | None, seconds: float) -> Figures:
        return ping(self, "http", load, name, server, seconds)


class RedisLatency(RedisSuite):
    name = "latency of redis"
    loads = loads("redis")
    columns = COLUMNS
    reference = ""

    def run(self, load: measure.Load, name: str, server: Server | None, seconds: float) -> Figures:
        return ping(self, "redis", load, name, server, seconds)
