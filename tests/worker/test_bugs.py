"""What is logged of a bug of ours."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from muxproxy.errors import BugError
from muxproxy.worker.bugs import describe

CANARY = b"hunter2"


def caught(act: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception) as found:  # noqa: PT011  # whichever
        act()
    return found.value


@pytest.mark.parametrize(
    "act",
    [
        lambda: int(CANARY),
        lambda: float(CANARY),
        lambda: {}[CANARY],
        lambda: [].remove(CANARY),
        lambda: (CANARY + b"\xff").decode("idna"),
    ],
)
def test_where_it_happened_and_of_what_kind_but_not_with_whose_bytes(act: Callable[[], object]) -> None:
    error = caught(act)
    told = describe(error)
    assert told.startswith("Traceback (most recent call last):\n")
    assert __file__ in told
    assert type(error).__name__ in told
    assert "hunter2" not in told


def test_a_text_of_our_own_is_shown_and_what_went_before_is_not_forgotten() -> None:
    def act() -> None:
        try:
            int(CANARY)
        except ValueError as error:
            raise BugError("exchange SENT cannot become NEW") from error

    told = describe(caught(act))
    assert "BugError: exchange SENT cannot become NEW" in told
    assert "ValueError" in told
    assert "hunter2" not in told
