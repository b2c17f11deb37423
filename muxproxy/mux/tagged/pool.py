"""The pool of TAGGED connections: what shared/pool.py does, in the protocol's own measure of a request."""

from __future__ import annotations

from msgspec import structs

from muxproxy.config.model import Backend
from muxproxy.mux.base.pool import NewClient, NewUpstream
from muxproxy.mux.deadlines import Deadlines
from muxproxy.mux.ports import World
from muxproxy.mux.shared.pool import SharedPool
from muxproxy.protocols.contract import TaggedProtocol


class TaggedPool(SharedPool):
    def __init__(
        self,
        backend: Backend,
        protocol: TaggedProtocol,
        world: World,
        fine: Deadlines,
        slow: Deadlines,
        new_client: NewClient,
        new_upstream: NewUpstream,
    ) -> None:
        super().__init__(backend, protocol, world, fine, slow, new_client, new_upstream)
        self._tagged = protocol  # the same as `protocol`, which the base sees as less
        size = max(backend.clients.request_buffer, protocol.request_buffer)
        self.clients_config = structs.replace(backend.clients, request_buffer=size)

    def all_events(self) -> dict[str, int]:
        return self.events | self._tagged.counters
