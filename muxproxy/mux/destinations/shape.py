"""One destination's part of its backend's configuration."""

from __future__ import annotations

from typing import TypeVar

from msgspec.structs import replace

from muxproxy.config.destination import Destination
from muxproxy.config.model import Backend, Route, UpstreamTls

_N = TypeVar("_N", int, float)


def backend_for(backend: Backend, destination: Destination, route: Route | None = None) -> Backend:
    """As a backend of its own would be configured: one server, and at most max_connections_each; but for what
    its route says. None is kept warm: towards which of a thousand?"""
    upstream, http, queue = backend.upstream, backend.http, backend.queue
    servers: tuple[str, ...] = (str(destination),)
    most = upstream.max_connections_each
    if route is not None:
        servers, most = route.servers or servers, route.max_connections or most
        queue = replace(
            queue,
            max_waiting=_or(route.queue.max_waiting, queue.max_waiting),
            timeout=_or(route.queue.timeout, queue.timeout),
        )
    each = min(most, upstream.max_connections)
    if destination.tunnel:  # all of them are alone; max_tunnels is the whole backend's (lending.py)
        http = replace(http, max_upgraded=each)
    tls = upstream.tls
    if upstream.to == "host":  # [upstream.tls] says how; whether, who asks or the route
        tls = (tls or UpstreamTls()) if destination.tls else None
    pinned = upstream.max_pinned
    return replace(
        backend,
        http=http,
        queue=queue,
        upstream=replace(
            upstream,
            to="servers",
            servers=servers,
            tls=tls,
            max_connections=each,
            min_connections=0,
            max_pinned=None if pinned is None else min(pinned, each),
        ),
    )


def _or(own: _N | None, whole: _N) -> _N:
    return whole if own is None else own
