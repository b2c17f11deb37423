"""Which pool a backend gets: its protocol's sharing decides, and whether some requests are limited."""

from __future__ import annotations

from typing import cast

from muxproxy.config.model import Backend
from muxproxy.mux.deadlines import Deadlines
from muxproxy.mux.dedicated_pool import DedicatedPool
from muxproxy.mux.limited import LimitedPool
from muxproxy.mux.pool import Pool
from muxproxy.mux.ports import World
from muxproxy.mux.reserve import ReservingPool
from muxproxy.mux.shared_pool import SharedPool
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
