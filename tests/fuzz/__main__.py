"""The command: `python -m tests.fuzz framers | workers --minutes 30`. Status 1 with the seed of a fault."""

from __future__ import annotations

import subprocess
import sys
import time
from random import Random

import click
from rich.console import Console
from rich.progress import Progress

from tests.fuzz import builds, framers, workers


@click.group()
def main() -> None:
    """Fuzz muxproxy at full size."""


@main.command("framers")
@click.option("--minutes", default=30.0, show_default=True, help="For all targets together.")
@click.option("--seed", default=None, type=int, help="Default: the time.")
@click.option(
    "--guided", type=click.Path(), help="With atheris (pip install atheris); what it keeps goes here."
)
@click.option("--only", multiple=True, type=click.Choice(list(framers.TARGETS)))
def fuzz_framers(minutes: float, seed: int | None, guided: str | None, only: tuple[str, ...]) -> None:
    """What hostile peers say, into all framers."""
    seed = int(time.time()) if seed is None else seed
    targets = list(only or framers.TARGETS)
    for target in targets:
        seconds = minutes * 60 / len(targets)
        if guided:
            folder = f"{guided}/{target.replace(' ', '-')}"
            command = [sys.executable, "-m", "tests.fuzz.guided", target, str(int(seconds)), folder]
            done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
            click.echo("\n".join([target, *done.stderr.splitlines()[-12:]]))
            if done.returncode:
                raise click.ClickException(f"{target}: the input is in {folder}")
        else:
            click.echo(f"{target}: {by_chance(target, seconds, seed)} inputs from seed {seed}")


def by_chance(target: str, seconds: float, seed: int) -> int:
    """How many inputs there were."""
    until, number = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        chance = Random(f"{seed} {number}")
        data = framers.made(target, chance)
        try:
            framers.check(target, chance, data)
        except Exception as failure:
            raise click.ClickException(
                f"{target}, seed {seed} {number}: {failure!r}: {data[:500]!r}"
            ) from failure
        number += 1
    return number


@main.command("builds")
@click.option("--python", "pythons", multiple=True, required=True, help="Whose builds; two of them.")
@click.option("--inputs", default=10_000_000, show_default=True, help="For all targets together.")
@click.option("--seed", default=None, type=int, help="Default: the time.")
@click.option("--only", multiple=True, type=click.Choice(builds.TARGETS))
def fuzz_builds(pythons: tuple[str, ...], inputs: int, seed: int | None, only: tuple[str, ...]) -> None:
    """The same inputs into the framers of two builds, which must say the same."""
    seed = int(time.time()) if seed is None else seed
    for python in pythons:
        command = [
            python,
            "-c",
            "from muxproxy.native import running; import muxproxy.protocols; print(running())",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        click.echo(f"{python}: {done.stdout.strip()}")
    targets = list(only or builds.TARGETS)
    each = inputs // len(targets)
    for target in targets:
        if wrong := builds.differences(pythons, target, seed, each):
            raise click.ClickException("\n".join([target, *wrong[:20]]))
        click.echo(f"{target}: {each:,} inputs from seed {seed}, the same with each")


@main.command("workers")
@click.option("--minutes", default=30.0, show_default=True)
@click.option("--seed", default=None, type=int, help="Default: the time.")
@click.option("--parallel", default=20, show_default=True, help="Hostile clients of each protocol at a time.")
@click.option("--each", default=60.0, show_default=True, help="Seconds of an attack, each on a new muxproxy.")
def fuzz_workers(minutes: float, seed: int | None, parallel: int, each: float) -> None:
    """Hostile clients and servers around whole workers."""
    console = Console()
    seed = int(time.time()) if seed is None else seed
    until = time.monotonic() + minutes * 60
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("attacks", total=minutes * 60)
        while time.monotonic() < until:
            report = workers.play(each, seed, parallel)
            progress.update(task, completed=minutes * 60 - (until - time.monotonic()))
            console.print(f"seed {seed}")
            for line in report.lines():
                console.print("  " + line, markup=False, highlight=False)
            if faults := report.faults():
                raise click.ClickException(f"seed {seed}: {faults}")
            seed += 1


if __name__ == "__main__":
    main()
