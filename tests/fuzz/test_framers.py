"""A little of what `python -m tests.fuzz framers` does for as long as one likes."""

from __future__ import annotations

from random import Random

import pytest

from tests.fuzz.framers import TARGETS, check, made


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_breaks_a_law_of_framing(target: str) -> None:
    for seed in range(150):
        chance = Random(f"{target} {seed}")
        data = made(target, chance)
        try:
            check(target, chance, data)
        except Exception as failure:
            failure.add_note(f"{target}, seed {seed}: {data[:300]!r}")
            raise
