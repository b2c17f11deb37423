"""The gate: how many may wait, and when another try makes sense (Retry-After)."""

from __future__ import annotations

from muxproxy.mux.admission.gate import Gate


def test_it_is_full_at_max_waiting() -> None:
    gate = Gate(2)
    gate.waiting = 1
    assert not gate.is_full()
    gate.waiting = 2
    assert gate.is_full()


def test_max_waiting_0_is_always_full() -> None:
    assert Gate(0).is_full()


def test_before_anything_was_served_another_try_makes_sense_after_a_second() -> None:
    gate = Gate(100)
    gate.waiting = 100
    assert gate.retry_after(0, 1000.0) == 1


def test_it_is_the_time_the_queue_needs_to_drain_in_whole_seconds() -> None:
    gate = Gate(100)
    gate.waiting = 45
    gate.retry_after(0, 1000.0)
    assert gate.retry_after(20, 1002.0) == 5  # 10 a second: 4.5 s


def test_the_rate_is_looked_at_once_per_second() -> None:
    gate = Gate(100)
    gate.waiting = 40
    gate.retry_after(0, 1000.0)
    assert gate.retry_after(10, 1001.0) == 4
    assert gate.retry_after(1000, 1001.5) == 4
    assert gate.retry_after(1000, 1002.0) == 1


def test_it_is_never_more_than_a_minute_nor_less_than_a_second() -> None:
    gate = Gate(10_000)
    gate.waiting = 10_000
    gate.retry_after(0, 1000.0)
    assert gate.retry_after(1, 1001.0) == 60
    gate.waiting = 0
    assert gate.retry_after(100, 1002.0) == 1


def test_a_queue_that_does_not_drain_at_all_gives_no_measure_and_the_least_is_said() -> None:
    gate = Gate(100)
    gate.waiting = 100
    gate.retry_after(50, 1000.0)
    assert gate.retry_after(50, 1005.0) == 1


def test_a_look_of_long_ago_tells_nothing_about_now() -> None:
    gate = Gate(100)
    gate.waiting = 100
    gate.retry_after(0, 1000.0)
    assert gate.retry_after(36_000, 4600.0) == 1  # an hour at 10 a second on average: not 10 s
    assert gate.retry_after(36_050, 4601.0) == 2
