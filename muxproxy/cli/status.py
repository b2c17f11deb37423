"""`muxproxy status`: asks the running supervisor over its admin socket, and shows the answer."""

from __future__ import annotations

import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any

import click

from muxproxy.cli.exits import Exit, Failure
from muxproxy.cli.options import DEFAULT_PATH
from muxproxy.cli.plain import plain
from muxproxy.config.address import SYSTEM_SOCKET, admin_socket
from muxproxy.config.load import load_node
from muxproxy.errors import ConfigError

TIMEOUT = 5.0  # seconds of silence; the supervisor gives each worker one to answer
MAX_ANSWER = 64 * 1024 * 1024  # bytes


@click.command(short_help="Show the state of a running muxproxy.")
@click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(readable=False, path_type=Path),
    metavar="PATH",
    help=f"Configuration of the muxproxy to ask, for its admin socket.  [default: {DEFAULT_PATH}]",
)
@click.option(
    "--socket",
    "socket_path",
    type=click.Path(readable=False),
    metavar="PATH",
    help="The admin socket itself.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as JSON.")
def status(path: Path | None, socket_path: str | None, as_json: bool) -> None:
    """Show each backend of a running muxproxy: its clients, its queue, its upstream sockets beside their
    bound, and how its requests ended."""
    if path is not None and socket_path is not None:
        raise click.UsageError("--config and --socket exclude each other")
    report = ask([socket_path] if socket_path is not None else _places(path or DEFAULT_PATH))
    if as_json:
        click.echo(json.dumps(report, indent=2).replace("\x7f", "\\u007f"))  # all other controls are escaped
        return
    from rich.console import Console

    from muxproxy.cli.view import render

    Console(markup=False, emoji=False).print(render(report))  # `[fd00::5]` is an address and no style


def _places(path: Path) -> list[str]:
    """Where the admin socket may be: where the configuration says, else at this user's and the service's."""
    try:
        node = load_node(path)
    except ConfigError as error:
        raise Failure(Exit.CONFIG, str(error)) from None
    env = os.environ
    mine = admin_socket(node, os.geteuid(), env.get("XDG_RUNTIME_DIR"), env.get("RUNTIME_DIRECTORY"))
    if node.admin or mine == SYSTEM_SOCKET:
        return [mine]
    return [SYSTEM_SOCKET] if _is_anothers(os.path.dirname(mine)) else [mine, SYSTEM_SOCKET]


def _is_anothers(directory: str) -> bool:
    """In /tmp somebody else may have made it, to be taken for our muxproxy."""
    try:
        return os.lstat(directory).st_uid not in (0, os.geteuid())
    except OSError:
        return False


def ask(places: list[str]) -> dict[str, Any]:
    """The report of the first place where a muxproxy runs. Raises Failure."""
    absent = []
    for place in places:
        try:
            return _get(place)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            absent.append(f"{place}: {error.strerror}")
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Failure(Exit.NOT_RUNNING, f"cannot ask {place}: {_why(error)}") from None
    advice = "start one with `muxproxy run`, or say where it is with --socket"
    raise Failure(Exit.NOT_RUNNING, f"no running muxproxy ({'; '.join(absent)}): {advice}")


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT:g}s"
    text = getattr(error, "strerror", None) or str(error) or repr(error)
    return plain(" ".join(text.split()))


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(self._path)


def _get(place: str) -> dict[str, Any]:
    """Raises OSError, HTTPException or ValueError."""
    connection = _UnixConnection(place)
    try:
        connection.request("GET", "/status", headers={"Accept": "application/json"})
        reply = connection.getresponse()
        body = reply.read(MAX_ANSWER)
    finally:
        connection.close()
    if reply.status != 200:
        text = body[:200].decode(errors="replace").strip()
        raise ValueError(f"it answered {reply.status} {reply.reason}: {text}")
    if reply.length:
        raise ValueError("its answer is cut short")
    report = json.loads(body)
    if not isinstance(report, dict) or "backends" not in report:
        raise ValueError("what answers there is not muxproxy")
    return report
