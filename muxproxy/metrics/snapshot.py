"""What operators see of one backend: the state machine in numbers, the same names for every protocol.

`Pool.statistics()` returns this dict (JSON-ready); `muxproxy status` and `/metrics` show it, invent nothing.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class ServerSnapshot(TypedDict):
    address: str
    state: str  # up | backing_off | probing | stopping | absent: its name gives others
    connections: int  # sockets towards it, connecting included
    in_flight: int
    failures: int  # in a row
    last_error: str


class DestinationSnapshot(TypedDict):
    sockets: int
    in_flight: int
    waiting: int
    sent: int  # exchanges, since it is known
    connect_failures: int  # likewise


class TlsSnapshot(TypedDict):
    """Of one side."""

    verified: bool  # peers' certificates are checked
    handshakes: int
    resumed: int  # of these, by a session that there was
    failed: int
    error: str  # why its files cannot be used
    days: dict[str, float]  # whose certificate (clients | upstream: our own; server) -> that are left


class LimitSnapshot(TypedDict):
    active: int
    active_max: int
    waiting: int
    waited: int  # in all, of those that got a place then
    expired: int


class BackendSnapshot(TypedDict):
    protocol: str
    draining: bool
    clients: int
    clients_max: int
    waiting: int
    waiting_max: int
    oldest_wait: float  # seconds
    queue_timeout: float
    in_flight: int
    upstream_sockets: int  # P1: never above upstream_max
    upstream_max: int
    upstream_allowed: int  # of these, now: the rest is lent elsewhere, or not come back yet
    # connecting | idle | resting | busy | suspect | pinned | draining | closing -> sockets; sums to the above
    upstream: dict[str, int]
    pinned: dict[str, int]  # why sessions are pinned -> how many
    pinned_max: int
    outcomes: dict[str, dict[str, int]]  # outcome -> reason -> exchanges since start (P3)
    connects: int  # attempts since start
    connect_failures: int
    reused: int  # exchanges sent on a connection that had served before
    retried: int  # P9
    events: dict[str, int]  # of the protocol's own, by name; {} for most
    remarks: list[str]  # what does not work as it is configured, one line each; [] for most
    remembered: int  # bytes of users, passwords and dbs that have worked
    limited: dict[str, LimitSnapshot]  # by name; {} without [[dubbo.limits]]
    listening: dict[
        str, int
    ]  # what clients listen to (pub/sub): channels, subscribers ...; {} if they do not
    pushed: dict[
        str, int
    ]  # messages that came for them | interrupted: connections lost | cut: too far behind
    closed: dict[str, int]  # why upstream connections were not reused -> how many
    queue_wait: dict[str, Any]  # Histogram.snapshot(): wait of every exchange that was sent, 0 for most
    bytes: dict[str, int]  # from_clients | to_clients
    servers: list[ServerSnapshot]  # with destinations: of the busiest
    # By name the busiest of those that are known, and "others", all the rest. {} and 0 where requests have no
    # destinations of their own
    destinations: dict[str, DestinationSnapshot]
    destinations_known: int
    destinations_max: int
    destinations_forgotten: int  # since start
    tls: NotRequired[dict[str, TlsSnapshot]]  # clients | upstream, where they are spoken to by TLS
