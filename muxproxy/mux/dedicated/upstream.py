"""The ledger of a connection that is one client's session from its first byte to its last (DEDICATED).

A spare waits, connected ahead and perhaps greeted by its server, then is somebody's session, then ends. It is
never used again: its bytes were that session's (P2).

A session ends well in one way: both sides send FIN, each passed on behind the bytes before it. Whatever else
ends it (a reset, a timeout, a drain, a bug of ours) resets the sides that are left: what they have got must
not pass for the whole (P2).
"""

from __future__ import annotations

from typing import Final

from muxproxy.mux.base.server import Server
from muxproxy.mux.base.upstream import CLOSING, CUT_OFF, GREETING, OPEN, SingleUpstream
from muxproxy.mux.deadlines import INF
from muxproxy.mux.dedicated.client import DedicatedClient
from muxproxy.mux.dedicated.pool import DedicatedPool
from muxproxy.mux.exchange import DONE, REPLYING, SENT, Exchange
from muxproxy.mux.work import LARGE
from muxproxy.protocols.contract import PIN, Reason

_BEGINNING: Final = 8  # bytes of what a client says, to know one that gets no answer by


class DedicatedUpstream(SingleUpstream):
    """`current`: the one session it has, or None as long as it is to have one."""

    __slots__ = (
        "_client_ended",
        "_early",
        "_said",
        "_server_ended",
        "_sessions",
        "_timeout",
        "_unsent",
        "is_reserved",
    )

    def __init__(self, pool: DedicatedPool, server: Server, now: float) -> None:
        super().__init__(pool, server, now)
        self._sessions = pool  # the same as `pool`, which the base sees as less
        self.is_reserved = False  # its session may have a place that others may not (dedicated/reserve.py)
        self._timeout = 0.0  # that its session was told; 0: none
        self._early: bytearray | None = None  # what the server said to a spare
        self._said = b""  # how its client began
        self._client_ended = False  # its FIN was passed on
        self._server_ended = False
        self._unsent = 0  # CLOSING: what its wire had not sent when last looked at

    def has_room(self, weight: int = 1) -> bool:
        return self.state == OPEN and not self.served

    def is_opaque(self) -> bool:
        return True

    def on_last_call(self, why: str) -> None:
        """Nothing new ever goes on it."""

    # -- from client to server ---------------------------------------------------------------------

    def send(self, exchange: Exchange, now: float) -> None:
        exchange.move(SENT)
        exchange.upstream = self
        self.current = exchange
        self.is_reserved = exchange.marks & PIN != 0
        self.server.in_flight += 1
        self.served += 1
        timeout = self._timeout = self._sessions.session_timeout
        self.deadline = INF
        if timeout:
            self.expect_by(now + timeout)
        client = exchange.client
        assert client is not None
        client.on_session(exchange, now)
        said = b"".join([exchange.data, *(exchange.more or ())])
        self._said = said[:_BEGINNING]
        exchange.data, exchange.more, exchange.size = b"", None, 0
        if said and self.wire is not None:
            self.wire.write(said)
        client.on_sent(now)
        self._tell_early(now)

    def _tell_early(self, now: float) -> None:
        early, self._early = self._early, None
        if early is not None:
            self.on_data(bytes(early), now)
            client = None if self.current is None else self.current.client
            if client is not None and not client.write_paused:
                self.resume_reading(now)

    def send_more(self, exchange: Exchange, data: bytes, now: float) -> None:
        if len(self._said) < _BEGINNING:
            self._said += data[:_BEGINNING]
        wire = self.wire
        if wire is not None and self.current is exchange:
            wire.write(data)

    def on_client_eof(self, exchange: Exchange, now: float) -> bool:
        self._client_ended = True
        if self.wire is not None:
            self.wire.write_eof()
        return self._after_eof(exchange, now)

    def on_write_paused(self, now: float) -> None:
        if self.current is not None and self.current.client is not None:
            self.current.client.halt()

    def on_write_resumed(self, now: float) -> None:
        if self.current is not None and self.current.client is not None:
            self.current.client.halt(False)

    # -- from server to client ---------------------------------------------------------------------

    def on_data(self, data: bytes, now: float) -> None:
        if self.mute:
            self.on_first_word(now)
        exchange = self.current
        if self.state != OPEN:
            return
        if len(data) >= LARGE:
            self.take(len(data))
        if exchange is None:
            self._keep(data)
            return
        if exchange.state == SENT:
            exchange.move(REPLYING)
        client = exchange.client
        assert isinstance(client, DedicatedClient)
        if data:  # as in client.py
            client.pass_on(exchange, data, now)

    def on_first_word(self, now: float) -> None:
        super().on_first_word(now)
        if self.state == GREETING:  # nothing is left to be watched for
            self.open(now)

    def _keep(self, data: bytes) -> None:
        """Its server speaks first (SMTP, MySQL): for the session to come, up to response_buffer (P7)."""
        if self._early is None:
            self._early = bytearray()
        self._early += data
        if len(self._early) >= self.pool.clients_config.response_buffer:
            self.pause_reading()

    def on_server_eof(self, now: float) -> bool:
        exchange = self.current
        if self.state != OPEN:
            return False
        if self.mute or exchange is None:
            self.on_broken_off(now)
        if exchange is None:
            self.fail("server closed", Reason.SERVER_CLOSED, "server closed the connection", now)
            return False
        self._server_ended = True
        assert exchange.client is not None
        exchange.client.pass_eof()
        return self._after_eof(exchange, now)

    def on_server_cut(self, now: float) -> bool:
        """Nobody here knows what its session was to end with (P2)."""
        if self.state == OPEN and self.current is not None:
            self.fail("server closed", Reason.SERVER_CLOSED, CUT_OFF, now)
            return False
        return self.on_server_eof(now)

    def _stop_reading(self) -> None:
        """Its deadline is the session's and goes on; after FIN there is nothing to pause, and resuming would
        bring the FIN again."""
        if not self.read_paused and not self._server_ended and self.wire is not None:
            self.read_paused = True
            self.wire.pause_reading()

    # -- ends --------------------------------------------------------------------------------------

    def on_broken_off(self, now: float) -> None:
        super().on_broken_off(now)
        if not self.served:
            self._sessions.on_spare_lost(self, now)

    def _was_meant(self, now: float) -> bool:
        """A client that ends first, or says what needs no answer, gets none from a server that is well."""
        needs_none = self._client_ended or self.pool.protocol.is_reserved(self._said)
        return not needs_none and super()._was_meant(now)

    def _after_eof(self, exchange: Exchange, now: float) -> bool:
        """A FIN was passed on. True: the other direction goes on."""
        if self.pool.protocol.half_close and not (self._client_ended and self._server_ended):
            return True
        client = exchange.client
        assert client is not None
        self.take_owed()
        self.close("session ended", now)
        client.end_session(exchange, now)
        return False

    def close(self, why: str, now: float, label: str = "") -> None:
        super().close(why, now, label)
        # The session may have ended with its last bytes unsent: a server gets the time that a client gets.
        if self.deadline != INF and self.state == CLOSING and self.wire is not None:
            self._unsent = self.pool.world.unsent(self.wire)
            self.expect_by(now + self.pool.clients_config.stall_timeout)

    def on_deadline(self, now: float) -> None:
        """CLOSING => reset, unless its server takes what is still to be sent"""
        if self.state != CLOSING:
            super().on_deadline(now)
            return
        self.deadline = INF
        if self.wire is None:
            return
        before, self._unsent = self._unsent, self.pool.world.unsent(self.wire)
        if self._unsent < before:
            self.deadline = now + self.pool.clients_config.stall_timeout
        else:
            self.pool.world.reset(self.wire)

    def fail(self, why: str, reason: Reason, text: str, now: float) -> None:
        if self.current is not None:
            self._reset()
        super().fail(why, reason, text, now)

    def lose(self, owed: list[Exchange], reason: Reason, text: str, now: float) -> None:
        for exchange in owed:
            exchange.upstream = None
            client = exchange.client
            assert client is not None  # who is abandoned is taken off the ledger at once
            if self._server_ended and reason is Reason.SERVER_CLOSED:
                # It had said all, and takes no more: the client still gets what is on its way.
                client.end_session(exchange, now)
            else:
                client.refuse(exchange, reason, f"{self.pool.name}: {self.server}: {text}", now)

    def abandon(self, exchange: Exchange, now: float) -> None:
        exchange.move(DONE)
        self._reset()
        self.take_owed()
        self.close("client left", now)

    def give_up(self, exchange: Exchange, now: float) -> None:
        self._reset()
        self.take_owed()
        self.close("session cut", now)

    def on_reply_deadline(self, now: float) -> None:
        text = f"the session has lasted {self._timeout:g} s"
        self.fail("session timeout", Reason.SESSION_TIMEOUT, text, now)

    def _reset(self) -> None:
        if self.wire is not None:
            self.pool.world.reset(self.wire)
