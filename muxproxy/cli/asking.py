"""The admin socket from an operator's side: where it may be, and one question to the first that answers.

Every command that is about a running muxproxy finds it in the same way, by `-c PATH` or `--socket PATH`.
"""

from __future__ import annotations

import functools
import http.client
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click

from muxproxy.cli.exits import Exit, Failure
from muxproxy.cli.options import DEFAULT_PATH
from muxproxy.cli.plain import plain
from muxproxy.config.address import SYSTEM_SOCKET, admin_socket
from muxproxy.config.load import load_node
from muxproxy.errors import ConfigError

TIMEOUT = 5.0  # seconds of silence; the supervisor gives each worker one to answer
MAX_ANSWER = 64 * 1024 * 1024  # bytes

Command = Callable[..., None]


class Answer(NamedTuple):
    place: str
    status: int
    reason: str
    body: bytes


def asks_a_running_one(command: Command) -> Command:
    """Gives a click command the two options, and the function behind it `places`, to be asked in turn."""

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
    @functools.wraps(command)
    def asking(path: Path | None, socket_path: str | None, **others: Any) -> None:
        command(places=places(path, socket_path), **others)

    return asking


def places(path: Path | None, socket_path: str | None) -> list[str]:
    """Where the admin socket may be: where the configuration says, else at this user's and the service's.
    Raises Failure and UsageError."""
    if path is not None and socket_path is not None:
        raise click.UsageError("--config and --socket exclude each other")
    if socket_path is not None:
        return [socket_path]
    try:
        node = load_node(path or DEFAULT_PATH)
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


def ask(
    places: list[str],
    page: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    timeout: float | None = None,
) -> Answer:
    """The answer, whatever its status, of the first place where a muxproxy runs. `timeout`: another silence
    than the usual. Raises Failure."""
    timeout = TIMEOUT if timeout is None else timeout
    absent = []
    for place in places:
        try:
            return _ask(_UnixConnection(place, timeout), place, page, method, body)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            absent.append(f"{place}: {error.strerror}")
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise failure(place, _why(error, timeout)) from None
    advice = "start one with `muxproxy run`, or say where it is with --socket"
    raise Failure(Exit.NOT_RUNNING, f"no running muxproxy ({'; '.join(absent)}): {advice}")


def failure(place: str, why: str) -> Failure:
    """Something is there, and does not answer as muxproxy does."""
    return Failure(Exit.NOT_RUNNING, f"cannot ask {place}: {plain(' '.join(why.split()))}")


def _why(error: Exception, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g}s"
    return getattr(error, "strerror", None) or str(error) or repr(error)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _ask(connection: _UnixConnection, place: str, page: str, method: str, body: bytes | None) -> Answer:
    """Raises OSError, HTTPException or ValueError."""
    headers = {"Accept": "application/json"} | ({"Content-Type": "application/json"} if body else {})
    try:
        connection.request(method, page, body=body, headers=headers)
        reply = connection.getresponse()
        content = reply.read(MAX_ANSWER)
    finally:
        connection.close()
    if reply.length:
        raise ValueError("its answer is cut short")
    return Answer(place, reply.status, reply.reason, content)
