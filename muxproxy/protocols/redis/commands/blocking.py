"""How long a blocking command may wait by its own arguments (Command.block says where they stand)."""

from __future__ import annotations

from math import inf
from typing import Final

from muxproxy.protocols.redis.commands.command import Command

NEVER: Final = -1.0  # it does not block
# Options before BLOCK with words of their own, which may be `streams` too: a group may have any name.
_WORDS = {b"GROUP": 3, b"COUNT": 2}


def patience(command: Command, words: list[bytes], is_whole: bool) -> float:
    """Seconds, inf for ever, NEVER. `words`: all of the command's, or those that have come so far: then what
    cannot be seen yet is taken for the longest there is."""
    rule, _, unit = command.block.partition(":")
    if not rule:
        return inf
    if rule == "BLOCK":
        at = 1
        while at < len(words) - 1:
            word = words[at].upper()
            if word == b"BLOCK":
                return _seconds(words[at + 1], unit)
            if word == b"STREAMS":
                return NEVER
            at += _WORDS.get(word, 1)
        return NEVER if is_whole else inf
    if rule == "first":
        return _seconds(words[1], unit) if len(words) > 1 else 0.0
    return _seconds(words[-1], unit) if is_whole else inf


def _seconds(word: bytes, unit: str) -> float:
    """0 is for ever, as for Redis. What is no number is an error, which a server answers at once."""
    try:
        time = float(word)
    except ValueError:
        return 0.0
    if time == 0:
        return inf
    if not time > 0:  # a nan too
        return 0.0
    return time / 1000 if unit == "ms" else time
