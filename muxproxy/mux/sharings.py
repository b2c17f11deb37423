"""Who plays which sharing: its pool, its client and its upstream. The one place that names all of them."""

from __future__ import annotations

from typing import Any, cast

from muxproxy.config.model import Backend
from muxproxy.mux.base.accounts import Parts
from muxproxy.mux.base.client import Client
from muxproxy.mux.base.pool import Pool
from muxproxy.mux.base.upstream import Upstream
from muxproxy.mux.deadlines import Deadlines
from muxproxy.mux.dedicated.client import DedicatedClient
from muxproxy.mux.dedicated.pool import DedicatedPool
from muxproxy.mux.dedicated.reserve import ReservingPool
from muxproxy.mux.dedicated.upstream import DedicatedUpstream
from muxproxy.mux.exclusive.client import ExclusiveClient
from muxproxy.mux.exclusive.pool import ExclusivePool
from muxproxy.mux.exclusive.upstream import ExclusiveUpstream
from muxproxy.mux.ordered.client import OrderedClient
from muxproxy.mux.ordered.pool import OrderedPool
from muxproxy.mux.ordered.upstream import OrderedUpstream
from muxproxy.mux.ports import World
from muxproxy.mux.tagged.client import TaggedClient
from muxproxy.mux.tagged.limited import LimitedClient, LimitedPool, LimitedUpstream
from muxproxy.mux.tagged.pool import TaggedPool
from muxproxy.mux.tagged.upstream import TaggedUpstream
from muxproxy.protocols.contract import Protocol, Sharing, TaggedProtocol

# Each takes what the others of its line are made for, so it is theirs to say of what type.
_Players = tuple[type[Any], type[Client], type[Upstream]]

PLAYERS: dict[Sharing, _Players] = {
    Sharing.EXCLUSIVE: (ExclusivePool, ExclusiveClient, ExclusiveUpstream),
    Sharing.ORDERED: (OrderedPool, OrderedClient, OrderedUpstream),
    Sharing.TAGGED: (TaggedPool, TaggedClient, TaggedUpstream),
    Sharing.DEDICATED: (DedicatedPool, DedicatedClient, DedicatedUpstream),
}
_LIMITED: _Players = (LimitedPool, LimitedClient, LimitedUpstream)  # some of the requests are
_RESERVING: _Players = (ReservingPool, DedicatedClient, DedicatedUpstream)  # places for some sessions


def new_pool(backend: Backend, protocol: Protocol, world: World, fine: Deadlines, slow: Deadlines) -> Pool:
    players = PLAYERS[protocol.sharing]
    if protocol.sharing is Sharing.TAGGED and cast(TaggedProtocol, protocol).limits:
        players = _LIMITED
    if protocol.sharing is Sharing.DEDICATED and backend.tcp.reserve:
        players = _RESERVING
    pool, client, upstream = players
    made: Pool = pool(Parts(backend, protocol, world, fine, slow, client, upstream))
    return made
