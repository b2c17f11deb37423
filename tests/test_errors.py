"""Errors by whose fault they are; a problem's line names file, key, value and rule."""

from __future__ import annotations

import pytest

from muxproxy.errors import BugError, ConfigError, MuxproxyError, OperatorError, PeerError, Problem


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        (Problem("a.toml", "queue.timeout", "5", "a duration"), "a.toml: queue.timeout = 5: a duration"),
        (Problem("a.toml", "protocol", "", "is required"), "a.toml: protocol: is required"),
        (Problem("backends", "", "", "no files"), "backends: no files"),
    ],
)
def test_a_problem_is_one_line_with_what_there_is_to_name(problem: Problem, line: str) -> None:
    assert str(problem) == line


def test_a_configuration_error_tells_every_problem() -> None:
    problems = [Problem("a", "b", "c", "d"), Problem("e", "", "", "f")]
    error = ConfigError(problems)
    assert error.problems == problems
    assert str(error).splitlines() == ["a: b = c: d", "e: f"]


def test_nobody_is_blamed_for_anothers_fault() -> None:
    assert issubclass(ConfigError, OperatorError)
    faults = (PeerError, OperatorError, BugError)
    assert all(issubclass(fault, MuxproxyError) for fault in faults)
    assert not any(issubclass(one, other) for one in faults for other in faults if one is not other)
