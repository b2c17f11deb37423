"""Durations and sizes: what is read, what is refused, and that what is shown reads back the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.config.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("250us", 0.00025),
        ("500ms", 0.5),
        ("5s", 5.0),
        ("5 s", 5.0),
        ("1.5s", 1.5),
        ("5m", 300.0),
        ("1h", 3600.0),
        ("2d", 172800.0),
        ("0s", 0.0),
        ("0", 0.0),
        (0, 0.0),
    ],
)
def test_a_duration_is_a_number_and_a_unit(written: object, seconds: float) -> None:
    assert parse_duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        (5, 'did you mean "5s"?'),
        (1.5, 'did you mean "1.5s"?'),
        ("5", "units: us, ms, s, m, h, d"),
        ("5 minutes", 'did you mean "5m"?'),
        ("1 min", 'did you mean "1m"?'),
        ("10 secs", 'did you mean "10s"?'),
        ("2hrs", 'did you mean "2h"?'),
        ("3 Days", 'did you mean "3d"?'),
        ("100 millis", 'did you mean "100ms"?'),
        ("100µs", 'did you mean "100us"?'),
        ("5 months", 'did you mean "5ms"?'),
        ("5S", 'did you mean "5s"?'),
        ("1h30m", "a number and a unit"),
        ("-5s", "a number and a unit"),
        ("\u0665s", "a number and a unit"),
        ("", "a number and a unit"),
        (True, "a number and a unit"),
        (False, "a number and a unit"),
        (None, "a number and a unit"),
        (["5s"], "a number and a unit"),
    ],
)
def test_anything_else_is_no_duration(written: object, rule: str) -> None:
    with pytest.raises(ValueError, match="a duration is a number and a unit") as caught:
        parse_duration(written)
    assert rule in str(caught.value)


@pytest.mark.parametrize(
    ("written", "size"),
    [("1B", 1), ("64KiB", 65536), ("64 KiB", 65536), ("1MiB", 1 << 20), ("2GiB", 2 << 30), ("0", 0), (0, 0)],
)
def test_a_size_is_a_whole_number_and_a_unit(written: object, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        (65536, 'did you mean "65536B"?'),
        ("64KB", 'did you mean "64KiB"?'),
        ("64k", 'did you mean "64KiB"?'),
        ("1M", 'did you mean "1MiB"?'),
        ("64", "units: B, KiB, MiB, GiB"),
        ("1.5MiB", "a whole number"),
        ("-1B", "a whole number"),
        (1.5, "a whole number"),
        (True, "a whole number"),
    ],
)
def test_anything_else_is_no_size(written: object, rule: str) -> None:
    with pytest.raises(ValueError, match="a size is a whole number and a unit") as caught:
        parse_size(written)
    assert rule in str(caught.value)


@given(st.integers(0, 10**9).map(lambda ms: ms / 1000))
def test_a_shown_duration_reads_back_within_a_thousandth(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-3)


@given(st.integers(0, 2**40))
def test_a_shown_size_reads_back_the_same(size: int) -> None:
    assert parse_size(format_size(size)) == size
