"""Who was cut again and again gets less time; it is forgotten in time, and so many are known and no more."""

from __future__ import annotations

import pytest

from muxproxy.mux.admission.offenders import HALF_LIFE, LEAST, MOST, Offenders


def offended(times: int) -> Offenders:
    offenders = Offenders()
    for _ in range(times):
        offenders.add("ann", 1000.0)
    return offenders


@pytest.mark.parametrize(
    ("times", "share"), [(0, 1.0), (1, 1.0), (2, 1.0), (3, 0.5), (4, 0.25), (5, 1 / LEAST), (500, 1 / LEAST)]
)
def test_two_offences_cost_nothing_and_each_further_one_half_of_the_time(times: int, share: float) -> None:
    offenders = offended(times)
    assert offenders.share("ann", 1000.0) == share
    assert offenders.share("bob", 1000.0) == 1.0


def test_they_are_forgotten() -> None:
    offenders = offended(6)
    assert offenders.share("ann", 1000.0 + HALF_LIFE) == 0.5  # three of them are left
    assert offenders.share("ann", 1000.0 + 2 * HALF_LIFE) == 1.0
    assert len(offenders) == 1
    assert offenders.share("ann", 1000.0 + 5 * HALF_LIFE) == 1.0
    assert len(offenders) == 0


def test_those_that_offended_last_are_known_and_no_more_than_so_many() -> None:
    offenders = offended(3)
    for n in range(MOST):
        offenders.add(f"client {n}", 1000.0)
    assert len(offenders) == MOST
    assert offenders.offences("ann", 1000.0) == 0.0
    assert offenders.offences("client 0", 1000.0) == 1.0
