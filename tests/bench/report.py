"""Figures of several rounds -> medians, spreads and ratios -> Markdown for the README.

The spread (lowest..highest of the rounds) stands beside the median so that nobody takes the machine's noise
for a difference between proxies. A table is a list of columns; each suite chooses its own.
"""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.measure import Figures, Load

Value = Callable[[Figures], float]


@dataclass
class Memory:
    """Idle clients on one contestant."""

    clients: int
    before_kib: int
    after_kib: int
    asked: int = 1  # requests of each, before it fell silent
    silent: float = 0.0  # seconds for which they had been

    @property
    def title(self) -> str:
        requests = "one request" if self.asked == 1 else f"{self.asked} requests"
        return f"{self.clients:,}: {requests} each, silent for {self.silent:.0f} s"

    @property
    def kib_each(self) -> float:
        return (self.after_kib - self.before_kib) / self.clients


@dataclass
class Row:
    """One load on one contestant over all rounds."""

    load: Load
    contestant: str
    rounds: list[Figures] = field(default_factory=list)
    has_proxy: bool = True  # direct has no CPU to speak of
    failed: str = ""  # why there are no figures

    def median(self, value: Value) -> float:
        return statistics.median(value(one) for one in self.rounds)


@dataclass(frozen=True)
class Column:
    header: str
    cell: Callable[[Row, list[Row]], str]  # (this row, all of them)


# ---- columns -----------------------------------------------------------------------------------------------


def spread(header: str, value: Value, form: str, proxies_only: bool = False) -> Column:
    def cell(row: Row, _rows: list[Row]) -> str:
        if proxies_only and not row.has_proxy:
            return "-"
        return with_spread([value(one) for one in row.rounds], form)

    return Column(header, cell)


def ratio(header: str, reference: str, value: Value, proxies_only: bool = False) -> Column:
    """A figure in that of the contestant called `reference`."""

    def cell(row: Row, rows: list[Row]) -> str:
        if proxies_only and not row.has_proxy:
            return "-"
        found = ratios(row, rows, reference, value)
        return with_spread(found, ".2f") if found else "-"

    return Column(header, cell)


def ratios(row: Row, rows: list[Row], reference: str, value: Value) -> list[float]:
    pairs = in_pairs(row, rows, reference)
    return [value(ours) / value(theirs) for ours, theirs in pairs if value(theirs)]


def in_pairs(row: Row, rows: list[Row], reference: str) -> list[tuple[Figures, Figures]]:
    """(ours, the reference's), round by round: what slows the machine for a while slows both alike."""
    for other in rows:
        if other.load == row.load and other.contestant == reference and not other.failed:
            return list(zip(row.rounds, other.rounds, strict=True))
    return []


def difference(header: str, reference: str, value: Value) -> Column:
    """A figure less that of the contestant called `reference`."""

    def cell(row: Row, rows: list[Row]) -> str:
        pairs = in_pairs(row, rows, reference)
        if not pairs or row.contestant == reference:
            return "-"
        return with_spread([value(ours) - value(theirs) for ours, theirs in pairs], ".1f")

    return Column(header, cell)


def rate(header: str) -> Column:
    return spread(header, lambda one: one.rate, ",.0f")


def cpu(header: str) -> Column:
    return spread(header, lambda one: one.cpu_us, ".1f", proxies_only=True)


def plain(header: str, text: Callable[[Row], str]) -> Column:
    return Column(header, lambda row, _rows: text(row))


LATENCY = [
    plain("p50", lambda row: duration(row.median(lambda one: one.p50_us))),
    plain("p99", lambda row: duration(row.median(lambda one: one.p99_us))),
]
ERRORS = plain("errors", lambda row: f"{sum(one.errors for one in row.rounds):,}")
SOCKETS = plain("upstream sockets", lambda row: f"{max(one.sockets for one in row.rounds):,}")
OPENED = plain("opened", lambda row: f"{row.median(lambda one: one.opened):,.0f}")
BUSY = plain("core busy", lambda row: f"{row.median(lambda one: one.busy):.0%}" if row.has_proxy else "-")


# ---- tables ------------------------------------------------------------------------------------------------

MEMORY_HEADER = ["idle clients", "proxy", "KiB per client", "PSS before", "PSS after"]


def load_table(columns: Sequence[Column], rows: list[Row]) -> str:
    header = ["load", "proxy", *(column.header for column in columns)]
    cells = [[row.load.title, row.contestant, *figures(columns, row, rows)] for row in rows]
    failures = [f"{row.load.title}, {row.contestant}: {row.failed}" for row in rows if row.failed]
    return "\n\n".join([markdown(header, cells), *failures])


def figures(columns: Sequence[Column], row: Row, rows: list[Row]) -> list[str]:
    if row.failed:
        return ["failed" for _ in columns]
    return [column.cell(row, rows) for column in columns]


def memory_table(memory: dict[str, list[Memory]]) -> str:
    cells = []
    for title in dict.fromkeys(one.title for looks in memory.values() for one in looks):
        for name, looks in memory.items():
            alike = [one for one in looks if one.title == title]
            sizes = [[one.before_kib for one in alike], [one.after_kib for one in alike]]
            told = [f"{statistics.median(each) / 1024:.1f} MiB" for each in sizes]
            cells.append([title, name, with_spread([one.kib_each for one in alike], ".2f"), *told])
    return markdown(MEMORY_HEADER, cells)


def summary(parts: Sequence[tuple[str, str, list[Row]]]) -> str:
    """(suite, reference, rows) of each: the CPU of all others in the reference's, one line a load."""
    others = list(dict.fromkeys(row.contestant for _, _, rows in parts for row in rows))
    others.sort(key=lambda name: not name.startswith("muxproxy"))
    cells = []
    for name, reference, rows in parts:
        for load in dict.fromkeys(row.load for row in rows):
            found = {
                row.contestant: ratios(row, rows, reference, lambda one: one.cpu_us)
                for row in rows
                if row.load == load and row.has_proxy and not row.failed and row.contestant != reference
            }
            if any(found.values()):
                told = [with_spread(found[one], ".2f") if found.get(one) else "" for one in others]
                cells.append([f"{name}: {load.title}", reference, *told])
    used = [index for index, _ in enumerate(others) if any(line[index + 2] for line in cells)]
    header = ["load", "CPU in that of", *(others[index] for index in used)]
    return markdown(header, [[*line[:2], *(line[index + 2] for index in used)] for line in cells])


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


def machine(programs: dict[str, str], load_before: float, rows: list[Row]) -> str:
    """One line: what this was measured on. Ratios of a busy machine are not those of a quiet one: a proxy
    that is kept from its core finds more to do at each turn, and some gain more by that than others."""
    others = [one.others for row in rows for one in row.rounds]
    parts = [f"{cpu_model()}, {os.cpu_count()} cores", f"Linux {platform.release()}"]
    parts += [f"{name} {version}" for name, version in programs.items()]
    parts.append(f"load average before {load_before:.1f}")
    if others:
        parts.append(f"others had {with_spread(others, '.0%')} of the proxies' core")
    return "; ".join(parts)


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
