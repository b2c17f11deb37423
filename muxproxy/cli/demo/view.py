"""What one sees of the demo: two panels side by side on a terminal, a line a second elsewhere.

Live    rich: for each leg the sockets at the origin over time, and its numbers below
Plain   for pipes, logs and terminals too small for the picture
"""

from __future__ import annotations

import time
from collections.abc import Callable

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from muxproxy.cli.demo.figures import BOUND, Leg, bars, milliseconds, outcome, progress

LEAST_WIDTH, LEAST_HEIGHT = 70, 20  # of a terminal, for the picture
MOST_WIDTH = 110
CHART_HEIGHT = 5
FRAMES = 0.1  # seconds between two
LINES = 1.0

_COLOURS = {"direct": "red", "through muxproxy": "green"}


class Plain:
    def __init__(
        self, echo: Callable[[str], None], clients: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._echo = echo
        self._clients = clients
        self._clock = clock
        self._told: set[str] = set()  # legs that are over, and told
        self._began: dict[str, float] = {}
        self._next = 0.0

    def __enter__(self) -> Plain:
        self._echo(f"muxproxy demo: {headline(self._clients)}")
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, direct: Leg, through: Leg) -> None:
        for leg in (direct, through):
            if leg.state == "running":
                self._progress(leg, self._clock())
            elif leg.state == "done" and leg.name not in self._told:
                self._told.add(leg.name)
                self._echo(outcome(leg))

    def _progress(self, leg: Leg, now: float) -> None:
        if leg.name not in self._began:
            self._began[leg.name] = now
            self._next = now + LINES
        elif now >= self._next:
            self._next += LINES
            self._echo(progress(leg, now - self._began[leg.name]))


class Live:
    def __init__(self, console: Console, clients: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clients = clients
        self._clock = clock
        self._next = 0.0
        # No thread that refreshes: the children are forked from this one, and it knows when there is news.
        self._live = RichLive(console=console, auto_refresh=False)

    def __enter__(self) -> Live:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, direct: Leg, through: Leg) -> None:
        now = self._clock()
        if now >= self._next or through.state == "done":
            self._next = now + FRAMES
            self._live.update(render(direct, through, self._clients, self._console.width), refresh=True)


def headline(clients: int) -> str:
    return f"{clients:,} clients at a time, a new connection for every request"


def fits(console: Console) -> bool:
    return (
        console.is_terminal
        and not console.is_dumb_terminal
        and console.width >= LEAST_WIDTH
        and console.height >= LEAST_HEIGHT
    )


def render(direct: Leg, through: Leg, clients: int, width: int) -> RenderableType:
    width = min(width, MOST_WIDTH)
    inner = (width - 1) // 2 - 4  # two panels and a blank; borders and padding
    top = max(direct.peak, through.peak, 1)  # one scale: that is the picture
    title = Text.assemble(("muxproxy demo", "bold"), f"  {headline(clients)}")
    panels = Table.grid(padding=(0, 1, 0, 0))
    panels.add_row(_panel(direct, inner, top), _panel(through, inner, top))
    return Group(title, panels)


def _panel(leg: Leg, inner: int, top: int) -> Panel:
    colour = _COLOURS[leg.name]
    chart = [Text(line, colour) for line in bars(leg.history, leg.seconds, inner, CHART_HEIGHT, top)]
    title = Text(f" {leg.name} ", f"bold {colour}" if leg.state != "waiting" else "dim")
    return Panel(
        Group(_headline(leg, inner, colour), *chart, _numbers(leg, inner)),
        title=title,
        subtitle=Text(f" {_when(leg)} ", "dim"),
        title_align="left",
        subtitle_align="right",
        box=box.ROUNDED,
        border_style=colour if leg.state == "running" else "dim",
        width=inner + 4,
    )


def _when(leg: Leg) -> str:
    if leg.state == "running" and leg.history:
        return f"{min(leg.history[-1][0], leg.seconds):.1f} of {leg.seconds:g} s"
    return "done" if leg.state == "done" else "next" if leg.has_pool else "starting"


def _headline(leg: Leg, inner: int, colour: str) -> Table:
    now = leg.peak if leg.state == "done" else leg.high
    what = "most sockets at the origin" if leg.state == "done" else "sockets at the origin"
    row = _row_table(inner)
    row.add_row(Text(what, "bold"), Text(f"{now:,}" if leg.state != "waiting" else "", f"bold {colour}"))
    return row


def _numbers(leg: Leg, inner: int) -> Table:
    """The same rows on both sides, so that one compares by looking across."""
    rows = _row_table(inner)

    def add(name: str, value: str, style: str = "") -> None:
        rows.add_row(name, Text(value, style) if leg.state != "waiting" else Text("·", "dim"))

    is_done = leg.state == "done"
    add("opened in all", f"{leg.opened:,}")
    add("requests/s", f"{leg.rate:,.0f}")
    add("right replies", f"{leg.replies:,}")
    add("errors", f"{leg.failed:,}", "bold red" if leg.failed else "")
    add("p50 / p99", f"{milliseconds(leg.p50)} / {milliseconds(leg.p99)}")
    if is_done:
        add("most clients at once", f"{leg.most_connected:,}")
    else:
        add("clients connected", f"{leg.connected:,}")
    if not leg.has_pool:
        rows.add_row(Text("waiting", "dim"), Text("no queue", "dim"))
        rows.add_row(Text("upstream sockets", "dim"), Text("no bound", "dim"))
        return rows
    if is_done:
        add("most waiting at once", f"{leg.most_waiting:,}")
    else:
        add("waiting in muxproxy", f"{leg.pool.get('waiting', 0):,}")
    rows.add_row(
        "upstream sockets", _meter(leg.pool.get("upstream_sockets", 0), leg.pool.get("upstream_max", BOUND))
    )
    return rows


def _meter(used: int, bound: int) -> Text:
    return Text.assemble(("■" * used, "green"), ("□" * max(0, bound - used), "dim"), f" {used} of {bound}")


def _row_table(inner: int) -> Table:
    table = Table.grid(expand=False)
    table.width = inner
    table.add_column(ratio=1, no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    return table
