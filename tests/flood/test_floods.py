"""Every kind of flood for a moment: what `python -m tests.flood` does for as long as one likes."""

from __future__ import annotations

import pytest

from tests.flood.floods import all_kinds, play


@pytest.mark.alone
@pytest.mark.parametrize("side", ["client", "server"])
def test_whatever_one_connection_floods_the_others_are_served(side: str) -> None:
    faults = {}
    for seen in play(0.2, [kind for kind in all_kinds() if kind[0] == side]):
        print(seen.line())
        if seen.faults():
            faults[f"{seen.protocol}: {seen.kind}"] = seen.faults()
    assert faults == {}
