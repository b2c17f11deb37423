"""The command: `python -m tests.fuzz workers --minutes 30`. Exit status 1 with the seed of a fault."""

from __future__ import annotations

import time

import click
from rich.console import Console
from rich.progress import Progress

from tests.fuzz import workers


@click.group()
def main() -> None:
    """Fuzz muxproxy at full size."""


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
