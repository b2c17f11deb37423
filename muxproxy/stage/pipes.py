"""What the processes of a show say to each other: JSON objects, one a line, over a child's stdin and stdout.

A child that reads the end of its stdin has lost its parent and ends: whatever happens to `muxproxy demo` or
`muxproxy incident`, nothing of it stays behind.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from typing import Any

_CHUNK = 64 * 1024


class Lines:
    """Bytes in, objects out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]


def encode(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def say(message: dict[str, Any], descriptor: int = 1) -> None:
    """From a child to the command."""
    try:
        os.write(descriptor, encode(message))
    except BrokenPipeError:
        pass  # the command has gone; the end of stdin says so too, and that ends this process


def obey(
    loop: asyncio.AbstractEventLoop, on_order: Callable[[dict[str, Any]], None], descriptor: int = 0
) -> None:
    """In a child: each order as it comes; the end of orders stops the loop."""
    lines = Lines()

    def on_readable() -> None:
        data = os.read(descriptor, _CHUNK)
        if not data:
            loop.stop()
        for order in lines.feed(data):
            on_order(order)

    loop.add_reader(descriptor, on_readable)
