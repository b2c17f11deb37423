"""A suite: loads, contestants and an origin, and the order in which they are measured.

Every contestant is started once and stays; rounds are interleaved (A B C D, A B C D, ...), so that what
disturbs the machine for a minute disturbs all alike. Proxies are pinned to one core, the origin and the load
to another.
"""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path

from tests.bench import measure, report, servers
from tests.bench.measure import Figures, Load, LoadError
from tests.bench.progress import Progress
from tests.bench.scraper import scraping
from tests.bench.servers import Contestant, Server

WARM_UP = 1  # seconds of every load that do not count


class Stage:
    """Where servers run: a directory, a core for the proxies, another for everybody else. `shards`: of who
    has most of them. Each has a core of its own if there are so many; else all are on the one core, and what
    is told is what a request costs, not how many there are in a second."""

    def __init__(self, stack: ExitStack, shards: int = 1) -> None:
        self.stack = stack
        self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="muxproxy-bench-")))
        cores = os.sched_getaffinity(0)
        self._proxy_cores = sorted(cores)[: shards if len(cores) > shards else 1]
        self.proxy_core, self.load_core = sorted(cores)[0], sorted(cores)[len(self._proxy_cores)]
        os.sched_setaffinity(0, {self.load_core})  # the loads inherit it
        stack.callback(os.sched_setaffinity, 0, cores)

    def room(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{name.replace(' ', '-')}-", dir=self.directory))

    def cores(self, shards: int) -> str:
        """Of a proxy that has so many."""
        return ",".join(map(str, self._proxy_cores[:shards]))

    def launch(
        self, name: str, room: Path, address: str, command: list[str], core: int | str, probe: servers.Probe
    ) -> Server:
        server = Server(name, address, command, core, room)
        self.stack.callback(server.stop)
        server.wait_ready(probe)
        return server


class Suite(ABC):
    """One protocol's bench. `open` starts the origin; the contestants are started by `start`."""

    name: str
    unit: str  # what CPU is counted by
    reference: str  # the contestant whose CPU the others' is told in; "" where that is not the point
    has_idle = False  # whether it can be asked for `idle` clients
    programs: tuple[str, ...]  # that must be there, beside taskset
    versions: tuple[tuple[str, str], ...]  # (what takes part, the command that tells its version)
    loads: Sequence[Load]
    contestants: dict[str, Contestant]
    columns: tuple[report.Column, ...]

    stage: Stage
    running: dict[str, str]  # contestants that are muxproxy -> which it is
    origin_ports: dict[str, int]  # one each, so that the kernel's list of sockets tells whose a socket is

    def open(self, stage: Stage, names: list[str]) -> None:
        self.stage = stage
        self.running = {}
        self.origin_ports = dict(zip(names, servers.free_ports(len(names)), strict=True))
        self.start_origin()

    def start(self, name: str) -> Server | None:
        """A running contestant; None for `direct`, where the load goes to the origin itself."""
        if name == servers.DIRECT:
            return None
        contestant = self.contestants[name]
        room = self.stage.room(name)
        address = f"unix:{room}/clients.sock" if contestant.unix else servers.free_address()
        command = contestant.configure(room, address, self.origin_ports[name])
        cores = self.stage.cores(contestant.shards)
        server = self.stage.launch(name, room, address, command, cores, self.probe)
        if contestant.ours:
            self.running[name] = server.what_runs()
        return server

    def address(self, name: str, server: Server | None) -> str:
        return server.address if server else f"127.0.0.1:{self.origin_ports[name]}"

    def around(self, name: str, server: Server | None) -> AbstractContextManager[None]:
        """What else goes on while it is measured."""
        is_scraped = server is not None and name in self.contestants and self.contestants[name].scraped
        return scraping(server.admin) if server is not None and is_scraped else nullcontext()

    @abstractmethod
    def start_origin(self) -> None: ...

    @abstractmethod
    def probe(self, address: str) -> str:
        """Empty once what listens at `address` answers as it should, else what it did instead."""

    @abstractmethod
    def run(self, load: Load, name: str, server: Server | None, seconds: float) -> Figures: ...


def measure_loads(
    suite: Suite,
    loads: Sequence[Load],
    names: list[str],
    rounds: int,
    seconds: float,
    progress: Progress,
    around: float = 0.0,  # seconds that a measurement takes besides, for the plan
) -> list[report.Row]:
    if not loads:
        return []
    running = {name: suite.start(name) for name in names}
    rows = []
    for load in loads:
        of_load = [report.Row(load, name, has_proxy=running[name] is not None) for name in names]
        for number in range(rounds + 1):
            for row in of_load:
                said = f"round {number} of {rounds}" if number else "warming up"
                length = seconds if number else WARM_UP
                progress.begin(f"{suite.name}, {load.name}: {said}", row.contestant, length + around)
                if not row.failed:
                    one_round(suite, row, running[row.contestant], length, number > 0)
        rows += of_load
    return rows


def one_round(suite: Suite, row: report.Row, server: Server | None, seconds: float, counts: bool) -> None:
    """A contestant that fails at one load has a row that says so, and its place in the others."""
    noise = measure.Noise(suite.stage.proxy_core, server.pid if server else None)
    try:
        with suite.around(row.contestant, server):
            figures = suite.run(row.load, row.contestant, server, seconds)
    except LoadError as error:
        row.failed = str(error)
        return
    figures.others = noise.share()
    if counts:
        row.rounds.append(figures)
