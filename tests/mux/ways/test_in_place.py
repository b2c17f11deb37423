"""The law of a reload: each key takes effect on a live pool in the way that config/ways.py promises.

The scenes are beside this file, by the table that a key stands in. A key without one fails here.
"""

from __future__ import annotations

import pytest

from muxproxy.config import ways
from tests.mux.ways import clients, protocols, redis, upstream
from tests.mux.ways.live import SCENES, Live

MODULES = (clients, protocols, redis, upstream)
OF_THE_LEDGER = {"shards"}  # is no pool's: tests/supervisor/test_reload.py, tests/system/test_reload.py


@pytest.mark.parametrize("key", sorted(ways.BACKEND.keys() - OF_THE_LEDGER))
def test_a_new_value_takes_effect_as_it_is_promised(key: str) -> None:
    assert key in SCENES, f"show in {MODULES} how a new value of {key} takes effect"
    Live.seen.clear()
    SCENES[key]()
    rule = ways.BACKEND[key]
    assert Live.seen[key] == {way for way in (rule.more, rule.less, rule.none) if way is not None}


def test_there_is_a_scene_for_nothing_else() -> None:
    assert SCENES.keys() == ways.BACKEND.keys() - OF_THE_LEDGER
