"""What the pools of destinations need of this worker (mux/destinations/front.py, Outside): their protocols,
the addresses of names.
"""

from __future__ import annotations

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

    def new_front(self, backend: Backend) -> Front:
        engine = self._engine
        wheels = engine.fine, engine.slow
        return Front(
            Parts(backend, build(backend), engine, *wheels, ExclusiveClient, ExclusiveUpstream), self
        )

    def new_pool(self, backend: Backend) -> Pool:
        engine = self._engine
        return new_pool(backend, build(backend), engine, engine.fine, engine.slow)

    def look_up(self, pool: Pool) -> None:
        servers = [parse_server(text) for text in pool.config.servers]
        resolver = self._resolvers.get(pool)
        if resolver is not None:
            resolver.configure()
        elif any(server.is_name for server in servers):
            resolver = self._resolvers[pool] = Resolver(pool, self._engine.time, in_turn)
            resolver.start()
        else:
            pool.set_servers([str(server) for server in servers], self._engine.time())

    def forget(self, pool: Pool) -> None:
        resolver = self._resolvers.pop(pool, None)
        if resolver is not None:
            resolver.close()

    def is_own(self, host: str) -> bool:
        return door.is_own(host)

    def close(self) -> None:
        """Nothing more is looked up."""
        for pool in list(self._resolvers):
            self.forget(pool)
