"""The same inputs for two builds: that what they said is compared, and that a difference would be seen."""

from __future__ import annotations

import sys
from random import Random

import pytest

from tests.fuzz import builds
from tests.fuzz.samples import requests


@pytest.mark.parametrize("target", builds.TARGETS)
def test_no_input_makes_a_framer_raise_and_the_same_inputs_make_the_same_sum(target: str) -> None:
    first = builds.sums(target, 7, 300)
    assert first == builds.sums(target, 7, 300)
    assert first != builds.sums(target, 8, 300)


def test_inputs_are_spoiled_samples() -> None:
    those = requests("redis")
    made = {builds.mutated(Random(number), those) for number in range(100)}
    assert len(made) > 90
    assert not made <= set(those)


def test_interpreters_that_say_the_same_differ_in_nothing() -> None:
    assert builds.differences([sys.executable, sys.executable], "dubbo replies", 3, 200) == []


def test_another_sum_a_crash_and_silence_are_differences() -> None:
    assert builds.unlike([["aa", "bb", "cc"], ["aa", "b0", "cc"]], 5) == [
        f"seed {5 + builds.BATCH}: ('bb', 'b0')"
    ]
    assert builds.unlike([["aa"], ["aa", "bb"]], 5) == ["not as many batches: [1, 2]"]
    assert builds.unlike([[], []], 5) == ["not as many batches: [0, 0]"]
    (crash,) = builds.differences([sys.executable], "no such", 3, 200)
    assert "ended with 1" in crash
