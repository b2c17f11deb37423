"""The table of commands against the COMMAND of the redis-server that is installed here.

The same version has exactly what known.py says; another one may have commands that are unknown there
(muxproxy asks about these), but none that is flagged otherwise.
"""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from muxproxy.protocols.redis.commands import known as commands
from muxproxy.protocols.redis.commands.generate import KEPT, read
from tests.system.process import tool

QUESTION = b"INFO server\r\nCOMMAND\r\nQUIT\r\n"
# Redis 7.0 does not flag WAIT as blocking; Valkey does, and a flag of one of the two counts.
OTHERWISE = {"wait"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Path]:
    """The socket of a fresh server, listening."""
    path = tmp_path / "redis.sock"
    command = [
        tool("redis-server"),
        "--port",
        "0",
        "--unixsocket",
        str(path),
        "--save",
        "",
        "--dir",
        str(tmp_path),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "ready to accept connections" in line.lower():
                break
        yield path
        process.terminate()


def ask(path: Path) -> bytes:
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(QUESTION)
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_the_table_is_what_the_real_server_says(server: Path) -> None:
    (name,), live = read(ask(server))
    known = {name: set(flags.split()) for flags, names in commands.COMMANDS for name in names.split()}
    assert len(live) > 200
    if re.search(rf"\b{re.escape(name)}\b", commands.__doc__ or ""):
        assert set(live) <= set(known)
    wrong = {
        command: (sorted(flags & set(KEPT)), sorted(known[command]))
        for command, flags in live.items()
        if command in known and flags & set(KEPT) != known[command]
    }
    assert set(wrong) <= OTHERWISE, wrong
