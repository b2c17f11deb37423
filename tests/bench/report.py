"""Figures of several rounds -> medians, spreads and ratios -> Markdown for the README.

The spread (lowest..highest of the rounds) stands beside the median so that nobody takes the machine's noise
for a difference between proxies.
"""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measure import Figures, Load

REFERENCE = "haproxy"  # what ratios are to


@dataclass
class Memory:
    """Idle clients on one contestant."""

    clients: int
    before_kib: int
    after_kib: int

    @property
    def kib_each(self) -> float:
        return (self.after_kib - self.before_kib) / self.clients


@dataclass
class Row:
    """One load on one contestant over all rounds."""

    load: Load
    contestant: str
    rounds: list[Figures]
    has_proxy: bool  # direct has no CPU to speak of

    def median(self, figure: Callable[[Figures], float]) -> float:
        return statistics.median(figure(one) for one in self.rounds)


LOAD_HEADER = [
    "load", "proxy", "requests/s", "CPU µs/request", "CPU vs HAProxy", "p50", "p99", "errors",
    "upstream sockets", "opened", "core busy",
]  # fmt: skip
MEMORY_HEADER = ["idle clients", "proxy", "KiB per client", "PSS before", "PSS after"]


def load_table(rows: list[Row]) -> str:
    return markdown(LOAD_HEADER, [load_cells(row, cpu_ratios(row, rows)) for row in rows])


def load_cells(row: Row, ratios: list[float]) -> list[str]:
    return [
        row.load.title,
        row.contestant,
        with_spread([one.rate for one in row.rounds], ",.0f"),
        with_spread([one.cpu_us for one in row.rounds], ".1f") if row.has_proxy else "-",
        with_spread(ratios, ".2f") if ratios else "-",
        duration(row.median(lambda one: one.wrk.p50_us)),
        duration(row.median(lambda one: one.wrk.p99_us)),
        f"{sum(one.wrk.errors for one in row.rounds):,}",
        f"{max(one.sockets for one in row.rounds):,}",
        f"{row.median(lambda one: one.opened):,.0f}",
        f"{row.median(lambda one: one.busy):.0%}" if row.has_proxy else "-",
    ]


def cpu_ratios(row: Row, rows: list[Row]) -> list[float]:
    """CPU per request in HAProxy's, round by round: what slows the machine for a while slows both alike."""
    if not row.has_proxy:
        return []
    for other in rows:
        if other.load == row.load and other.contestant == REFERENCE:
            pairs = zip(row.rounds, other.rounds, strict=True)
            return [ours.cpu_us / theirs.cpu_us for ours, theirs in pairs if theirs.cpu_us]
    return []


def memory_table(memory: dict[str, Memory]) -> str:
    cells = [
        [
            f"{one.clients:,}",
            name,
            f"{one.kib_each:.2f}",
            f"{one.before_kib / 1024:.1f} MiB",
            f"{one.after_kib / 1024:.1f} MiB",
        ]
        for name, one in memory.items()
    ]
    return markdown(MEMORY_HEADER, cells)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Padded, so that a terminal shows it well too. The first two columns are words, the others figures."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: list[str]) -> str:
        padded = [
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * width if i < 2 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return "\n".join([line(header), "| " + " | ".join(rule) + " |", *map(line, rows)])


def with_spread(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}}..{max(values):{form}})"


def duration(microseconds: float) -> str:
    if microseconds < 1000:
        return f"{microseconds:.0f} µs"
    if microseconds < 1_000_000:
        return f"{microseconds / 1000:.1f} ms"
    return f"{microseconds / 1_000_000:.1f} s"


def machine(programs: dict[str, str], load_before: float) -> str:
    """One line: what this was measured on. Ratios of a busy machine are not those of a quiet one: a proxy
    that is kept from its core finds more to do at each turn, and some gain more by that than others."""
    parts = [f"{cpu_model()}, {os.cpu_count()} cores", f"Linux {platform.release()}"]
    parts += [f"{name} {version}" for name, version in programs.items()]
    parts.append(f"load average before {load_before:.1f}")
    return "; ".join(parts)


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
