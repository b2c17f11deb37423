"""The state machine of one pool in numbers, counted when somebody asks and not on the way."""

from __future__ import annotations

from typing import Final

from muxproxy.config.limits import CLIENTS, PINNED, QUEUED
from muxproxy.metrics.snapshot import BackendSnapshot
from muxproxy.mux.base.pool import Pool
from muxproxy.mux.base.upstream import CLOSING, OPEN, Upstream
from muxproxy.protocols.contract import Reason

STATES: Final = ("connecting", "idle", "resting", "busy", "suspect", "pinned", "draining", "closing")

_NONE: Final = dict.fromkeys(STATES, 0)


def statistics(pool: Pool, now: float) -> BackendSnapshot:
    states = _NONE.copy()
    in_flight = 0
    for upstream in pool.upstreams:
        states[state_of(upstream)] += 1
        in_flight += upstream.load()
    bounds, config = pool.bounds, pool.config
    return {
        "protocol": pool.protocol.name,
        "draining": pool.draining,
        "clients": len(pool.clients),
        "clients_max": bounds[CLIENTS],
        "waiting": pool.gate.waiting,
        "waiting_max": bounds[QUEUED],
        "oldest_wait": pool.oldest_wait(now) if pool.gate.waiting else 0.0,
        "queue_timeout": pool.queue.timeout,
        "in_flight": in_flight,
        "upstream_sockets": len(pool.upstreams),
        "upstream_max": config.max_connections,
        "upstream_allowed": pool.max_connections,
        "upstream": states,
        "pinned": pin_reasons(pool) if states["pinned"] else {},
        "pinned_max": bounds[PINNED],
        "outcomes": outcomes(pool.replied, pool.ended),
        "connects": pool.connects,
        "connect_failures": pool.connect_failures,
        "reused": pool.reused,
        "retried": pool.retried,
        "listening": pool.listening(),
        "events": pool.all_events().copy(),
        "remarks": list(pool.protocol.remarks()),
        "remembered": pool.protocol.remembered(),
        "limited": pool.limits_snapshot(),
        "pushed": pool.pushed(),
        "closed": pool.closed.copy(),
        "queue_wait": pool.queue_wait.snapshot(pool.unqueued),
        "bytes": {"from_clients": pool.bytes_from_clients, "to_clients": pool.bytes_to_clients},
        "servers": [server.snapshot() for server in pool.servers],
        "destinations": {},
        "destinations_known": 0,
        "destinations_max": 0,
        "destinations_forgotten": 0,
    }


def outcomes(replied: int, ended: dict[Reason, int]) -> dict[str, dict[str, int]]:
    told: dict[str, dict[str, int]] = {
        "replied": {"ok": replied},
        "refused": {},
        "expired": {},
        "lost": {},
        "abandoned": {},
    }
    for reason, count in ended.items():
        told[reason.outcome][reason.label] = count
    return told


def pin_reasons(pool: Pool) -> dict[str, int]:
    """Why connections are one session's -> how many are."""
    reasons: dict[str, int] = {}
    for upstream in pool.upstreams:
        if upstream.owner is not None:
            reasons[upstream.pin_reason] = reasons.get(upstream.pin_reason, 0) + 1
    return reasons


def state_of(upstream: Upstream) -> str:
    if upstream.state < OPEN:
        return "connecting"
    if upstream.state >= CLOSING:
        return "closing"
    if upstream.owner is not None:
        return "pinned"
    if upstream.retiring:
        return "draining"
    if upstream.suspect:
        return "suspect"
    return "resting" if upstream.resting else "busy" if upstream.load() else "idle"
