"""A whole RESP reply as Python values: for what muxproxy itself asks (COMMAND INFO), never for traffic.

Traffic is framed by extent (replies.py). This reads RESP2 and RESP3 alike: maps as a flat list, sets and
pushes as lists, simple and verbatim strings as bytes. Raises ValueError on what is malformed, cut or nested
deeper than any reply we ask for; nothing is allocated for a count that a peer only claims.
"""

from __future__ import annotations

from typing import Final

from muxproxy.native import mypyc_attr

MAX_DEPTH: Final = 16  # COMMAND nests 7 deep

Value = bytes | int | float | None | list["Value"]


@mypyc_attr(native_class=False)  # bytes have no place for what a compiled class adds
class ErrorReply(bytes):
    """`-ERR ...`, without the dash."""

    __slots__ = ()


def parse(data: bytes, start: int = 0, depth: int = 0) -> tuple[Value, int]:
    """The value that begins at `start`, and where it ends."""
    end = data.find(b"\r\n", start)
    if end <= start or depth > MAX_DEPTH:
        raise ValueError("reply cut or nested too deep")
    kind, line, after = data[start : start + 1], data[start + 1 : end], end + 2
    if kind in (b"$", b"=", b"!"):
        return _string(data, kind, int(line), after)
    if kind in (b"*", b"~", b">", b"%"):
        return _list(data, int(line) * (2 if kind == b"%" else 1), after, depth)
    if kind == b"|":  # attributes stand before a value and are no part of it
        _, after = _list(data, int(line) * 2, after, depth)
        return parse(data, after, depth + 1)
    return _simple(kind, line), after


def _string(data: bytes, kind: bytes, size: int, start: int) -> tuple[Value, int]:
    if size < 0:
        return None, start
    end = start + size
    if data[end : end + 2] != b"\r\n":
        raise ValueError("string cut or longer than it says")
    text = data[start:end]
    if kind == b"!":
        return ErrorReply(text), end + 2
    return (text[4:] if kind == b"=" else text), end + 2


def _list(data: bytes, count: int, start: int, depth: int) -> tuple[Value, int]:
    if count < 0:
        return None, start
    items: list[Value] = []
    for _ in range(count):
        item, start = parse(data, start, depth + 1)
        items.append(item)
    return items, start


def _simple(kind: bytes, line: bytes) -> Value:
    if kind == b"+":
        return line
    if kind == b"-":
        return ErrorReply(line)
    if kind in (b":", b"("):
        return int(line)
    if kind == b",":
        return float(line)
    if kind == b"#" and line in (b"t", b"f"):
        return int(line == b"t")
    if kind == b"_" and not line:
        return None
    raise ValueError("not a reply")
