"""`--floor`: what CPU is spent on, by perf: kernel by system call, user space by object and function.

A load is run three times on each proxy: once as always, which tells the CPU of a request; then with `perf
record` on the proxy's processes, whose samples tell how that is shared out (perf itself takes a little, so
this run does not tell how much there is); then with `perf stat`, which counts system calls. Samples are of
the clock, which every machine has, not of its counters, which most virtual ones do not show: what runs with
interrupts off is booked where they are on again.
"""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.bench import builds, measure, report
from tests.bench.measure import Load, LoadError
from tests.bench.plan import AROUND, PROFILED
from tests.bench.progress import Progress
from tests.bench.servers import Server
from tests.bench.suite import WARM_UP, Suite

PER_SECOND = 1999  # samples; beside a round figure, so as not to beat with timers
ATTACH = 0.3  # seconds until perf has attached
LEAST = 0.01  # what is not worth a line: microseconds, calls
TOP = 12  # functions
EVENTS = ("cpu-clock", "cpu-clock:u")
# Counted where the kernel has a trace point for it; what the profile shows besides is counted, too.
COUNTED = [
    *("read", "readv", "recvfrom", "recvmsg", "write", "writev", "sendto", "sendmsg"),
    *("accept4", "connect", "socket", "shutdown", "close", "fcntl", "ioctl", "futex"),
    *("setsockopt", "getsockopt", "getsockname", "getpeername"),
    *("epoll_wait", "epoll_pwait", "epoll_ctl", "io_uring_enter"),
]
PREFIX_COUNTED = "syscalls:sys_enter_"
TRACE_POINTS = Path("/sys/kernel/tracing/events/syscalls")
OBJECTS = ("own code", "Python", "uvloop", "libc", "other")


class Frame(NamedTuple):
    symbol: str
    object: str  # path of the file that it is in, or perf's word for it


Stack = list[Frame]  # the innermost first


@dataclass
class Profile:
    """Samples of one load on one proxy."""

    samples: int = 0
    kernel: Counter[str] = field(default_factory=Counter)  # by system call
    objects: Counter[str] = field(default_factory=Counter)  # user space, by kind of object
    functions: Counter[Frame] = field(default_factory=Counter)  # user space

    @property
    def kernel_seen(self) -> bool:
        """perf leaves the kernel out in silence where it may not look there; every load here is sockets."""
        return bool(self.kernel)


@dataclass
class Floor:
    """A profile and the CPU that it is shared out of."""

    row: report.Row
    profile: Profile
    kernel_share: float  # of the CPU, without a profile of the kernel
    calls: dict[str, float] = field(default_factory=dict)  # system calls of a request

    def microseconds(self, samples: int) -> float:
        """Of a request."""
        total = self.row.median(lambda one: one.cpu_us)
        if self.profile.kernel_seen:
            return total * samples / max(1, self.profile.samples)
        return total * (1 - self.kernel_share) * samples / max(1, self.profile.samples)

    @property
    def kernel_us(self) -> float:
        if self.profile.kernel_seen:
            return self.microseconds(self.profile.kernel.total())
        return self.row.median(lambda one: one.cpu_us) * self.kernel_share


# ---- reading perf ------------------------------------------------------------------------------------------

LINE = re.compile(r"^\s*[0-9a-f]+ (?P<symbol>.*) \((?P<object>.*)\)$")
ENTRY = ("do_syscall_64", "invoke_syscall", "el0_svc_common.constprop.0")  # x86-64, arm64
PREFIX = re.compile(r"^(__x64_sys_|__arm64_sys_|__se_sys_|__do_sys_|__sys_|ksys_|do_)")
NO_CALL = re.compile(r"^(asm_|exit_to_user|syscall_(enter|exit|trace))")
STANDARD = re.compile(r"^(libc|libm|libpthread|libdl|ld-linux[\w-]*|ld)[-.]")
INTERPRETER = re.compile(r"^(libpython|python)[\d.]+")


def parse_stacks(lines: Iterable[str]) -> Iterator[Stack]:
    """From `perf script -F ip,sym,dso`: a line for each frame, an empty one after each sample."""
    stack: Stack = []
    for line in lines:
        found = LINE.match(line.rstrip("\n"))
        if found:
            stack.append(Frame(found["symbol"].partition("+0x")[0], found["object"]))
        elif stack:
            yield stack
            stack = []
    if stack:
        yield stack


def is_kernel(frame: Frame) -> bool:
    return frame.object.startswith("[kernel") or frame.object.endswith(".ko")


def system_call(stack: Stack) -> str:
    """What the kernel was asked for: the function that its entry called."""
    symbols = [frame.symbol for frame in stack if is_kernel(frame)]
    if any("page_fault" in symbol for symbol in symbols):
        return "page faults"
    entries = [index for index, symbol in enumerate(symbols) if symbol in ENTRY]
    called = [symbol for symbol in symbols[: entries[0]] if symbol != "x64_sys_call"] if entries else []
    if not called or NO_CALL.match(called[-1]):
        return "entry, interrupts"
    return PREFIX.sub("", called[-1])


def kind_of(path: str, program: str) -> str:
    """Whose code a file of user space is: our compiled modules and another proxy's program are `own code`."""
    name = path.rpartition("/")[2]
    if name == program or builds.is_ours(path):
        return "own code"
    if INTERPRETER.match(name):
        return "Python"
    if "/uvloop/" in path:
        return "uvloop"
    return "libc" if STANDARD.match(name) else "other"


def summarize(stacks: Iterable[Stack], program: str) -> Profile:
    profile = Profile()
    for stack in stacks:
        profile.samples += 1
        leaf = stack[0]
        if is_kernel(leaf):
            profile.kernel[system_call(stack)] += 1
        else:
            kind = kind_of(leaf.object, program)
            profile.objects[kind] += 1
            profile.functions[Frame(leaf.symbol, leaf.object.rpartition("/")[2])] += 1
    return profile


# ---- running perf ------------------------------------------------------------------------------------------


def usable_event(directory: Path) -> str:
    """What perf may be asked for here: everything, or user space alone; empty: nothing."""
    for event in EVENTS:
        command = ["perf", "record", "-q", "-e", event, "-o", str(directory / "try.data"), "--", "true"]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode == 0:
            return event
    return ""


class Perf:
    """perf on a server's processes, from the start of the block to its end."""

    def __init__(self, words: Sequence[str], pids: Iterable[int]) -> None:
        self.command = ["perf", *words, "-p", ",".join(str(pid) for pid in sorted(pids))]
        self.output = ""

    def __enter__(self) -> Perf:
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        time.sleep(ATTACH)
        if self.process.poll() is not None:
            raise LoadError(f"perf: {self._end()[-300:]}")
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.output = self._end()

    def _end(self) -> str:
        return self.process.communicate()[0].decode(errors="replace").strip()


def profile_in(path: Path, program: str) -> Profile:
    command = ["perf", "script", "-i", str(path), "--no-inline", "-F", "ip,sym,dso"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
    if done.returncode:
        raise LoadError(f"perf script: {done.stderr.strip()[-300:]}")
    return summarize(parse_stacks(done.stdout.splitlines()), program)


def countable(names: Iterable[str]) -> list[str]:
    """Those system calls that may be counted here: none, mostly, for who is not root."""
    try:
        known = {path.name for path in TRACE_POINTS.iterdir()}
    except OSError:
        return []
    return [name for name in dict.fromkeys(names) if f"sys_enter_{name}" in known]


def parse_counts(text: str) -> dict[str, int]:
    """From `perf stat -x ;`: a line for each event, its count first and its name third."""
    fields = (line.split(";") for line in text.splitlines())
    named = {each[2]: each[0] for each in fields if len(each) > 2}
    return {name.removeprefix(PREFIX_COUNTED): int(count) for name, count in named.items() if count.isdigit()}


def measure_all(
    suite: Suite, loads: Sequence[Load], proxies: Sequence[str], seconds: float, progress: Progress
) -> list[Floor]:
    event = usable_event(suite.stage.directory)
    running = {name: suite.start(name) for name in proxies}
    found = []
    for load in loads:
        for name, server in running.items():
            assert server is not None, "direct has no CPU to share out"
            planned = WARM_UP + 3 * (seconds + AROUND) + PROFILED
            progress.begin(f"{suite.name}, {load.name}: what CPU is spent on", name, planned)
            found.append(measure_one(suite, load, server, event, seconds))
    return found


def measure_one(suite: Suite, load: Load, server: Server, event: str, seconds: float) -> Floor:
    row = report.Row(load, server.name)
    profile = Profile()
    share = 0.0
    calls: dict[str, float] = {}
    try:
        suite.run(load, server.name, server, WARM_UP)
        before = measure.split(server.pid)
        noise = measure.Noise(suite.stage.proxy_core, server.pid)
        row.rounds.append(suite.run(load, server.name, server, seconds))
        row.rounds[0].others = noise.share()
        user, system = (now - then for now, then in zip(measure.split(server.pid), before, strict=True))
        share = system / max(user + system, 1e-9)
        pids = measure.family(server.pid)
        if event:
            samples = suite.stage.directory / "perf.data"
            record = ["record", "-q", "-g", "-e", event, "-F", str(PER_SECOND), "-o", str(samples)]
            with Perf(record, pids):
                suite.run(load, server.name, server, seconds)
            profile = profile_in(samples, server.program)
        if names := countable([*COUNTED, *profile.kernel]):
            with Perf(
                ["stat", "-x", ";", "-e", ",".join(PREFIX_COUNTED + name for name in names)], pids
            ) as stat:
                done = suite.run(load, server.name, server, seconds)
            total = max(1, done.whole or done.done)
            calls = {name: count / total for name, count in parse_counts(stat.output).items()}
    except LoadError as error:
        row.failed = str(error)
    return Floor(row, profile, share, calls)


# ---- tables ------------------------------------------------------------------------------------------------


def tables(unit: str, found: Sequence[Floor]) -> str:
    good = [one for one in found if not one.row.failed]
    bad = [one.row for one in found if one.row.failed]
    parts = [f"{row.load.title}, {row.contestant}: {row.failed}" for row in bad]
    if good:
        parts.append(split_table(unit, good))
    if any(not one.profile.samples for one in good):
        parts.append("perf may see nothing here: kernel and user are as /proc/<pid>/stat tells them.")
    elif any(not one.profile.kernel_seen for one in good):
        parts.append("perf may not see the kernel here: its share is as /proc/<pid>/stat tells it.")
    for load in dict.fromkeys(one.row.load for one in good):
        of_load = [one for one in good if one.row.load == load and one.profile.samples]
        if of_load:
            parts += [kernel_table(unit, load, of_load), function_table(unit, load, of_load)]
    return "\n\n".join(parts)


def split_table(unit: str, found: Sequence[Floor]) -> str:
    header = ["load", "proxy", f"CPU µs/{unit}", "kernel", "user", *OBJECTS, "samples"]
    cells = []
    for one in found:
        total = one.row.median(lambda figures: figures.cpu_us)
        objects = [told(one.microseconds(one.profile.objects[kind])) for kind in OBJECTS]
        if not one.profile.samples:
            objects = ["-"] * len(OBJECTS)
        times = [told(total), told(one.kernel_us), told(total - one.kernel_us)]
        cells.append([one.row.load.title, one.row.contestant, *times, *objects, f"{one.profile.samples:,}"])
    return report.markdown(header, cells)


def kernel_table(unit: str, load: Load, found: Sequence[Floor]) -> str:
    """µs of the kernel by system call, and how many calls, the proxies beside each other."""
    header = [f"{load.title}: kernel", ""]
    for one in found:
        header += [f"{one.row.contestant}, µs/{unit}", "calls"]
    lines = []
    for name in {name for one in found for name in (*one.profile.kernel, *one.calls)}:
        times = [one.microseconds(one.profile.kernel[name]) for one in found]
        counts = [one.calls.get(name, 0.0) for one in found]
        if max(*times, *counts) >= LEAST:
            pairs = zip(times, counts, strict=True)
            lines.append((sum(times), [name, "", *(told(each) for pair in pairs for each in pair)]))
    lines.sort(key=lambda line: -line[0])
    totals = [(one.kernel_us, sum(one.calls.values())) for one in found]
    total = ["all", "", *(told(each) for pair in totals for each in pair)]
    return report.markdown(header, [*(cells for _, cells in lines), total])


def function_table(unit: str, load: Load, found: Sequence[Floor]) -> str:
    """The functions of user space that most time is spent in, of each proxy."""
    header = [f"{load.title}: user, proxy", "function", f"µs/{unit}", "of its user time", "object"]
    cells = []
    for one in found:
        total = one.profile.functions.total()
        for frame, samples in one.profile.functions.most_common(TOP):
            share = f"{samples / total:.1%}"
            cells.append(
                [one.row.contestant, frame.symbol, told(one.microseconds(samples)), share, frame.object]
            )
    return report.markdown(header, cells)


def told(microseconds: float) -> str:
    return f"{microseconds:.2f}"
