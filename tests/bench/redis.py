"""Redis: two redis-benchmarks (GET, SET) -> muxproxy, twemproxy, HAProxy or nobody -> redis-server.

The commands are counted by the server itself, and CPU is read beside that count in the middle of the run: all
clients are connected and none has finished. Every contestant has a redis-server of its own, filled alike,
so that neither sockets nor CPU of one are taken for another's.
"""

from __future__ import annotations

import csv
import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tests.bench import measure, report, servers
from tests.bench.builds import Build
from tests.bench.measure import Figures, LoadError
from tests.bench.servers import Command, Configure, Contestant, Server
from tests.bench.suite import Suite

UPSTREAMS = 4  # twemproxy's server_connections and muxproxy's max_connections
IN_FLIGHT = 4096  # per connection: twemproxy knows no bound, and this is none for any load here
KEYS = 100_000
VALUE = "v" * 52 + "__rand_int__"  # redis-benchmark puts 12 digits there: 64 bytes, distinct
SAMPLE_EVERY = 0.1  # seconds between looks at counters and sockets
GUESS = {1: 50_000, 16: 250_000}  # commands/s by pipeline depth, for the run that warms up
MIN_EACH = 10  # commands of a client at least


@dataclass(frozen=True)
class Load(measure.Load):
    pipeline: int = 1


LOADS = [
    Load("64", "64 clients", 64),
    Load("500", "500 clients", 500),
    Load("2000", "2,000 clients", 2000),
    Load("64-P16", "64 clients, -P 16", 64, pipeline=16),
]
KINDS = {
    "get": ["GET", "key:__rand_int__"],
    "set": ["SET", "key:__rand_int__", VALUE],
}


class Sample(NamedTuple):
    """The counters at one moment."""

    at: float
    gets: int
    sets: int
    cpu: float
    origin_cpu: float

    @property
    def done(self) -> int:
        return self.gets + self.sets


# ---- redis-benchmark ---------------------------------------------------------------------------------------


def benchmark_command(load: Load, kind: str, address: str, each: int) -> Command:
    """Half of the load's clients. `each`: commands of this process."""
    where = ["-p", address.rpartition(":")[2]]
    if address.startswith("unix:"):
        where = ["-s", address.removeprefix("unix:")]
    size = ["-c", str(load.connections // 2), "-P", str(load.pipeline), "-n", str(each), "-r", str(KEYS)]
    return ["redis-benchmark", *where, *size, "--csv", *KINDS[kind]]


def commands_each(load: Load, wanted: float) -> int:
    """Commands of each of the two processes. It issues whole pipelines: what is asked for is a multiple of
    one, else the server would run more than that."""
    wanted = max(wanted, load.connections * load.pipeline * MIN_EACH)
    return int(wanted / 2 / load.pipeline) * load.pipeline


class Told(NamedTuple):
    """What one redis-benchmark says."""

    rate: float
    p50_us: float
    p99_us: float


def parse_benchmark(text: str) -> Told:
    """Its CSV: a head, a line. It warns in front of that when a proxy does not let it ask for CONFIG."""
    lines = text.splitlines()
    heads = [number for number, line in enumerate(lines) if line.startswith('"test","rps"')]
    if not heads or len(lines) < heads[0] + 2:
        raise LoadError(f"no figures in what redis-benchmark says: {text.strip()[-300:]!r}")
    (row,) = csv.DictReader(lines[heads[0] : heads[0] + 2])
    return Told(float(row["rps"]), float(row["p50_latency_ms"]) * 1e3, float(row["p99_latency_ms"]) * 1e3)


def window(samples: list[Sample]) -> tuple[Sample, Sample]:
    """The first and the last sample between which both programs ran in full: from the first at which both
    counts have grown, to the one before the last. A run too short for that is taken whole."""
    grown = [
        after for before, after in pairwise(samples) if after.gets > before.gets and after.sets > before.sets
    ]
    return (grown[0], grown[-2]) if len(grown) > 3 else (samples[0], samples[-1])


# ---- redis-server ------------------------------------------------------------------------------------------


def parse_calls(text: str, command: str) -> int:
    """How often a command was run, from INFO commandstats; never run is not listed."""
    match = re.search(rf"^cmdstat_{command}:calls=(\d+)", text, re.MULTILINE)
    return int(match.group(1)) if match else 0


def encode(*words: str) -> bytes:
    arguments = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    return f"*{len(words)}\r\n{arguments}".encode()


class Origin:
    """A redis-server and our own connection to it, past every proxy."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._socket: socket.socket = servers.connect(server.address)
        self.our_port: int = self._socket.getsockname()[1]
        self._replies = self._socket.makefile("rb")

    @property
    def port(self) -> int:
        return int(self.server.address.rpartition(":")[2])

    def fill(self) -> None:
        """Every key is there, so that no GET is cheaper than another."""
        self._socket.sendall(
            b"".join(encode("SET", f"key:{number:012}", f"{number:064}") for number in range(KEYS))
        )
        if any(self._replies.readline() != b"+OK\r\n" for _ in range(KEYS)):
            raise servers.StartError(f"redis-server at {self.server.address} did not take the keys")

    def counts(self) -> tuple[int, int]:
        self._socket.sendall(encode("INFO", "commandstats"))
        length = int(self._replies.readline()[1:])
        text = self._replies.read(length + 2).decode()
        return parse_calls(text, "get"), parse_calls(text, "set")

    def close(self) -> None:
        self._replies.close()
        self._socket.close()


def redis_server(directory: Path, port: int) -> Command:
    options = {
        "bind": "127.0.0.1",
        "port": port,
        "dir": directory,
        "save": "",
        "appendonly": "no",
        "maxclients": servers.CLIENTS,
        "tcp-backlog": 4096,
    }
    command = ["redis-server"]
    for key, value in options.items():
        command += [f"--{key}", str(value)]
    return command


# ---- the contestants ---------------------------------------------------------------------------------------


def twemproxy(directory: Path, address: str, origin_port: int) -> Command:
    config = directory / "nutcracker.yml"
    config.write_text(f"""
bench:
  listen: {address}
  redis: true
  hash: fnv1a_64
  distribution: ketama
  auto_eject_hosts: false
  preconnect: true
  backlog: 4096
  server_connections: {UPSTREAMS}
  servers:
   - 127.0.0.1:{origin_port}:1
""")
    (stats_port,) = servers.free_ports(1)
    # Statistics are summed up by a thread: not in the middle of a measurement.
    return ["nutcracker", "-c", str(config), "-a", "127.0.0.1", "-s", str(stats_port), "-i", "3600000"]


def predixy(directory: Path, address: str, origin_port: int) -> Command:
    """One thread. It opens as many connections as it likes: one, unless a client blocks."""
    config = directory / "predixy.conf"
    config.write_text(f"""
Name bench
Bind {address}
WorkerThreads 1
ClientTimeout 0
Authority {{
    Auth {{
        Mode admin
    }}
}}
StandaloneServerPool {{
    Hash crc16
    Distribution modula
    RefreshMethod fixed
    Group origin {{
        + 127.0.0.1:{origin_port}
    }}
}}
""")
    return ["predixy", str(config)]


def muxproxy(build: Build) -> Configure:
    return servers.muxproxy(build, "redis", max_connections=UPSTREAMS, max_in_flight=IN_FLIGHT)


class RedisSuite(Suite):
    name = "redis"
    unit = "command"
    reference = "twemproxy"
    programs = ("redis-server", "redis-benchmark", "nutcracker", "haproxy")
    versions = (
        ("Redis", "redis-server --version"),
        ("twemproxy", "nutcracker -V"),
        ("HAProxy", "haproxy -v"),
    )
    loads = LOADS
    columns = (
        report.rate("commands/s"),
        report.ratio("rate vs direct", servers.DIRECT, lambda one: one.rate),
        report.cpu("CPU µs/command"),
        report.ratio("CPU vs twemproxy", "twemproxy", lambda one: one.cpu_us, proxies_only=True),
        report.spread("Redis CPU µs/command", lambda one: one.origin_cpu_us, ".1f"),
        report.ratio("Redis CPU vs direct", servers.DIRECT, lambda one: one.origin_cpu_us),
        *report.LATENCY,
        report.ERRORS,
        report.SOCKETS,
        report.BUSY,
    )

    def __init__(self, builds: Sequence[Build]) -> None:
        self.contestants = {}
        for build in builds:
            self.contestants[build.name] = Contestant(muxproxy(build), ours=True)
            self.contestants[f"{build.name}-unix"] = Contestant(muxproxy(build), unix=True, ours=True)
        self.contestants["twemproxy"] = Contestant(twemproxy)
        self.contestants["haproxy"] = Contestant(servers.haproxy_tcp)
        if not servers.missing_programs(["predixy"]):  # no distribution has it: README.md
            self.contestants["predixy"] = Contestant(predixy)
            self.versions = (*self.versions, ("predixy", "predixy --version"))
        self.origins: dict[str, Origin] = {}
        self._rates: dict[tuple[str, str], float] = {}  # (load, contestant) -> commands/s, as last seen

    def start_origin(self) -> None:
        for name, port in self.origin_ports.items():
            room = self.stage.room("redis")
            address = f"127.0.0.1:{port}"
            server = self.stage.launch(
                "redis-server", room, address, redis_server(room, port), self.stage.load_core, self.probe
            )
            origin = Origin(server)
            self.stage.stack.callback(origin.close)
            origin.fill()
            self.origins[name] = origin

    def probe(self, address: str) -> str:
        """With a command that a proxy cannot answer by itself."""
        answer = servers.ask(address, encode("GET", "no-such-key"), 5)
        return "" if answer == b"$-1\r\n" else repr(answer)

    def run(self, load: measure.Load, name: str, server: Server | None, seconds: float) -> Figures:
        assert isinstance(load, Load)
        expected = self._rates.get((load.name, name), GUESS[load.pipeline])
        each = commands_each(load, expected * seconds)
        commands = [benchmark_command(load, kind, self.address(name, server), each) for kind in KINDS]
        watch = Watch(self.origins[name], server)
        try:
            outputs = measure.run_programs(commands, SAMPLE_EVERY, watch.look)
            watch.look()
        finally:
            watch.sockets.close()
        told = [parse_benchmark(output) for output in outputs]
        self._rates[load.name, name] = sum(one.rate for one in told)
        return watch.figures(told, 2 * each)


class Watch:
    """Counters, CPU and sockets all along one run."""

    def __init__(self, origin: Origin, server: Server | None) -> None:
        self.origin = origin
        self.cpu = measure.Cpu(server.pid if server else None)
        self.origin_cpu = measure.Cpu(origin.server.pid)
        self.sockets = measure.Sockets(origin.server.address, ours=origin.our_port)
        self.samples = [self._sample()]

    def look(self) -> None:
        self.samples.append(self._sample())
        self.sockets.look()

    def figures(self, told: list[Told], asked: int) -> Figures:
        """Latencies are of the whole run. The halves' medians are averaged: they share one queue. Of the p99s
        the larger counts. redis-benchmark ends at an error reply; what is counted as errors here are commands
        that the server has run more or less often than they were asked for."""
        first, last = window(self.samples)
        return Figures(
            done=last.done - first.done,
            seconds=last.at - first.at,
            p50_us=sum(one.p50_us for one in told) / len(told),
            p99_us=max(one.p99_us for one in told),
            errors=abs(self.samples[-1].done - self.samples[0].done - asked),
            cpu_seconds=last.cpu - first.cpu,
            sockets=self.sockets.most,
            origin_cpu_seconds=last.origin_cpu - first.origin_cpu,
            whole=self.samples[-1].done - self.samples[0].done,
        )

    def _sample(self) -> Sample:
        gets, sets = self.origin.counts()
        return Sample(time.monotonic(), gets, sets, self.cpu.seconds(), self.origin_cpu.seconds())
