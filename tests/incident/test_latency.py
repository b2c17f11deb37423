"""Percentiles of all that was added, and of what is new."""

from __future__ import annotations

from muxproxy.incident.latency import Latencies


def test_percentiles_are_of_all_or_of_what_is_new() -> None:
    took = Latencies()
    assert took.all() == took.fresh() == {}
    for number in range(100):
        took.add(number / 100)
    assert took.fresh() == took.all() == {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 0.99}
    took.add(7.0)
    assert took.fresh() == dict.fromkeys(("p50", "p90", "p99", "max"), 7.0)
    assert took.all()["max"] == 7.0
    assert len(took) == 101
