"""The ledger of an ORDERED connection: replies come in the order of requests, so the oldest gets the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from muxproxy.mux.base.server import Server
from muxproxy.mux.base.upstream import GREETING, OPEN
from muxproxy.mux.exchange import ClientRole, Exchange
from muxproxy.mux.ordered.client import FeedRole
from muxproxy.mux.shared.accounts import SharedAccounts
from muxproxy.mux.shared.upstream import SharedUpstream
from muxproxy.protocols.contract import FIRST, LAST, PIN, Frame, Reason

_WHOLE: Final = FIRST | LAST


class OrderedUpstream(SharedUpstream):
    __slots__ = ("feeder", "owed")

    def __init__(self, pool: SharedAccounts, server: Server, now: float) -> None:
        super().__init__(pool, server, now)
        self.owed: deque[Exchange] = deque()  # the ledger, oldest first, with preludes and abandoned ones
        self.feeder: FeedRole | None = None  # pinned for what many listen to

    # -- the ledger --------------------------------------------------------------------------------

    def _enter(self, exchange: Exchange) -> None:
        self.owed.append(exchange)

    def _match(self, frame: Frame) -> Exchange | None:
        return self.owed[0] if self.owed else None

    def _strike(self, exchange: Exchange) -> None:
        self.owed.popleft()

    def _newest(self) -> Exchange | None:
        return self.owed[-1] if self.owed else None

    def _strike_unwritten(self, exchange: Exchange) -> None:
        self.owed.remove(exchange)

    def _oldest(self) -> Exchange | None:
        return self.owed[0] if self.owed else None

    def _all(self) -> list[Exchange]:
        everything = list(self.owed)
        self.owed.clear()
        return everything

    def _waiting_for_reply(self) -> list[Exchange]:
        return list(self.owed)

    def _clients_bound(self) -> set[ClientRole | None]:
        return {exchange.client for exchange in self.owed}

    # -- replies -----------------------------------------------------------------------------------

    def _on_frames(self, frames: Sequence[Frame], now: float) -> None:
        owed = self.owed
        for frame in frames:
            if frame.marks == _WHOLE and owed:  # as nearly always
                exchange = owed[0]
                client = exchange.client
                if client is not None and not exchange.marks & PIN and exchange is not self._doubt:
                    owed.popleft()
                    exchange.upstream = None
                    self.in_flight -= exchange.weight
                    self.server.in_flight -= exchange.weight
                    try:
                        client.deliver(exchange, frame, now)
                    except Exception:
                        client.on_bug(now)  # which is on no ledger of ours any more (P2, P3)
                        raise
                    if client.write_paused:
                        self._hold_for(client, frame, now)
                    continue
            self._on_frame(frame, now)
            if self.state != OPEN and self.state != GREETING:
                return

    def _on_push(self, frame: Frame, now: float) -> None:
        if self.feeder is not None:
            self.feeder.on_push(frame, now)

    # -- ends --------------------------------------------------------------------------------------

    def _may_retry(self, exchange: Exchange, reason: Reason) -> bool:
        """Of one client's only the last: two at once could overtake each other."""
        client = exchange.client
        if client is None or client.last is not exchange:
            return False
        if exchange.marks & PIN:  # what its session left on the connection is lost
            return False
        return super()._may_retry(exchange, reason)

    def lose(self, owed: list[Exchange], reason: Reason, text: str, now: float) -> None:
        feeder, self.feeder = self.feeder, None
        if feeder is not None:
            feeder.on_lost(f"{self.server}: {text}", now)
        super().lose(owed, reason, text, now)
