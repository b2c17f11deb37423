"""The ledger by tag: replies by id, in any order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from muxproxy.mux.exchange import Exchange
from muxproxy.mux.shared import ByOrder
from muxproxy.protocols.contract import FIRST, Frame

if TYPE_CHECKING:
    from muxproxy.mux.server import Server
    from muxproxy.mux.shared_pool import SharedPool


class ByTag(ByOrder):
    """TAGGED: replies by id, in any order. Ids are ours on the wire and the client's own in its reply."""

    __slots__ = ("_by_tag", "_next_tag")

    def __init__(self, pool: SharedPool, server: Server, now: float) -> None:
        super().__init__(pool, server, now)
        self._by_tag: dict[int, Exchange] = {}  # oldest first, as dicts keep their order
        self._next_tag = 0

    def _enter(self, exchange: Exchange) -> None:
        tag = self._next_tag = self._next_tag + 1
        self._by_tag[tag] = exchange
        exchange.data = self.pool.protocol.retag(exchange.data, tag)
        exchange.wire_tag = tag

    def _match(self, frame: Frame) -> Exchange | None:
        return self._by_tag.get(frame.tag)

    def _strike(self, exchange: Exchange) -> None:
        del self._by_tag[exchange.wire_tag]

    def _oldest(self) -> Exchange | None:
        return next(iter(self._by_tag.values()), None)

    def _all(self) -> list[Exchange]:
        everything = list(self._by_tag.values())
        self._by_tag.clear()
        return everything

    def _for_client(self, exchange: Exchange, frame: Frame) -> Frame:
        if not frame.marks & FIRST:
            return frame
        return Frame(
            self.pool.protocol.retag(frame.data, exchange.tag), frame.marks, frame.note, exchange.tag
        )

    def _stray(self) -> bool:
        self.pool.count_closed("stray reply ignored")
        return True

    def _waiting_for_reply(self) -> list[Exchange]:
        return list(self._by_tag.values())
