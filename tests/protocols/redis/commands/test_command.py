"""Commands: only what a caller could get wrong."""

from __future__ import annotations

from muxproxy.protocols.contract import IDEMPOTENT
from muxproxy.protocols.redis.commands.command import Command


def test_only_readers_may_be_sent_twice() -> None:
    assert Command("get", is_readonly=True).marks == IDEMPOTENT
    assert Command("set").marks == 0
