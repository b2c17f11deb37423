"""Durations and sizes as people write them: one number and one unit, "500ms", "64KiB".

A bare number is refused: `timeout = 5` reads as seconds to one operator and as milliseconds to the next
(nginx and HAProxy disagree). One way to write each: no "1h30m", and no "KB", which is 1000 to half of its
readers and 1024 to the other half. Zero needs no unit; which keys take it is said in keys.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}

# What people write for them, without its last "s".
_ALIASES = {
    "us": ("µs", "usec", "micro", "microsecond"),
    "ms": ("msec", "milli", "millisecond"),
    "s": ("sec", "second"),
    "m": ("min", "minute"),
    "h": ("hr", "hour"),
    "d": ("day",),
}

_WRITTEN = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([A-Za-zµ]*)")


def parse_duration(value: object) -> float:
    """Seconds. Raises ValueError with the rule."""
    rule = 'a duration is a number and a unit, such as "500ms", "5s", "5m", "1h"'
    if _is_zero(value):
        return 0.0
    if type(value) in (int, float):
        raise ValueError(f'{rule}; did you mean "{value}s"?')
    number, unit = _split(value, rule)
    if unit not in SECONDS:
        raise ValueError(f"{rule}; units: {', '.join(SECONDS)}{_same_letters(number, unit, SECONDS)}")
    return round(float(number) * SECONDS[unit], 12)  # 700 * 1e-3 is 0.7000000000000001


def parse_size(value: object) -> int:
    """Bytes. Raises ValueError with the rule."""
    rule = 'a size is a whole number and a unit, such as "512B", "64KiB", "1MiB"'
    if _is_zero(value):
        return 0
    if type(value) is int:
        raise ValueError(f'{rule}; did you mean "{value}B"?')
    number, unit = _split(value, rule)
    if unit not in BYTES:
        raise ValueError(f"{rule}; units: {', '.join(BYTES)}{_same_letters(number, unit, BYTES)}")
    if "." in number:
        raise ValueError(rule)
    return int(number) * BYTES[unit]


def format_duration(seconds: float) -> str:
    """As an operator would write it: the largest unit that leaves no long fraction."""
    if seconds == 0:
        return "0"
    for unit in ("d", "h", "m"):
        if seconds % SECONDS[unit] == 0:
            return f"{seconds / SECONDS[unit]:.0f}{unit}"
    unit = next((u for u in ("s", "ms") if seconds >= SECONDS[u]), "us")
    number = f"{seconds / SECONDS[unit]:.3f}".rstrip("0").rstrip(".")
    return number + unit


def format_size(size: int) -> str:
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % BYTES[unit] == 0:
            return f"{size // BYTES[unit]}{unit}"
    return f"{size}B"


def _is_zero(value: object) -> bool:
    return value == "0" or (value == 0 and type(value) in (int, float))


def _split(value: object, rule: str) -> tuple[str, str]:
    match = _WRITTEN.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(rule)
    return match[1], match[2]


def _same_letters(number: str, unit: str, units: Iterable[str]) -> str:
    """ "64kb" meant something: name the unit that it is another word for, or begins with the same letter."""
    word = unit.lower()
    for known in units:
        if word in _ALIASES.get(known, ()) or word.removesuffix("s") in _ALIASES.get(known, ()):
            return f'; did you mean "{number}{known}"?'
    for known in units:
        if unit and known[0].lower() == unit[0].lower():
            return f'; did you mean "{number}{known}"?'
    return ""
