"""`muxproxy status`: asks the running supervisor over its admin socket, and shows the answer."""

from __future__ import annotations

import json
from typing import Any

import click

from muxproxy.cli import asking
from muxproxy.cli.asking import Answer, asks_a_running_one


@click.command(short_help="Show the state of a running muxproxy.")
@asks_a_running_one
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as JSON.")
def status(places: list[str], as_json: bool) -> None:
    """Show each backend of a running muxproxy: its clients, its queue, its upstream sockets beside their
    bound, and how its requests ended."""
    report = ask(places)
    if as_json:
        click.echo(json.dumps(report, indent=2).replace("\x7f", "\\u007f"))  # all other controls are escaped
        return
    from rich.console import Console

    from muxproxy.cli.view import render

    Console(markup=False, emoji=False).print(render(report))  # `[fd00::5]` is an address and no style


def ask(places: list[str]) -> dict[str, Any]:
    """The report of the first place where a muxproxy runs. Raises Failure."""
    answer = asking.ask(places, "/status")
    try:
        return _report(answer)
    except ValueError as error:
        raise asking.failure(answer.place, str(error)) from None


def _report(answer: Answer) -> dict[str, Any]:
    if answer.status != 200:
        text = answer.body[:200].decode(errors="replace").strip()
        raise ValueError(f"it answered {answer.status} {answer.reason}: {text}")
    report = json.loads(answer.body)
    if not isinstance(report, dict) or "backends" not in report:
        raise ValueError("what answers there is not muxproxy")
    return report
