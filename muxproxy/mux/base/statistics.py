"""The state machine of one pool in numbers, counted when somebody asks and not on the way."""

from __future__ import annotations

from typing import Final

from muxproxy.config.limits import CLIENTS, PINNED, QUEUED
from muxproxy.metrics.snapshot import BackendSnapshot
from muxproxy.mux.base.pool import Pool
from muxproxy.mux.base.upstream import CLOSING, OPEN, Upstream
from muxproxy.protocols.contract import Reason

STATES: Final = ("connecting", "idle", "resting", "busy", "suspect", "pinned", "draining", "closing")


def statistics(pool: Pool, now: float) -> BackendSnapshot:
    states = dict.fromkeys(STATES, 0)
    for upstream in pool.upstreams:
        states[state_of(upstream)] += 1
    return {
        "protocol": pool.protocol.name,
        "draining": pool.draining,
        "clients": len(pool.clients),
        "clients_max": pool.bounds[CLIENTS],
        "waiting": pool.gate.waiting,
        "waiting_max": pool.bounds[QUEUED],
        "oldest_wait": pool.oldest_wait(now),
        "queue_timeout": pool.queue.timeout,
        "in_flight": sum(upstream.load() for upstream in pool.upstreams),
        "upstream_sockets": len(pool.upstreams),
        "upstream_max": pool.config.max_connections,
        "upstream_allowed": pool.max_connections,
        "upstream": states,
        "pinned": pin_reasons(pool),
        "pinned_max": pool.bounds[PINNED],
        "outcomes": outcomes(pool.replied, pool.ended),
        "connects": pool.connects,
        "connect_failures": pool.connect_failures,
        "reused": pool.reused,
        "retried": pool.retried,
        "listening": pool.listening(),
        "events": dict(pool.all_events()),
        "remarks": list(pool.protocol.remarks()),
        "remembered": pool.protocol.remembered(),
        "limited": pool.limits_snapshot(),
        "pushed": pool.pushed(),
        "closed": dict(pool.closed),
        "queue_wait": pool.waits().snapshot(),
        "bytes": {"from_clients": pool.bytes_from_clients, "to_clients": pool.bytes_to_clients},
        "servers": [server.snapshot() for server in pool.servers],
        "destinations": {},
        "destinations_known": 0,
        "destinations_max": 0,
        "destinations_forgotten": 0,
    }


def outcomes(replied: int, ended: dict[Reason, int]) -> dict[str, dict[str, int]]:
    told: dict[str, dict[str, int]] = {
        outcome: {} for outcome in ("replied", "refused", "expired", "lost", "abandoned")
    }
    told["replied"]["ok"] = replied
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
