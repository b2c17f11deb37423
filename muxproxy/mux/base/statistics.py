"""The state machine of one pool in numbers, counted when somebody asks and not on the way."""

from __future__ import annotations

from muxproxy.metrics.snapshot import BackendSnapshot
from muxproxy.mux.base.pool import Pool
from muxproxy.mux.base.upstream import CLOSING, OPEN, Upstream


def statistics(pool: Pool, now: float) -> BackendSnapshot:
    outcomes: dict[str, dict[str, int]] = {
        outcome: {} for outcome in ("replied", "refused", "expired", "lost", "abandoned")
    }
    outcomes["replied"]["ok"] = pool.replied
    for reason, count in pool.ended.items():
        outcomes[reason.outcome][reason.label] = count
    states = dict.fromkeys(
        ("connecting", "idle", "resting", "busy", "suspect", "pinned", "draining", "closing"), 0
    )
    pinned: dict[str, int] = {}
    for upstream in pool.upstreams:
        states[_state_of(upstream)] += 1
        if upstream.owner is not None:
            pinned[upstream.pin_reason] = pinned.get(upstream.pin_reason, 0) + 1
    return {
        "protocol": pool.protocol.name,
        "draining": pool.draining,
        "clients": len(pool.clients),
        "clients_max": pool.clients_config.max_connections or 0,
        "waiting": pool.gate.waiting,
        "waiting_max": pool.gate.max_waiting,
        "oldest_wait": pool.oldest_wait(now),
        "queue_timeout": pool.queue.timeout,
        "in_flight": sum(upstream.load() for upstream in pool.upstreams),
        "upstream_sockets": len(pool.upstreams),
        "upstream_max": pool.config.max_connections,
        "upstream_allowed": pool.max_connections,
        "upstream": states,
        "pinned": pinned,
        "pinned_max": pool.pinned_limit,
        "outcomes": outcomes,
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
    }


def _state_of(upstream: Upstream) -> str:
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
