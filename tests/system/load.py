"""Thousands of clients, and what became of each of their requests.

`Load` starts processes of clients (`clients.py`) that carry out a `Plan`, and gives back one `Record` per
request: when it began, when it ended, how. A reply is right only when it is exactly the request's own
token, twice.

Closed loop: `parallel` clients, each of which starts its next request when the last has ended. Open loop:
`rate` requests per second whether or not earlier ones have ended, which is what an overload is.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from tests.system.process import Child

# How a request can end. The first two are what a proxy may do in any weather.
RIGHT = "right"  # 200 and exactly what was asked for
REFUSED = "refused"  # an explicit error reply, whole
WRONG = "wrong"  # somebody else's reply, a garbled one, or bytes that nobody asked for
CUT = "cut"  # the connection ended in the middle of a reply
CLOSED = "closed"  # it ended before the first byte of a reply
UNCONNECTED = "unconnected"  # connection refused
TIMEOUT = "timeout"  # no end within the client's patience
OUTCOMES = (RIGHT, REFUSED, WRONG, CUT, CLOSED, UNCONNECTED, TIMEOUT)


@dataclass
class Plan:
    """What the clients of one run do."""

    host: str
    port: int
    parallel: int = 1  # clients at a time; open loop: no more than this many requests at a time
    requests: int = 0  # 0: until stopped
    rate: float = 0.0  # open loop: requests per second for `requests` requests
    keep_alive: bool = False  # a connection is used again, else each request has one of its own
    patience: float = 60.0  # seconds a client waits for the end of one request
    path: str = "/echo"
    authority: str = "origin.test"
    sources: int = 8  # source addresses to spread over, so that TIME_WAIT never exhausts the ports of one
    tag: str = "t"  # begins every token: two loads at a time must not share tokens


class Record(NamedTuple):
    began: float  # time.monotonic(), the same clock in all processes
    ended: float
    outcome: str
    status: int  # 0: none came

    @property
    def took(self) -> float:
        return self.ended - self.began


@dataclass
class Results:
    records: list[Record]
    examples: list[str] = field(default_factory=list)  # of replies that should not have been
    late: float = 0.0  # open loop: the worst delay of a start behind its schedule
    skipped: int = 0  # open loop: requests not started because `parallel` were under way

    @property
    def outcomes(self) -> Counter[str]:
        return Counter(record.outcome for record in self.records)

    @property
    def statuses(self) -> Counter[int]:
        return Counter(record.status for record in self.records)

    def of(self, *outcomes: str) -> list[Record]:
        return [record for record in self.records if record.outcome in outcomes]

    def served_again(self, moment: float) -> float:
        """When the first right reply to a request that began after that moment was in."""
        return min((record.ended for record in self.of(RIGHT) if record.began > moment), default=float("inf"))

    def times(self, outcome: str = RIGHT) -> str:
        """One line about how long requests of this outcome took."""
        took = sorted(record.took for record in self.records if record.outcome == outcome)
        if not took:
            return f"{outcome}: none"
        at = [1e3 * percentile(took, percent) for percent in (50, 99, 100)]
        return f"{outcome}: {len(took)}, p50 {at[0]:.1f} ms, p99 {at[1]:.1f} ms, max {at[2]:.1f} ms"

    @property
    def first(self) -> float:
        """When the first began."""
        return min(record.began for record in self.records)

    @property
    def last(self) -> float:
        """When the last ended."""
        return max(record.ended for record in self.records)

    @property
    def seconds(self) -> float:
        return self.last - self.first

    @property
    def per_second(self) -> float:
        return self.outcomes[RIGHT] / self.seconds

    def summary(self) -> str:
        head = (
            f"{len(self.records)} requests in {self.seconds:.2f} s, {len(self.records) / self.seconds:.0f}/s"
        )
        outcomes = ", ".join(f"{name} {count}" for name, count in self.outcomes.most_common())
        return f"{head}: {outcomes}; statuses {dict(self.statuses)}; {self.times()}"


def percentile(ordered: list[float], percent: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class Load:
    """Processes of clients; `results()` waits for them, `stop()` tells those without an end that it is
    enough.
    """

    def __init__(self, plan: Plan, processes: int = 1) -> None:
        self._patience = plan.patience
        self._children: list[Child] = []
        try:
            for number in range(processes):
                orders = asdict(plan) | {
                    "parallel": plan.parallel // processes,
                    "requests": plan.requests // processes,
                    "rate": plan.rate / processes,
                    "tag": f"{plan.tag}{number}",
                }
                self._children.append(Child("tests.system.clients", orders))
            for child in self._children:
                child.tell("go")
        except BaseException:
            self.close()
            raise

    @property
    def pids(self) -> list[int]:
        return [child.pid for child in self._children]

    def stop(self) -> Results:
        """No new requests; the ends of those under way."""
        return self._gather(60.0, stop=True)

    def results(self, within: float) -> Results:
        return self._gather(within, stop=False)

    def _gather(self, within: float, stop: bool) -> Results:
        deadline = time.monotonic() + within
        total = Results([])
        if stop:
            for child in self._children:
                child.stop()
        for child in self._children:
            answer = child.answer(max(1.0, deadline - time.monotonic()))
            child.stop()
            assert child.process.wait(10) == 0
            total.records += [
                Record(began, ended, OUTCOMES[outcome], status)
                for began, ended, outcome, status in answer["records"]
            ]
            total.examples += answer["examples"]
            total.late = max(total.late, answer["late"])
            total.skipped += answer["skipped"]
        return total

    def close(self) -> None:
        for child in self._children:
            child.close()

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def run(plan: Plan, *, within: float, processes: int = 1) -> Results:
    with Load(plan, processes) as load:
        return load.results(within)
