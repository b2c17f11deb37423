"""A client of a replay, played to its end in this process."""

from __future__ import annotations

import asyncio
from types import ModuleType
from typing import Any

import pytest


def last_word(module: ModuleType, order: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Of the module's Client, which has been given that order."""
    said: list[dict[str, Any]] = []
    loop = asyncio.new_event_loop()
    monkeypatch.setattr(module, "say", lambda word: (said.append(word), "done" in word and loop.stop()))
    client = module.Client(loop, order)
    client.begin()
    loop.run_forever()
    client.close()
    loop.close()
    return dict(said[-1]["done"])
