"""What the demo measured: two legs of the same load, direct and through muxproxy, and what they prove. Pure.

Who says which number: the sockets come from the origin, which counts what it accepts; replies, errors and
times from the clients; waiting and upstream sockets from muxproxy's /status.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

BOUND = 8  # max_connections of the demo's backend
CLIENTS = 2_000  # at a time, where the descriptor limit allows
# Descriptors per client of muxproxy's worker: two, because the next may be accepted before the last one's
# close is seen, and one for the backlog (config/limits.py); and what it needs besides.
_PER_CLIENT = 3
_BESIDES = 100
_WINDOW = 10  # reports that make the rate of the moment: one second


def clients_for(nofile: int) -> int:
    """How many clients fit into the descriptor limit."""
    return max(0, min(CLIENTS, (nofile - _BESIDES) // _PER_CLIENT))


@dataclass(slots=True)
class Leg:
    name: str
    seconds: float  # as planned
    has_pool: bool = False  # muxproxy is in between
    # The origin's
    high: int = 0  # the most since the report before: a moment's number would miss what comes and goes
    peak: int = 0
    opened: int = 0
    history: list[tuple[float, int]] = field(default_factory=list)  # seconds since its beginning, sockets
    # The clients'
    connected: int = 0
    most_connected: int = 0
    replies: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    rate: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    # muxproxy's: one backend of /status, {} until it was asked
    pool: Mapping[str, Any] = field(default_factory=dict)
    most_waiting: int = 0
    state: str = "waiting"  # -> running -> done
    _recent: deque[tuple[float, int]] = field(default_factory=lambda: deque([(0.0, 0)], maxlen=_WINDOW + 1))

    def on_sockets(self, counts: Mapping[str, int], at: float) -> None:
        self.high, self.peak, self.opened = counts["high"], counts["peak"], counts["opened"]
        self.history.append((at, self.high))

    def on_tick(self, report: Mapping[str, Any]) -> None:
        """The rate of the last second."""
        self._take(report)
        self._recent.append((report["seconds"], report["replies"]))
        (began, before), (ended, after) = self._recent[0], self._recent[-1]
        self.rate = (after - before) / (ended - began)

    def on_done(self, report: Mapping[str, Any]) -> None:
        """The rate of the whole leg."""
        self._take(report)
        self.rate = self.replies / report["seconds"]

    def on_pool(self, backend: Mapping[str, Any]) -> None:
        self.pool = backend
        self.most_waiting = max(self.most_waiting, backend.get("waiting", 0))

    def _take(self, report: Mapping[str, Any]) -> None:
        self.connected, self.replies, self.errors = report["connected"], report["replies"], report["errors"]
        self.most_connected = max(self.most_connected, self.connected)
        self.p50, self.p99 = report["p50"], report["p99"]

    @property
    def failed(self) -> int:
        return sum(self.errors.values())


def problems(direct: Leg, through: Leg) -> list[str]:
    """Why the demo did not show what it is there to show; empty if it did."""
    found = []
    for leg in (direct, through):
        if leg.failed:
            reasons = ", ".join(f"{reason}: {count:,}" for reason, count in leg.errors.items())
            found.append(f"{leg.name}: {leg.failed:,} requests without the right reply ({reasons})")
        if not leg.replies:
            found.append(f"{leg.name}: no replies at all")
    if through.peak > BOUND:
        found.append(f"through muxproxy: {through.peak:,} sockets at the origin, above the bound of {BOUND}")
    return found


def summary(direct: Leg, through: Leg) -> list[str]:
    """Lines of at most 80 columns for whoever has just watched."""
    lines = [
        f"{leg.name:16} = {leg.peak:5,} sockets at the origin, {leg.opened:6,} opened, "
        f"{leg.replies:,} replies"
        for leg in (direct, through)
    ]
    found = problems(direct, through)
    if found:
        return [*lines, *(f"FAILED: {problem}" for problem in found)]
    replies = direct.replies + through.replies
    return [
        *lines,
        f"However many connections your apps open, the server sees at most {BOUND}, kept and",
        f"shared in turn; each of the {replies:,} replies was the one its client asked for.",
    ]


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:,.0f} ms" if seconds >= 0.01 else f"{seconds * 1e3:.1f} ms"


def progress(leg: Leg, at: float) -> str:
    """One line for a log."""
    line = (
        f"{leg.name}, {at:.0f} s: {count(leg.high, 'socket')} at the origin, {leg.connected:,} clients, "
        f"{leg.rate:,.0f} requests/s, {count(leg.failed, 'error')}"
    )
    if leg.pool:
        used, bound = leg.pool.get("upstream_sockets", 0), leg.pool["upstream_max"]
        line += f"; muxproxy: {leg.pool.get('waiting', 0):,} waiting, upstream {used} of {bound}"
    return line


def outcome(leg: Leg) -> str:
    """The last line of a leg in a log."""
    return (
        f"{leg.name}, done: {leg.replies:,} right replies, {count(leg.failed, 'error')}, "
        f"{leg.rate:,.0f}/s, p50 {milliseconds(leg.p50)}, p99 {milliseconds(leg.p99)}"
    )


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def bars(
    history: Sequence[tuple[float, int]], seconds: float, width: int, height: int, top: int
) -> list[str]:
    """The history as `height` lines of block characters, `width` columns for `seconds`, full at `top`.

    A column shows the most of its time; one without a report shows what was true before it.
    """
    columns: list[int] = []
    for at, value in history:
        column = min(width - 1, int(width * at / seconds))
        while len(columns) < column:
            columns.append(columns[-1] if columns else 0)
        if len(columns) == column:
            columns.append(value)
        columns[column] = max(columns[column], value)
    eighths = [_eighths(value, height, top) for value in columns]
    rows = range(height - 1, -1, -1)
    return ["".join(" ▁▂▃▄▅▆▇█"[max(0, min(8, each - 8 * row))] for each in eighths) for row in rows]


def _eighths(value: int, height: int, top: int) -> int:
    """At least one where there is anything at all."""
    return 0 if value <= 0 else max(1, round(8 * height * value / max(1, top)))
