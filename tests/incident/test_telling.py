"""A client's words: ticks with what is new, and one last word with all of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from muxproxy.incident import telling
from muxproxy.incident.telling import Telling


def test_a_tick_has_what_is_new_and_the_last_word_all_of_it_and_comes_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[dict[str, Any]] = []
    monkeypatch.setattr(telling, "say", said.append)
    loop = asyncio.new_event_loop()
    each = Telling(loop, lambda: 7)
    each.took.add(0.1)
    each.begin()
    each.took.add(0.3)
    each.errors["refused"] += 2
    each.dialled, each.ready = 9, 1.5
    each.finish()
    each.finish()
    each.begin()  # a tick that comes late says nothing
    loop.close()
    (tick,), (done,) = said[0].values(), said[1].values()
    assert (len(said), list(said[0]), list(said[1])) == (2, ["tick"], ["done"])
    assert (tick["replies"], tick["errors"], tick["ready"], tick["latency"]["max"]) == (1, {}, None, 0.1)
    assert (done["replies"], done["errors"], done["open"]) == (2, {"refused": 2}, 7)
    assert (done["dialled"], done["ready"], done["latency"]["p50"]) == (9, 1.5, 0.3)
