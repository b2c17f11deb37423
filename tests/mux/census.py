"""All exchanges of a machine's play, as long as it lasts.

On the pure build each is seen as it is made. Nothing can stand in the way of that on the compiled one: there
they are found on the clients' ledgers after each step, and those that end in the step in which they began are
not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from muxproxy.mux.exchange import ClientRole, Exchange
from muxproxy.native import PURE, installed

SEES_ALL = installed() == PURE


class Census:
    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self._original = original = Exchange.__init__
        exchanges = self.exchanges

        def remember(exchange: Exchange, client: Any, frame: Any) -> None:
            original(exchange, client, frame)
            if client is not None:
                exchanges.append(exchange)

        if SEES_ALL:
            Exchange.__init__ = remember

    def look(self, clients: Iterable[ClientRole]) -> None:
        if SEES_ALL:
            return
        known = {id(exchange) for exchange in self.exchanges}
        for client in clients:
            exchange = client.first
            while exchange is not None:
                if id(exchange) not in known:
                    self.exchanges.append(exchange)
                exchange = exchange.after

    def end(self) -> None:
        if SEES_ALL:
            Exchange.__init__ = self._original
