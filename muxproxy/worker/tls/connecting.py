"""To a server, by TLS: the handshake behind the connect, and in its time (`[upstream] connect_timeout`).

The place that it has under the bound is given back when the socket is gone, whatever the handshake came to
(P1). With TLS 1.3 a server refuses our certificate after the handshake, as far as we can see: that is an end
of the connection as any other, and its alert is the error's text.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from muxproxy.mux.ports import Secure
from muxproxy.worker.tls.contexts import Secured
from muxproxy.worker.tls.wire import TlsWire
from muxproxy.worker.upstream import UpstreamSocket


class ServerWire(TlsWire):
    """`on_reached`: its socket is connected. `on_done`: the handshake has come to its end, good or bad."""

    __slots__ = ("_key", "_name", "_on_done", "_on_reached", "_secured", "_server", "_socket")
    peer = "server"

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        hands: UpstreamSocket,
        secured: Secured,
        secure: Secure,
        server: str,
        on_reached: Callable[[], None],
        on_done: Callable[[], None],
    ) -> None:
        self._socket = hands
        self._secured = secured
        self._name = secure.name
        self._server = server
        self._key = f"{server} {secure.name}"
        self._on_reached = on_reached
        self._on_done = on_done
        super().__init__(loop, hands)

    def begin(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        context = self._secured.context
        assert context is not None
        session = self._secured.session(self._key)
        return context.wrap_bio(incoming, outgoing, server_hostname=self._name or None, session=session)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self.is_closing():
            self._on_reached()
            self.shake()

    def on_open(self) -> None:
        secured, tls = self._secured, self._tls
        secured.handshakes += 1
        secured.resumed += bool(tls.session_reused)
        secured.on_server(self._server, tls.getpeercert())
        self._keep_session()  # of TLS 1.2; the tickets of 1.3 come behind the handshake
        self._on_done()

    def on_failed(self, error: str) -> None:
        self._secured.failed += 1
        self._on_done()
        self._loop.call_soon(self._socket.on_gone, error)

    def on_cut(self) -> bool:
        return self._socket.cut_received()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.is_open and not self._error:
            self._keep_session()
        super().connection_lost(exc)

    def _keep_session(self) -> None:
        self._secured.keep(self._key, self._tls)
