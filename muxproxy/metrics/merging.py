"""Snapshots of one backend from several workers as one: the shards of a backend are one backend to operators.

What is counted is added up; what is the whole backend's in each of them, as its bounds are, stays as it is,
and of ages the oldest counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_SAME = frozenset(
    {"protocol", "queue_timeout", "upstream_max", "clients_max", "waiting_max", "pinned_max", "active_max"}
    | {"bounds"}
)
_MOST = frozenset({"oldest_wait"})


def merged(snapshots: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """At least one. Each has the keys of snapshot.BackendSnapshot."""
    if len(snapshots) == 1:
        return dict(snapshots[0])
    return {key: _value(key, [each[key] for each in snapshots]) for key in snapshots[0]}


def _value(key: str, values: list[Any]) -> Any:
    first = values[0]
    if key in _SAME:
        return first
    if key in _MOST:
        return max(values)
    if key == "days":  # of certificates
        return {whose: min(each.get(whose, days) for each in values) for whose, days in first.items()}
    if key == "servers":
        return _servers(values)
    if key == "counts":
        return [sum(column) for column in zip(*values, strict=True)]
    if isinstance(first, str):
        return next((value for value in values if value), "")
    if isinstance(first, bool):
        return all(values)
    if isinstance(first, dict):
        return _added(values)
    if isinstance(first, list):
        return list(dict.fromkeys(each for value in values for each in value))
    return sum(values)


def _added(tables: list[dict[str, Any]]) -> dict[str, Any]:
    """Keys that one has not are nothing there."""
    keys = dict.fromkeys(key for table in tables for key in table)
    return {key: _value(key, [table[key] for table in tables if key in table]) for key in keys}


def _servers(lists: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Each once. Of what is known of it the worst: it is what an operator looks for."""
    by_address: dict[str, dict[str, Any]] = {}
    for server in (server for servers in lists for server in servers):
        known = by_address.get(server["address"])
        if known is None:
            by_address[server["address"]] = dict(server)
            continue
        if server["failures"] > known["failures"]:
            known |= {key: server[key] for key in ("state", "failures", "last_error")}
        known["connections"] += server["connections"]
        known["in_flight"] += server["in_flight"]
    return list(by_address.values())
