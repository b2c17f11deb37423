"""A client of a DEDICATED protocol: its one exchange is its session, from connect to the end.

While it waits for a connection its bytes are kept, up to request_buffer, and its FIN: it may have said all
that it has to say. A FIN is no sign that it has left, as it is for a client that waits for a reply; only an
RST is. From then on bytes pass both ways as they come, and each side is read as fast as the other takes.
"""

from __future__ import annotations

from muxproxy.mux.base.client import Client
from muxproxy.mux.base.patience import ENDING, TUNNEL
from muxproxy.mux.deadlines import INF
from muxproxy.mux.dedicated.pool import DedicatedPool
from muxproxy.mux.exchange import BEGUN, REPLYING, SENT, Exchange
from muxproxy.mux.ports import Wire
from muxproxy.mux.work import LARGE
from muxproxy.protocols.contract import BROKEN, Reason


class DedicatedClient(Client):
    """`first` and `filling` are its session until that ends."""

    __slots__ = ("_ended", "_sessions")

    def __init__(self, pool: DedicatedPool, wire: Wire | None, now: float) -> None:
        super().__init__(pool, wire, now)
        self._sessions = pool  # the same as `pool`, which the base sees as less
        self._ended = False  # it has sent its FIN

    # -- told by the hands -------------------------------------------------------------------------

    def _begin(self, now: float) -> None:
        self.on_data(b"", now)  # with its first word, or without one: its session is

    def _expect_body(self, now: float) -> None:
        """It may be silent for as long as it waits."""

    def on_data(self, data: bytes, now: float) -> None:
        exchange = self.filling
        upstream = None if exchange is None else exchange.upstream
        if exchange is None or upstream is None:
            super().on_data(data, now)
            if exchange is not None:
                self._sessions.on_bytes_ahead(exchange, now)
            return
        size = len(data)
        self._unheard = False
        if size >= LARGE:
            self.take(size)
        self.pool.bytes_from_clients += size
        self.deadline = now + self.pool.client_idle_timeout
        if size:  # as it came (P6): nothing of a session is framed but how it begins
            upstream.send_more(exchange, data, now)

    def wants_remains(self) -> bool:
        return True

    def on_eof(self, now: float) -> bool:
        exchange = self.first
        if self.phase == ENDING or exchange is None:
            return super().on_eof(now)
        self._ended = True
        self._unheard = False
        if exchange.upstream is not None:
            return exchange.upstream.on_client_eof(exchange, now)
        return self.pool.protocol.half_close or super().on_eof(now)

    # -- its session -------------------------------------------------------------------------------

    def on_sent(self, now: float) -> None:
        super().on_sent(now)
        exchange = self.first
        if self._ended and exchange is not None and exchange.upstream is not None:
            exchange.upstream.on_client_eof(exchange, now)

    def pass_on(self, exchange: Exchange, data: bytes, now: float) -> None:
        """As `deliver`, of bytes that no framer has seen."""
        exchange.begun = BEGUN
        self.pool.bytes_to_clients += len(data)
        self.deadline = now + self.pool.client_idle_timeout
        if self.wire is not None:
            self.wire.write(data)

    def _regulate(self) -> None:
        if not self._ended:  # there is nothing to pause, and resuming would bring the FIN again
            super()._regulate()

    # -- patience ----------------------------------------------------------------------------------

    def on_stalled(self, now: float) -> None:
        """It may read as slowly as it likes, a user before a pager does: it holds no connection but its own,
        and idle_timeout bounds how long nothing may pass (P7)."""

    def _rest(self, now: float) -> None:
        self.deadline = now + self.pool.client_idle_timeout

    def on_deadline(self, now: float) -> None:
        """TUNNEL => cut, if nothing has passed in either direction; ENDING => cut, if it takes nothing"""
        wire = self.wire
        if wire is not None and self.phase == ENDING and wire.get_write_buffer_size():
            if not wire.is_closing():  # it has lingered: what it still sends is not waited for any longer
                wire.close()
                self._unsent = -1  # and what it takes from now on counts
        elif self.phase != TUNNEL:
            super().on_deadline(now)
            return
        if self._is_moving():
            self.deadline = now + self.pool.client_idle_timeout
        else:
            self.deadline = INF
            self._cut_session(Reason.IDLE_TIMEOUT, now)

    def _is_moving(self) -> bool:
        """Have the sockets of both sides taken anything since we last looked? What passes through us moves
        the deadline; this is what we have passed on and they have not taken."""
        wires = [self.wire]
        if self.first is not None and self.first.upstream is not None:
            wires.append(self.first.upstream.wire)
        before, self._unsent = self._unsent, sum(self.pool.world.unsent(w) for w in wires if w is not None)
        return self._unsent not in (0, before)

    # -- ends --------------------------------------------------------------------------------------

    def refuse(self, exchange: Exchange, reason: Reason, text: str, now: float) -> None:
        had_begun = exchange.state in (SENT, REPLYING)
        self.pool.end(exchange, reason)
        if had_begun:
            self._cut_session(reason, now)
        else:
            self._turn_away(reason, text, now)

    def refuse_connection(self, reason: Reason, text: str, now: float) -> None:
        self.pool.count(reason)
        self._turn_away(reason, text, now)

    def _turn_away(self, reason: Reason, text: str, now: float) -> None:
        """It gets no session. The protocol may have no words for that but how the connection ends."""
        frame = self.pool.refusal(reason, text, None, True, now)
        if self.wire is not None and frame.data:
            self.pool.bytes_to_clients += len(frame.data)
            self.wire.write(frame.data)
        if frame.marks & BROKEN:
            self._cut_session(reason, now)
        else:
            self.end(now, linger=not self._ended)

    def _cut_session(self, reason: Reason, now: float) -> None:
        """End it with an error that it can see (P2); its upstream, if it has one, does likewise."""
        self.leave(reason, now)
        self._cut = True
        self.abort()

    def end_session(self, exchange: Exchange, now: float) -> None:
        """Both sides have said all. What it has not taken yet it may take as slowly as before."""
        self.pool.end(exchange, Reason.OK)
        self.end(now, linger=not self._ended)
        if self.wire is not None and self.wire.is_closing():
            self.deadline = max(self.deadline, now + self.pool.client_idle_timeout)

    def cut_off(self, now: float) -> int:
        exchange = self.first
        if exchange is None:
            return 0
        if exchange.upstream is not None:
            self._cut_session(Reason.DRAINING, now)
        else:
            self.pool.take_out(exchange)
            self.refuse(exchange, Reason.DRAINING, f"{self.pool.name}: muxproxy is stopping", now)
        return 1
