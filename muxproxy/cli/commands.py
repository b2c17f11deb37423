"""`muxproxy pause`, `resume`, `reconnect`, `drain`, `set`, `upgrade`: thin over the running one's admin API.

    POST  /upgrade
    POST  /backends/NAME/{pause,resume,reconnect,drain}[?server=ADDRESS]
    PATCH /backends/NAME {"max_connections": 12}
    200   the backend's part of the status: one line of it is printed
    404, 409, 422   problem+json: nothing has been changed

Names complete on Tab, from the running one (`eval "$(_MUXPROXY_COMPLETE=bash_source muxproxy)"`).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import click
from click.shell_completion import CompletionItem

from muxproxy.cli import asking
from muxproxy.cli.asking import Answer, asks_a_running_one
from muxproxy.cli.exits import Exit, Failure
from muxproxy.cli.plain import plain
from muxproxy.config.units import parse_duration
from muxproxy.errors import Problem
from muxproxy.supervisor.admin.live import SETTABLE

REFUSED = (404, 409, 422)
PATIENCE = 60.0  # seconds: a worker that hangs is waited for, then replaced
_AGAIN = 0.05  # seconds between two looks
QUICK = 1.0  # who has pressed Tab waits for this


# -- completion -------------------------------------------------------------------------------------------


def _running(context: click.Context) -> dict[str, Any]:
    """The backends of the running one that the command line names so far; none if there is trouble."""
    try:
        places = asking.places(context.params.get("path"), context.params.get("socket_path"))
        report = json.loads(asking.ask(places, "/status", timeout=QUICK).body)
        return dict(report["backends"])
    except (click.ClickException, ValueError, KeyError, TypeError):
        return {}


def complete_name(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    return _beginning(text, _running(context))


def complete_server(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    # Behind an option that lacks its value click has not come to the arguments yet.
    name = context.params.get("name") or (context.args[0] if context.args else "")
    backend = _running(context).get(name, {})
    servers = [*(each["address"] for each in backend.get("servers", [])), *backend.get("drained_servers", [])]
    return _beginning(text, servers)


def complete_number(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    return _beginning(text, [f"{key}=" for key in SETTABLE])


def _beginning(text: str, words: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(word) for word in words if word.startswith(text) and word.isprintable()]


# -- commands ---------------------------------------------------------------------------------------------

name_argument = click.argument("name", shell_complete=complete_name)


def server_option(text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option("--server", metavar="ADDRESS", default="", help=text, shell_complete=complete_server)


class _Duration(click.ParamType[float]):
    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(short_help="Let a backend's requests wait, until resume.")
@asks_a_running_one
@name_argument
@click.option(
    "--wait", "patience", type=_Duration(), help='Return when all has been finished; such as "30s".'
)
def pause(places: list[str], name: str, patience: float | None) -> None:
    """Let the requests of backend NAME wait, until `muxproxy resume NAME`: to replace what is behind it.

    What is in flight is finished, then every connection to its servers is closed and none is opened. Who
    waits longer than [queue] timeout is refused, and so is who would be more than max_waiting.
    """
    answer = _post(places, name, "pause")
    if patience is not None:
        until = time.monotonic() + patience
        while _is_held(answer) and time.monotonic() < until:
            time.sleep(_AGAIN)
            answer = asking.ask(places, f"/backends/{quote(name, safe='')}")
    _told(answer)
    if patience is not None and _is_held(answer):
        sys.exit(Exit.NOT_IN_TIME)


def _is_held(answer: Answer) -> bool:
    """Connections are left, as far as is known. What is no answer at all is told by _told()."""
    if answer.status != 200:
        return False
    try:
        entry = json.loads(answer.body)
        return bool(entry.get("upstream_sockets", entry.get("state") != "drained"))
    except (ValueError, AttributeError):
        return False


@click.command(short_help="Take back a pause or a drain.")
@asks_a_running_one
@name_argument
@server_option("Take back only the drain of this server.")
def resume(places: list[str], name: str, server: str) -> None:
    """Take back `pause` and `drain` of backend NAME and of its servers."""
    _told(_post(places, name, "resume", server))


@click.command(short_help="Replace each connection as it comes free.")
@asks_a_running_one
@name_argument
@server_option("Only those to this server, as the status shows it, or to any destination.")
def reconnect(places: list[str], name: str, server: str) -> None:
    """Replace each connection of backend NAME to its servers as it comes free, idle ones at once."""
    _told(_post(places, name, "reconnect", server))


@click.command(short_help="Serve a backend, or a server of it, no more.")
@asks_a_running_one
@name_argument
@server_option("Only this server, as the backend's file has it: the others serve.")
def drain(places: list[str], name: str, server: str) -> None:
    """Serve backend NAME no more, until `muxproxy resume NAME`: its listeners close, what is owed is finished
    within drain_timeout, clients are sent away as at the end. With --server: that one gets nothing new."""
    _told(_post(places, name, "drain", server))


@click.command("set", short_help="Set a number of a backend, until the next reload.")
@asks_a_running_one
@name_argument
@click.argument("numbers", nargs=-1, required=True, metavar="KEY=N...", shell_complete=complete_number)
def set_numbers(places: list[str], name: str, numbers: Sequence[str]) -> None:
    """Set max_connections or max_waiting of backend NAME at once, until the next reload:

    muxproxy set NAME max_connections=12 max_waiting=100
    """
    body = json.dumps(dict(map(_number, numbers))).encode()
    _told(
        asking.ask(places, f"/backends/{quote(name, safe='')}", method="PATCH", body=body, timeout=PATIENCE)
    )


@click.command(short_help="Have the version that is installed now take over.")
@asks_a_running_one
def upgrade(places: list[str]) -> None:
    """Have another muxproxy, of the version and the files that are there now, take over from the running one.

    Nobody is refused: it gets the listening sockets, and once it serves, the running one accepts no more and
    finishes what it has within drain_timeout. If it does not come up, nothing has changed (exit code 7).
    """
    answer = asking.ask(places, "/upgrade", method="POST", body=b"", timeout=PATIENCE)
    _told(answer, lambda told: f"pid {int(told['pid'])} serves, its predecessor drains")


def _number(text: str) -> tuple[str, int]:
    key, _, value = text.partition("=")
    if key not in SETTABLE or not value.isascii() or not value.isdigit() or len(value) > 9:
        raise click.UsageError(f"{text!r}: one of {', '.join(f'{key}=N' for key in SETTABLE)}")
    return key, int(value)


def _post(places: list[str], name: str, command: str, server: str = "") -> Answer:
    query = f"?{urlencode({'server': server})}" if server else ""
    page = f"/backends/{quote(name, safe='')}/{command}{query}"
    return asking.ask(places, page, method="POST", body=b"", timeout=PATIENCE)


# -- what is told -----------------------------------------------------------------------------------------


def _told(answer: Answer, line: Callable[[dict[str, Any]], str] | None = None) -> None:
    """Raises Failure if it was not done."""
    try:
        told = json.loads(answer.body)
        if answer.status in REFUSED:
            raise Failure(*_why(told))
        if answer.status != 200:
            raise ValueError(f"it answered {answer.status} {answer.reason}")
        text = (line or _line)(told)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise asking.failure(answer.place, f"it cannot do this: {error}") from None
    click.echo(plain(text))


def _why(problem: dict[str, Any]) -> tuple[Exit, str]:
    rules = [str(Problem(**each)) for each in problem.get("problems", [])]
    lines = rules or [str(problem["detail"])]
    code = Exit.CANNOT_START if "cannot_listen" in problem else Exit.REFUSED
    return code, "\n".join(plain(line) for line in lines)


def _line(entry: dict[str, Any]) -> str:
    """`paused: 3 of at most 8 connections, 120 of at most 1000 waiting`"""
    words = [
        f"{entry.get('upstream_sockets', 0)} of at most {entry['upstream_max']} connections",
        f"{entry.get('waiting', 0)} of at most {entry['waiting_max']} waiting",
    ]
    words += [f"{key} = {it['now']} ({it['file']} in the file)" for key, it in entry["differs"].items()]
    words += [f"{server} is drained" for server in entry["drained_servers"]]
    return f"{entry['state']}: {', '.join(words)}"
