"""`muxproxy`: the group of commands. Each lives in its own file of this folder."""

from __future__ import annotations

import os
import sys
import traceback

import click

from muxproxy import __version__
from muxproxy.cli.check import check
from muxproxy.cli.commands import drain, pause, reconnect, resume, set_numbers, upgrade
from muxproxy.cli.demo import demo
from muxproxy.cli.doctor import doctor
from muxproxy.cli.exits import EXIT_CODES, Exit
from muxproxy.cli.incident.command import incident
from muxproxy.cli.redirect.command import redirect
from muxproxy.cli.reload import reload
from muxproxy.cli.run import run
from muxproxy.cli.status import status
from muxproxy.cli.systemd.command import systemd
from muxproxy.native import installed


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="muxproxy", message=f"%(prog)s %(version)s ({installed()})")
def cli() -> None:
    """Many short-lived client connections over a few keep-alive connections to each server.

    Point an app at muxproxy's local port instead of at the server: the number of sockets towards the server
    then has a bound, however the app handles its connections.
    """


def open_standard_files() -> None:
    """Where they are closed (`2>&-`) the first socket would get number 2, and a client what is meant for the
    log."""
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, mode, closefd=False))


for command in (
    run,
    check,
    status,
    reload,
    pause,
    resume,
    reconnect,
    drain,
    set_numbers,
    upgrade,
    redirect,
    systemd,
    doctor,
    demo,
    incident,
):
    cli.add_command(command)


def main() -> None:
    open_standard_files()
    try:
        cli(prog_name="muxproxy")
    except Exception:
        # Python's own code for this is 1: systemd would take the configuration for wrong and not restart us.
        traceback.print_exc()
        sys.exit(Exit.BUG)
