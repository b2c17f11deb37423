"""`muxproxy run`: load, fit into the descriptor limit, and hand over to the supervisor."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click

from muxproxy.cli.descriptors import raise_to_hard_limit
from muxproxy.cli.exits import Exit
from muxproxy.cli.options import config_option
from muxproxy.config import limits
from muxproxy.config.load import examine
from muxproxy.config.model import Config
from muxproxy.errors import ConfigError


@click.command(short_help="Serve until a signal.")
@config_option
def run(path: Path) -> None:
    """Serve until SIGTERM or SIGINT.

    The first signal drains: no new clients, and up to drain_timeout to finish what is owed. A second one
    stops at once. The log goes to stderr.
    """
    # Here, because it imports trio, and `check` need not wait for that.
    from muxproxy.supervisor import main as supervisor

    sys.exit(start(path, raise_to_hard_limit(), supervisor.run))


def start(path: Path, nofile: int, serve: Callable[[Config], int]) -> int:
    """The exit code. `serve` gets the configuration with its effective numbers."""
    from muxproxy.supervisor.log import stderr_log

    reading = examine(path)
    log = stderr_log("info" if reading.config is None else reading.config.node.log_level)
    problems = reading.problems
    for warning in reading.warnings:
        log.warning(str(warning))
    if reading.config is not None:
        try:
            config = limits.effective(reading.config, nofile)
        except ConfigError as error:
            problems = error.problems
        else:
            for change in limits.lowered(reading.config, config):
                log.info(str(change))
            return serve(config)
    for problem in problems:
        log.error(str(problem))
    log.error("not started: the configuration has errors", problems=len(problems))
    return Exit.CONFIG
