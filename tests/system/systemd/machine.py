"""A throw-away machine with a real systemd as process 1, and muxproxy as systemd/README.md installs it."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
SYSTEMD = "/lib/systemd/systemd"
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Machine:
    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.root = Path(f"/proc/{pid}/root")

    def ask(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["nsenter", "-t", str(self.pid), "-a", *command], capture_output=True, text=True, check=False
        )

    def run(self, *command: str) -> str:
        done = self.ask(*command)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}\n{self.journal('-n', '60')}"
        return done.stdout

    def write(self, path: str, text: str) -> None:
        place = self.root / path.removeprefix("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def show(self, unit: str, key: str) -> str:
        return self.run("systemctl", "show", "--value", "-p", key, unit).strip()

    def until(self, holds: Callable[[], bool], seconds: float = 60.0) -> float:
        """How long it took."""
        start = time.monotonic()
        while not holds():
            assert time.monotonic() - start < seconds, self.journal("-n", "60")
            time.sleep(0.05)
        return time.monotonic() - start

    def processes(self, unit: str) -> list[int]:
        """As we number them: the supervisor, then its workers."""
        group = self.show(unit, "ControlGroup")
        numbers = map(int, (self.root / f"sys/fs/cgroup{group}/cgroup.procs").read_text().split())
        return sorted(number for number in numbers if number)

    def journal(self, *options: str) -> str:
        return self.ask("journalctl", "--no-pager", "-o", "short-precise", *options).stdout

    def enter_network(self) -> None:
        """This thread and those that it starts; tests/system/conftest.py brings it back."""
        with open(f"/proc/{self.pid}/ns/net") as network:
            if _libc.setns(network.fileno(), _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")


def why_not() -> str:
    """Why there can be none here; "" if there can."""
    if os.geteuid() != 0:
        return "only root can boot a machine"
    if not os.path.exists(SYSTEMD):
        return "no systemd (tests/run.sh installs it)"
    allowed = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
    )
    return "" if allowed.returncode == 0 else "namespaces and mounts are not permitted here"


@contextmanager
def booted(folder: Path) -> Iterator[Machine]:
    log = folder / "console"
    environment = {"PYTHON": sys.executable, "SITE": sysconfig.get_path("purelib")}
    with log.open("wb") as console:
        outer = subprocess.Popen(
            ["bash", str(HERE / "boot.sh"), str(folder), str(HERE / "install.sh")],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            env=os.environ | environment,
        )
    machine = None
    try:
        machine = Machine(_child_that_is_up(outer, log))
        yield machine
    finally:
        if machine is not None:
            os.kill(machine.pid, signal.SIGKILL)  # the kernel ends all processes of its namespace
        else:
            outer.kill()
        outer.wait()
        _remove_group(folder)


def _child_that_is_up(outer: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + 60
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    while time.monotonic() < deadline and outer.poll() is None:
        if numbers := children.read_text().split():
            asked = ["nsenter", "-t", numbers[0], "-a", "systemctl", "is-system-running"]
            state = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
            if state in ("running", "degraded"):
                return int(numbers[0])
        time.sleep(0.1)
    raise AssertionError(f"it does not boot:\n{log.read_text(errors='replace')}")


def _remove_group(folder: Path) -> None:
    """In a mount of our own: where the hierarchy is mounted here is nothing we know."""
    name = (folder / "group").read_text().strip()
    remove = 'mount -t cgroup2 none "$1" && find "$1/$2" -depth -type d -exec rmdir {} +'
    for _ in range(50):  # the last processes have been killed, and not yet all been reaped
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", remove, "-", str(folder / "cgroup"), name],
            capture_output=True,
            check=False,
        )
        if done.returncode == 0:
            break
        time.sleep(0.1)
    shutil.rmtree(folder / "top", ignore_errors=True)
