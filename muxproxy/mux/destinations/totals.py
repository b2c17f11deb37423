"""All destinations of a backend in numbers: as one backend, and the busiest of them each by itself.

Their number is not ours to bound, so that of names in a page of metrics is: SHOWN, and the rest in one.
"""

from __future__ import annotations

from heapq import nlargest
from typing import Final

from muxproxy.config.limits import QUEUED
from muxproxy.metrics.snapshot import BackendSnapshot, DestinationSnapshot
from muxproxy.mux.base.pool import Pool
from muxproxy.mux.base.statistics import STATES, outcomes, pin_reasons, state_of
from muxproxy.mux.destinations.front import Front, Room

SHOWN: Final = 20
OTHERS: Final = "others"  # no destination's name: it has no port


def statistics(front: Front, now: float) -> BackendSnapshot:
    states = dict.fromkeys(STATES, 0)
    pinned: dict[str, int] = {}
    pools = list(front.pools())
    all_pools = [front, *pools]
    active = [pool for pool in pools if pool.upstreams or pool.gate.waiting]
    for pool in active:
        for upstream in pool.upstreams:
            states[state_of(upstream)] += 1
        for reason, count in pin_reasons(pool).items():
            pinned[reason] = pinned.get(reason, 0) + count
    busiest = nlargest(SHOWN, front.rooms.values(), key=_business)
    remarks = dict.fromkeys(text for pool in all_pools for text in pool.protocol.remarks())
    return {
        "protocol": front.protocol.name,
        "draining": front.draining,
        "clients": len(front.clients),
        "clients_max": front.clients_config.max_connections or 0,
        "waiting": sum(
            pool.gate.waiting for pool in active
        ),  # with those to be sent again, whom no hall lets in
        "waiting_max": front.bounds[QUEUED],
        "oldest_wait": max((pool.oldest_wait(now) for pool in active), default=0.0),
        "queue_timeout": front.queue.timeout,
        "in_flight": sum(upstream.load() for upstream in front.all_upstreams()),
        "upstream_sockets": sum(states.values()),
        "upstream_max": front.config.max_connections,
        "upstream_allowed": front.max_connections,
        "upstream": states,
        "pinned": pinned,
        "pinned_max": front.pinned_limit,
        "outcomes": outcomes(sum(pool.replied for pool in all_pools), front.ended),
        "connects": sum(pool.connects for pool in all_pools),
        "connect_failures": sum(pool.connect_failures for pool in all_pools),
        "reused": sum(pool.reused for pool in all_pools),
        "retried": sum(pool.retried for pool in all_pools),
        "listening": _added([pool.listening() for pool in active]),
        "events": dict(front.all_events()),
        "remarks": list(remarks),
        "remembered": sum(pool.protocol.remembered() for pool in all_pools),
        "limited": {},
        "pushed": _added([pool.pushed() for pool in active]),
        "closed": dict(front.closed),
        "queue_wait": front.queue_wait.snapshot(sum(pool.unqueued for pool in all_pools)),
        "bytes": {
            "from_clients": sum(pool.bytes_from_clients for pool in all_pools),
            "to_clients": sum(pool.bytes_to_clients for pool in all_pools),
        },
        "servers": [server.snapshot() for room in busiest for server in room.pool.servers],
        "destinations": _destinations(front, busiest),
        "destinations_known": len(front.rooms),
        "destinations_max": front.config.max_destinations,
        "destinations_forgotten": front.forgotten,
    }


def _destinations(front: Front, busiest: list[Room]) -> dict[str, DestinationSnapshot]:
    told = {str(room.destination): _one([room.pool]) for room in busiest}
    if len(front.rooms) > len(busiest):
        shown = {id(room) for room in busiest}
        told[OTHERS] = _one([room.pool for room in front.rooms.values() if id(room) not in shown])
    return told


def _one(pools: list[Pool]) -> DestinationSnapshot:
    return {
        "sockets": sum(len(pool.upstreams) for pool in pools),
        "in_flight": sum(server.in_flight for pool in pools for server in pool.servers),
        "waiting": sum(pool.gate.waiting for pool in pools),
        "sent": sum(pool.served() for pool in pools),
        "connect_failures": sum(pool.connect_failures for pool in pools),
    }


def _business(room: Room) -> tuple[int, int]:
    pool = room.pool
    return pool.served() + pool.gate.waiting, len(pool.upstreams)


def _added(tables: list[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for table in tables:
        for name, number in table.items():
            total[name] = total.get(name, 0) + number
    return total
