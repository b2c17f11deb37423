"""The pool of TAGGED connections: what shared/pool.py does, in the protocol's own measure of a request."""

from __future__ import annotations

from typing import cast

from msgspec import structs

from muxproxy.config.model import Backend
from muxproxy.mux.base.accounts import Parts
from muxproxy.mux.shared.pool import SharedPool
from muxproxy.mux.tagged.upstream import TaggedUpstream
from muxproxy.protocols.contract import TaggedProtocol


class TaggedPool(SharedPool):
    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        # The same as `protocol`, which the base sees as less.
        self._tagged = cast(TaggedProtocol, parts.protocol)

    def _set_up(self, backend: Backend) -> None:
        super()._set_up(backend)
        tagged = cast(TaggedProtocol, self.protocol)
        size = max(backend.clients.request_buffer, tagged.request_buffer)
        self.clients_config = structs.replace(backend.clients, request_buffer=size)

    def configure(self, backend: Backend, now: float) -> None:
        before = self._tagged.probe_interval, self._tagged.probe_misses
        super().configure(backend, now)
        if before != (self._tagged.probe_interval, self._tagged.probe_misses):
            for server in self.servers:
                opened: list[TaggedUpstream] = server.open
                for upstream in opened:
                    upstream.start_heartbeat(now)

    def all_events(self) -> dict[str, int]:
        return self.events | self._tagged.counters
