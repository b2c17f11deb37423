"""What a load cost: CPU, memory and sockets as the kernel counts them, and the figures made of it.

Parsing is apart from reading, so that it can be tested on text. CPU is user + system time of the process that
was started and of all its descendants, so that a supervisor's is included.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.system.sockdiag import SockDiag

TICKS = os.sysconf("SC_CLK_TCK")  # per second, the unit of /proc/<pid>/stat
SAMPLE_EVERY = 0.5  # seconds between looks at the upstream sockets
OVERDUE = 120.0  # seconds; no load of ours takes that long unless something hangs


class LoadError(Exception):
    """A load failed on a contestant; str() says how. The others go on."""


@dataclass(frozen=True)
class Load:
    """What the clients do."""

    name: str
    title: str
    connections: int


@dataclass
class Figures:
    """One load on one contestant, once."""

    done: int  # requests, commands or calls
    seconds: float  # in which they were done
    p50_us: float
    p99_us: float
    errors: int
    cpu_seconds: float  # of the contestant
    sockets: int  # towards the origin, the most seen at once
    origin_cpu_seconds: float = 0.0
    opened: int = 0  # connections that the origin accepted meanwhile
    others: float = 0.0  # share of the proxies' core that somebody else had
    whole: int = 0  # done in all, where `done` is of a part of the run

    @property
    def rate(self) -> float:
        return self.done / self.seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu_seconds / max(1, self.done) * 1e6

    @property
    def origin_cpu_us(self) -> float:
        return self.origin_cpu_seconds / max(1, self.done) * 1e6

    @property
    def busy(self) -> float:
        """Share of its core that the contestant used: below 1, something else was the bottleneck."""
        return self.cpu_seconds / self.seconds


# ---- processes ---------------------------------------------------------------------------------------------


def parse_stat(text: str) -> tuple[int, int]:
    """(parent's pid, CPU ticks) from /proc/<pid>/stat. Ticks of reaped children count too: the sum over a
    family never falls when one of it dies."""
    fields = text[text.rindex(")") + 2 :].split()  # the name in parentheses may hold blanks and parentheses
    return int(fields[1]), sum(int(ticks) for ticks in fields[11:15])


def parse_pss(text: str) -> int:
    """KiB from /proc/<pid>/smaps_rollup."""
    match = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    if match is None:
        raise ValueError(f"no Pss in {text[:80]!r}")
    return int(match.group(1))


def parse_split(text: str) -> tuple[int, int]:
    """(ticks of user space, of the kernel) from the same. The kernel samples how it shares out CPU time
    between the two; their sum is exact."""
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[11]) + int(fields[13]), int(fields[12]) + int(fields[14])


def split(root: int) -> tuple[float, float]:
    """CPU seconds of a family: user space, kernel."""
    texts = [Path(f"/proc/{pid}/stat").read_text() for pid in family(root)]
    user, system = (sum(ticks) for ticks in zip(*map(parse_split, texts), strict=True))
    return user / TICKS, system / TICKS


def stat(pid: int) -> tuple[int, int] | None:
    try:
        return parse_stat(Path(f"/proc/{pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None  # it ended meanwhile


def family(root: int) -> set[int]:
    """The pids of `root` and of all its descendants."""
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    parents = {pid: found[0] for pid in pids if (found := stat(pid)) is not None}
    members = {root}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in members and pid not in members}
        members |= more
        grown = bool(more)
    return members


class Cpu:
    """The CPU seconds of a server and of what descends from it. Nothing is counted where there is no server.

    Who belongs to it is looked up once: walking /proc at every sample would itself be a load. A worker that
    is replaced during a measurement is counted by its parent once it is reaped; its successor is not.
    """

    def __init__(self, root: int | None) -> None:
        self.pids = family(root) if root is not None else set()

    def seconds(self) -> float:
        return sum(found[1] for pid in self.pids if (found := stat(pid)) is not None) / TICKS


def parse_core(text: str, core: int) -> int:
    """Ticks that a core has run somebody, from /proc/stat: user, nice, system, and stolen by the host.
    Interrupts are left out: they come with the load and belong to no process."""
    for line in text.splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            return sum(int(ticks[kind]) for kind in (0, 1, 2, 7))
    raise ValueError(f"no cpu{core} in {text[:80]!r}")


class Noise:
    """How much of the proxies' core somebody else has had since this was made."""

    def __init__(self, core: int, server_pid: int | None) -> None:
        self.core = core
        self.cpu = Cpu(server_pid)
        self.before = self._others()
        self.began = time.monotonic()

    def share(self) -> float:
        took = max(time.monotonic() - self.began, 1 / TICKS)
        return max(0.0, self._others() - self.before) / took

    def _others(self) -> float:
        return parse_core(Path("/proc/stat").read_text(), self.core) / TICKS - self.cpu.seconds()


def pss_kib(root: int) -> int:
    return sum(parse_pss(Path(f"/proc/{pid}/smaps_rollup").read_text()) for pid in family(root))


# ---- sockets -----------------------------------------------------------------------------------------------


class Sockets:
    """The most sockets towards an address (HOST:PORT) that processes of this machine held at one look; not
    the one that comes from our own port."""

    def __init__(self, address: str, ours: int = 0) -> None:
        self.address = address
        self.ours = ours
        self.most = 0
        self._diag = SockDiag()

    def look(self) -> None:
        entries = self._diag.sockets(self.address)
        held = [entry for entry in entries if entry.inode and entry.source[1] != self.ours]
        self.most = max(self.most, len(held))

    def close(self) -> None:
        self._diag.close()


# ---- load programs -----------------------------------------------------------------------------------------


def run_programs(commands: list[list[str]], every: float, look: Callable[[], None]) -> list[str]:
    """Run them side by side on the caller's core, look() every so often until the last has ended, and return
    what each wrote. Their output goes to files: a pipe that nobody empties would stop them."""
    with ExitStack() as stack:
        outputs = [stack.enter_context(tempfile.TemporaryFile()) for _ in commands]
        running = []
        for command, output in zip(commands, outputs, strict=True):
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
            stack.callback(end, process)
            running.append(process)
        deadline = time.monotonic() + OVERDUE
        for process in running:
            while not has_ended(process, every):
                look()
                if time.monotonic() > deadline:
                    raise LoadError(f"{' '.join(process.args)} has not ended within {OVERDUE:.0f} s")
        return [read_back(process, output) for process, output in zip(running, outputs, strict=True)]


def has_ended(process: subprocess.Popen, within: float) -> bool:
    try:
        process.wait(within)
    except subprocess.TimeoutExpired:
        return False
    return True


def end(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


def read_back(process: subprocess.Popen, output) -> str:
    output.seek(0)
    text = output.read().decode(errors="replace")
    if process.returncode != 0:
        raise LoadError(f"{' '.join(process.args)} ended with {process.returncode}: {text.strip()[-300:]}")
    return text


def run_reporting(command: list[str], proxy: Cpu, origin: Cpu, upstream: str) -> Figures:
    """A load that tells its own figures, as one JSON object in the last line that it writes."""
    sockets = Sockets(upstream)
    before = proxy.seconds(), origin.seconds()
    try:
        (output,) = run_programs([command], SAMPLE_EVERY, sockets.look)
    finally:
        sockets.close()
    after = proxy.seconds(), origin.seconds()
    figures = parse_report(output)
    figures.cpu_seconds = after[0] - before[0]
    figures.origin_cpu_seconds = after[1] - before[1]
    figures.sockets = sockets.most
    return figures


def parse_report(text: str) -> Figures:
    try:
        told = json.loads(text.strip().rpartition("\n")[2])
    except ValueError:
        raise LoadError(f"a load ended without its figures: {text.strip()[-300:]!r}") from None
    return Figures(
        done=told["done"],
        seconds=told["microseconds"] / 1e6,
        p50_us=told["p50"],
        p99_us=told["p99"],
        errors=told["errors"],
        cpu_seconds=0.0,
        sockets=0,
    )
