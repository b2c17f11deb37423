"""One leg, watched: clients are given their orders, both hosts' sockets are counted ten times a second, and
what the clients report is added up, until all of them are done.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from muxproxy.incident.record import Leg, Sample
from muxproxy.stage.hosts import Network
from muxproxy.stage.stage import Broken, Child, Stage

EVERY = 0.1  # seconds between two samples
PATIENCE = 30.0  # seconds beyond what was planned

Show = Callable[[], None]


class Observer:
    """`port` is the servers'. `show` is called with every sample."""

    def __init__(self, stage: Stage, network: Network, port: int, leg: Leg, show: Show) -> None:
        self._stage = stage
        self._port = port
        self._leg = leg
        self._show = show
        try:
            self._client, self._server = network.client.census(), network.server.census()
        except OSError as error:
            told = f"sock_diag, which counts the sockets, is refused here: {error.strerror}"
            raise Broken(told) from error
        self._told: dict[Child, dict[str, Any]] = {}
        self._latency: dict[str, float] = {}
        self._began = time.monotonic()

    def __enter__(self) -> Observer:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._server.close()

    def follow(self, orders: dict[Child, dict[str, Any]], servers: Sequence[Child]) -> None:
        """From the first order to the last child's `done`."""
        leg = self._leg
        leg.state = "running"
        before = [cpu(server.process.pid) for server in servers]
        self._began = time.monotonic()
        self._sample()
        for child, order in orders.items():
            child.tell(order)
        self._until_done(set(orders))
        leg.server_cpu = sum(cpu(s.process.pid) - b for s, b in zip(servers, before, strict=True))
        leg.server_memory = sum(peak_memory(server.process.pid) for server in servers)
        leg.state = "done"
        self._show()

    def _until_done(self, owed: set[Child]) -> None:
        latest = self._began + self._leg.seconds + PATIENCE
        following = self._began + EVERY
        while owed:
            for child, message in self._stage.turn(max(0.0, following - time.monotonic())):
                self._take(child, message, owed)
            now = time.monotonic()
            if now >= following:
                following = max(following + EVERY, now)
                self._sample()
            if now > latest:
                raise Broken(f"{self._leg.title}: the clients did not come to an end")
        self._sample()

    def _take(self, child: Child, message: dict[str, Any], owed: set[Child]) -> None:
        report = message.get("tick") or message.get("done")
        if report is None:
            return
        self._told[child] = report
        self._latency = report["latency"]
        if "done" in message:
            owed.discard(child)
            self._finish()

    def _finish(self) -> None:
        """What all have told so far; of several clients the slowest's percentiles."""
        leg = self._leg
        reports = list(self._told.values())
        leg.requests = sum(report["replies"] for report in reports)
        leg.dialled = sum(report["dialled"] for report in reports)
        leg.errors = dict(sum((Counter(report["errors"]) for report in reports), Counter()).most_common())
        for name in reports[0]["latency"]:
            leg.latency[name] = max(report["latency"].get(name, 0.0) for report in reports)
        ready = [report["ready"] for report in reports if report.get("ready") is not None]
        if ready:
            leg.ready = max(ready)

    def _sample(self) -> None:
        reports = list(self._told.values())
        self._leg.samples.append(
            Sample(
                round(time.monotonic() - self._began, 3),
                self._client.count(destination=self._port),
                self._server.count(source=self._port),
                sum(report["open"] for report in reports),
                sum(report["replies"] for report in reports),
                sum(sum(report["errors"].values()) for report in reports),
                self._latency,
            )
        )
        self._show()


def cpu(pid: int) -> float:
    """Seconds that the process's threads have had, to the nanosecond (`stat` counts ticks of 10 ms)."""
    return (
        sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9
    )


def peak_memory(pid: int) -> int:
    """Bytes, resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
