"""`muxproxy doctor`: looks at this machine, and says what is wrong and what to type. It changes nothing."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from muxproxy.cli.exits import Exit, Failure
from muxproxy.config.load import load
from muxproxy.config.model import Backend, Config
from muxproxy.errors import ConfigError

if TYPE_CHECKING:  # read when the command runs, so that others do not wait for it
    from muxproxy.doctor.facts import Facts
    from muxproxy.doctor.judging.fleet import Limit
    from muxproxy.doctor.report import Report

LOOK = 1.0  # seconds between the two looks
_CLEAR = "\x1b[H\x1b[2J"


def complete_remote(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """To whom this machine has connections now."""
    from muxproxy.doctor.judging.suggest import remotes
    from muxproxy.doctor.reading.look import look

    try:
        found = remotes(look(seconds=0.0))
    except OSError:
        return []
    return [CompletionItem(word) for word in found if word.startswith(text)]


class _Limit(click.ParamType[tuple[str, int]]):
    name = "NAME=N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        name, _, number = str(value).rpartition("=")
        if not name or not number.isascii() or not number.isdigit() or not int(number):
            self.fail(
                "a backend (without -c a remote) and its server's limit, such as orders=10000", param, ctx
            )
        return name, int(number)


@click.command(short_help="Say what is wrong with this machine's connections, and what to type.")
@click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(readable=False, path_type=Path),
    metavar="PATH",
    help="Judge this configuration, too: its listeners and bounds against the kernel's limits, and who "
    "goes past it.",
)
@click.option("--watch", is_flag=True, help="Look again and again, until Ctrl-C.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print all of it as JSON; with --watch one line a look."
)
@click.option("--schema", is_flag=True, help="Print the JSON schema of --json, and do nothing else.")
@click.option(
    "--suggest",
    "remote",
    metavar="REMOTE",
    shell_complete=complete_remote,
    help="Print the backend's file that would replace the connections to REMOTE (such as 10.0.0.5:6379).",
)
@click.option(
    "--fleet",
    "nodes",
    type=click.IntRange(min=1),
    metavar="N",
    help="Reckon with N such nodes: their bounds together against what each server takes. "
    "Redis servers of the configuration are asked for it.",
)
@click.option(
    "--limit",
    "given",
    type=_Limit(),
    multiple=True,
    help="What a server takes, for --fleet: maxclients, max_connections, accepts. May be repeated.",
)
def doctor(
    path: Path | None,
    watch: bool,
    as_json: bool,
    schema: bool,
    remote: str | None,
    nodes: int | None,
    given: tuple[tuple[str, int], ...],
) -> None:
    """Look at this machine's TCP connections for a second and say what is wrong, the worst first: one line
    what it is, one what to type, and the evidence with where it comes from.

    Changes nothing. Needs no root; with it, the processes of all users have names. Exits with 1 if
    something is wrong, and with 0 if nothing is, or if there are only warnings.
    """
    if schema:
        _print_schema()
        return
    if given and nodes is None:
        raise click.UsageError("--limit is for --fleet N")
    config = None if path is None else _load(path)
    if remote is not None:
        click.echo(_suggest(_facts(), remote), nl=False)
        return
    limits = _limits(config, dict(given)) if nodes is not None else {}
    verdict = ""
    try:
        while not verdict or watch:
            if verdict:
                time.sleep(LOOK)
            report = _judged(_facts(), config, nodes or 0, limits)
            _show(report, as_json, watch)
            verdict = report.verdict
    except KeyboardInterrupt:
        if not watch:
            raise
    if verdict == "wrong":
        sys.exit(Exit.WRONG)


def _load(path: Path) -> Config:
    try:
        return load(path)
    except ConfigError as error:
        raise Failure(Exit.CONFIG, str(error)) from None


def _facts() -> Facts:
    from muxproxy.doctor.reading.look import look

    try:
        return look(LOOK)
    except OSError as error:
        advice = "the kernel's list of sockets (netlink's sock_diag, or /proc/net/tcp) cannot be read"
        raise Failure(Exit.CANNOT_START, f"{advice}: {error.strerror or error}") from None


def _judged(facts: Facts, config: Config | None, nodes: int, limits: dict[str, Limit]) -> Report:
    from muxproxy.doctor.judging.judge import Question, judge

    return judge(facts, Question(resource.getrlimit(resource.RLIMIT_NOFILE), config, nodes, limits))


def _show(report: Report, as_json: bool, watch: bool) -> None:
    import msgspec

    from muxproxy.cli.doctor.view import render

    if as_json:
        told = msgspec.to_builtins(report, str_keys=True)
        # All other control characters are escaped.
        click.echo(json.dumps(told, indent=None if watch else 2).replace("\x7f", "\\u007f"))
        return
    is_terminal = sys.stdout.isatty()
    if watch and is_terminal:
        click.echo(_CLEAR, nl=False)
    click.echo("\n".join(render(report)))
    if watch:
        click.echo(f"\n{time.strftime('%H:%M:%S')}  looking again until Ctrl-C")


def _suggest(facts: Facts, remote: str) -> str:
    from muxproxy.cli.plain import plain
    from muxproxy.doctor.judging.suggest import remotes, suggest

    try:
        text = suggest(facts, remote)
    except KeyError:
        known = ", ".join(remotes(facts)[:8]) or "none to anybody"
        raise click.BadParameter(
            f"no connection from here to {remote} was seen; there are: {known}", param_hint="--suggest"
        ) from None
    return "\n".join(plain(line) for line in text.split("\n"))


def _print_schema() -> None:
    import msgspec

    from muxproxy.doctor.report import Report

    click.echo(json.dumps(msgspec.json.schema(Report), indent=2))


# -- what servers take ------------------------------------------------------------------------------------


def _limits(config: Config | None, given: dict[str, int]) -> dict[str, Limit]:
    """As given; of a Redis that the configuration names, as it says itself."""
    from muxproxy.doctor.judging.fleet import Limit

    limits = {name: Limit(number, "--limit") for name, number in given.items()}
    for backend in config.backends if config is not None else ():
        if backend.protocol == "redis" and backend.name not in limits:
            asked = _asked(backend)
            if asked is not None:
                limits[backend.name] = asked
    return limits


def _asked(backend: Backend) -> Limit | None:
    """The least of its servers'."""
    from muxproxy.config.address import parse_server
    from muxproxy.doctor.judging.fleet import Limit
    from muxproxy.doctor.reading.redis import CannotBeAskedError, ask

    found = []
    for server in backend.upstream.servers:
        try:
            user, tls = backend.redis, backend.upstream.tls
            told = ask(parse_server(server), user.username, user.password, tls)
            found.append(Limit(told.maxclients, told.how, told.clients))
        except CannotBeAskedError as error:
            click.echo(f"note: {backend.name}: maxclients is not known: {error}", err=True)
            return None
    return min(found, key=lambda limit: limit.number, default=None)
