"""What a run will do, before anything is started: which loads, on which contestants, how long that takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench import servers
from tests.bench.http import OFTEN, SETTLE, SILENT
from tests.bench.measure import Load
from tests.bench.suite import WARM_UP, Suite

IDLE = "idle"  # the idle clients' name for --only

# Seconds beside the measuring itself, as seen on two cores of today.
START = 1.5  # until a server is ready
AROUND = 0.6  # a load's own start and end
IDLE_RATE = 2500.0  # idle clients that are connected and served in a second
IDLE_ROUNDS = 3  # at most: the memory of a fresh process hardly differs from that of the next
PROFILED = 4.0  # what perf takes to read its own file


class UnknownNameError(Exception):
    """--only names what there is not; str() lists what there is."""


@dataclass(frozen=True)
class Task:
    """One suite's part of a run."""

    suite: Suite
    loads: list[Load]
    names: list[str]  # of contestants
    idle: int = 0  # clients

    @property
    def proxies(self) -> list[str]:
        return [name for name in self.names if name != servers.DIRECT]

    def seconds(self, rounds: int, each: float) -> float:
        loads = len(self.loads) * len(self.names) * (WARM_UP + AROUND + rounds * (each + AROUND))
        idle = len(self.proxies) * min(rounds, IDLE_ROUNDS) * self.idle_seconds() if self.idle else 0.0
        return loads + idle + START * len(self.names)

    def idle_seconds(self) -> float:
        return 2 * START + SETTLE + SILENT + (1 + OFTEN) * self.idle / IDLE_RATE

    def floor_seconds(self, each: float) -> float:
        return len(self.proxies) * (START + len(self.loads) * (WARM_UP + 3 * (each + AROUND) + PROFILED))


def plan(suites: Sequence[Suite], only: Sequence[str], idle_clients: int) -> list[Task]:
    """Loads and proxies that `only` names. Who names no load means all of them, as with proxies; who names
    one means no suite that has none of these."""
    loads = {load.name for suite in suites for load in suite.loads} | {IDLE}
    proxies = {name for suite in suites for name in suite.contestants} | {servers.DIRECT}
    if unknown := [name for name in only if name not in loads | proxies]:
        known = ", ".join([*sorted(loads), *sorted(proxies)])
        raise UnknownNameError(f"{', '.join(unknown)}; known: {known}")
    wanted = [name for name in only if name in loads] or loads
    tasks = []
    for suite in suites:
        contestants = [*suite.contestants, servers.DIRECT]
        task = Task(
            suite,
            [load for load in suite.loads if load.name in wanted],
            [name for name in contestants if name in only] or contestants,
            idle_clients if suite.has_idle and IDLE in wanted else 0,
        )
        if task.loads or task.idle:
            tasks.append(task)
    return tasks
