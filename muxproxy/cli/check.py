"""`muxproxy check`: all that is wrong with a configuration, one line each, or what it comes to."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import click

from muxproxy.cli.cpus import usable_cpus
from muxproxy.cli.descriptors import hard_limit
from muxproxy.cli.exits import Exit
from muxproxy.cli.options import config_option
from muxproxy.cli.plain import plain
from muxproxy.cli.redirect.command import trouble
from muxproxy.config import consistency, limits
from muxproxy.config.destination.where import told
from muxproxy.config.load import examine
from muxproxy.config.model import Config
from muxproxy.errors import ConfigError, Problem


@click.command(short_help="Print every problem of the configuration.")
@config_option
@click.option(
    "--nofile",
    type=click.IntRange(min=1),
    metavar="N",
    help="Descriptor limit that `run` will have (its unit's LimitNOFILE): what does not fit is an error. "
    "Default: this shell's hard limit, and what does not fit is a warning.",
)
@click.option(
    "--where",
    metavar="URL",
    help="Tell where a request for it goes, by which of [[http.routes]], and whether that is allowed.",
)
def check(path: Path, nofile: int | None, where: str | None) -> None:
    """Read the configuration and print every problem: file: key = value: rule.

    Exits with 1 if there are errors. Warnings are things that work and are seldom meant.
    """
    reading = examine(path)
    problems = list(reading.problems)
    warnings = list(reading.warnings)
    config = reading.config
    limit = hard_limit() if nofile is None else nofile
    if config is not None:
        config = limits.for_cpus(config, usable_cpus())
        try:
            config = limits.effective(config, limit)
        except ConfigError as error:
            (warnings if nofile is None else problems).extend(error.problems)
        warnings.extend(_redirects(config))
    for problem in problems:
        click.echo(plain(str(problem)))
    for warning in warnings:
        click.echo(plain(f"warning: {warning}"))
    for note in consistency.notes(config) if config is not None else ():
        click.echo(f"note: {note}")
    if config is None or problems:
        click.echo(f"{path}: {_count(len(problems), 'error')}, {_count(len(warnings), 'warning')}", err=True)
        sys.exit(Exit.CONFIG)
    if where is None:
        _tell(config, limit)
    else:
        _tell_where(config, where)
    click.echo(f"{path}: no errors, {_count(len(warnings), 'warning')}", err=True)


def _redirects(config: Config) -> list[Problem]:
    why = trouble(config)
    files = [backend.file for backend in config.backends if backend.clients.redirect]
    return [Problem(files[0], "clients.redirect", "", f"the kernel's rules {why}")] if why else []


def _tell(config: Config, limit: int) -> None:
    seen: set[str] = set()
    for number, owned in enumerate(limits.assign_workers(config)):
        for backend in owned:
            if backend.name not in seen:  # a shard of it
                click.echo(limits.describe(backend))
        seen.update(backend.name for backend in owned)
        click.echo(f"worker {number}: at most {limits.descriptors(owned)} descriptors of {limit}")


def _tell_where(config: Config, url: str) -> None:
    asked = [backend for backend in config.backends if backend.upstream.to != "servers"]
    if not asked:
        raise click.UsageError('--where: no backend has to = "host" or "original"')
    for backend in asked:
        try:
            for line in told(backend, url, _resolve, _is_own):
                click.echo(plain(line))
        except ValueError as error:
            raise click.UsageError(f"--where {url!r}: {error}") from None


def _resolve(name: str) -> list[str]:
    return [str(info[4][0]) for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]


def _is_own(address: str) -> bool:
    """Where net.ipv4.ip_nonlocal_bind is set this says yes too often; the worker asks the routing table."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
