"""The command: which suites, loads and builds, how many rounds, how long, and what is printed."""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace

import click

from tests.bench import builds, floor, report, servers, suite
from tests.bench.builds import Build
from tests.bench.echo import EchoSuite
from tests.bench.http import HttpSuite
from tests.bench.latency import HttpLatency, RedisLatency
from tests.bench.plan import AROUND, IDLE, IDLE_ROUNDS, Task, UnknownNameError, plan
from tests.bench.progress import Progress, clock_time
from tests.bench.redis import RedisSuite
from tests.bench.suite import Stage, Suite
from tests.bench.tls import TlsSuite

APT = "apt-get install -y haproxy nginx-light wrk redis nutcracker util-linux"
SUITES = ("http", "tls", "redis", "dubbo", "tcp", "latency")


@dataclass
class Result:
    """What a suite has come to."""

    suite: Suite
    machine: str
    rows: list[report.Row]
    memory: dict[str, list[report.Memory]] = field(default_factory=dict)


@click.command()
@click.argument("names", metavar="[SUITE]...", nargs=-1, type=click.Choice(SUITES))
@click.option(
    "--rounds", default=5, show_default=True, type=click.IntRange(1), help="Measurements of each load."
)
@click.option(
    "--seconds", default=3, show_default=True, type=click.IntRange(1), help="Length of a measurement."
)
@click.option("--only", multiple=True, metavar="NAME", help="A load or a proxy; may be repeated.")
@click.option(
    "--python",
    "pythons",
    multiple=True,
    metavar="[NAME=]PATH",
    help="Measure the muxproxy of that interpreter; may be repeated. Default: this one.",
)
@click.option(
    "--also", multiple=True, metavar="NAME=COMMAND", help="One more proxy; {port} and {origin} are filled in."
)
@click.option(
    "--clients", default=6000, show_default=True, type=click.IntRange(1, 7500), help="Idle clients ('idle')."
)
@click.option(
    "--scrape", "scraped", is_flag=True, help="Each muxproxy again, asked for metrics every 100 ms."
)
@click.option(
    "--shards",
    default=1,
    metavar="N",
    type=click.IntRange(1, 64),
    help="Each muxproxy again, with N workers for its backend: on N cores, if there is another for the load.",
)
@click.option("--floor", "floored", is_flag=True, help="What CPU is spent on, by perf, instead of how much.")
@click.option("--list", "listed", is_flag=True, help="Name loads and proxies, tell the time, run nothing.")
@click.option("--json", "as_json", is_flag=True, help="Every single figure instead of the tables.")
def main(
    names: tuple[str, ...],
    rounds: int,
    seconds: int,
    only: tuple[str, ...],
    pythons: tuple[str, ...],
    also: tuple[str, ...],
    clients: int,
    scraped: bool,
    shards: int,
    floored: bool,
    listed: bool,
    as_json: bool,
) -> None:
    """Measure muxproxy beside others, in one run. Nothing is asserted.

    SUITE is http, tls (HTTPS upstream), redis, dubbo, tcp or latency (of http and redis); all of them by
    default.
    """
    try:
        ours = builds.find(pythons)
        tasks = plan(
            suites(names, ours, also, scraped=scraped, shards=shards), only, 0 if floored else clients
        )
    except builds.BuildError as error:
        raise click.BadParameter(str(error), param_hint="--python") from None
    except UnknownNameError as error:
        raise click.BadParameter(str(error), param_hint="--only") from None
    if listed:
        click.echo("\n".join(listing(tasks, rounds, seconds)))
        return
    check_machine(tasks, floored)
    run = Run(tasks, ours, rounds, seconds, floored, as_json)
    run.all()
    sys.exit(1 if run.failed else 0)


def suites(
    names: Sequence[str],
    ours: Sequence[Build],
    also: Sequence[str],
    *,
    scraped: bool = False,
    shards: int = 1,
) -> list[Suite]:
    found: list[Suite] = []
    for name in SUITES:
        if names and name not in names:
            continue
        if name == "http":
            found.append(HttpSuite(ours))
        elif name == "tls":
            found.append(TlsSuite(ours))
        elif name == "redis":
            found.append(RedisSuite(ours))
        elif name == "latency":
            found += [HttpLatency(ours), RedisLatency(ours)]
        else:
            found.append(EchoSuite(name, ours))
    for each in found:
        for name, contestant in list(each.contestants.items()):
            if contestant.ours and scraped:
                each.contestants[f"{name}-scraped"] = replace(contestant, scraped=True)
            if contestant.ours and shards > 1:
                configure = servers.sharded(contestant.configure, shards)
                again = replace(contestant, configure=configure, shards=shards)
                each.contestants[f"{name}-{shards}-shards"] = again
    for one in also:
        label, equals, command = one.partition("=")
        if not (label and equals and command):
            raise click.BadParameter(f"{one!r}: NAME=COMMAND is wanted", param_hint="--also")
        for each in found:
            each.contestants[label] = servers.Contestant(servers.other(command))
    return found


def check_machine(tasks: Sequence[Task], floored: bool) -> None:
    """Say what is missing before anything is started."""
    wanted = dict.fromkeys(program for task in tasks for program in task.suite.programs)
    if missing := servers.missing_programs([*wanted, "taskset"]):
        raise click.ClickException(f"missing: {', '.join(missing)}. On Debian, as root: {APT}")
    if floored and servers.missing_programs(["perf"]):
        raise click.ClickException("missing: perf. On Debian, as root: apt-get install -y linux-perf")
    if len(os.sched_getaffinity(0)) < 2:
        raise click.ClickException("two cores are needed: one for the proxy, one for the origin and the load")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def listing(tasks: Sequence[Task], rounds: int, seconds: int) -> list[str]:
    lines = []
    for task in tasks:
        loads = [load.name for load in task.loads] + [IDLE] * bool(task.idle)
        took = clock_time(task.seconds(rounds, seconds))
        lines.append(f"{task.suite.name}: {', '.join(loads)}; on {', '.join(task.names)}: about {took}")
    total = sum(task.seconds(rounds, seconds) for task in tasks)
    return [*lines, f"all: about {clock_time(total)}"]


class Run:
    """The tasks one after the other. Each prints its tables as soon as it has them: a run of an hour that is
    stopped, or whose last suite does not start, has not been for nothing."""

    def __init__(
        self,
        tasks: Sequence[Task],
        ours: Sequence[Build],
        rounds: int,
        seconds: int,
        floored: bool,
        as_json: bool,
    ) -> None:
        self.tasks = tasks
        self.ours = ours
        self.rounds = rounds
        self.seconds = seconds
        self.floored = floored
        self.as_json = as_json
        self.shards = max(
            (each.shards for task in tasks for each in task.suite.contestants.values()), default=1
        )
        self.failed = False
        self.results: list[Result] = []
        planned = sum(
            task.floor_seconds(seconds) if floored else task.seconds(rounds, seconds) for task in tasks
        )
        until = time.strftime("%H:%M", time.localtime(time.time() + planned))
        click.echo(f"about {clock_time(planned)}, until {until}", err=True)
        self.progress = Progress(planned, sys.stderr)

    def all(self) -> None:
        for task in self.tasks:
            try:
                text = self.floor(task) if self.floored else self.measure(task)
            except servers.StartError as error:
                self.failed = True
                text = f"{task.suite.name}: {error}"
            self.progress.close()
            if not self.as_json:
                click.echo(text + "\n")
        if self.as_json:
            click.echo(json.dumps([as_data(one) for one in self.results], indent=1))
            return
        told = [
            (one.suite.name, one.suite.reference, one.rows) for one in self.results if one.suite.reference
        ]
        if len(told) > 1:
            click.echo(report.summary(told))

    def measure(self, task: Task) -> str:
        load_before = os.getloadavg()[0]
        memory: dict[str, list[report.Memory]] = {}
        with ExitStack() as stack:
            task.suite.open(Stage(stack, self.shards), task.names)
            rows = suite.measure_loads(
                task.suite, task.loads, task.names, self.rounds, self.seconds, self.progress, AROUND
            )
            if task.idle and isinstance(task.suite, HttpSuite):
                memory = self.measure_idle(task.suite, task)
        found = Result(task.suite, self.machine(task.suite, load_before, rows), rows, memory)
        self.results.append(found)
        return as_text(found)

    def measure_idle(self, found: HttpSuite, task: Task) -> dict[str, list[report.Memory]]:
        memory: dict[str, list[report.Memory]] = {name: [] for name in task.proxies}
        rounds = min(self.rounds, IDLE_ROUNDS)
        for number in range(1, rounds + 1):
            for name in task.proxies:
                said = f"{found.name}, {task.idle:,} idle clients: round {number} of {rounds}"
                self.progress.begin(said, name, task.idle_seconds())
                memory[name] += found.idle(name, task.idle)
        return memory

    def floor(self, task: Task) -> str:
        load_before = os.getloadavg()[0]
        with ExitStack() as stack:
            stage = Stage(stack, self.shards)
            task.suite.open(stage, task.names)
            found = floor.measure_all(task.suite, task.loads, task.proxies, self.seconds, self.progress)
        rows = [one.row for one in found]
        measured = f"Measured on {self.machine(task.suite, load_before, rows)}."
        return f"{measured}\n\n{floor.tables(task.suite.unit, found)}"

    def machine(self, found: Suite, load_before: float, rows: list[report.Row]) -> str:
        programs = {name: servers.version_of(command) for name, command in found.versions}
        programs |= {build.name: build.describe(found.running) for build in self.ours}
        programs["the loads' Python"] = platform.python_version()
        return report.machine(programs, load_before, rows)


def as_text(found: Result) -> str:
    parts = [f"### {found.suite.name}\n\nMeasured on {found.machine}."]
    if found.rows:
        parts.append(report.load_table(found.suite.columns, found.rows))
    if found.memory:
        parts.append(report.memory_table(found.memory))
    return "\n\n".join(parts)


def as_data(found: Result) -> dict[str, object]:
    return {
        "suite": found.suite.name,
        "machine": found.machine,
        "loads": [asdict(row) for row in found.rows],
        "idle": {name: [asdict(one) for one in looks] for name, looks in found.memory.items()},
    }


if __name__ == "__main__":
    main(prog_name="python -m tests.bench")
