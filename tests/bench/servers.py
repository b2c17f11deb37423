"""A server: how it is configured, started, found ready and ended.

A contestant is a function from (directory, its own address, the origin's port) to the command to run. Every
one is set up as its manual advises for few upstream connections that live long, with limits and timeouts so
generous that none of them is what is measured. What only one protocol needs stands in that protocol's file.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import measure
from tests.bench.builds import Build, parse_maps
from tests.system.proxy import admin_status, toml

START_TIMEOUT = 30.0  # seconds until a probe is satisfied
STOP_TIMEOUT = 10.0  # seconds between SIGTERM and SIGKILL
CLIENTS = 8000  # more than any load has
DIRECT = "direct"

Command = list[str]
Configure = Callable[[Path, str, int], Command]
Probe = Callable[[str], str]


class StartError(Exception):
    """A server did not come up; str() holds the end of its log."""


@dataclass(frozen=True)
class Contestant:
    configure: Configure
    unix: bool = False  # clients come by a unix socket
    ours: bool = False  # a muxproxy
    scraped: bool = False  # whose metrics are asked for every 100 ms
    shards: int = 1


class Server:
    """One running server: its address, and the process that was started (others may descend from it)."""

    def __init__(self, name: str, address: str, command: Command, core: int | str, directory: Path) -> None:
        self.name = name
        self.address = address
        self.log = directory / "output.log"
        with self.log.open("wb") as log:
            # taskset replaces itself by the command: the pid stays the server's.
            self.process = subprocess.Popen(
                ["taskset", "-c", str(core), *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def program(self) -> str:
        """The name of the file that runs: of a script, that of its interpreter."""
        return Path(os.readlink(f"/proc/{self.pid}/exe")).name

    def what_runs(self) -> str:
        """Of a muxproxy: what it tells of itself, and what its processes have loaded."""
        status = admin_status(self.admin)
        builds = {one["process"].get("build", "of no known build") for one in status["workers"]}
        loaded = set[str]()
        for pid in measure.family(self.pid):
            loaded |= parse_maps(Path(f"/proc/{pid}/maps").read_text())
        told = f"{status['version']} ({' and '.join(sorted(builds))})"
        return f"running is {told} with {len(loaded)} compiled objects loaded"

    @property
    def admin(self) -> str:
        """Of a muxproxy."""
        return f"{self.log.parent}/admin.sock"

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_ready(self, probe: Probe) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        wrong = "not asked"
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                wrong = probe(self.address)
            except OSError as error:
                wrong = str(error)
            if not wrong:
                return
            time.sleep(0.05)
        tail = self.log.read_text(errors="replace")[-2000:]
        raise StartError(
            f"{self.name} is not ready at {self.address} (last: {wrong[:200]!r}); its log ends:\n{tail}"
        )

    def stop(self) -> None:
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


# ---- addresses ---------------------------------------------------------------------------------------------


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on. Held together while chosen, so that they differ."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def free_address() -> str:
    return f"127.0.0.1:{free_ports(1)[0]}"


def connect(address: str, timeout: float = 5.0) -> socket.socket:
    """`address` is HOST:PORT or unix:PATH, as muxproxy's `listen` has it."""
    if address.startswith("unix:"):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(timeout)
        client.connect(address.removeprefix("unix:"))
        return client
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout)


def ask(address: str, request: bytes, length: int = 65536) -> bytes:
    """What comes back for `request` on a connection of its own: `length` bytes, or all until the end or until
    nothing more comes for a second."""
    with connect(address, timeout=1.0) as client:
        client.sendall(request)
        reply = b""
        while len(reply) < length:
            try:
                data = client.recv(65536)
            except TimeoutError:
                break
            if not data:
                break
            reply += data
        return reply


# ---- contestants of more than one protocol -----------------------------------------------------------------


def muxproxy(build: Build, protocol: str, **upstream: Any) -> Configure:
    """muxproxy with one backend; `upstream` is added to its table of that name."""

    def configure(directory: Path, address: str, origin_port: int) -> Command:
        (directory / "muxproxy.toml").write_text(toml({"admin": f"{directory}/admin.sock"}))
        backends = directory / "backends"
        backends.mkdir()
        tables = {
            "clients": {
                "listen": [address],
                "max_connections": CLIENTS,
                "idle_timeout": "1h",
                "backlog": 4096,
            },
            "queue": {"max_waiting": CLIENTS, "timeout": "1m"},
            "upstream": {"servers": [f"127.0.0.1:{origin_port}"], "idle_timeout": "1h", **upstream},
        }
        text = toml({"protocol": protocol})
        text += "".join(f"\n[{name}]\n{toml(table)}" for name, table in tables.items())
        (backends / "bench.toml").write_text(text)
        return [*build.command, "run", "-c", str(directory)]

    return configure


def ours(builds: Sequence[Build], protocol: str, **upstream: Any) -> dict[str, Contestant]:
    configured = {build.name: muxproxy(build, protocol, **upstream) for build in builds}
    return {name: Contestant(configure, ours=True) for name, configure in configured.items()}


def sharded(configure: Configure, shards: int) -> Configure:
    """The same muxproxy, whose backend has so many workers."""

    def configure_it(directory: Path, address: str, origin_port: int) -> Command:
        command = configure(directory, address, origin_port)
        file = directory / "backends" / "bench.toml"
        file.write_text(f"shards = {shards}\n{file.read_text()}")
        with (directory / "muxproxy.toml").open("a") as node:
            node.write(f"workers = {shards}\n")
        return command

    return configure_it


def haproxy_tcp(directory: Path, address: str, origin_port: int) -> Command:
    """HAProxy as an L4 proxy: an upstream connection for each client; nothing it could share."""
    return haproxy_command(
        directory,
        f"""
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend clients
    bind {address} backlog 4096
    default_backend origin
backend origin
    server origin 127.0.0.1:{origin_port}
""",
    )


def haproxy_command(directory: Path, defaults: str) -> Command:
    """HAProxy in the foreground with one thread; `defaults` is that section and what follows it."""
    config = directory / "haproxy.cfg"
    config.write_text(f"global\n    nbthread 1\n    maxconn {CLIENTS}\ndefaults{defaults}")
    return ["haproxy", "-db", "-f", str(config)]


def other(command: str) -> Configure:
    """A contestant from the command line: its words {port} and {origin} are filled in."""

    def configure(_directory: Path, address: str, origin_port: int) -> Command:
        return shlex.split(command.format(port=address.rpartition(":")[2], origin=origin_port))

    return configure


# ---- what is there to run them -----------------------------------------------------------------------------


def missing_programs(names: list[str]) -> list[str]:
    return [name for name in names if shutil.which(name) is None]


def version_of(command: str) -> str:
    # wrk tells its version and exits with 1; nginx and nutcracker write to stderr.
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    return version_in(done.stdout + done.stderr)


def version_in(text: str) -> str:
    match = re.search(r"\d+\.\d+(\.\d+)?", text)
    return match.group() if match else "?"
