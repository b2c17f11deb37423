"""A client of a TAGGED protocol: its replies go out in any order, but never one inside another."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from muxproxy.mux.client import Client
from muxproxy.mux.exchange import Exchange
from muxproxy.mux.patience import ENDING
from muxproxy.protocols.contract import LAST, Frame

if TYPE_CHECKING:
    from muxproxy.mux.pool import Pool
    from muxproxy.mux.ports import Wire


class TaggedClient(Client):
    """Replies in any order, each by itself: whoever has begun to write finishes before another begins."""

    __slots__ = ("_mute", "_talking")

    def __init__(self, pool: Pool, wire: Wire, now: float) -> None:
        super().__init__(pool, wire, now)
        self._talking: Exchange | None = None
        self._mute: deque[Exchange] = deque()  # those with parked frames, in the order of their first

    def deliver(self, exchange: Exchange, frame: Frame, now: float) -> None:
        if self._talking is None or self._talking is exchange:
            self._bring_forward(exchange)
            self._talking = None if frame.marks & LAST else exchange
        super().deliver(exchange, frame, now)

    def _answer(self, exchange: Exchange, frame: Frame, now: float, *, linger: bool) -> None:
        if self._talking is None or self._talking is exchange:
            self._bring_forward(exchange)
        super()._answer(exchange, frame, now, linger=linger)

    def _park(self, exchange: Exchange, frame: Frame, now: float) -> None:
        if exchange.parked is None:
            self._mute.append(exchange)
        super()._park(exchange, frame, now)

    def _settle(self, exchange: Exchange, marks: int, now: float) -> None:
        self._talking = None
        super()._settle(exchange, marks, now)
        if self._flushing:
            return
        self._flushing = True
        while self._mute and self._talking is None and self.phase != ENDING:
            mute = self._mute.popleft()
            if mute.parked is not None:
                self._bring_forward(mute)
                self._unpark(mute, now)
        self._flushing = False

    def _bring_forward(self, exchange: Exchange) -> None:
        """To the head of the ledger: among tagged replies the order is free."""
        if self.first is exchange:
            return
        self._unlink(exchange)
        first = self.first
        if first is not None:
            first.before = exchange
            exchange.after = first
        else:
            self.last = exchange
        self.first = exchange
