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

P99 = 0.05  # seconds: what a worker may work before another client has its reply
ANSWER = 1.0  # seconds: what the supervisor waits for a worker


class Seen(NamedTuple):
    """Of one flood. Times in seconds."""

    side: str
    protocol: str
    kind: str
    sent: int
    probes: dict[str, dict[str, Any]]
    judged: tuple[str, ...]  # those that must not have noticed
    status: float  # that the worker worked until it had told its numbers, in the middle of it
    alive: bool

    def worst(self) -> float:
        """A turn that is too long stands in everybody's way, so two of them notice it. One alone may have
        asked for more turns (TCP: accept, dial, pass on), each dearer on a machine with other work."""
        return sorted(self.probes[name].get("work", float("inf")) for name in self.judged)[-2]

    def tells(self) -> bool:
        """Every one of the others has asked meanwhile; on a machine with much other work none may come to."""
        return all("work" in self.probes[name] for name in self.judged)

    def faults(self) -> list[str]:
        found = [] if self.alive else ["the worker was replaced"]
        found += [f"{name} got {one['wrong']}" for name, one in self.probes.items() if one["wrongs"]]
        if self.worst() > P99:
            found.append(f"the worker's work before a reply to another client: {self.worst() * 1e3:.0f} ms")
        if self.status > ANSWER:
            found.append(f"the worker's numbers took {self.status:.2f} s of its work")
        if not self.sent:
            found.append("nothing was sent")
        return found

    def line(self) -> str:
        rate = f"{self.sent / 2**20:8.1f} MiB"
        seen = [(name, self.probes[name]) for name in self.judged]
        work = ", ".join(f"{name} {one.get('work', float('inf')) * 1e3:.1f}" for name, one in seen)
        late = max(one["p99"] for _, one in seen)
        name = f"{self.side} {self.protocol}: {self.kind}"
        return (
            f"{name:45} {rate}; p99 of the work in ms: {work}; status {self.status * 1e3:.0f}; "
            f"by the clock {late * 1e3:.0f}"
        )


def on_cpu(pid: int) -> int:
    """Nanoseconds that it had a CPU (proc(5), schedstat); 0 if it has gone."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    except FileNotFoundError:
        return 0


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


def play(seconds: float, kinds: list[tuple[str, str, str]]) -> Iterator[Seen]:
    """Each for so long, and again until all others have asked something meanwhile."""
    with (
        Child("tests.flood.flooder", {}) as flooder,
        Child("tests.flood.looking", {}) as probes,
        running(flooder.ready, probes.ready) as (folder, process),
    ):
        status = wait_for(lambda: ready(folder), within=20, what="muxproxy is ready")
        listen = {name: int(b["listen"][0].rpartition(":")[2]) for name, b in status["backends"].items()}
        probes.tell({protocol: listen[f"good-{protocol}"] for protocol in PROTOCOLS})
        for side, protocol, kind in kinds:
            for _ in range(20):
                worker = ready(folder)["workers"][0]["pid"]
                let_go_first(worker)
                time.sleep(0.05)
                probes.tell({"worker": worker})  # what was before is nobody's fault
                probes.answer(within=30)
                port = listen[f"{'good' if side == 'client' else 'bad'}-{protocol}"]
                order = {"side": side, "protocol": protocol, "kind": kind, "port": port, "seconds": seconds}
                flooder.tell(order)
                time.sleep(min(seconds / 2, 1.0))
                began = on_cpu(worker)
                told = admin_status(str(folder / "admin.sock"))
                worked = (on_cpu(worker) - began) / 1e9
                sent = flooder.answer(within=seconds + 30)["sent"]
                probes.tell({"worker": worker})
                seen = probes.answer(within=30)
                if not all("outcomes" in backend for backend in told["backends"].values()):
                    worked = float("inf")
                alive = process.poll() is None and ready(folder)["workers"][0]["pid"] == worker
                judged = tuple(
                    name
                    for name in PROTOCOLS
                    if name != protocol or side == "server" or CLIENTS[protocol][kind].alone
                )
                found = Seen(side, protocol, kind, sent, seen, judged, worked, alive)
                if found.tells() or not found.alive or any(one["wrongs"] for one in seen.values()):
                    break
            yield found
        for child in (flooder, probes):
            child.results(within=30)
