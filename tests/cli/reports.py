"""A report as the supervisor gives it: one backend under load, one whose worker does not answer."""

from __future__ import annotations

from typing import Any

from muxproxy.metrics.histogram import Histogram
from muxproxy.metrics.snapshot import BackendSnapshot


def _waits() -> Histogram:
    waits = Histogram()
    for seconds in [0.0] * 96 + [0.015] * 3 + [0.4]:
        waits.observe(seconds)
    return waits


ORDERS: BackendSnapshot = {
    "protocol": "http",
    "draining": False,
    "clients": 2000,
    "clients_max": 10000,
    "waiting": 12,
    "waiting_max": 1000,
    "oldest_wait": 0.125,
    "queue_timeout": 5.0,
    "in_flight": 7,
    "upstream_sockets": 8,
    "upstream_max": 8,
    "upstream": {"connecting": 1, "idle": 0, "busy": 5, "pinned": 2, "draining": 0, "closing": 0},
    "pinned": {"upgrade": 2},
    "pinned_max": 4,
    "outcomes": {
        "replied": {"ok": 98, "local": 1},
        "refused": {"queue_full": 3},
        "expired": {},
        "lost": {"server_closed": 1},
        "abandoned": {"client_left": 0},
    },
    "connects": 10,
    "connect_failures": 1,
    "reused": 91,
    "retried": 2,
    "listening": {"channels": 3, "patterns": 0, "subscribers": 40},
    "pushed": {"messages": 500, "interrupted": 1, "cut": 0},
    "remarks": ["limits do not apply to some"],
    "events": {"heartbeats_answered": 6, "callbacks_refused": 0},
    "limited": {
        "com.acme.Orders.create": {"active": 10, "active_max": 10, "waiting": 3, "waited": 7, "expired": 1}
    },
    "closed": {"server said close": 4, "idle_timeout": 1},
    "queue_wait": _waits().snapshot(),
    "bytes": {"from_clients": 512, "to_clients": 5 * 1024 * 1024},
    "servers": [
        {
            "address": "10.0.0.5:80",
            "state": "up",
            "connections": 7,
            "in_flight": 7,
            "failures": 0,
            "last_error": "",
        },
        {
            "address": "10.0.0.6:80",
            "state": "backing_off",
            "connections": 1,
            "in_flight": 0,
            "failures": 3,
            "last_error": "connection [refused]\x1b",
        },
    ],
}

REPORT: dict[str, Any] = {
    "version": "0.1.0",
    "pid": 4711,
    "uptime": 3725.5,
    "state": "serving",
    "workers": [
        {
            "index": 0,
            "pid": 4712,
            "state": "ready",
            "answering": True,
            "restarts": 0,
            "backends": ["orders-api"],
            "process": {"build": "compiled"},
        },
        {
            "index": 1,
            "pid": None,
            "state": "restarting",
            "answering": False,
            "restarts": 3,
            "backends": ["search"],
        },
    ],
    "backends": {
        "orders-api": {"state": "serving", "listen": ["127.0.0.1:8080", "unix:/run/o.sock"], **ORDERS},
        "search": {
            "state": "worker restarting",
            "listen": ["127.0.0.1:8081"],
            "protocol": "http",
            "clients_max": 500,
            "waiting_max": 100,
            "queue_timeout": 5.0,
            "upstream_max": 4,
        },
    },
}
