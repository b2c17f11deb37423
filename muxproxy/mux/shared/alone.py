"""Who needs a shared connection alone, and how it gets one (P4).

A session that needs one (PIN) has it for as long as it likes, so there are at most max_pinned of them. A
request that is merely large (STREAM) has one while it comes in, for its parts must stand together; it takes
its turn on any, and on the last one too. Where the bound is reached the least loaded connection is reserved:
it gets no more of the many, and so empties.
"""

from __future__ import annotations

from muxproxy.config.limits import PINNED, pinned_limit
from muxproxy.config.model import Backend
from muxproxy.mux.admission.queue import Queue
from muxproxy.mux.base.upstream import Upstream
from muxproxy.mux.exchange import STREAM, Exchange
from muxproxy.mux.shared.accounts import SharedAccounts
from muxproxy.mux.shared.upstream import SharedUpstream


class Alone(SharedAccounts):
    """The part of a SharedPool that is about having one alone."""

    def _bounds(self, backend: Backend) -> dict[str, int]:
        return super()._bounds(backend) | {PINNED: pinned_limit(backend)}

    def _pinned_limit(self) -> int:
        """At least one connection stays with the many, where there are many."""
        return min(self.most_pins, max(1, max(self.max_connections, self.potential) - 1))

    def _alone_queue(self, exchange: Exchange) -> Queue:
        return self.stream_queue if exchange.marks & STREAM else self.pin_queue

    def _place_alone(self, exchange: Exchange) -> Upstream | None:
        is_stream = exchange.marks & STREAM
        if self._alone_queue(exchange).size or (not is_stream and self.pinned >= self.pinned_limit):
            return None
        for server in self.servers:
            opened: list[SharedUpstream] = server.open
            for upstream in opened:
                if (
                    upstream.owner is None
                    and not upstream.load()
                    and upstream.has_room()
                    and not upstream.is_awaited()
                ):
                    upstream.reserved = False
                    return upstream
        return None

    def _next_alone(self) -> Exchange | None:
        """Who may have the next one that is empty: of both kinds the oldest."""
        stream = self.stream_queue.first
        pin = self.pin_queue.first if self.pinned < self.pinned_limit else None
        if pin is None or (stream is not None and stream.since < pin.since):
            return stream
        return pin

    def _wanted(self) -> int:
        """Connections, to be had alone."""
        pins = min(self.pin_queue.size, self.pinned_limit - self.pinned)
        return max(0, pins) + self.stream_queue.size

    def grow(self, now: float) -> None:
        super().grow(now)
        if (self.pin_queue.size or self.stream_queue.size) and (len(self.upstreams) >= self.max_connections):
            self._reserve()

    def _is_reserved(self, upstream: SharedUpstream) -> bool:
        """Being emptied for who needs one alone, and he is still there."""
        if upstream.reserved and not self._wanted():
            upstream.reserved = False
        return upstream.reserved and (self._is_streams_turn() or self._has_another(upstream))

    def _has_another(self, upstream: SharedUpstream) -> bool:
        """The many have another one, or may have had it."""
        for server in self.servers:
            opened: list[SharedUpstream] = server.open
            for other in opened:
                if other is not upstream and other.owner is None and not other.reserved:
                    return True
        return False

    def _is_streams_turn(self) -> bool:
        """The last one of the many is emptied for who gives it back soon, and then in its turn: all others
        wait meanwhile."""
        head = self.stream_queue.first
        others = self.queue.oldest()
        return head is not None and (others is None or head.since <= others)

    def _reserve(self) -> None:
        """All connections are shared and at the bound: the least loaded one empties for who needs one alone;
        the last one of the many not, but for who gives it back soon."""
        shared: list[SharedUpstream] = [u for s in self.servers for u in s.open if u.owner is None]
        free = [u for u in shared if not u.reserved]
        if self._wanted() <= len(shared) - len(free):
            return
        if len(free) > 1 or (free and len(free) == len(shared) and self.stream_queue.size):
            min(free, key=lambda u: (u.suspect, u.load())).reserved = True
