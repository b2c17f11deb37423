"""What one sees of a replay while it runs: on a terminal a table with a bar for each leg, a line a second
elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from muxproxy.incident.record import TIME_WAIT, Leg, Recording, count

FRAMES = 0.2  # seconds between two
LINES = 1.0
LEAST_WIDTH = 70  # of a terminal, for the table


def fits(console: Console) -> bool:
    return console.is_terminal and not console.is_dumb_terminal and console.width >= LEAST_WIDTH


def now(leg: Leg) -> dict[str, int]:
    """The moment's numbers, or when it is over the most there were."""
    if leg.state == "done":
        return {"sockets": leg.most_open, TIME_WAIT: leg.most(TIME_WAIT), "errors": leg.failed}
    last = leg.samples[-1] if leg.samples else None
    if last is None:
        return {"sockets": 0, TIME_WAIT: 0, "errors": 0}
    waits = last.client.get(TIME_WAIT, 0)
    return {"sockets": sum(last.client.values()) - waits, TIME_WAIT: waits, "errors": last.errors}


def line(record: Recording, leg: Leg) -> str:
    """For a log."""
    said = now(leg)
    at = "done" if leg.state == "done" else f"{leg.samples[-1].at:.0f} of {leg.seconds:g} s"
    return (
        f"{record.name}, {leg.title}, {at}: {count(said['sockets'], 'socket')} to the servers, "
        f"{said[TIME_WAIT]:,} TIME_WAIT, {count(said['errors'], 'error')}"
    )


class Plain:
    def __init__(
        self, echo: Callable[[str], None], record: Recording, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._echo = echo
        self._record = record
        self._clock = clock
        self._next = 0.0
        self._told: set[str] = set()

    def __enter__(self) -> Plain:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self) -> None:
        now = self._clock()
        for leg in self._record.legs:
            is_over = leg.state == "done" and leg.name not in self._told
            if is_over or (leg.state == "running" and now >= self._next):
                self._next = now + LINES
                self._echo(line(self._record, leg))
            if is_over:
                self._told.add(leg.name)


class Live:
    def __init__(
        self, console: Console, record: Recording, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._record = record
        self._clock = clock
        self._next = 0.0
        # No thread that refreshes: children are forked from this one.
        self._live = RichLive(console=console, auto_refresh=False)

    def __enter__(self) -> Live:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.update(table(self._record), refresh=True)
        self._live.stop()

    def show(self) -> None:
        if self._clock() >= self._next:
            self._next = self._clock() + FRAMES
            self._live.update(table(self._record), refresh=True)


def table(record: Recording) -> Group:
    rows = Table.grid(padding=(0, 2, 0, 0))
    rows.add_column(no_wrap=True)
    rows.add_column()
    for _ in range(3):
        rows.add_column(justify="right", no_wrap=True)
    rows.add_row("", "", *(Text(name, "dim") for name in ("sockets", TIME_WAIT, "errors")))
    for leg in record.legs:
        said = now(leg)
        at = leg.seconds if leg.state == "done" else leg.samples[-1].at if leg.samples else 0.0
        style = (
            "dim"
            if leg.state == "waiting"
            else "bold red"
            if leg.failed
            else "bold green"
            if leg.bound
            else ""
        )
        rows.add_row(
            Text(leg.title, "dim" if leg.state == "waiting" else style),
            ProgressBar(total=leg.seconds, completed=min(at, leg.seconds), width=20),
            f"{said['sockets']:,}",
            f"{said[TIME_WAIT]:,}",
            Text(f"{said['errors']:,}", "bold red" if said["errors"] else ""),
        )
    return Group(Text.assemble((record.title, "bold")), rows)
