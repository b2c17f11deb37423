"""What the pools of destinations need of this worker (mux/destinations/front.py, Outside): their protocols,
the addresses of names.
"""

from __future__ import annotations

import gc
import os

from muxproxy.config.address import parse_server
from muxproxy.config.model import Backend
from muxproxy.mux.base.accounts import Parts
from muxproxy.mux.base.pool import Pool
from muxproxy.mux.destinations.front import Front
from muxproxy.mux.destinations.race import in_turn
from muxproxy.mux.exclusive.client import ExclusiveClient
from muxproxy.mux.exclusive.upstream import ExclusiveUpstream
from muxproxy.mux.sharings import new_pool
from muxproxy.protocols import build
from muxproxy.protocols.contract import Protocol
from muxproxy.worker import door
from muxproxy.worker.backend.resolver import Resolver
from muxproxy.worker.engine import Engine

# Threads of libuv's, of which half at most look up names. Its own 4 would leave all names of a worker behind
# two that no name server answers for.
THREADS = "64"


class Surroundings:
    """Of one front."""

    def __init__(self, engine: Engine) -> None:
        os.environ.setdefault("UV_THREADPOOL_SIZE", THREADS)
        self._engine = engine
        self._resolvers: dict[Pool, Resolver] = {}
        # Where a request says where it goes, all destinations are spoken to alike, and what is remembered of
        # heads is for all of them; else each has a protocol of its own.
        self._shared: Protocol | None = None
        self._front: Front | None = None

    def new_front(self, backend: Backend) -> Front:
        engine = self._engine
        protocol = build(backend)
        if backend.upstream.to == "host":
            self._shared = protocol
        wheels = engine.fine, engine.slow
        parts = Parts(backend, protocol, engine, *wheels, ExclusiveClient, ExclusiveUpstream)
        self._front = Front(parts, self)
        return self._front

    def new_pool(self, backend: Backend) -> Pool:
        engine = self._engine
        protocol = self._shared or build(backend)
        return new_pool(backend, protocol, engine, engine.fine, engine.slow)

    def look_up(self, pool: Pool) -> None:
        servers = [parse_server(text) for text in pool.config.servers]
        resolver = self._resolvers.get(pool)
        if resolver is not None:
            resolver.configure()
        elif any(server.is_name for server in servers):
            resolver = self._resolvers[pool] = Resolver(
                pool, self._engine.time, in_turn, lambda error: self._on_unknown(pool, error)
            )
            resolver.start()
        else:
            pool.set_servers([str(server) for server in servers], self._engine.time())

    def _on_unknown(self, pool: Pool, error: str) -> None:
        if self._front is not None:
            self._front.refuse_unknown(pool, error, self._engine.time())

    def forget(self, pool: Pool) -> None:
        resolver = self._resolvers.pop(pool, None)
        if resolver is not None:
            resolver.close()

    def is_own(self, host: str) -> bool:
        return door.is_own(host)

    def give_back(self) -> None:
        """What refers to itself goes first."""
        gc.collect()
        self._engine.lobby.give_back()

    def close(self) -> None:
        """Nothing more is looked up."""
        for pool in list(self._resolvers):
            self.forget(pool)
