"""The ledger of an EXCLUSIVE connection, the simplest: one exchange at a time, or a session that is opaque.

The ledger is changed before bytes are handed to the wire, and whatever fails between the two closes the
connection (P2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from muxproxy.mux.base.server import Server
from muxproxy.mux.base.upstream import CUT_OFF, GREETING, OPEN, PoolOfUpstreams, SingleUpstream
from muxproxy.mux.deadlines import INF
from muxproxy.mux.exchange import ABANDONED, DONE, REPLYING, SENT, Exchange
from muxproxy.mux.work import LARGE
from muxproxy.protocols.contract import (
    BROKEN,
    END_UPSTREAM,
    LAST,
    ONEWAY,
    PIN,
    SWITCH,
    TUNNEL,
    Frame,
    Reason,
)

# Seconds: an end so soon behind a reply is because of it, and no idle timeout. Longer than any rest
# (server.py): a server whose idle timeout a rest outlasts would seem to close behind each reply for ever.
BEHIND_REPLY: Final = 0.5


class ExclusiveUpstream(SingleUpstream):
    """`current`: the one exchange whose turn it is, or None."""

    __slots__ = ("_answered_at", "_half_closed", "_opaque", "_swallowed", "_write_paused")

    def __init__(self, pool: PoolOfUpstreams, server: Server, now: float) -> None:
        super().__init__(pool, server, now)
        self._answered_at = 0.0  # its last reply was in
        self._opaque = False
        self._half_closed = False  # one side of an opaque session has sent its FIN
        self._swallowed = 0  # bytes of a reply that nobody waits for
        self._write_paused = False  # more than REQUEST_HIGH_WATER of a request is in its wire's buffer

    def has_room(self, weight: int = 1) -> bool:
        return self.current is None and self.state == OPEN and not self.resting

    def is_opaque(self) -> bool:
        return self._opaque

    def is_tunnel(self) -> bool:
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
            if exchange.marks & TUNNEL:
                self.pin(exchange.client, "tunnel")
            else:
                self.pin(exchange.client, "upgrade")
        self.replies.expect(exchange.note)
        # A server is not late while its client still owes it the rest of the request.
        self.deadline = deadline = now + pool.reply_timeout if exchange.whole else INF
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
            client.on_sent(now)
        if exchange.marks & (ONEWAY | TUNNEL):
            self._answer_at_once(exchange, now)

    def _answer_at_once(self, exchange: Exchange, now: float) -> None:
        """What no server replies to."""
        if exchange.marks & ONEWAY:
            self._finish(exchange, Frame(b"", LAST), now)
            return
        exchange.move(REPLYING)
        self._on_frames(exchange, self.replies.feed(b""), now)

    def send_more(self, exchange: Exchange, data: bytes, now: float) -> None:
        exchange.data = b""  # no longer whole here, so not replayable
        exchange.more = None
        if self.wire is not None and self.current is exchange:
            self.wire.write(data)
            if exchange.whole and not self.read_paused:
                self.expect_by(now + self.pool.reply_timeout)

    def on_data(self, data: bytes, now: float) -> None:
        exchange = self.current
        if self.state != OPEN:
            if self.state == GREETING:
                self.fail("unsolicited bytes", Reason.SERVER_BROKE, "it speaks first", now)
            return
        if exchange is None:
            self.close("unsolicited bytes", now)
            return
        if self.mute:
            self.on_first_word(now)
        if len(data) >= LARGE:
            self.take(len(data))
        if exchange.state == SENT:
            exchange.move(REPLYING)
        self.replies.early = not exchange.whole
        frames = self.replies.feed(data)
        if len(frames) == 1 and frames[0].marks & LAST:  # as nearly every reply comes
            self._finish(exchange, frames[0], now)
            return
        self._on_frames(exchange, frames, now)
        if self.current is exchange and self.state == OPEN:
            if self.replies.more:
                self.pool.count_event("server_turns_over_budget")
                self.postpone()
            if exchange.client is None:
                self._swallow(len(data), now)
            elif not self.read_paused and exchange.whole:
                self.deadline = now + self.pool.reply_timeout

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
        self._answered_at = now
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

    def on_broken_off(self, now: float) -> None:
        super().on_broken_off(now)
        if not self.pool.protocol.may_close_unsaid:
            return
        current = self.current
        replies = self.served if current is None else self.served - 1
        is_behind = self.resting or now - self._answered_at <= BEHIND_REPLY
        if replies and is_behind and (current is None or current.state == SENT) and not self._opaque:
            self.server.on_ended_unsaid(replies)

    def on_server_eof(self, now: float) -> bool:
        exchange = self.current
        if exchange is None:
            self.on_broken_off(now)
            self.close("server closed", now)
            return False
        if self._opaque and exchange.client is not None and self.pool.protocol.half_close:
            exchange.client.pass_eof()
            return self._is_half(exchange, now)
        frames = self.replies.eof()
        if any(frame.marks & BROKEN for frame in frames) or not frames:
            self.on_broken_off(now)
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

    def on_server_cut(self, now: float) -> bool:
        """A reply that ends with the connection may lack its end: RFC 9112 section 9.8."""
        exchange = self.current
        if exchange is None or self._opaque:
            return self.on_server_eof(now)
        self.on_broken_off(now)
        self.fail("server closed", Reason.SERVER_CLOSED, CUT_OFF, now)
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
            timeout = self.pool.reply_timeout
            self.fail("reply timeout", Reason.REPLY_TIMEOUT, f"no reply for {timeout:g} s", now)

    def on_write_paused(self, now: float) -> None:
        self._write_paused = True
        if self.current is not None and self.current.client is not None:
            self.current.client.halt()
            if not self._opaque:
                self.expect_by(now + self.pool.reply_timeout)

    def on_write_resumed(self, now: float) -> None:
        self._write_paused = False
        exchange = self.current
        if exchange is not None and exchange.client is not None:
            exchange.client.halt(False)
            self.deadline = INF
            if exchange.whole and not self._opaque and not self.read_paused:
                self.expect_by(now + self.pool.reply_timeout)
