"""A whole muxproxy, one worker, while one connection floods it in every way; how the others fared meanwhile.

The probes' backends and the flooded ones are in the same worker. A client floods a probe's own backend: where
muxproxy answers that by itself the backend's other clients must not notice either.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.flood.kinds import CLIENTS, SERVERS
from tests.fuzz.samples import PROTOCOLS
from tests.fuzz.workers import ready, running
from tests.system.process import Child, wait_for
from tests.system.proxy import admin_status

P99 = 0.05  # seconds: what another client may wait, of a worker that has a core
ANSWER = 1.0  # seconds: what the supervisor waits for a worker


class Seen(NamedTuple):
    """Of one flood. Times in seconds."""

    side: str
    protocol: str
    kind: str
    sent: int
    probes: dict[str, dict[str, Any]]
    judged: tuple[str, ...]  # those that must not have noticed
    status: float  # until the worker had told its numbers, in the middle of it
    alive: bool
    part: float  # of a core that the worker got while it could run

    def worst(self) -> float:
        return max(self.probes[name]["p99"] for name in self.judged)

    def faults(self) -> list[str]:
        found = [] if self.alive else ["the worker was replaced"]
        found += [f"{name} got {one['wrong']}" for name, one in self.probes.items() if one["wrongs"]]
        if self.worst() * self.part > P99:
            found.append(f"p99 of another client {self.worst() * 1e3:.0f} ms at {self.part:.2f} of a core")
        if self.status * self.part > ANSWER:
            found.append(f"the worker's numbers took {self.status:.2f} s")
        if not self.sent:
            found.append("nothing was sent")
        return found

    def line(self) -> str:
        rate = f"{self.sent / 2**20:8.1f} MiB"
        times = ", ".join(f"{name} {self.probes[name]['p99'] * 1e3:.1f}" for name in self.judged)
        name = f"{self.side} {self.protocol}: {self.kind}"
        return f"{name:45} {rate}; p99 in ms: {times}; status {self.status * 1e3:.0f}; {self.part:.2f} core"


def on_cpu(pid: int) -> tuple[int, int]:
    """Nanoseconds on a CPU, and waiting for one (proc(5), schedstat); (0, 0) if it has gone."""
    try:
        ran, waited, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    except FileNotFoundError:
        return 0, 0
    return int(ran), int(waited)


def let_go_first(worker: int) -> None:
    """What is measured is its turns, not the wait for a core that others keep busy. Only root may."""
    with contextlib.suppress(PermissionError):  # not SCHED_RR: the kernel stops it for 50 ms of each second
        os.setpriority(os.PRIO_PROCESS, worker, -20)


def all_kinds() -> list[tuple[str, str, str]]:
    return [
        (side, protocol, kind)
        for side, table in (("client", CLIENTS), ("server", SERVERS))
        for protocol, kinds in table.items()
        for kind in kinds
    ]


def play(seconds: float, kinds: list[tuple[str, str, str]], tries: int = 1) -> Iterator[Seen]:
    """Each for so long; up to so many times while it shows a fault, for a test machine has other work."""
    with (
        Child("tests.flood.flooder", {}) as flooder,
        Child("tests.flood.looking", {}) as probes,
        running(flooder.ready, probes.ready) as (folder, process),
    ):
        status = wait_for(lambda: ready(folder), within=20, what="muxproxy is ready")
        listen = {name: int(b["listen"][0].rpartition(":")[2]) for name, b in status["backends"].items()}
        probes.tell({protocol: listen[f"good-{protocol}"] for protocol in PROTOCOLS})
        for side, protocol, kind in kinds:
            for left in reversed(range(tries)):
                worker = ready(folder)["workers"][0]["pid"]
                let_go_first(worker)
                time.sleep(0.05)
                probes.tell("what was before is nobody's fault")
                probes.answer(within=30)
                port = listen[f"{'good' if side == 'client' else 'bad'}-{protocol}"]
                order = {"side": side, "protocol": protocol, "kind": kind, "port": port, "seconds": seconds}
                at_first = on_cpu(worker)
                flooder.tell(order)
                time.sleep(min(seconds / 2, 1.0))
                began = time.monotonic()
                told = admin_status(str(folder / "admin.sock"))
                took = time.monotonic() - began
                sent = flooder.answer(within=seconds + 30)["sent"]
                probes.tell("and now?")
                seen = probes.answer(within=30)
                answered = all("outcomes" in backend for backend in told["backends"].values())
                alive = process.poll() is None and ready(folder)["workers"][0]["pid"] == worker
                judged = tuple(
                    name
                    for name in PROTOCOLS
                    if name != protocol or side == "server" or CLIENTS[protocol][kind].alone
                )
                took = took if answered else float("inf")
                ran, waited = (after - before for after, before in zip(on_cpu(worker), at_first, strict=True))
                part = ran / max(1, ran + waited)
                found = Seen(side, protocol, kind, sent, seen, judged, took, alive, part)
                if not found.faults() or not left:
                    break
            yield found
        for child in (flooder, probes):
            child.results(within=30)
