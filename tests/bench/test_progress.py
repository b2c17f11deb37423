"""What is said about where a run is."""

from __future__ import annotations

import io

import pytest

from tests.bench.progress import Progress, clock_time


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "said"), [(9.4, "9 s"), (59.6, "1 min 00 s"), (190, "3 min 10 s"), (7500, "2 h 05 min")]
)
def test_a_time_is_said_as_people_say_it(seconds, said):
    assert clock_time(seconds) == said


def test_what_is_left_is_what_was_planned_until_the_run_has_shown_its_pace():
    clock = Clock()
    progress = Progress(100, io.StringIO(), clock)
    progress.begin("a", "x", 10)
    clock.now = 20.0
    progress.begin("a", "y", 10)
    assert progress.left() == 90
    clock.now = 40.0  # twice what was planned
    progress.begin("b", "x", 10)
    assert progress.left() == 160


def test_a_log_has_one_line_for_a_round_and_a_terminal_one_for_all():
    log, terminal = io.StringIO(), Terminal()
    for out in (log, terminal):
        progress = Progress(30, out, Clock())
        for what, detail in (
            ("64: round 1", "muxproxy"),
            ("64: round 1", "haproxy"),
            ("64: round 2", "muxproxy"),
        ):
            progress.begin(what, detail, 10)
        progress.close()
    assert log.getvalue() == "64: round 1; about 30 s left\n64: round 2; about 10 s left\n"
    assert "\n" not in terminal.getvalue()
    assert terminal.getvalue().endswith("64: round 2: muxproxy; about 10 s left\r\x1b[K")
