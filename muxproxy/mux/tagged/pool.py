"""The pool of TAGGED connections: what shared/pool.py does, in the protocol's own measure of a request."""

from __future__ import annotations

from typing import cast

from msgspec import structs

from muxproxy.mux.base.accounts import Parts
from muxproxy.mux.shared.pool import SharedPool
from muxproxy.protocols.contract import TaggedProtocol


class TaggedPool(SharedPool):
    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        # The same as `protocol`, which the base sees as less.
        self._tagged = cast(TaggedProtocol, parts.protocol)
        clients = parts.backend.clients
        size = max(clients.request_buffer, self._tagged.request_buffer)
        self.clients_config = structs.replace(clients, request_buffer=size)

    def all_events(self) -> dict[str, int]:
        return self.events | self._tagged.counters
