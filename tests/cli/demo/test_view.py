"""What one sees of the demo: the picture on a recording console, and the lines that a pipe gets."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from muxproxy.cli.demo.figures import Leg
from muxproxy.cli.demo.view import LEAST_HEIGHT, LEAST_WIDTH, Live, Plain, fits, render


def legs() -> tuple[Leg, Leg]:
    """The first is over, the second is half-way."""
    direct, through = Leg("direct", 4.0), Leg("through muxproxy", 6.0, has_pool=True)
    tick = {"seconds": 1.0, "connected": 2000, "replies": 9000, "errors": {}, "p50": 0.213, "p99": 0.301}
    for tenth in range(40):
        direct.on_sockets({"high": 2000, "peak": 2000, "opened": 36412}, tenth / 10)
    direct.on_tick(tick)
    direct.on_done(tick | {"seconds": 4.0, "connected": 0, "replies": 36412})
    direct.state = "done"
    for tenth in range(30):
        through.on_sockets({"high": 8, "peak": 8, "opened": 8}, tenth / 10)
    through.on_tick(tick | {"errors": {"status 503": 3}})
    through.on_pool({"waiting": 1984, "upstream_sockets": 7, "upstream_max": 8})
    through.state = "running"
    return direct, through


def console(width: int = 80, height: int = 24, *, terminal: bool = True) -> Console:
    return Console(
        file=io.StringIO(), width=width, height=height, force_terminal=terminal, record=True, _environ={}
    )


def picture(*both: Leg, width: int = 80) -> list[str]:
    screen = console(width)
    screen.print(render(*both, clients=2000, width=width))
    return screen.export_text().rstrip("\n").split("\n")


def test_the_two_legs_stand_side_by_side_in_one_scale() -> None:
    lines = picture(*legs())
    assert lines[0].startswith("muxproxy demo  2,000 clients at a time")
    assert lines[1].startswith("╭─  direct  ─")
    assert "╭─  through muxproxy  ─" in lines[1]
    assert lines[2] == ("│ most sockets at the origin    2,000 │ │ sockets at the origin             8 │")
    full, baseline = lines[7].split("│")[1::2]
    assert full.strip() == "█" * 35
    assert baseline.strip() == "▁" * 17
    assert all(line.split("│")[3].strip() == "" for line in lines[3:7])


def test_the_picture_shows_clients_waiting_and_upstream_sockets_beside_their_bound() -> None:
    text = "\n".join(picture(*legs()))
    for row in (
        "clients connected             2,000 │",
        "waiting in muxproxy           1,984 │",
        "upstream sockets    ■■■■■■■□ 7 of 8 │",
        "errors                            3 │",
        "p50 / p99           213 ms / 301 ms │",
        "most clients at once          2,000 │",
        "9,103 │",
    ):
        assert row in text
    assert "2.9 of 6 s" in text


@pytest.mark.parametrize("width", [LEAST_WIDTH, 80, 110, 200])
def test_the_picture_fits_into_the_terminal_with_room_for_the_summary(width: int) -> None:
    lines = picture(*legs(), width=width)
    assert max(map(len, lines)) <= width
    assert len(lines) <= LEAST_HEIGHT


def test_before_the_beginning_there_are_no_numbers() -> None:
    lines = picture(Leg("direct", 4.0), Leg("through muxproxy", 6.0, has_pool=True))
    assert lines[10] == "│ right replies                     · │ │ right replies                     · │"
    assert "starting" in lines[-1]
    assert "next" in lines[-1]


@pytest.mark.parametrize(
    ("screen", "does"),
    [
        (console(), True),
        (console(terminal=False), False),
        (console(width=LEAST_WIDTH - 1), False),
        (console(height=LEAST_HEIGHT - 1), False),
    ],
)
def test_the_picture_is_for_terminals_that_hold_it(screen: Console, does: bool) -> None:
    assert fits(screen) is does


def test_frames_come_ten_times_a_second_and_the_last_one_always() -> None:
    now = 0.0
    screen = console()
    direct, through = legs()
    with Live(screen, 2000, clock=lambda: now) as view:
        view.show(direct, through)
        once = len(screen.file.getvalue())
        now = 0.05
        view.show(direct, through)
        assert len(screen.file.getvalue()) == once
        through.state = "done"
        view.show(direct, through)
        assert len(screen.file.getvalue()) > once


def test_a_pipe_gets_a_line_a_second_and_one_at_the_end_of_each_leg() -> None:
    times = [0.0, 0.4, 0.9, 1.1, 1.2, 2.0]
    clock = iter(times)
    said: list[str] = []
    direct, through = legs()
    with Plain(said.append, 2000, clock=lambda: next(clock)) as view:
        for _ in times:
            view.show(direct, through)
    assert said == [
        "muxproxy demo: 2,000 clients at a time, a new connection for every request",
        "direct, done: 36,412 right replies, 0 errors, 9,103/s, p50 213 ms, p99 301 ms",
        "through muxproxy, 1 s: 8 sockets at the origin, 2,000 clients, 9,000 requests/s, 3 errors; "
        "muxproxy: 1,984 waiting, upstream 7 of 8",
        "through muxproxy, 2 s: 8 sockets at the origin, 2,000 clients, 9,000 requests/s, 3 errors; "
        "muxproxy: 1,984 waiting, upstream 7 of 8",
    ]
