"""One destination's part of its backend's configuration."""

from __future__ import annotations

from msgspec.structs import replace

from muxproxy.config.destination import Destination
from muxproxy.config.model import Backend


def backend_for(backend: Backend, destination: Destination) -> Backend:
    """As a backend of its own would be configured: one server, and at most max_connections_each. None is kept
    warm: towards which of a thousand?"""
    upstream = backend.upstream
    each = min(upstream.max_connections_each, upstream.max_connections)
    pinned = upstream.max_pinned
    return replace(
        backend,
        upstream=replace(
            upstream,
            to="servers",
            servers=(str(destination),),
            max_connections=each,
            min_connections=0,
            max_pinned=None if pinned is None else min(pinned, each),
        ),
    )
