"""The command: which load on which contestant, in which order.

Every contestant is started once and stays; rounds are interleaved (A B C D, A B C D, ...), so that what
disturbs the machine for a minute disturbs all alike. Proxies are pinned to one core, the origin and the load
to another.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import click
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import muxproxy
from tests.bench import measure, report, servers

PROGRAMS = ["haproxy", "nginx", "wrk", "ss", "taskset"]
APT = "apt-get install -y haproxy nginx-light wrk iproute2 util-linux"
IDLE = "idle"  # the idle clients' name for --only
SETTLE = 1.0  # seconds between the last idle client's reply and the look at the memory
WARM_UP = 1  # seconds of every load that do not count

LOAD_NAMES = [load.name for load in measure.LOADS]


class Bench:
    """The servers that take part. The contestants are set up when they are started."""

    def __init__(self, stack: ExitStack, contestants: dict[str, servers.Configure]) -> None:
        self.stack = stack
        self.contestants = contestants
        self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="muxproxy-bench-")))
        self.proxy_core, self.load_core = sorted(os.sched_getaffinity(0))[:2]
        os.sched_setaffinity(0, {self.load_core})  # wrk, ss and the idle clients inherit it
        names = [*contestants, servers.DIRECT]
        self.status_port, *ports = servers.free_ports(1 + len(names))
        self.origin_ports = dict(zip(names, ports, strict=True))
        room = self._room("origin")
        self._launch("origin", room, ports[0], servers.origin(room, ports, self.status_port), self.load_core)

    def start(self, name: str) -> servers.Server | None:
        """A running contestant; None for `direct`, where the load goes to the origin itself."""
        if name == servers.DIRECT:
            return None
        room = self._room(name)
        (port,) = servers.free_ports(1)
        command = self.contestants[name](room, port, self.origin_ports[name])
        return self._launch(name, room, port, command, self.proxy_core)

    def run(
        self, load: measure.Load, name: str, server: servers.Server | None, seconds: int
    ) -> measure.Figures:
        origin_port = self.origin_ports[name]
        accepted = self._accepted()
        cpu = measure.cpu_seconds(server.pid) if server else 0.0
        port = server.port if server else origin_port
        wrk, sockets = measure.run_load(load, port, seconds, self.directory, origin_port)
        if server:
            cpu = measure.cpu_seconds(server.pid) - cpu
        opened = self._accepted() - accepted - 1  # 1 is our own second look
        return measure.Figures(wrk, cpu, sockets, opened)

    def idle(self, name: str, clients: int) -> report.Memory:
        """On a fresh process, so that no earlier load has grown it."""
        server = self.start(name)
        assert server is not None, "there is no memory of a proxy in `direct`"
        crowd = measure.IdleClients()
        try:
            before = measure.pss_kib(server.pid)
            crowd.connect(server.port, clients)
            time.sleep(SETTLE)
            return report.Memory(clients, before, measure.pss_kib(server.pid))
        finally:
            crowd.close()
            server.stop()

    def _room(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.directory))

    def _launch(self, name: str, room: Path, port: int, command: list[str], core: int) -> servers.Server:
        server = servers.Server(name, port, command, core, room)
        self.stack.callback(server.stop)
        server.wait_ready()
        return server

    def _accepted(self) -> int:
        return measure.parse_accepted(servers.get(self.status_port).decode())


def check_machine() -> None:
    """Say what is missing before anything is started."""
    if missing := servers.missing_programs(PROGRAMS):
        raise click.ClickException(f"missing: {', '.join(missing)}. On Debian, as root: {APT}")
    if len(os.sched_getaffinity(0)) < 2:
        raise click.ClickException("two cores are needed: one for the proxy, one for the origin and the load")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def chosen(names: list[str], only: tuple[str, ...]) -> list[str]:
    """Those of `names` that --only names; all, when it names none of them."""
    return [name for name in names if name in only] or names


def contestants_of(also: tuple[str, ...]) -> dict[str, servers.Configure]:
    found = dict(servers.CONTESTANTS)
    for one in also:
        name, equals, command = one.partition("=")
        if not (name and equals and command):
            raise click.BadParameter(f"{one!r}: NAME=COMMAND is wanted", param_hint="--also")
        found[name] = servers.other(command)
    return found


@click.group()
def main() -> None:
    """Measure muxproxy beside others. Nothing is asserted."""


@main.command()
@click.option(
    "--rounds", default=5, show_default=True, type=click.IntRange(1), help="Measurements of each load."
)
@click.option(
    "--seconds", default=3, show_default=True, type=click.IntRange(1), help="Length of a measurement."
)
@click.option(
    "--clients", default=6000, show_default=True, type=click.IntRange(1, 7500), help="Idle clients."
)
@click.option("--only", multiple=True, metavar="NAME", help="A load, a proxy or 'idle'; may be repeated.")
@click.option(
    "--also", multiple=True, metavar="NAME=COMMAND", help="One more proxy; {port} and {origin} are filled in."
)
@click.option("--json", "as_json", is_flag=True, help="Every single figure instead of the tables.")
def http(
    rounds: int, seconds: int, clients: int, only: tuple[str, ...], also: tuple[str, ...], as_json: bool
) -> None:
    """CPU per request and memory per idle client of muxproxy, HAProxy and nginx."""
    check_machine()
    load_before = os.getloadavg()[0]
    contestants = contestants_of(also)
    known = [*LOAD_NAMES, IDLE, *contestants, servers.DIRECT]
    if unknown := [name for name in only if name not in known]:
        raise click.BadParameter(f"{', '.join(unknown)}; known: {', '.join(known)}", param_hint="--only")
    tasks = chosen([*LOAD_NAMES, IDLE], only)
    names = chosen([*contestants, servers.DIRECT], only)
    loads = [load for load in measure.LOADS if load.name in tasks]
    with ExitStack() as stack:
        try:
            bench = Bench(stack, {name: contestants[name] for name in names if name != servers.DIRECT})
            progress = stack.enter_context(progress_line())
            rows = measure_loads(bench, loads, names, rounds, seconds, progress)
            memory = measure_idle(bench, names, clients, progress) if IDLE in tasks else {}
        except servers.StartError as error:
            raise click.ClickException(str(error)) from None
    programs = servers.versions() | {
        "muxproxy": muxproxy.__version__,
        "Python": platform.python_version(),
        "uvloop": uvloop.__version__,
    }
    click.echo(as_text(report.machine(programs, load_before), rows, memory, as_json))


def measure_loads(
    bench: Bench, loads: list[measure.Load], names: list[str], rounds: int, seconds: int, progress: Progress
) -> list[report.Row]:
    if not loads:
        return []
    line = progress.add_task("starting", total=len(loads) * len(names) * rounds)
    running = {name: bench.start(name) for name in names}
    rows = []
    for load in loads:
        of_load = [report.Row(load, name, [], has_proxy=running[name] is not None) for name in names]
        for row in of_load:
            progress.update(line, description=f"{load.name}: {row.contestant}, warming up")
            bench.run(load, row.contestant, running[row.contestant], WARM_UP)
        for number in range(1, rounds + 1):
            for row in of_load:
                progress.update(
                    line, description=f"{load.name}: {row.contestant}, round {number} of {rounds}"
                )
                row.rounds.append(bench.run(load, row.contestant, running[row.contestant], seconds))
                progress.advance(line)
        rows += of_load
    return rows


def measure_idle(
    bench: Bench, names: list[str], clients: int, progress: Progress
) -> dict[str, report.Memory]:
    proxies = [name for name in names if name != servers.DIRECT]
    line = progress.add_task(IDLE, total=len(proxies))
    memory = {}
    for name in proxies:
        progress.update(line, description=f"{clients:,} idle clients: {name}")
        memory[name] = bench.idle(name, clients)
        progress.advance(line)
    return memory


def progress_line() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # On stderr, so that the table can be redirected; at four looks a second it costs the load's core little.
    return Progress(*columns, console=Console(stderr=True), refresh_per_second=4, transient=True)


def as_text(machine: str, rows: list[report.Row], memory: dict[str, report.Memory], as_json: bool) -> str:
    if as_json:
        everything = {
            "machine": machine,
            "loads": [asdict(row) for row in rows],
            "idle": {name: asdict(one) for name, one in memory.items()},
        }
        return json.dumps(everything, indent=1)
    parts = [f"Measured on {machine}."]
    if rows:
        parts.append(report.load_table(rows))
    if memory:
        parts.append(report.memory_table(memory))
    return "\n\n".join(parts)


if __name__ == "__main__":
    main(prog_name="python -m tests.bench")
