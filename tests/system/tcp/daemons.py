"""The servers behind raw TCP: redis-server, memcached, PostgreSQL and MariaDB as Debian has them, and our
`digest`.

Each listens on a port of its own at 127.0.0.2, keeps its files in a folder that goes with it, and is ended by
its process id.
"""

from __future__ import annotations

import contextlib
import getpass
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.system.origins import HOST, listening, port_below_the_kernels
from tests.system.process import Child, end, tool, wait_for


class Daemon:
    """A program that listens on `host` and `port`. Sub-classes say which."""

    user: str | None = None  # None: whoever runs the tests

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="muxproxy-daemon-"))
        self.host = HOST
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.prepare()
            self.port = port_below_the_kernels()
            with (self.folder / "log").open("ab") as log:
                self._process = self.start(self.command(), stdout=log, stderr=log)
            wait_for(self._accepts, within=20, what=f"{self.address} accepts: {self.log()}")
        except BaseException:
            self.close()
            raise

    def prepare(self) -> None: ...

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        if self.user is not None:
            options |= {"user": self.user, "group": self.user, "extra_groups": []}
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=self.folder, **options)

    def _accepts(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), 1):
            return True
        return False

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def close(self) -> None:
        if self._process is not None:
            end(self._process, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Redis(Daemon):
    def command(self) -> list[str]:
        where = ["--bind", self.host, "--port", str(self.port), "--dir", str(self.folder)]
        return [tool("redis-server"), *where, "--save", "", "--appendonly", "no"]


class Memcached(Daemon):
    def command(self) -> list[str]:
        return [tool("memcached"), "-u", getpass.getuser(), "-l", self.host, "-p", str(self.port)]


class Postgres(Daemon):
    """It refuses to run as root. Its own bound is below what its tests' clients ask for."""

    max_connections = 30

    def prepare(self) -> None:
        if os.geteuid() == 0:
            self.user = "postgres"
            account = pwd.getpwnam(self.user)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        how = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        with (self.folder / "log").open("ab") as log:
            made = self.start([server_program("initdb"), "-D", "data", *how], stdout=log, stderr=log)
        assert made.wait(60) == 0, self.log()

    def command(self) -> list[str]:
        where = ["-D", "data", "-h", self.host, "-p", str(self.port), "-k", str(self.folder)]
        keys = ["-c", "fsync=off", "-c", f"max_connections={self.max_connections}"]
        return [server_program("postgres"), *where, *keys]


class MariaDB(Daemon):
    """It ends who has not logged in after `connect_timeout` seconds, and counts it; 2 is its least."""

    connect_timeout = 2

    def prepare(self) -> None:
        self._socket = self.folder / "socket"
        made = self.start(
            [tool("mariadb-install-db"), *self._where(), "--auth-root-authentication-method=normal"]
        )
        assert made.wait(60) == 0

    def _where(self) -> list[str]:
        return ["--no-defaults", f"--datadir={self.folder}/data", f"--user={getpass.getuser()}"]

    def command(self) -> list[str]:
        where = [f"--bind-address={self.host}", f"--port={self.port}", f"--socket={self._socket}"]
        small = ["--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=8M"]
        return [tool("mariadbd"), *self._where(), *where, *small, f"--connect-timeout={self.connect_timeout}"]

    def count(self, name: str) -> int:
        """One of its own counters."""
        asked = [tool("mariadb"), f"--socket={self._socket}", "-N", "-e", f"SHOW GLOBAL STATUS LIKE '{name}'"]
        return int(subprocess.run(asked, capture_output=True, check=True).stdout.split()[-1])


def server_program(name: str) -> str:
    """Debian keeps PostgreSQL's server out of the path, a folder for each version."""
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"))
    return found[-1] if found else tool(name)


class Digest:
    """`digest.py` in a process of its own."""

    def __init__(self, **orders: Any) -> None:
        with listening() as sock:
            self.host, self.port = sock.getsockname()
            self._child = Child("tests.system.tcp.digest", {"fd": sock.fileno()} | orders, [sock.fileno()])

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def results(self) -> dict[str, Any]:
        """What it counted; it ends."""
        return dict(self._child.results())

    def __enter__(self) -> Digest:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.close()
