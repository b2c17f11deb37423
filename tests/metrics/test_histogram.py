"""Which bucket an observation falls into."""

from __future__ import annotations

import pytest

from muxproxy.metrics.histogram import BOUNDS, Histogram


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, 0), (0.001, 0), (0.0011, 1), (60.0, len(BOUNDS) - 1), (60.1, len(BOUNDS)), (1e9, len(BOUNDS))],
)
def test_a_bound_belongs_to_the_bucket_below_it_and_nothing_is_too_long(seconds, bucket):
    histogram = Histogram()
    histogram.observe(seconds)
    assert [index for index, count in enumerate(histogram.snapshot()["counts"]) if count] == [bucket]


def test_a_snapshot_does_not_change_any_more():
    histogram = Histogram()
    histogram.observe(0.5)
    before = histogram.snapshot()
    histogram.observe(0.25)
    assert (sum(before["counts"]), before["sum"]) == (1, 0.5)
    assert (sum(histogram.snapshot()["counts"]), histogram.snapshot()["sum"]) == (2, 0.75)


def test_what_took_no_time_is_in_the_first_bucket_of_what_is_told_and_only_there() -> None:
    histogram = Histogram()
    histogram.observe(0.25)
    assert histogram.snapshot(7)["counts"][0] == 7
    assert sum(histogram.snapshot()["counts"]) == 1
