"""One machine in a network namespace: servers with addresses of their own, apps that know only these, and
muxproxy as another user, to which the kernel leads what the apps connect to.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from muxproxy.cli.main import cli
from tests.system.process import tool
from tests.system.proxy import Proxy
from tests.system.reachable import prefix
from tests.system.sockdiag import SockDiag

USER = "nobody"  # whom muxproxy's workers run as: their own connections are let alone
MINE = str(os.getuid())  # the apps'


def place(number: int) -> str:
    """An address of this machine's, as another server's."""
    return f"10.77.0.{number}"


def add_places(number: int) -> None:
    for each in range(1, number + 1):
        run("ip", "addr", "add", f"{place(each)}/32", "dev", "lo")


def run(*words: str, check: bool = True, **keys: Any) -> subprocess.CompletedProcess[str]:
    words = (tool(words[0]), *words[1:])
    return subprocess.run(words, check=check, capture_output=True, text=True, timeout=60, **keys)


def muxproxy(*words: str) -> Result:
    """A command that a person types; in this process, which is in the namespace."""
    return CliRunner().invoke(cli, list(words))


@contextmanager
def led(folder: Path, protocol: str, redirect: list[str], **tables: dict[str, Any]) -> Iterator[Proxy]:
    """muxproxy, and the kernel's rules that lead connections of ours to it."""
    tool("nft")
    folder.chmod(0o755)
    tables["clients"] = {"redirect": redirect, "redirect_users": [MINE]} | tables.get("clients", {})
    tables["clients"].setdefault("listen", ["127.0.0.1:15001"])
    tables["upstream"] = {"to": "original"} | tables.get("upstream", {})
    with Proxy(protocol=protocol, node={"user": USER}, prefix=prefix(folder), **tables) as proxy:
        done = muxproxy("redirect", "-c", str(proxy.folder), "--write")
        assert done.exit_code == 0, done.stderr
        try:
            yield proxy
        finally:
            removed = muxproxy("redirect", "-c", str(proxy.folder), "--remove")
            assert removed.exit_code == 0, removed.stderr


def held(proxy: Proxy, *peers: str) -> Counter[str]:
    """Sockets of muxproxy's towards each, as the kernel has them: those of apps have the same peer."""
    mine = {inode for pid in proxy.workers() for inode in inodes(pid)}
    with SockDiag() as diag:
        return Counter({peer: sum(each.inode in mine for each in diag.sockets(peer)) for peer in peers})


def inodes(pid: int) -> set[int]:
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue
        if target.startswith("socket:["):
            found.add(int(target[8:-1]))
    return found


@contextmanager
def bounded(proxy: Proxy, peers: Sequence[str], bounds: dict[str, int]) -> Iterator[None]:
    """The kernel's count, again and again meanwhile: within the bounds."""
    most: Counter[str] = Counter()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.005):
            now = held(proxy, *peers)
            now["all"] = now.total()
            most.update({peer: now[peer] - most[peer] for peer in now if now[peer] > most[peer]})

    watch = threading.Thread(target=look, daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join(20)
    assert most["all"] <= bounds["max_connections"], most
    assert 0 < max(most[peer] for peer in peers) <= bounds["max_connections_each"], most
