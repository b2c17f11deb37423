"""The plan of a reload as lines for a terminal, from what config/plan.py's `told()` says of it.

A line for each thing that is done, in the order in which an operator asks: what is refused, added, removed,
changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from muxproxy.cli.plain import plain, plain_all
from muxproxy.config.keys import NODE_FILE
from muxproxy.errors import Problem

NOTHING = "nothing to do: what runs is what the files say"


def render(told: Mapping[str, Any]) -> list[str]:
    """Whatever answered it (plain.py), no line drives the terminal."""
    return [plain(line) for line in _lines(plain_all(dict(told)))]


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    if told["nothing_to_do"]:
        yield NOTHING
        return
    yield from (f"refused: {Problem(**problem)}" for problem in told["refused"])
    yield from (f"added: {each['backend']}: {each['what']}" for each in told["added"])
    for each in told["removed"]:
        yield f"removed: {each['backend']}: no new clients, and drain_timeout to finish what is owed"
    for each in told["replaced"]:
        yield f"replaced: {each['backend']}: the old one drains; as a new backend: {each['what']}"
    yield from (f"changed: {each['backend']}: {_change(each)}" for each in told["changed"])
    yield from (f"changed: {NODE_FILE}: {_change(each)}" for each in told["node"])
    yield from (f"opened: {each['address']} of {each['backend']}" for each in told["opened"])
    yield from (f"closed: {each['address']} of {each['backend']}" for each in told["closed"])
    for each in told["handed_over"]:
        yield f"handed over: {each['address']} from {each['from']} to {each['to']}, without a break"
    if told["refused"]:
        yield "refused: nothing is changed"


def _change(change: Mapping[str, Any]) -> str:
    """`upstream.max_connections = 8 -> 12: at once`"""
    old, new = change["old"], change["new"]
    if isinstance(old, list) and isinstance(new, list):
        return f"{change['key']} = {_difference(old, new)}: {change['how']}"
    # A password: all that may be told is that it is another one.
    values = f"{old} -> {new}" if old != new else f"another {new}"
    return f"{change['key']} = {values}: {change['how']}"


def _difference(old: Sequence[str], new: Sequence[str]) -> str:
    """What has come and what has gone, where they are lists of many."""
    came = [f"+{item}" for item in new if item not in old]
    gone = [f"-{item}" for item in old if item not in new]
    return ", ".join(came + gone) or f"in another order, {', '.join(new)}"
