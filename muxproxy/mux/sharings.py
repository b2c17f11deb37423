"""Which pool a backend gets: its protocol's sharing decides, and whether some requests are limited."""

from __future__ import annotations

from typing import cast

from muxproxy.config.model import Backend
from muxproxy.mux.base.pool import Pool
from muxproxy.mux.deadlines import Deadlines
from muxproxy.mux.dedicated.pool import DedicatedPool
from muxproxy.mux.dedicated.reserve import ReservingPool
from muxproxy.mux.ports import World
from muxproxy.mux.shared.pool import SharedPool
from muxproxy.mux.tagged.limited import LimitedPool
from muxproxy.protocols.contract import Protocol, Sharing, TaggedProtocol


def new_pool(backend: Backend, protocol: Protocol, world: World, fine: Deadlines, slow: Deadlines) -> Pool:
    if protocol.sharing is Sharing.EXCLUSIVE:
        return Pool(backend, protocol, world, fine, slow)
    if protocol.sharing is Sharing.DEDICATED:
        if backend.tcp.reserve:
            return ReservingPool(backend, protocol, world, fine, slow)
        return DedicatedPool(backend, protocol, world, fine, slow)
    if protocol.sharing is Sharing.TAGGED:
        tagged = cast(TaggedProtocol, protocol)
        if tagged.limits:
            return LimitedPool(backend, tagged, world, fine, slow)
    return SharedPool(backend, protocol, world, fine, slow)
