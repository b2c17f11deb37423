"""`muxproxy reload`: has the running one read its files again, and tells what that changes, or would.

    POST /reload {"dry_run": false}
    200   what `told()` of config/plan.py says: it has been done, or would be
    409   the same, with what is refused; nothing has been changed
    422   {"problems": [{"file", "key", "value", "rule"}, ...]}: as of `check`; nothing has been changed
    409   {"cannot_listen": [...]}: addresses that cannot be had; nothing has been changed

The files are the running one's own, as it sees them: another user, in another place, might read others.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from muxproxy.cli import asking
from muxproxy.cli.asking import Answer, asks_a_running_one
from muxproxy.cli.exits import Exit
from muxproxy.cli.plain import plain
from muxproxy.cli.plan import render
from muxproxy.errors import Problem

PATIENCE = 60.0  # seconds: a worker that hangs is waited for, then replaced


@click.command(short_help="Have a running muxproxy read its configuration again.")
@asks_a_running_one
@click.option("--dry-run", is_flag=True, help="Change nothing, and print what a reload would.")
def reload(places: list[str], dry_run: bool) -> None:
    """Have a running muxproxy read its files again, and print what that changes and how: a line for each
    backend that is added, removed or replaced, each key and each listener.

    All or nothing: a file that is wrong (exit code 1), an address that cannot be had (3) or a change that a
    running process cannot make (7) changes nothing.
    """
    body = json.dumps({"dry_run": dry_run}).encode()
    answer = asking.ask(places, "/reload", method="POST", body=body, timeout=PATIENCE)
    try:
        code, lines = _outcome(answer)
    except (KeyError, TypeError, ValueError) as error:
        raise asking.failure(answer.place, f"it cannot reload: {error}") from None
    for line in lines:
        click.echo(line)
    sys.exit(code)


def _outcome(answer: Answer) -> tuple[Exit, list[str]]:
    """Raises KeyError, TypeError or ValueError where that is no answer to this question."""
    if answer.status not in (200, 409, 422):
        raise ValueError(f"it answered {answer.status} {answer.reason}")
    told: dict[str, Any] = json.loads(answer.body)
    if answer.status == 422:
        return Exit.CONFIG, [plain(str(Problem(**problem))) for problem in told["problems"]]
    if answer.status == 409 and "refused" not in told:
        if "cannot_listen" in told:
            return Exit.CANNOT_START, [plain(str(line)) for line in told["cannot_listen"]]
        return Exit.REFUSED, [plain(str(told["detail"]))]
    return (Exit.REFUSED if told["refused"] else Exit.OK), render(told)
