"""`muxproxy demo`: the main job before one's eyes, without configuration and without a server.

    acts.py     what happens when         origin.py   the server        load.py     the clients
    figures.py  what was measured         view.py     what one sees of it

Its processes and their words are stage/'s.

Exit code 0 only if every client got its own reply and the origin never had more than 8 sockets.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from muxproxy.cli.descriptors import raise_to_hard_limit
from muxproxy.cli.exits import Exit, Failure

if TYPE_CHECKING:  # they import rich and more, which other commands need not wait for
    from muxproxy.cli.demo.acts import Acts
    from muxproxy.cli.demo.view import Live, Plain
    from muxproxy.stage.stage import Stage

LEAST_CLIENTS = 10


@click.command(short_help="Show what it does, in a quarter of a minute.")
@click.option("--keep", is_flag=True, help="Leave origin and muxproxy running afterwards, until ctrl-C.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=1, max=3600),
    default=10.0,
    show_default=True,
    help="How long the load runs: two fifths direct, the rest through muxproxy.",
)
def demo(keep: bool, seconds: float) -> None:
    """Thousands of short-lived connections, first direct to a server, then through muxproxy.

    Starts a small HTTP server of its own, muxproxy in front of it with max_connections = 8, and the clients,
    all on 127.0.0.1 and on ports that the kernel chooses. Needs no configuration and leaves nothing behind.
    """
    from muxproxy.cli.demo.figures import clients_for
    from muxproxy.stage.stage import Broken, Stage, Stopped

    nofile = raise_to_hard_limit()
    clients = clients_for(nofile)
    if clients < LEAST_CLIENTS:
        advice = "raise it (ulimit -Hn, LimitNOFILE)"
        raise Failure(Exit.DEMO_FAILED, f"{nofile} file descriptors are too few for a demo: {advice}")
    try:
        with Stage("demo") as stage:
            sys.exit(_perform(stage, clients, seconds, keep))
    except Broken as broken:
        raise Failure(Exit.DEMO_FAILED, str(broken)) from broken
    except Stopped as stopped:
        click.echo(f"stopped by {stopped}", err=True)
        sys.exit(128 + stopped.number)


def _perform(stage: Stage, clients: int, seconds: float, keep: bool) -> int:
    from muxproxy.cli.demo.acts import Acts
    from muxproxy.cli.demo.figures import problems, summary

    acts = Acts(stage, clients, seconds)
    with _view(clients) as view:
        acts.play(view)
    click.echo("\n" + "\n".join(summary(acts.direct, acts.through)))
    code = Exit.DEMO_FAILED if problems(acts.direct, acts.through) else Exit.OK
    if keep:
        _keep(stage, acts, click.echo)
    elif code == Exit.OK:
        click.echo(f"Next: {_program()} check -c config   (one example per protocol, to copy)")
    return code


def _view(clients: int) -> Live | Plain:
    from rich.console import Console

    from muxproxy.cli.demo.view import Live, Plain, fits

    console = Console()
    return Live(console, clients) if fits(console) else Plain(click.echo, clients)


def _keep(stage: Stage, acts: Acts, echo: Callable[[str], None]) -> None:
    """Until a signal: then it is done, not broken off."""
    from muxproxy.stage.stage import Stopped

    echo("Still running, until ctrl-C. Try:")
    echo(f"  curl -i http://127.0.0.1:{acts.port}/hello")
    echo(f"  {_program()} status -c {stage.folder}")
    try:
        while True:
            stage.turn()
    except Stopped:
        echo("\nstopping")


def _program() -> str:
    """As it was typed, so that the next line can be copied: in a fresh venv it is not on the PATH."""
    typed = Path(sys.argv[0])
    if typed.name != "muxproxy":
        return "python -m muxproxy"
    return "muxproxy" if shutil.which("muxproxy") == str(typed.absolute()) else str(typed)
