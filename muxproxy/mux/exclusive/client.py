"""A client of an EXCLUSIVE protocol, which may become a tunnel: its connection was upgraded."""

from __future__ import annotations

from muxproxy.mux.base.client import Client
from muxproxy.mux.base.patience import TUNNEL
from muxproxy.mux.exchange import Exchange


class ExclusiveClient(Client):
    __slots__ = ()

    def on_eof(self, now: float) -> bool:
        if self.phase == TUNNEL and self.pool.protocol.half_close and self.first is not None:
            upstream = self.first.upstream
            if upstream is not None:
                self._unheard = False
                return upstream.on_client_eof(self.first, now)
        return super().on_eof(now)

    def on_switch(self, exchange: Exchange, now: float) -> None:
        """The connection is opaque from here: the exchange lasts until a side closes."""
        self.on_session(exchange, now)
        self.framer.opaque()
        if self.framer.held:
            self._again = True
            if not self._framing:
                self.on_data(b"", now)
