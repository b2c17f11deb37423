"""`muxproxy run`: load, fit into the descriptor limit, and hand over to the supervisor."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from muxproxy.cli.cpus import usable_cpus
from muxproxy.cli.descriptors import raise_to_hard_limit
from muxproxy.cli.exits import Exit
from muxproxy.cli.options import config_option
from muxproxy.config import limits
from muxproxy.config.load import examine, load
from muxproxy.config.model import Config
from muxproxy.errors import ConfigError


@click.command(short_help="Serve until a signal.")
@config_option
@click.option("--succeed-fd", "succeed", type=int, hidden=True)  # the channel to who hands over: upgrade.py
def run(path: Path, succeed: int | None) -> None:
    """Serve until SIGTERM or SIGINT.

    The first signal drains: no new clients, and up to drain_timeout to finish what is owed. A second one
    stops at once. SIGHUP reloads the configuration in place. The log goes to stderr.
    """
    # Here, because it imports trio, and `check` need not wait for that.
    from muxproxy.supervisor import main as supervisor

    serve = partial(supervisor.run, files=path.absolute(), succeed=succeed)
    sys.exit(start(path, raise_to_hard_limit(), serve))


Serve = Callable[[Config, Callable[[], Config]], int]


def start(path: Path, nofile: int, serve: Serve) -> int:
    """The exit code. `serve` gets the configuration with its effective numbers, and how to read it again."""
    from muxproxy.supervisor.log import stderr_log

    reading = examine(path)
    log = stderr_log("info" if reading.config is None else reading.config.node.log_level)
    problems = reading.problems
    for warning in reading.warnings:
        log.warning(str(warning))
    if reading.config is not None:
        try:
            cpus = usable_cpus()
            wanted = limits.for_cpus(reading.config, cpus)
            config = limits.effective(wanted, nofile)
        except ConfigError as error:
            problems = error.problems
        else:
            for change in limits.lowered(reading.config, config):
                log.info(str(change))
            place = path.absolute()
            return serve(config, lambda: limits.for_cpus(load(place), cpus))
    for problem in problems:
        log.error(str(problem))
    log.error("not started: the configuration has errors", problems=len(problems))
    return Exit.CONFIG
