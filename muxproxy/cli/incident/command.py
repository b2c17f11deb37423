"""`muxproxy incident`: what happened for real happens once more, here, direct and through muxproxy.

The replays are incident/'s; this is what one types, and what is printed and written.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from muxproxy.cli.descriptors import raise_to_hard_limit
from muxproxy.cli.exits import Exit, Failure

if TYPE_CHECKING:  # other commands need not wait for it
    from muxproxy.incident.record import Recording
    from muxproxy.incident.replays import Replay
    from muxproxy.incident.view import Live, Plain
    from muxproxy.incident.world import World

NAMES = ("http", "redis", "dubbo")


@click.command(short_help="Replay the incidents it was made for, direct and through it.")
@click.argument("name", type=click.Choice([*NAMES, "all"]))
@click.option("--quick", is_flag=True, help="Smaller and shorter: all three within a minute.")
@click.option("--size", type=click.Choice(["full", "quick", "small"]), hidden=True)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("."),
    show_default="here",
    help="Where NAME.json, NAME.png and NAME.svg are written.",
)
@click.option("--no-pictures", is_flag=True, help="Only NAME.json.")
@click.option(
    "--suggested",
    is_flag=True,
    help="redis: through muxproxy with the file that `muxproxy doctor --suggest` writes of the direct leg.",
)
@click.option("--loopback", is_flag=True, help="Without network namespaces, on this machine's 127.0.0.1.")
def incident(
    name: str, quick: bool, size: str | None, out: Path, no_pictures: bool, suggested: bool, loopback: bool
) -> None:
    """Replay an incident on real servers: direct, and through muxproxy.

    Client and servers have network namespaces of their own (an ordinary user too, where the machine permits
    that), with the ports and settings of the incident: nothing of this machine is changed. The kernel's
    socket states of both are read ten times a second.
    """
    from muxproxy.incident.replays import REPLAYS
    from muxproxy.incident.world import World
    from muxproxy.stage.stage import Broken, Stopped

    if suggested and name != "redis":
        raise click.UsageError("--suggested is for redis")
    names = NAMES if name == "all" else (name,)
    _need([REPLAYS[each] for each in names])
    size = size or ("quick" if quick else "full")
    raise_to_hard_limit()
    out.mkdir(parents=True, exist_ok=True)
    world = World(use_namespaces=not loopback)
    for note in world.notes:
        click.echo(note)
    is_well = True
    try:
        for each in names:
            is_well &= _perform(REPLAYS[each], size, world, out, no_pictures, suggested)
    except Broken as broken:
        raise Failure(Exit.DEMO_FAILED, str(broken)) from broken
    except Stopped as stopped:
        click.echo(f"stopped by {stopped}", err=True)
        sys.exit(128 + stopped.number)
    sys.exit(Exit.OK if is_well else Exit.DEMO_FAILED)


def _need(replays: list[Replay]) -> None:
    """Raises Failure with all that is not installed."""
    from muxproxy.incident.world import look_for

    missing = {
        program: package
        for replay in replays
        for program, package in replay.programs().items()
        if look_for(program) is None
    }
    if missing:
        told = ", ".join(
            f"{program} (Debian: apt-get install {package})" for program, package in missing.items()
        )
        raise Failure(Exit.DEMO_FAILED, f"needed as a real server, and not installed: {told}")


def _perform(replay: Replay, size: str, world: World, out: Path, no_pictures: bool, suggested: bool) -> bool:
    from muxproxy.incident.record import outcome, to_json
    from muxproxy.stage.stage import Stage

    record, before = replay.recording(size, world), os.getloadavg()[0]
    if suggested:
        record.suggested = True
        record.notes.append("muxproxy runs with what `muxproxy doctor --suggest` wrote of the direct leg")
    with Stage("incident") as stage, _view(record) as view:
        replay.play(stage, world, record, view.show)
    load = f"{before:.1f} before, {os.getloadavg()[0]:.1f} after"  # what else the machine was doing
    record.machine = record.machine | {"load": load}
    (out / f"{record.name}.json").write_bytes(to_json(record))
    click.echo(f"\n{record.title}\n{record.story}")
    for leg in record.legs:
        click.echo("\n".join(outcome(leg, record.unit)))
    for note in record.notes:
        click.echo(f"  {note}")
    click.echo(f"\nmuxproxy ran with this; for your own, `muxproxy check` it:\n\n{record.config}")
    wrong = replay.problems(record)
    for problem in wrong:
        click.echo(f"FAILED: {problem}", err=True)
    if no_pictures:
        click.echo(f"written: {out / record.name}.json")
    else:
        _draw(replay, record, out)
    return not wrong


def _draw(replay: Replay, record: Recording, out: Path) -> None:
    from muxproxy.incident import picture

    stem = out / record.name
    if picture.is_possible():
        finding, headlines = replay.finding(record), replay.headlines(record)
        picture.draw(record, finding, headlines, replay.limit(record), stem)
        click.echo(f"written: {stem}.json, {stem}.png, {stem}.svg")
    else:
        click.echo(f"written: {stem}.json. A picture takes matplotlib: {picture.INSTALL}")


def _view(record: Recording) -> Live | Plain:
    from rich.console import Console

    from muxproxy.incident.view import Live, Plain, fits

    console = Console()
    return Live(console, record) if fits(console) else Plain(click.echo, record)
