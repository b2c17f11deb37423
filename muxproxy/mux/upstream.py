"""One upstream connection's life, and the simplest of its ledgers: by turn, one exchange at a time.

    CONNECTING --> OPEN --> CLOSING --> CLOSED
         '----------'----------^------->'

An upstream counts against its pool's bound from before connect() until its socket is gone: from its birth to
on_closed, in every state (P1). `shared.py` has the ledgers for many in flight: by order and by tag.

The ledger is changed before bytes are handed to the wire, and whatever fails between the two closes the
connection: a reply shifted by one is the worst thing a multiplexer can do (P2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from muxproxy.mux.deadlines import INF
from muxproxy.mux.exchange import ABANDONED, DONE, REPLYING, SENT, Exchange
from muxproxy.protocols.contract import (
    BROKEN,
    END_UPSTREAM,
    LAST,
    ONEWAY,
    PIN,
    SWITCH,
    Frame,
    Reason,
)

if TYPE_CHECKING:
    from muxproxy.mux.client import Client
    from muxproxy.mux.pool import Pool
    from muxproxy.mux.ports import Wire
    from muxproxy.mux.server import Server

CONNECTING, OPEN, CLOSING, CLOSED = range(4)
CONNECT_TIMEOUT = "connect timeout"
CLOSE_TIMEOUT = 2.0  # seconds for what is still buffered towards a server when its connection is closed


class Upstream:
    """What every upstream connection has: a state, a server, an owner if pinned. Times are the loop's,
    seconds."""

    __slots__ = (
        "deadline",
        "dialled",
        "owner",
        "pin_reason",
        "pool",
        "read_paused",
        "replies",
        "retire_at",
        "retiring",
        "served",
        "server",
        "state",
        "wake",
        "wire",
    )

    def __init__(self, pool: Pool, server: Server, now: float) -> None:
        self.pool = pool
        self.server = server
        self.state = CONNECTING
        self.wire: Wire | None = None
        self.replies = pool.protocol.replies()
        self.retire_at = INF  # max_lifetime ends then
        self.served = 0  # exchanges sent on it so far
        self.owner: Client | None = None  # pinned: the one client that may send
        self.pin_reason = ""
        self.retiring = ""  # why it will be closed as soon as it owes nothing
        self.read_paused = False
        self.dialled = now
        self.deadline = now + pool.config.connect_timeout
        self.wake = INF

    # -- to be supplied by each ledger -------------------------------------------------------------

    def load(self) -> int:
        """Exchanges in flight."""
        raise NotImplementedError

    def has_room(self) -> bool:
        raise NotImplementedError

    def is_shared(self) -> bool:
        """Would pausing it for one client hurt others?"""
        raise NotImplementedError

    def is_opaque(self) -> bool:
        return False

    def send(self, exchange: Exchange, now: float) -> None:
        """(NEW | WAITING) => SENT. Only where has_room()."""
        raise NotImplementedError

    def send_more(self, exchange: Exchange, data: bytes, now: float) -> None:
        """A further part of a request whose beginning was sent."""
        raise NotImplementedError

    def abandon(self, exchange: Exchange, now: float) -> None:
        """(SENT | REPLYING) => (ABANDONED | DONE): nobody waits for this reply any more."""
        raise NotImplementedError

    def give_up(self, exchange: Exchange, now: float) -> None:
        """Its request will never be complete."""
        raise NotImplementedError

    def on_reply_deadline(self, now: float) -> None:
        raise NotImplementedError

    def take_owed(self) -> list[Exchange]:
        """Empty the ledger: the connection is ending."""
        raise NotImplementedError

    def on_data(self, data: bytes, now: float) -> None:
        raise NotImplementedError

    def on_server_eof(self, now: float) -> bool:
        """The server sent FIN. True: keep our side open."""
        raise NotImplementedError

    # -- life --------------------------------------------------------------------------------------

    def on_connected(self, wire: Wire, now: float) -> None:
        """CONNECTING => OPEN"""
        if self.state != CONNECTING:
            wire.abort()
            return
        self.wire = wire
        self.state = OPEN
        self.pool.on_connected(self, now)

    def on_lost(self, error: str, now: float) -> None:
        """OPEN => CLOSING: the connection has ended and takes no more bytes; its socket is not gone yet."""
        if self.state == OPEN:
            self.fail("server closed", Reason.SERVER_CLOSED, error or "server closed the connection", now)

    def on_closed(self, error: str, now: float) -> None:
        """Any state => CLOSED: the socket is gone, or the connect failed. Called exactly once."""
        was, self.state = self.state, CLOSED
        connected, self.wire = self.wire is not None, None
        if was == OPEN:
            self.pool.count_closed("server closed")
        failed = not connected and (was == CONNECTING or self.retiring == CONNECT_TIMEOUT)
        self.pool.on_closed(self, connected, (self.retiring or error) if failed else "", now)
        self.lose(self.take_owed(), Reason.SERVER_CLOSED, error or "server closed the connection", now)

    def close(self, why: str, now: float) -> None:
        """(CONNECTING | OPEN) => CLOSING; what it owes is lost. `why` is counted: a reason for not reusing
        it."""
        if self.state >= CLOSING:
            return
        connecting, self.state = self.state == CONNECTING, CLOSING
        self.pool.on_closing(self)
        if connecting:
            self.retiring = why
            self.pool.world.hang_up(self)
            return
        self.pool.count_closed(why)
        assert self.wire is not None
        if self.is_opaque():  # a session's last bytes are still worth sending
            self.expect_by(now + CLOSE_TIMEOUT)
            self.wire.close()
        else:
            self.deadline = INF
            self.wire.abort()
        self.lose(self.take_owed(), Reason.SERVER_CLOSED, why, now)

    def fail(self, why: str, reason: Reason, text: str, now: float) -> None:
        """Close, because of the server; what it owes ends with `reason`."""
        owed = self.take_owed()
        self.close(why, now)
        self.lose(owed, reason, text, now)

    def on_bug(self, now: float) -> None:
        """Ours: something raised while its bytes were handled. Its ledger is in doubt, so it is closed
        (P2)."""
        self.fail("internal error", Reason.INTERNAL, "internal error, see muxproxy's log", now)

    def lose(self, owed: list[Exchange], reason: Reason, text: str, now: float) -> None:
        for exchange in owed:
            exchange.upstream = None
            client = exchange.client
            if client is None:
                if exchange.state != DONE:
                    exchange.move(DONE)
            elif self._may_retry(exchange, reason):
                self.pool.retry(exchange, now)
            elif self.is_opaque():
                client.end_session(exchange, now)
            else:
                client.refuse(exchange, reason, f"{self.pool.name}: {self.server}: {text}", now)

    def _may_retry(self, exchange: Exchange, reason: Reason) -> bool:
        """P9: idempotent, on a reused connection, no reply byte seen. The keep-alive race and nothing
        else."""
        return (
            reason is Reason.SERVER_CLOSED
            and exchange.state == SENT
            and self.served > 1
            and exchange.is_replayable(self.dialled)
        )

    def on_deadline(self, now: float) -> None:
        """CONNECTING => CLOSING | reply too late | idle too long | CLOSING => aborted"""
        self.deadline = INF
        if self.state == CONNECTING:
            self.close(CONNECT_TIMEOUT, now)
        elif self.state == CLOSING:
            if self.wire is not None:
                self.wire.abort()
        elif self.load():
            self.on_reply_deadline(now)
        else:
            self.pool.on_idle_deadline(self, now)

    def expect_by(self, deadline: float) -> None:
        self.deadline = deadline
        if deadline < self.wake:
            self.pool.fine.watch(self)

    # -- flow --------------------------------------------------------------------------------------

    def pause_reading(self) -> None:
        """Its client takes no more for now; the server is not to blame for what follows."""
        if not self.read_paused and self.wire is not None:
            self.read_paused = True
            self.deadline = INF
            self.wire.pause_reading()

    def resume_reading(self, now: float) -> None:
        if self.read_paused and self.wire is not None:
            self.read_paused = False
            self.wire.resume_reading()
            if not self.is_opaque():  # whose silence its client's idle_timeout bounds
                self.expect_by(now + self.pool.config.reply_timeout)

    def on_write_paused(self, now: float) -> None: ...

    def on_write_resumed(self, now: float) -> None: ...

    # -- pins --------------------------------------------------------------------------------------

    def pin(self, client: Client, reason: str) -> None:
        if self.owner is None:
            self.owner = client
            self.pin_reason = reason
            client.pinned = self
            self.pool.pinned += 1

    def unpin(self) -> None:
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.pinned = None
            self.pool.pinned -= 1

    def on_owner_left(self, now: float) -> None:
        """Its session may have left any state behind: never to be another's (P2)."""
        if self.state == OPEN:
            self.close("pinned session ended", now)

    def on_client_eof(self, exchange: Exchange, now: float) -> bool:
        """Opaque sessions only: the client sent FIN. True: the other direction goes on."""
        raise NotImplementedError

    def __repr__(self) -> str:
        state = ("connecting", "open", "closing", "closed")[self.state]
        return f"<Upstream {self.server} {state} load={self.load()} served={self.served}>"


class ByTurn(Upstream):
    """EXCLUSIVE: the one exchange whose turn it is, or none."""

    __slots__ = ("_half_closed", "_opaque", "_swallowed", "_write_paused", "current")

    def __init__(self, pool: Pool, server: Server, now: float) -> None:
        super().__init__(pool, server, now)
        self.current: Exchange | None = None
        self._opaque = False
        self._half_closed = False  # one side of an opaque session has sent its FIN
        self._swallowed = 0  # bytes of a reply that nobody waits for
        self._write_paused = False  # more than REQUEST_HIGH_WATER of a request is in its wire's buffer

    def load(self) -> int:
        return 0 if self.current is None else 1

    def has_room(self) -> bool:
        return self.current is None and self.state == OPEN

    def is_shared(self) -> bool:
        return False

    def is_opaque(self) -> bool:
        return self._opaque

    def send(self, exchange: Exchange, now: float) -> None:
        exchange.move(SENT)
        exchange.upstream = self
        self.current = exchange
        self.server.in_flight += 1
        pool = self.pool
        if self.served:
            pool.reused += 1
        self.served += 1
        if exchange.marks & PIN and exchange.client is not None:
            self.pin(exchange.client, "upgrade")
        self.replies.expect(exchange.note)
        # A server is not late while its client still owes it the rest of the request.
        self.deadline = deadline = now + pool.config.reply_timeout if exchange.whole else INF
        if deadline < self.wake:
            pool.fine.watch(self)
        wire = self.wire
        assert wire is not None
        if exchange.more is None:
            wire.write(exchange.data)
        else:
            wire.write(b"".join([exchange.data, *exchange.more]))
        client = exchange.client
        if not exchange.whole and client is not None:
            if self._opaque:
                client.on_session(exchange, now)
            client.on_sent(now)
        if exchange.marks & ONEWAY:
            self._finish(exchange, Frame(b"", LAST), now)

    def send_more(self, exchange: Exchange, data: bytes, now: float) -> None:
        exchange.data = b""  # no longer whole here, so not replayable
        exchange.more = None
        if self.wire is not None and self.current is exchange:
            self.wire.write(data)
            if exchange.whole and not self.read_paused:
                self.expect_by(now + self.pool.config.reply_timeout)

    def on_data(self, data: bytes, now: float) -> None:
        exchange = self.current
        if self.state != OPEN:
            return
        if exchange is None:
            self.close("unsolicited bytes", now)
            return
        if exchange.state == SENT:
            exchange.move(REPLYING)
        self.replies.early = not exchange.whole
        frames = self.replies.feed(data)
        if len(frames) == 1 and frames[0].marks & LAST:  # as nearly every reply comes
            self._finish(exchange, frames[0], now)
            return
        self._on_frames(exchange, frames, now)
        if self.current is exchange and self.state == OPEN:
            if exchange.client is None:
                self._swallow(len(data), now)
            elif not self.read_paused and exchange.whole:
                self.deadline = now + self.pool.config.reply_timeout

    def _on_frames(self, exchange: Exchange, frames: Sequence[Frame], now: float) -> None:
        last: Frame | None = None
        for frame in frames:
            marks = frame.marks
            if marks & LAST:
                last = frame
            elif marks & BROKEN:
                if last is None:
                    self.fail("server broke the protocol", Reason.SERVER_BROKE, frame.note, now)
                    return
                self.retiring = "unsolicited bytes"
            else:
                client = exchange.client
                if client is not None:
                    if marks & SWITCH:
                        self._opaque = True
                        self.deadline = INF
                    client.deliver(exchange, frame, now)
                if self.current is not exchange:
                    return  # delivering it ended this connection
        if last is not None:
            self._finish(exchange, last, now)

    def _finish(self, exchange: Exchange, frame: Frame, now: float) -> None:
        """The reply is in: the connection goes to the next before the client gets its last bytes (P4, P5)."""
        self.current = None
        exchange.upstream = None
        self.server.in_flight -= 1
        if frame.marks & END_UPSTREAM:
            self.retiring = frame.note
        elif not exchange.whole:
            self.retiring = "reply before the request's end"
        elif self._write_paused:
            self.retiring = "reply before the request was read"
        if self.read_paused:
            self.resume_reading(now)
        if self.owner is not None:
            self.unpin()
        self._opaque = False
        client = exchange.client
        try:
            self.pool.release(self, now)
            if client is None:
                exchange.move(DONE)
            else:
                client.deliver(exchange, frame, now)
        except Exception:
            if client is not None:
                client.on_bug(now)  # which is on no ledger of ours any more (P2, P3)
            raise

    def on_server_eof(self, now: float) -> bool:
        exchange = self.current
        if exchange is None:
            self.close("server closed", now)
            return False
        if self._opaque and exchange.client is not None and self.pool.protocol.half_close:
            exchange.client.pass_eof()
            return self._is_half(exchange, now)
        frames = self.replies.eof()
        if any(frame.marks & BROKEN for frame in frames) or not frames:
            self.fail(
                "server closed",
                Reason.SERVER_CLOSED,
                "server closed the connection before its reply's end",
                now,
            )
            return False
        self._on_frames(exchange, frames, now)
        self.close("server closed", now)
        return False

    def on_client_eof(self, exchange: Exchange, now: float) -> bool:
        if self.wire is not None:
            self.wire.write_eof()
        return self._is_half(exchange, now)

    def _is_half(self, exchange: Exchange, now: float) -> bool:
        """A FIN was passed on. The second one ends the session."""
        if not self._half_closed:
            self._half_closed = True
            return True
        client = exchange.client
        self.take_owed()
        self.close("session ended", now)
        if client is not None:
            client.end_session(exchange, now)
        return False

    def abandon(self, exchange: Exchange, now: float) -> None:
        if self._opaque or not exchange.whole:
            exchange.move(DONE)
            self.take_owed()
            self.close("client left", now)
            return
        exchange.move(ABANDONED)
        self._swallowed = 0
        if self.read_paused:
            self.resume_reading(now)
        self.expect_by(now + self.pool.config.abandoned_timeout)

    def _swallow(self, size: int, now: float) -> None:
        self._swallowed += size
        if self._swallowed > self.pool.config.abandoned_bytes:
            self.close("abandoned reply too long", now)

    def give_up(self, exchange: Exchange, now: float) -> None:
        self.take_owed()
        self.close("request incomplete", now)

    def on_reply_deadline(self, now: float) -> None:
        exchange = self.current
        if exchange is not None and exchange.client is None:
            self.close("abandoned reply too slow", now)
        else:
            timeout = self.pool.config.reply_timeout
            self.fail("reply timeout", Reason.REPLY_TIMEOUT, f"no reply for {timeout:g} s", now)

    def take_owed(self) -> list[Exchange]:
        exchange, self.current = self.current, None
        if exchange is None:
            return []
        exchange.upstream = None
        self.server.in_flight -= 1
        return [exchange]

    def on_write_paused(self, now: float) -> None:
        self._write_paused = True
        if self.current is not None and self.current.client is not None:
            self.current.client.halt()
            if not self._opaque:
                self.expect_by(now + self.pool.config.reply_timeout)

    def on_write_resumed(self, now: float) -> None:
        self._write_paused = False
        exchange = self.current
        if exchange is not None and exchange.client is not None:
            exchange.client.unhalt()
            self.deadline = INF
            if exchange.whole and not self._opaque and not self.read_paused:
                self.expect_by(now + self.pool.config.reply_timeout)
