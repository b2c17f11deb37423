"""Connects of one destination: each address is judged when it is dialled.

A name may mean another address tomorrow, or for who asks twice: what was allowed is the address that we
connect to, and no answer of a name server's can be in between. Who waits for a destination of which no
address may be dialled is told so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from muxproxy.config.destination import Destination
from muxproxy.mux.base.pool import Pool
from muxproxy.mux.base.upstream import CLOSING, Upstream
from muxproxy.mux.destinations.race import Race
from muxproxy.mux.ports import UpstreamBrain, World


class Dialling:
    """A Dialler, of one pool. `refuses`: why an address may not be dialled. `deny`: those who wait there."""

    def __init__(
        self,
        world: World,
        pool: Pool,
        destination: Destination,
        refuses: Callable[[Destination, str], str],
        deny: Callable[[Pool, str, float], None],
    ) -> None:
        self._world = world
        self._pool = pool
        self._destination = destination
        self._refuses = refuses
        self._deny = deny
        self._race = Race(pool)

    def dial(self, address: str, upstream: UpstreamBrain) -> None:
        now = cast(Upstream, upstream).dialled
        why = self._refuses(self._destination, address)
        if why:
            self._world.soon(lambda: self._refuse(upstream, why, now))
        else:
            self._race.on_dial(now)
            self._world.dial(address, upstream)

    def _refuse(self, upstream: UpstreamBrain, why: str, now: float) -> None:
        upstream.on_closed(why, now)
        pool = self._pool
        if not any(each.state < CLOSING for each in pool.upstreams):
            self._deny(pool, f"{self._destination}: {why}", now)
