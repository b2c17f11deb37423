"""muxproxy of a replay: a real child, with a configuration that a person can copy.

It and the servers are ready when they accept."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

from muxproxy.stage.hosts import Host
from muxproxy.stage.stage import Broken, Child, Stage

START = 60.0  # seconds for a program to be ready; a cold machine takes five, a busy one twenty


def start(stage: Stage, host: Host, backends: dict[str, str], workers: int = 1) -> Child:
    """`muxproxy run` with these backends, texts by name, until it serves."""
    folder = stage.folder / "muxproxy"
    (folder / "backends").mkdir(parents=True, exist_ok=True)
    node = f'admin = "{folder}/admin.sock"\ndrain_timeout = "2s"\nworkers = {workers}\n'
    (folder / "muxproxy.toml").write_text(node)
    for name, config in backends.items():
        (folder / "backends" / f"{name}.toml").write_text(config)
    child = stage.proxy(folder, "muxproxy", host.before())
    # It is bound, and the kernel would accept for it, before a worker is there.
    wait(stage, lambda: "serving backends=" in child.log.read_text(), "muxproxy does not serve")
    return child


def await_accepting(stage: Stage, host: Host, address: str) -> None:
    """Raises Broken where it takes too long, or a child ends."""
    wait(stage, lambda: accepts(host, address), f"nothing accepts at {address}")


def wait(stage: Stage, question: Callable[[], bool], otherwise: str, within: float = START) -> None:
    deadline = time.monotonic() + within
    while not question():
        stage.turn()
        if time.monotonic() > deadline:
            raise Broken(f"{otherwise} after {within:g}s")


def accepts(host: Host, address: str) -> bool:
    """Asked from that host. HOST:PORT, or a path."""
    with host.inside():
        sock = socket.socket(socket.AF_UNIX if address.startswith("/") else socket.AF_INET)
    with sock:
        sock.settimeout(1.0)
        at, _, port = address.rpartition(":")
        try:
            sock.connect(address if address.startswith("/") else (at, int(port)))
        except OSError:
            return False
    return True


def shown(config: str, folder: Path) -> str:
    """As somebody would write it: without the folder that is gone afterwards."""
    return config.replace(f"{folder}/", "/run/muxproxy/")
