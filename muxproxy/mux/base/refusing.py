"""Why somebody gets nothing, in words that an operator can act on (P8): the queue is full, its time was up,
all that may be had alone is taken, no server can be reached.

The part of a Pool that knows its connections and servers but decides nothing.
"""

from __future__ import annotations

from typing import Final

from muxproxy.config.limits import QUEUED
from muxproxy.mux.admission.queue import Queue
from muxproxy.mux.base.accounts import Parts
from muxproxy.mux.base.server import Server
from muxproxy.mux.base.upstream import OPEN, PoolOfUpstreams, Upstream
from muxproxy.mux.deadlines import INF
from muxproxy.mux.exchange import STREAM, Exchange
from muxproxy.protocols.contract import LISTEN, PIN, Reason

_TELL_PINS_EVERY: Final = 60.0  # seconds


class Refusing(PoolOfUpstreams):
    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.upstreams: dict[Upstream, None] = {}  # every one that counts against the bound, the oldest first
        self.servers: list[Server] = []
        self._pins_told = -INF  # when the log last said what holds all of them

    def sockets(self) -> int:
        return len(self.upstreams)

    def queues(self) -> list[Queue]:
        """Where somebody may wait for [queue] timeout."""
        return [self.queue, self.pin_queue, self.retry_queue, self.stream_queue]

    def lines(self, *, is_asked: bool = False) -> list[Queue]:
        """Where those stand that max_waiting bounds, each by when it came. `is_asked`: who waits for what a
        server was asked already, by when that was; nearly nowhere anybody does."""
        return [] if is_asked else self.queues()

    def put_out(self, exchange: Exchange, now: float) -> None:
        """WAITING => DONE: it stood in one of these, and too many wait."""
        self.refuse_full(exchange, now)

    def to_end(self, excess: int) -> list[Upstream]:
        """Of those that owe something: which end with that, since `excess` are too many. All of them, if
        whichever comes free first shall be it."""
        raise NotImplementedError

    def refuse_full(self, exchange: Exchange, now: float) -> None:
        bound = f"{self.gate.waiting} requests wait for {self.max_connections} connections"
        if self._lacks_pin(exchange.marks & PIN, exchange, now):
            bound = f"taken are all of {self._pins_taken()}"
        text = f"{self.name}: {bound}, max_waiting is {self.bounds[QUEUED]}{self._server_trouble()}"
        assert exchange.client is not None
        exchange.client.refuse(exchange, Reason.QUEUE_FULL, text, now)

    def on_expired(self, exchange: Exchange, now: float) -> None:
        self.gate.waiting -= 1
        trouble = self._server_trouble()
        unreachable = trouble and not any(upstream.state == OPEN for upstream in self.upstreams)
        reason = Reason.NO_SERVER if unreachable else Reason.QUEUE_TIMEOUT
        what = f"one of {self.max_connections} connections"
        if self._lacks_pin(exchange.marks & (PIN | LISTEN), exchange, now):
            what = f"one of {self._pins_taken()}"
        text = f"{self.name}: waited {self.queue.told(exchange.since):g} s for {what}{trouble}"
        assert exchange.client is not None
        exchange.client.refuse(exchange, reason, text, now)

    def _lacks_pin(self, wants_pin: int, exchange: Exchange, now: float) -> bool:
        """It is for want of max_pinned. The log says what holds them, once a minute at most."""
        if not wants_pin or exchange.marks & STREAM or self.pins_left() > 0:
            return False
        if now >= self._pins_told + _TELL_PINS_EVERY:
            self._pins_told = now
            held, key = self._pin_reasons(), self._pin_key()
            self.world.log(
                "no connection is left to have alone", level="warning", backend=self.name, held=held, key=key
            )
        return True

    def _pins_taken(self) -> str:
        most, reasons = self.pinned_limit, self._pin_reasons()
        if self.all_pins is not None and self.all_pins.left() <= 0:
            most, reasons = self.all_pins.bound, "over all destinations"
        return f"{most} that clients have alone ({reasons}): raise {self._pin_key()}"

    def _pin_key(self) -> str:
        """Which to raise: one connection always stays with the others."""
        is_all = self.pinned_limit >= max(1, self.max_connections - 1)
        return "[upstream] max_connections" if is_all else "[upstream] max_pinned"

    def _pin_reasons(self) -> str:
        """What those that are not shared are used for: only if somebody waited for one in vain."""
        reasons: dict[str, int] = {}
        for upstream in self.upstreams:
            if upstream.owner is not None:
                reasons[upstream.pin_reason] = reasons.get(upstream.pin_reason, 0) + 1
        return ", ".join(f"{reason} {reasons[reason]}" for reason in sorted(reasons))

    def _server_trouble(self) -> str:
        troubles = [f"{server}: {server.last_error}" for server in self.servers if server.failures]
        if self.resolve_error:
            troubles.append(self.resolve_error)
        return f" ({'; '.join(troubles)})" if troubles else ""

    def oldest_wait(self, now: float) -> float:
        oldest = min((q.oldest() or INF for q in Refusing.queues(self)), default=INF)
        return 0.0 if oldest == INF else max(0.0, now - oldest)
