"""One worker process: exec it, wait for its end, kill it. What to do about it is decided in workers.py."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import trio

from muxproxy.config.identity import Identity
from muxproxy.messages import AT_A_TIME
from muxproxy.supervisor.interpreter import program

STARVED = 500_000_000  # nanoseconds
WORKER_COMMAND = program("muxproxy.worker")
# What glibc is told, unless the operator has told it something else (mallopt(3)). By itself malloc() gives
# the end of its heap back to the kernel whenever 128 KiB of it are free, and gets it again, zeroed, page by
# page, with the next messages: of a large one that was a fifth of all that it cost. So up to 8 MiB stay.
MIB = 1024 * 1024
ALLOCATOR = {
    "MALLOC_TRIM_THRESHOLD_": str(8 * MIB),
    "MALLOC_MMAP_THRESHOLD_": str(4 * MIB),  # to set one of them ends what it finds out by itself
    "MALLOC_TOP_PAD_": str(MIB),
}


class Process(Protocol):
    """What workers.py needs of a process; tests have one without a kernel."""

    pid: int
    channel: trio.abc.Stream

    async def wait(self) -> int:
        """Its exit status, negative for a signal. On return the kernel has closed all its sockets (P1)."""
        ...

    def kill(self) -> None: ...

    def hand_over(self, descriptors: Sequence[int]) -> None:
        """Listening sockets, before the word that they belong to (messages.py). Raises OSError."""
        ...

    def headway(self) -> int:
        """A number that grows while it does something, or would if it got a CPU."""
        ...


Spawn = Callable[[Sequence[int]], Process]  # the descriptors it inherits, under the same numbers


class RealProcess:
    def __init__(
        self, command: Sequence[str], descriptors: Sequence[int], run_as: Identity | None = None
    ) -> None:
        ours, theirs = socket.socketpair()
        self._sockets, sockets = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._sockets.setblocking(False)
        with theirs, sockets:
            # In this very thread, although it blocks for the milliseconds of fork and exec: PR_SET_PDEATHSIG,
            # which the worker sets, fires when the *thread* that spawned it ends, and
            # trio.lowlevel.open_process uses one of a pool that ends after ten idle seconds. A session of its
            # own shields it from ctrl-C.
            try:
                self._popen = subprocess.Popen(
                    [
                        *command,
                        *("--control-fd", str(theirs.fileno())),
                        *("--sockets-fd", str(sockets.fileno())),
                    ],
                    pass_fds=[theirs.fileno(), sockets.fileno(), *descriptors],
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                    env={**ALLOCATOR, **os.environ},
                    **_credentials(run_as),
                )
            except BaseException:
                ours.close()
                self._sockets.close()
                raise
        self.pid = self._popen.pid
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except BaseException:  # no descriptor left: it must not live on unwatched
            ours.close()
            self._sockets.close()
            self._popen.kill()
            self._popen.wait()
            raise
        self.channel: trio.abc.Stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))

    async def wait(self) -> int:
        # The kernel makes it readable, and waitable, after it has closed the process's files.
        if self._popen.returncode is None:
            await trio.lowlevel.wait_readable(self._pidfd)
            self._popen.wait()
            os.close(self._pidfd)
            self._sockets.close()
        return self._popen.returncode

    def kill(self) -> None:
        if self._popen.returncode is None:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def hand_over(self, descriptors: Sequence[int]) -> None:
        for start in range(0, len(descriptors), AT_A_TIME):
            socket.send_fds(self._sockets, [b"\0"], descriptors[start : start + AT_A_TIME])

    def headway(self) -> int:
        """Its reads and writes, and the half seconds in which it could have run but others did (proc(5)).
        CPU time would be no sign, an endless loop takes that, too; it must do where it runs as somebody else,
        whose reads and writes are not ours to know."""
        calls = _numbers(self.pid, "io")[2:4]  # behind rchar and wchar: syscr, syscw
        on_cpu, waited = (_numbers(self.pid, "schedstat") or [0, 0])[:2]
        return (sum(calls) if calls else on_cpu // STARVED) + waited // STARVED


def _numbers(pid: int, file: str) -> list[int]:
    """In a file of /proc/PID; none if the kernel has no such file, or not for us."""
    try:
        words = Path(f"/proc/{pid}/{file}").read_text().split()
    except OSError:
        return []
    return [int(word) for word in words if word.isdigit()]


def _credentials(run_as: Identity | None) -> dict[str, Any]:
    """For subprocess, which calls setgroups, setgid and setuid before exec: its rights go with root's uid."""
    if run_as is None:
        return {}
    return {"user": run_as.uid, "group": run_as.gid, "extra_groups": run_as.groups}


def spawner(command: Sequence[str], run_as: Identity | None = None) -> Spawn:
    return lambda descriptors: RealProcess(command, descriptors, run_as)
