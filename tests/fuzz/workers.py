"""A whole muxproxy, one worker, between hostile clients and servers of all protocols, while probes look on.

Four backends have hostile servers behind and hostile clients in front; four others are honest, and probes ask
them all the time. Whatever is done to the first four: the worker lives, no probe gets a wrong reply, no
backend has more sockets than its bound, and when everybody has gone nothing is left of them.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.probes import HOST as HONEST
from tests.fuzz.samples import PROTOCOLS
from tests.system.process import ROOT, Child, end, wait_for
from tests.system.proxy import NODE, admin_status, limit_descriptors, memory, toml
from tests.system.sockdiag import Sampler

BOUND = 6
# Short, so that everything that waits also runs out, and often.
SHORT = {
    "clients": {"head_timeout": "1s", "idle_timeout": "2s", "stall_timeout": "1s", "hold_timeout": "300ms"},
    "queue": {"max_waiting": 50, "timeout": "500ms"},
    "upstream": {
        "max_connections": BOUND,
        "connect_timeout": "300ms",
        "reply_timeout": "1s",
        "max_lifetime": "5s",
    },
}


@dataclass
class Report:
    probes: dict[str, dict[str, Any]] = field(default_factory=dict)
    clients: dict[str, Any] = field(default_factory=dict)
    servers: dict[str, Any] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    memory_before: int = 0
    memory_after: int = 0
    status: dict[str, Any] = field(default_factory=dict)

    def faults(self) -> list[str]:
        """What must never be."""
        found = [f"probe of {name}: {one['wrong']}" for name, one in self.probes.items() if one["wrongs"]]
        found += [f"{name}: {held} sockets" for name, held in self.held.items() if held > BOUND]
        return found

    def lines(self) -> Iterator[str]:
        for name, one in self.probes.items():
            times = ", ".join(f"{what} {one[what] * 1e3:.1f} ms" for what in ("p50", "p99", "max"))
            yield f"probe {name}: {one['asked']} asked, {one['wrongs']} wrong, {times}"
        yield f"clients did: {self.clients}"
        yield f"servers did: {self.servers}"
        yield f"sockets held at most: {self.held} of {BOUND}"
        before, after = (size / 2**20 for size in (self.memory_before, self.memory_after))
        yield f"worker's memory: {before:.0f} MiB before, {after:.0f} after"
        for name, backend in self.status["backends"].items():
            yield f"{name}: {backend['outcomes']}"


@contextlib.contextmanager
def running(
    hostile: dict[str, int], honest: dict[str, int]
) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """muxproxy with its eight backends: (its folder, its process)."""
    folder = Path(tempfile.mkdtemp(prefix="muxproxy-fuzz-"))
    (folder / "backends").mkdir()
    node = NODE | {"admin": str(folder / "admin.sock"), "workers": 1, "log_level": "warning"}
    (folder / "muxproxy.toml").write_text(toml(node))
    for kind, host, ports in (("bad", "127.0.0.2", hostile), ("good", HONEST, honest)):
        for protocol, port in ports.items():
            tables = {name: dict(keys) for name, keys in SHORT.items()} if kind == "bad" else {}
            tables.setdefault("clients", {})["listen"] = ["127.0.0.1:0"]
            tables.setdefault("upstream", {})["servers"] = [f"{host}:{port}"]
            text = f'protocol = "{protocol}"\n' + "".join(
                f"[{name}]\n{toml(keys)}" for name, keys in tables.items()
            )
            (folder / "backends" / f"{kind}-{protocol}.toml").write_text(text)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "muxproxy", "run", "-c", str(folder)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=limit_descriptors(0),  # noqa: PLW1509  (no threads here: forking is safe)
        )
    try:
        yield folder, process
    finally:
        if process.poll() is None:
            end(process, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def ready(folder: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError):
        status = admin_status(str(folder / "admin.sock"))
        if all(worker["state"] == "ready" for worker in status["workers"]):
            return status
    return {}


def quiet(folder: Path) -> dict[str, Any]:
    """Its status, once nobody hostile is left in it."""
    status = ready(folder)
    backends = status.get("backends", {})
    bad = [one for name, one in backends.items() if name.startswith("bad")]
    return status if bad and all("clients" in one and not left_behind(one) for one in bad) else {}


def left_behind(backend: dict[str, Any]) -> dict[str, int]:
    """What is still there of clients that have gone: nothing, once what they asked for has ended too."""
    return {what: backend[what] for what in ("clients", "in_flight", "waiting", "pinned") if backend[what]}


def left_over(folder: Path) -> dict[str, dict[str, int]]:
    """What is left behind, by backend."""
    backends = ready(folder).get("backends", {})
    return {name: left for name, one in backends.items() if "clients" in one and (left := left_behind(one))}


def play(
    seconds: float, seed: int, parallel: int, tell: Callable[[float], None] = lambda part: None
) -> Report:
    """One attack of so many seconds by so many hostile clients of each protocol at a time."""
    report = Report()
    with (
        Child("tests.fuzz.hostile", {"seed": seed}) as servers,
        Child("tests.fuzz.probes", {}) as probes,
        running(servers.ready, probes.ready) as (folder, process),
    ):
        log = folder / "log"
        status = wait_for(lambda: ready(folder), within=20, what="muxproxy is ready")
        listen = {name: int(b["listen"][0].rpartition(":")[2]) for name, b in status["backends"].items()}
        worker = status["workers"][0]["pid"]
        report.memory_before = memory(worker)
        probes.tell({protocol: listen[f"good-{protocol}"] for protocol in PROTOCOLS})
        bad = {protocol: listen[f"bad-{protocol}"] for protocol in PROTOCOLS}
        with contextlib.ExitStack() as stack:
            samplers = {
                protocol: stack.enter_context(Sampler(f"127.0.0.2:{port}", every=0.01))
                for protocol, port in servers.ready.items()
            }
            orders = {"seed": seed, "clients": bad, "parallel": parallel}
            clients = stack.enter_context(Child("tests.fuzz.hostile", orders))
            until = time.monotonic() + seconds
            while (left := until - time.monotonic()) > 0:
                assert process.poll() is None, log.read_text()[-3000:]
                tell(1 - left / seconds)
                time.sleep(min(0.5, left))
            report.clients = clients.results(within=30)
            report.held = {protocol: sampler.result().held for protocol, sampler in samplers.items()}
        report.probes = probes.results(within=60)
        try:
            report.status = wait_for(lambda: quiet(folder), within=30, what="all that were hostile are gone")
        except AssertionError as failure:
            failure.add_note(f"seed {seed}: {left_over(folder)}")
            raise
        assert report.status["workers"][0]["pid"] == worker, log.read_text()[-3000:]
        report.memory_after = memory(worker)
        assert end(process, signal.SIGTERM, 20) == 0, log.read_text()[-3000:]
        assert "Traceback" not in log.read_text(), log.read_text()[-5000:]
        report.servers = servers.results(within=30)
    return report
