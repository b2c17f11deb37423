"""The words between the processes of a show: whole however they are cut, and the end of orders is the end."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from muxproxy.stage.pipes import Lines, encode, obey, say

SAID = [{"port": 8080}, {"tick": {"replies": 3, "errors": {"a\nb": 1}}}, {}]


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_messages_come_out_whole_however_the_bytes_are_cut(size: int) -> None:
    data = b"".join(encode(message) for message in SAID)
    lines = Lines()
    heard = [m for at in range(0, len(data), size) for m in lines.feed(data[at : at + size])]
    assert heard == SAID


def test_orders_are_obeyed_until_they_end() -> None:
    ours, theirs = os.pipe()
    heard: list[dict[str, Any]] = []
    loop = asyncio.new_event_loop()
    try:
        for message in SAID:
            say(message, theirs)
        os.close(theirs)
        obey(loop, heard.append, ours)
        loop.run_forever()  # comes back only because obey() stopped it
    finally:
        loop.close()
        os.close(ours)
    assert heard == SAID


def test_a_listener_that_has_gone_does_no_harm() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        say({"tick": {}}, theirs)
    finally:
        os.close(theirs)
