"""What one sees meanwhile: a line a second, or a table on a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from muxproxy.incident.view import Live, Plain, fits
from tests.incident.records import recorded


def test_a_log_gets_a_line_a_second_and_one_at_the_end_of_each_leg() -> None:
    record, said, now = recorded(), [], [100.0]
    direct, through = record.legs
    through.state, direct.state = "waiting", "running"
    with Plain(said.append, record, lambda: now[0]) as view:
        view.show()
        now[0] += 0.5
        view.show()
        now[0] += 0.5
        view.show()
        direct.state = "done"
        view.show()
        view.show()
    assert said == [
        *2 * ["redis, Direct, 2 of 2 s: 53 sockets to the servers, 1,500 TIME_WAIT, 5 errors"],
        "redis, Direct, done: 53 sockets to the servers, 1,500 TIME_WAIT, 5 errors",
    ]


def test_a_terminal_gets_a_row_for_each_leg() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, height=30)
    assert fits(console)
    assert not fits(Console(file=io.StringIO(), width=100))
    record = recorded()
    record.legs[1].state, record.legs[1].samples = "waiting", []
    with Live(console, record) as view:
        view.show()
    for word in ("Redis: what happened", "Direct", "Through muxproxy", "1,500", "errors"):
        assert word in file.getvalue()
