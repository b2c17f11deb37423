"""A client of a replay, played to its end in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from muxproxy.incident import telling


def last_word(
    client_of: Callable[..., Any], order: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Of a client which has been given that order."""
    said: list[dict[str, Any]] = []
    loop = asyncio.new_event_loop()
    monkeypatch.setattr(telling, "say", lambda word: (said.append(word), "done" in word and loop.stop()))
    client = client_of(loop, order)
    client.begin()
    loop.run_forever()
    client.close()
    loop.close()
    return dict(said[-1]["done"])
