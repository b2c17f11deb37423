"""The load, and what it cost: CPU, memory and sockets as the kernel counts them.

Parsing is apart from reading, so that it can be tested on text. CPU is user + system time of the process that
was started and of all its descendants, so that a supervisor's is included.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")  # per second, the unit of /proc/<pid>/stat
SAMPLE_EVERY = 0.5  # seconds between looks at the upstream sockets
TIMEOUT = "20s"  # wrk counts a reply that takes longer as an error


@dataclass(frozen=True)
class Load:
    """What the clients do."""

    name: str
    title: str
    connections: int
    closing: bool = False  # one request per connection
    distinct: bool = False  # every request has a path and an id of its own


LOADS = [
    Load("keep-64", "keep-alive, 64", 64),
    Load("keep-1000", "keep-alive, 1,000", 1000),
    Load("close-64", "one request each, 64", 64, closing=True),
    Load("distinct-64", "keep-alive, 64, distinct heads", 64, distinct=True),
    Load(
        "distinct-close-64",
        "one request each, 64, distinct heads",
        64,
        closing=True,
        distinct=True,
    ),
]


@dataclass
class WrkResult:
    requests: int
    seconds: float
    p50_us: float
    p99_us: float
    errors: int  # replies that are not 2xx or 3xx, and failed connects, reads, writes and timeouts


@dataclass
class Figures:
    """One load on one contestant, once."""

    wrk: WrkResult
    cpu_seconds: float  # of the contestant
    sockets: int  # towards the origin, the most seen at once
    opened: int  # connections that the origin accepted meanwhile

    @property
    def rate(self) -> float:
        return self.wrk.requests / self.wrk.seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu_seconds / max(1, self.wrk.requests) * 1e6

    @property
    def busy(self) -> float:
        """Share of its core that the contestant used: below 1, something else was the bottleneck."""
        return self.cpu_seconds / self.wrk.seconds


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


def family(root: int) -> dict[int, int]:
    """pid -> CPU ticks of `root` and all its descendants."""
    stats: dict[int, tuple[int, int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stats[int(entry)] = parse_stat(Path(f"/proc/{entry}/stat").read_text())
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended meanwhile
    found = {root: stats[root][1]}
    grown = True
    while grown:
        more = {pid: ticks for pid, (parent, ticks) in stats.items() if parent in found and pid not in found}
        found.update(more)
        grown = bool(more)
    return found


def cpu_seconds(root: int) -> float:
    return sum(family(root).values()) / TICKS


def pss_kib(root: int) -> int:
    return sum(parse_pss(Path(f"/proc/{pid}/smaps_rollup").read_text()) for pid in family(root))


# ---- the origin's side -------------------------------------------------------------------------------------


def sockets_to(port: int) -> int:
    """Sockets whose peer is `port` on this machine. TIME_WAIT is not among them: it is nobody's socket."""
    command = ["ss", "-Htn", f"dport = :{port}"]
    return len(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())


def parse_accepted(text: str) -> int:
    """Connections accepted so far, from nginx's stub_status."""
    match = re.search(r"requests\s+(\d+) \d+ \d+", text)
    if match is None:
        raise ValueError(f"not a stub_status: {text[:80]!r}")
    return int(match.group(1))


# ---- the load ----------------------------------------------------------------------------------------------

# What wrk prints is for people; its own hook gives the same figures for machines.
LUA_DONE = """
function done(summary, latency, requests)
   local e = summary.errors
   io.write(string.format(
      '{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "errors": %d}\\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
      e.connect + e.read + e.write + e.status + e.timeout))
end
"""

# Built before the start: a request costs Lua a table look-up. More heads than a proxy would care to remember.
LUA_DISTINCT = """
local heads, n, size = {{}}, 0, 20000
function init(args)
   math.randomseed(os.time())
   for i = 1, size do
      heads[i] = wrk.format("GET", string.format("/api/v1/items/%d?page=%d", math.random(10^9), i), {{
         ["Host"] = "bench.example.com", ["User-Agent"] = "bench/1.0",
         ["Accept"] = "application/json", ["Accept-Encoding"] = "gzip, deflate",
         ["X-Request-Id"] = string.format("%016x", math.random(2^52)){more}
      }})
   end
end
function request()
   n = n % size + 1
   return heads[n]
end
"""


def lua_script(load: Load) -> str:
    if not load.distinct:
        return LUA_DONE
    more = ', ["Connection"] = "close"' if load.closing else ""
    return LUA_DONE + LUA_DISTINCT.format(more=more)


def parse_wrk(text: str) -> WrkResult:
    """The line that LUA_DONE writes is the last of wrk's output."""
    last = json.loads(text.strip().splitlines()[-1])
    return WrkResult(last["requests"], last["microseconds"] / 1e6, last["p50"], last["p99"], last["errors"])


def run_load(
    load: Load, port: int, seconds: float, directory: Path, upstream_port: int | None
) -> tuple[WrkResult, int]:
    """(what wrk says, most sockets seen to `upstream_port`). wrk runs on the caller's core."""
    script = directory / f"{load.name}.lua"
    script.write_text(lua_script(load))
    command = ["wrk", "-t1", f"-c{load.connections}", f"-d{seconds:g}s", "--timeout", TIMEOUT, "--latency"]
    if load.closing and not load.distinct:
        command += ["-H", "Connection: close"]
    command += ["-s", str(script), f"http://127.0.0.1:{port}/"]
    wrk = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    most = 0
    while True:
        try:
            output, _ = wrk.communicate(timeout=SAMPLE_EVERY)
        except subprocess.TimeoutExpired:
            if upstream_port is not None:
                most = max(most, sockets_to(upstream_port))
            continue
        if wrk.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {wrk.returncode}:\n{output}")
        return parse_wrk(output), most


class IdleClients:
    """Keep-alive clients that have made one request each and say nothing more."""

    def __init__(self) -> None:
        self.open: list[socket.socket] = []

    def connect(self, port: int, count: int) -> None:
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", port), timeout=10)
            self.open.append(client)
            client.sendall(
                b"GET / HTTP/1.1\r\nHost: bench.example.com\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\r\n"
            )
            reply = client.recv(65536)
            if not reply.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"an idle client got {reply[:200]!r}")

    def close(self) -> None:
        for client in self.open:
            client.close()
        self.open.clear()
