"""The ledger of an ORDERED connection: replies come in the order of requests, so the oldest gets the next."""

from __future__ import annotations

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
    __slots__ = ("_first", "_last", "_whole", "feeder")

    def __init__(self, pool: SharedAccounts, server: Server, now: float) -> None:
        super().__init__(pool, server, now)
        # The ledger, oldest first, with preludes and abandoned ones: a list through queue_after.
        self._first: Exchange | None = None
        self._last: Exchange | None = None
        self._whole: list[bytes] | None = None  # replies of this chunk, which has no others
        self.feeder: FeedRole | None = None  # pinned for what many listen to

    # -- the ledger --------------------------------------------------------------------------------

    def _enter(self, exchange: Exchange) -> None:
        last = self._last
        if last is None:
            self._first = exchange
        else:
            last.queue_after = exchange
        self._last = exchange

    def _match(self, frame: Frame) -> Exchange | None:
        return self._first

    def _strike(self, exchange: Exchange) -> None:
        assert exchange is self._first
        self._first = exchange.queue_after
        if self._first is None:
            self._last = None
        else:
            exchange.queue_after = None

    def _newest(self) -> Exchange | None:
        return self._last

    def _strike_unwritten(self, exchange: Exchange) -> None:
        everything = self._all()
        everything.remove(exchange)
        for each in everything:
            self._enter(each)

    def _oldest(self) -> Exchange | None:
        return self._first

    def _all(self) -> list[Exchange]:
        everything = self._waiting_for_reply()
        for exchange in everything:
            exchange.queue_after = None
        self._first = self._last = None
        return everything

    def _waiting_for_reply(self) -> list[Exchange]:
        everything: list[Exchange] = []
        exchange = self._first
        while exchange is not None:
            everything.append(exchange)
            exchange = exchange.queue_after
        return everything

    def _clients_bound(self) -> set[ClientRole | None]:
        return {exchange.client for exchange in self._waiting_for_reply()}

    # -- replies -----------------------------------------------------------------------------------

    def _frame(self, data: bytes) -> Sequence[Frame]:
        """All of it before the first is delivered: what a server says beyond what it has been asked is not to
        be taken for the reply to what is written meanwhile (P2)."""
        replies = self.replies
        whole = replies.whole(data)
        if not whole:
            return replies.feed(data)
        rest = len(data)
        for reply in whole:
            rest -= len(reply)
        if not rest and len(whole) == 1:
            return (Frame(data, _WHOLE),)
        frames = replies.feed(data[-rest:]) if rest else ()
        if frames:
            made = [Frame(reply, _WHOLE) for reply in whole]
            made.extend(frames)
            return made
        self._whole = whole
        return ()

    def _take_off(self, exchange: Exchange) -> None:
        """The first has its reply, and is on no ledger of ours any more."""
        self._first = after = exchange.queue_after  # as _strike
        if after is None:
            self._last = None
        else:
            exchange.queue_after = None
        exchange.upstream = None
        self.in_flight -= exchange.weight
        self.server.in_flight -= exchange.weight

    def _on_whole(self, replies: list[bytes], now: float) -> None:
        """As _on_frames does with those of their frames, without these."""
        for reply in replies:
            exchange = self._first
            client = None if exchange is None else exchange.client
            if exchange is None or client is None or exchange.marks & PIN or exchange is self._doubt:
                self._on_frame(Frame(reply, _WHOLE), now)
                if self.state != OPEN and self.state != GREETING:
                    return
                continue
            self._take_off(exchange)
            try:
                client.deliver_plain(exchange, reply, now)
            except Exception:
                client.on_bug(now)  # which is on no ledger of ours any more (P2, P3)
                raise
            if client.write_paused:
                self._hold_for(client, Frame(reply, _WHOLE), now)

    def _on_frames(self, frames: Sequence[Frame], now: float) -> None:
        whole, self._whole = self._whole, None
        if whole is not None:
            self._on_whole(whole, now)
        for frame in frames:
            exchange = self._first
            if frame.marks == _WHOLE and exchange is not None:  # as nearly always
                client = exchange.client
                if client is not None and not exchange.marks & PIN and exchange is not self._doubt:
                    self._take_off(exchange)
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
