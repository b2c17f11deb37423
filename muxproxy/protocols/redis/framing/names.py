"""Short names of commands, found by what they are: the memo in front of the memo, of a compiled framer.

To find GET in a dictionary its bytes are cut out, hashed and compared, some 700 instructions. Here they make
one number, length and all, so that no two names have the same; and that has one place in a table.
A name whose place another has taken, or that is longer, is in the dictionary (settings.py), which knows all.
"""

from __future__ import annotations

from typing import Final

from muxproxy.native import i64
from muxproxy.protocols.redis.commands.command import Command

PLACES: Final = 256  # of the table: what it may hold (P7)
LONGEST: Final = 7  # bytes of a name: with its length, eight fit into a number

MIX: Final = 149  # of a few hundred, with this one the fewest usual names share a place


class _Name:
    __slots__ = ("command", "key")

    def __init__(self, key: i64, command: Command) -> None:
        self.key: i64 = key
        self.command = command


class Names:
    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places: list[_Name | None] = [None] * PLACES

    def find(self, data: bytes, begin: i64, end: i64) -> Command | None:
        """`begin` and `end`: of the name, which is all there."""
        size: i64 = end - begin
        if size > LONGEST:
            return None
        key: i64 = size
        mixed: i64 = 0
        while begin < end:
            byte: i64 = data[begin]
            key = key << 8 | byte
            mixed = mixed * MIX + byte
            begin += 1
        found = self._places[mixed & (PLACES - 1)]
        return found.command if found is not None and found.key == key else None

    def remember(self, name: bytes, command: Command) -> None:
        if len(name) > LONGEST:
            return
        key: i64 = len(name)
        mixed: i64 = 0
        for byte in name:
            key = key << 8 | byte
            mixed = mixed * MIX + byte
        self._places[mixed & (PLACES - 1)] = _Name(key, command)

    def clear(self) -> None:
        self._places = [None] * PLACES
