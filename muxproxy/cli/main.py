"""`muxproxy`: the group of commands. Each lives in its own file of this folder."""

from __future__ import annotations

import sys
import traceback

import click

from muxproxy import __version__
from muxproxy.cli.check import check
from muxproxy.cli.demo import demo
from muxproxy.cli.exits import EXIT_CODES, Exit
from muxproxy.cli.run import run
from muxproxy.cli.status import status


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="muxproxy", message="%(prog)s %(version)s")
def cli() -> None:
    """Many short-lived client connections over a few keep-alive connections to each server.

    Point an app at muxproxy's local port instead of at the server: the number of sockets towards the server
    then has a bound, however the app handles its connections.
    """


for command in (run, check, status, demo):
    cli.add_command(command)


def main() -> None:
    try:
        cli(prog_name="muxproxy")
    except Exception:
        # Python's own code for this is 1: systemd would take the configuration for wrong and not restart us.
        traceback.print_exc()
        sys.exit(Exit.BUG)
