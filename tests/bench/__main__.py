"""The command: which suite, how many rounds, how long, and what is printed."""

from __future__ import annotations

import json
import os
import platform
import resource
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import click
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import muxproxy
from tests.bench import report, servers, suite
from tests.bench.echo import EchoSuite
from tests.bench.http import HttpSuite
from tests.bench.redis import RedisSuite
from tests.bench.suite import Stage, Suite

APT = "apt-get install -y haproxy nginx-light wrk redis nutcracker util-linux"
IDLE = "idle"  # the idle clients' name for --only


def check_machine(programs: Sequence[str]) -> None:
    """Say what is missing before anything is started."""
    if missing := servers.missing_programs([*programs, "taskset"]):
        raise click.ClickException(f"missing: {', '.join(missing)}. On Debian, as root: {APT}")
    if len(os.sched_getaffinity(0)) < 2:
        raise click.ClickException("two cores are needed: one for the proxy, one for the origin and the load")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def chosen(names: list[str], only: tuple[str, ...]) -> list[str]:
    """Those of `names` that --only names; all, when it names none of them."""
    return [name for name in names if name in only] or names


def add_others(found: Suite, also: tuple[str, ...]) -> None:
    for one in also:
        name, equals, command = one.partition("=")
        if not (name and equals and command):
            raise click.BadParameter(f"{one!r}: NAME=COMMAND is wanted", param_hint="--also")
        found.contestants[name] = servers.Contestant(servers.other(command))


def check_only(only: tuple[str, ...], known: list[str]) -> None:
    if unknown := [name for name in only if name not in known]:
        raise click.BadParameter(f"{', '.join(unknown)}; known: {', '.join(known)}", param_hint="--only")


def options(rounds: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """What every suite can be told."""
    offered = [
        click.option(
            "--rounds",
            default=rounds,
            show_default=True,
            type=click.IntRange(1),
            help="Measurements of each load.",
        ),
        click.option(
            "--seconds", default=3, show_default=True, type=click.IntRange(1), help="Length of a measurement."
        ),
        click.option("--only", multiple=True, metavar="NAME", help="A load or a proxy; may be repeated."),
        click.option(
            "--also",
            multiple=True,
            metavar="NAME=COMMAND",
            help="One more proxy; {port} and {origin} are filled in.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Every single figure instead of the tables."),
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(offered):
            command = option(command)
        return command

    return decorate


@click.group()
def main() -> None:
    """Measure muxproxy beside others. Nothing is asserted."""


@main.command()
@options(rounds=5)
@click.option(
    "--clients", default=6000, show_default=True, type=click.IntRange(1, 7500), help="Idle clients ('idle')."
)
def http(clients: int, **told: Any) -> None:
    """CPU per request and memory per idle client of muxproxy, HAProxy and nginx."""
    measure_suite(HttpSuite(), idle_clients=clients, **told)


@main.command()
@options(rounds=3)
def redis(**told: Any) -> None:
    """CPU per command of muxproxy, twemproxy and HAProxy, and of the redis-server behind them."""
    measure_suite(RedisSuite(), **told)


@main.command()
@options(rounds=3)
def dubbo(**told: Any) -> None:
    """CPU per call of muxproxy and HAProxy, and of the Dubbo provider behind them."""
    measure_suite(EchoSuite("dubbo"), **told)


@main.command()
@options(rounds=3)
def tcp(**told: Any) -> None:
    """The same with plain bytes, for which muxproxy is no more than a bound."""
    measure_suite(EchoSuite("tcp"), **told)


def measure_suite(
    found: Suite,
    rounds: int,
    seconds: int,
    only: tuple[str, ...],
    also: tuple[str, ...],
    as_json: bool,
    idle_clients: int = 0,
) -> None:
    check_machine(found.programs)
    load_before = os.getloadavg()[0]
    add_others(found, also)
    tasks = [load.name for load in found.loads] + ([IDLE] if idle_clients else [])
    proxies = [*found.contestants, servers.DIRECT]
    check_only(only, [*tasks, *proxies])
    tasks, names = chosen(tasks, only), chosen(proxies, only)
    loads = [load for load in found.loads if load.name in tasks]
    memory: dict[str, report.Memory] = {}
    with ExitStack() as stack:
        try:
            found.open(Stage(stack), names)
            progress = stack.enter_context(progress_line())
            rows = suite.measure_loads(found, loads, names, rounds, seconds, progress)
            if IDLE in tasks and isinstance(found, HttpSuite):
                memory = measure_idle(found, names, idle_clients, progress)
        except servers.StartError as error:
            raise click.ClickException(str(error)) from None
    programs = {name: servers.version_of(command) for name, command in found.versions} | {
        "muxproxy": muxproxy.__version__,
        "Python": platform.python_version(),
        "uvloop": uvloop.__version__,
    }
    machine = report.machine(programs, load_before, rows)
    click.echo(as_text(machine, found.columns, rows, memory, as_json))


def measure_idle(
    found: HttpSuite, names: list[str], clients: int, progress: Progress
) -> dict[str, report.Memory]:
    proxies = [name for name in names if name != servers.DIRECT]
    line = progress.add_task(IDLE, total=len(proxies))
    memory = {}
    for name in proxies:
        progress.update(line, description=f"{clients:,} idle clients: {name}")
        memory[name] = found.idle(name, clients)
        progress.advance(line)
    return memory


def progress_line() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # On stderr, so that the table can be redirected; at four looks a second it costs the load's core little.
    return Progress(*columns, console=Console(stderr=True), refresh_per_second=4, transient=True)


def as_text(
    machine: str,
    columns: Sequence[report.Column],
    rows: list[report.Row],
    memory: dict[str, report.Memory],
    as_json: bool,
) -> str:
    if as_json:
        everything = {
            "machine": machine,
            "loads": [asdict(row) for row in rows],
            "idle": {name: asdict(one) for name, one in memory.items()},
        }
        return json.dumps(everything, indent=1)
    parts = [f"Measured on {machine}."]
    if rows:
        parts.append(report.load_table(columns, rows))
    if memory:
        parts.append(report.memory_table(memory))
    return "\n\n".join(parts)


if __name__ == "__main__":
    main(prog_name="python -m tests.bench")
