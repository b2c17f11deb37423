"""A client whose requests share connections with others'. A large one gets one alone while it comes in."""

from __future__ import annotations

from muxproxy.mux.base.client import Client
from muxproxy.mux.exchange import STREAM, Exchange
from muxproxy.protocols.contract import PIN, UNPIN


class SharedClient(Client):
    __slots__ = ()

    def _submit_streaming(self, exchange: Exchange, now: float) -> None:
        if not exchange.marks & PIN:
            # Its parts must stand together on the connection and may come slowly (P5).
            exchange.marks |= PIN | UNPIN | STREAM
        super()._submit_streaming(exchange, now)
