"""From a client, by TLS: who may shake hands, how long that may take, and how much of it in one turn.

Who shakes hands is a client already, to `[clients] max_connections` and to the descriptors; `head_timeout` is
the time for it, as with nginx (client_header_timeout), and begins anew for the first request. A signature
costs us a hundred times what a request does: so few are made in one turn of the loop, the others wait, and
who has a connection is served in between (P10). Who may not come in is closed before one is made for him.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final, cast

from muxproxy.mux.base.pool import Pool
from muxproxy.mux.ports import Wire
from muxproxy.protocols.contract import Reason
from muxproxy.worker.client import ClientSocket
from muxproxy.worker.tls.contexts import Secured
from muxproxy.worker.tls.handshakes import Shaking
from muxproxy.worker.tls.wire import TlsWire

if TYPE_CHECKING:
    from muxproxy.worker.door import Door
    from muxproxy.worker.engine import Engine

# Bytes of a client whose handshake waits for its turn; beyond it is not read meanwhile (P7).
MOST_AHEAD: Final = 64 * 1024
NOT_IN_TIME: Final = "handshake timeout"


class ClientWire(TlsWire, Shaking):
    __slots__ = ("_counted", "_door", "_engine", "_pool", "_queued", "_secured")
    peer = "client"

    def __init__(
        self,
        engine: Engine,
        loop: asyncio.AbstractEventLoop,
        pool: Pool,
        secured: Secured,
        door: Door | None,
    ) -> None:
        self._engine = engine
        self._pool = pool
        self._secured = secured
        self._door = door
        self._queued = False
        super().__init__(loop, ClientSocket(engine, pool))
        pool.handshaking += 1
        self._counted = True

    def begin(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        context = self._secured.context
        assert context is not None
        return context.wrap_bio(incoming, outgoing, server_side=True)

    def patience(self) -> float:
        return self._pool.clients_config.head_timeout

    def on_late(self) -> None:
        self._pool.count_event("client_handshake_timeout")
        self._error = self._error or NOT_IN_TIME
        self._engine.reset(cast(Wire, self))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        why = self._why_not(cast(asyncio.Transport, transport))
        if why is not None:
            self._pool.count(why)
            self._error = self._error or why.label
            self._engine.reset(cast(Wire, self))
        elif not self.is_closing():
            self._engine.handshakes.begin(self)

    def _why_not(self, transport: asyncio.Transport) -> Reason | None:
        pool = self._pool
        try:
            told = "" if self._door is None else self._door.turns_away(transport)
        except Exception:
            self._engine.on_door_bug(cast(Wire, self))
            return None
        if told:
            pool.fault(Reason.DENIED, told)
            return Reason.DENIED
        is_full = len(pool.clients) + pool.handshaking > pool.clients_config.max_connections
        return Reason.CLIENTS_FULL if is_full else None

    def data_received(self, data: bytes) -> None:
        if self.is_open:
            super().data_received(data)
            return
        if self.is_closing():
            return
        self._keep(data)
        self.shake_later()

    def shake_later(self) -> None:
        """In its turn. Much of what comes meanwhile is not read before."""
        if not self._queued:
            self._queued = True
            self._engine.handshakes.go_on(self)
        if len(self._unfed) > MOST_AHEAD and self._transport is not None:
            self._transport.pause_reading()

    def go_on(self) -> None:
        self._queued = False
        if self.is_closing() or self.is_open:
            return
        assert self._transport is not None
        self._transport.resume_reading()
        try:
            self.shake()
        except Exception:  # others are in line behind it
            self._engine.on_door_bug(cast(Wire, self))

    def eof_received(self) -> bool:
        """With all that it has to say before it, perhaps: the handshake is still to be done then."""
        if self._queued:
            self.go_on()
        return super().eof_received()

    def on_open(self) -> None:
        self._uncount()
        self._secured.handshakes += 1
        self._secured.resumed += bool(self._tls.session_reused)

    def on_failed(self, error: str) -> None:
        if self._error not in (NOT_IN_TIME, Reason.DENIED.label, Reason.CLIENTS_FULL.label):
            self._pool.count_event("client_handshake_failed")
        self._secured.failed += 1
        self._uncount()
        self._hands.connection_lost(None)

    def _uncount(self) -> None:
        self._engine.handshakes.end(self)
        if self._counted:
            self._counted = False
            self._pool.handshaking -= 1
