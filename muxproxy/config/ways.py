"""Every key in one table: how a reload makes a new value of it take effect, or why it does not.

Pure. Which way a key goes is a promise to operators, and what whoever applies a plan must do; a new key of
model.py without a way fails tests/config/test_ways.py.

    AT_ONCE           the next decision asks for the new value. Who waits in a queue waits as long as he was
                      told, a deadline that is set stays, and nobody who is connected is closed: above a
                      lowered bound the next one is refused
    NEW_CLIENTS       a client keeps what it began with
    NEW_CONNECTIONS   likewise an upstream connection
    AS_FREE           connections that may not stay take no new request, and close when they owe nothing; a
                      session that has one alone ends first. Of a server that is no more, or logged in as
                      before, they are cut at the end of drain_timeout. P1 holds meanwhile: none is opened in
                      their places before
    LISTENERS         addresses are bound before anything else is changed, and closed after all of it
    SHARDS            in a worker that leaves, the backend drains as if it were removed; its places go to
                      those that stay
    AS_NEW            the old one drains as if it were removed, the new one begins as if it were added
    UPGRADE, RESTART  a running process cannot: a reload with such a change changes nothing
"""

from __future__ import annotations

import enum
import math
from typing import NamedTuple


class Way(enum.Enum):
    """The value is what operators read."""

    AT_ONCE = "at once"
    NEW_CLIENTS = "for clients that connect from now on"
    NEW_CONNECTIONS = "for upstream connections that are opened from now on"
    AS_FREE = "connections close as they come free"
    LISTENERS = "listeners come and go"
    SHARDS = "workers leave it, and drain"
    AS_NEW = "as a new backend"
    UPGRADE = "takes `muxproxy upgrade`"
    RESTART = "takes a restart"


REFUSED = frozenset({Way.UPGRADE, Way.RESTART})


class Rule(NamedTuple):
    """`less`: the way of a number that goes down, or of a list that loses something. `none`: from and to 0,
    or an empty list."""

    more: Way
    less: Way
    none: Way | None = None  # as any other
    zero: float = 0.0  # what 0 stands for, where it is no number


def _always(way: Way, *keys: str) -> dict[str, Rule]:
    return dict.fromkeys(keys, Rule(way, way))


NODE: dict[str, Rule] = {
    **_always(Way.AT_ONCE, "memory", "drain_timeout", "log_level"),
    # A live backend never changes its worker (limits.assign_workers), so more of them would stand idle.
    **_always(Way.UPGRADE, "workers"),
    # The supervisor has given up the rights to become another (privileges.py), and so could no successor.
    **_always(Way.RESTART, "user", "group"),
    # Whoever asks for a reload or an upgrade looks for us where the file says.
    **_always(Way.RESTART, "admin", "admin_mode", "admin_owner", "admin_group", "admin_tcp"),
}

BACKEND: dict[str, Rule] = {
    **_always(Way.AS_NEW, "protocol"),
    "shards": Rule(Way.NEW_CLIENTS, less=Way.SHARDS),
    **_always(Way.LISTENERS, "clients.listen"),
    # Whoever has shaken hands has; a listener may be `tls:` from now on, or not any more.
    **_always(Way.NEW_CLIENTS, "clients.tls"),
    # As of PostgreSQL's pg_hba.conf: who is connected has been asked.
    **_always(Way.NEW_CLIENTS, "clients.from"),
    # Of the kernel's rules, which `muxproxy redirect --write` writes.
    **_always(Way.AT_ONCE, "clients.redirect", "clients.redirect_users", "clients.redirect_cgroups"),
    **_always(Way.AS_NEW, "clients.transparent"),  # said to a socket before it is bound
    **_always(
        Way.AT_ONCE,
        "clients.max_connections",
        "clients.idle_timeout",
        "clients.head_timeout",
        "clients.stall_timeout",
        "clients.hold_timeout",
        "clients.hold_rate",
        "clients.min_rate",
        "clients.request_buffer",
        "clients.pipeline_buffer",
        "clients.backlog",  # listen(2) may be called again
        "queue.max_waiting",
        "queue.timeout",
    ),
    **_always(Way.NEW_CLIENTS, "clients.response_buffer"),  # its socket is told when it connects
    # Names are resolved first: until one of the new ones is known, those of before are used.
    "upstream.servers": Rule(Way.AT_ONCE, less=Way.AS_FREE),
    "upstream.max_connections": Rule(Way.AT_ONCE, less=Way.AS_FREE),
    "upstream.max_connections_each": Rule(Way.AT_ONCE, less=Way.AS_FREE),
    # One pool, or one for each destination.
    **_always(Way.AS_NEW, "upstream.to"),
    "upstream.max_lifetime": Rule(Way.NEW_CONNECTIONS, less=Way.AS_FREE, zero=math.inf),
    **_always(
        Way.AT_ONCE,
        # The next request, and the next address that is dialled, is judged by it.
        "upstream.allow",
        "upstream.deny",
        "upstream.max_destinations",
        "upstream.min_connections",
        "upstream.max_in_flight",
        "upstream.max_pinned",  # sessions that have a connection alone keep it
        "upstream.connect_timeout",
        "upstream.suspect_after",
        "upstream.max_unanswered",
        "upstream.reply_timeout",  # but for the kernel's TCP_USER_TIMEOUT, told at connect()
        "upstream.idle_timeout",
        "upstream.backoff_min",
        "upstream.backoff_max",
        "upstream.name_grace",
        "upstream.name_ttl",
        "upstream.abandoned_bytes",
        "upstream.abandoned_timeout",
    ),
    # What was trusted before may be what must not be trusted any more.
    **_always(Way.AS_FREE, "upstream.tls"),
    **_always(Way.NEW_CONNECTIONS, "upstream.keepalive"),  # the kernel's, told at connect()
    **_always(
        Way.AT_ONCE,
        "http.max_head",
        "http.max_target",
        "http.max_upgraded",
        "http.tunnel_timeout",
        "http.max_tunnels",  # those that there are stay
    ),
    "http.routes": Rule(Way.AT_ONCE, less=Way.AS_FREE),
    # Whom a connection is logged in as is its own: nothing that is sent takes a login back everywhere.
    **_always(Way.AS_FREE, "redis.username", "redis.password"),
    # Redis' own requirepass: who has said the old one is in.
    **_always(Way.NEW_CLIENTS, "redis.client_password"),
    **_always(Way.AT_ONCE, "redis.password_file", "redis.client_password_file"),  # what is in it counts
    # Clients have been asked for our password, or have given their own: no session can have been both.
    **_always(Way.AS_NEW, "redis.auth"),
    **_always(
        Way.AT_ONCE,
        "redis.allow",
        "redis.deny",
        "redis.batch.commands",
        "redis.batch.delay",
        "redis.fence",
        "redis.subscriber_buffer",
        "redis.channels_buffer",
        "redis.subscribe_buffer",
        "redis.session_buffer",
        "redis.states_buffer",
    ),
    **_always(Way.NEW_CLIENTS, "redis.max_argument", "redis.max_arguments"),
    **_always(
        Way.AT_ONCE,
        "dubbo.heartbeat",
        "dubbo.heartbeat_misses",
        "dubbo.readonly_timeout",
        "dubbo.max_frame",
    ),
    # Calls that are limited, and sessions that may have a reserved place, are told apart by other means than
    # where there are none (mux/sharings.py).
    "dubbo.limits": Rule(Way.AT_ONCE, less=Way.AT_ONCE, none=Way.AS_NEW),
    "tcp.reserve": Rule(Way.AT_ONCE, less=Way.AT_ONCE, none=Way.AS_NEW),
    **_always(Way.AT_ONCE, "tcp.refuse", "tcp.reserve_for"),
    **_always(Way.NEW_CLIENTS, "tcp.session_timeout"),
}


def way(rule: Rule, old: object, new: object) -> Way:
    if rule.none is not None and not (old and new):
        return rule.none
    return rule.less if _is_less(rule, old, new) else rule.more


def _is_less(rule: Rule, old: object, new: object) -> bool:
    if isinstance(old, tuple) and isinstance(new, tuple):
        return not set(old) <= set(new)
    if isinstance(old, int | float) and isinstance(new, int | float):
        return (new or rule.zero) < (old or rule.zero)
    return False
