"""A connection with many exchanges in flight: replies come in, pins come and go, and how it ends.

What goes out is gathering.py's, who had better not come avoided.py's, and whose a reply is the ledgers know:
ordered/upstream.py, tagged/upstream.py.

A reply that nobody is owed, or that is malformed, ends the connection before it can shift the others by one
(P2). Pinned (`owner` set), the same ledger serves one client alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from muxproxy.mux.base.upstream import GREETING, OPEN, SILENT
from muxproxy.mux.deadlines import INF
from muxproxy.mux.exchange import ABANDONED, DONE, REPLYING, SENT, STREAM, ClientRole, Exchange
from muxproxy.mux.shared.avoided import Avoided
from muxproxy.mux.shared.gathering import GREET, PRELUDE, RESET, STREAMING
from muxproxy.mux.work import LARGE
from muxproxy.protocols.contract import (
    BROKEN,
    END_UPSTREAM,
    INTERIM,
    LAST,
    ONEWAY,
    PIN,
    PUSH,
    UNPIN,
    Frame,
    Reason,
)


class SharedUpstream(Avoided):
    __slots__ = ()

    # -- the ledger --------------------------------------------------------------------------------

    def _match(self, frame: Frame) -> Exchange | None:
        """Whose reply is this a frame of? None: nobody's."""
        raise NotImplementedError

    def _strike(self, exchange: Exchange) -> None:
        raise NotImplementedError

    def _oldest(self) -> Exchange | None:
        raise NotImplementedError

    def _all(self) -> list[Exchange]:
        """Of them, off it."""
        raise NotImplementedError

    def _frame(self, data: bytes) -> Sequence[Frame]:
        return self.replies.feed(data)

    def _on_frames(self, frames: Sequence[Frame], now: float) -> None:
        """Each to its client at once, where there is nothing more to it than that, else `_on_frame`."""
        raise NotImplementedError

    def _on_push(self, frame: Frame, now: float) -> None:
        """What the server says by itself."""
        raise NotImplementedError

    def _for_client(self, exchange: Exchange, frame: Frame) -> Frame:
        return frame

    # -- replies -----------------------------------------------------------------------------------

    def on_data(self, data: bytes, now: float) -> None:
        if self.state != OPEN and self.state != GREETING:
            return
        if self.mute:
            self.on_first_word(now)
        if len(data) >= LARGE:
            self.take(len(data))
        if self.suspect:
            self.trust(SILENT)
        self._on_chunk(data, now)
        if self.state == OPEN:
            if self._out and self._oldest() is None:
                self.flush(now)  # nothing is in flight: none of these waits any longer
            self._rearm(now)
            self.pool.release(self, now)

    def _on_chunk(self, data: bytes, now: float) -> None:
        frames = self._frames_of(self._frame(data))
        if len(frames) == 1:
            self._on_frames(frames, now)
            return
        self.pool.corked = []
        try:
            self._on_frames(frames, now)
        finally:
            self._uncork()

    def _frames_of(self, fed: Sequence[Frame]) -> Sequence[Frame]:
        if self.replies.more:
            self.pool.count_event("server_turns_over_budget")
            self.postpone()
        return fed

    def _uncork(self) -> None:
        """A bug of ours in one delivery keeps nobody else's replies back."""
        pool = self.pool
        corked, pool.corked = pool.corked, None
        for client in corked or ():
            client.uncork()

    def on_turn(self, now: float) -> None:
        self.on_data(b"", now)  # also where nothing was held back: its room is for who waits (P4)

    def _on_frame(self, frame: Frame, now: float) -> None:
        if frame.marks & BROKEN:
            self.fail("server broke the protocol", Reason.SERVER_BROKE, frame.note, now)
        elif frame.marks & PUSH:
            self._on_push(frame, now)
        else:
            whose = self._match(frame)
            if whose is not None:
                self._on_reply(whose, frame, now)
            elif not self._stray(frame):
                why = "a reply that no request asked for"
                self.fail("unsolicited bytes", Reason.SERVER_BROKE, why, now)

    def _stray(self, frame: Frame) -> bool:
        """A reply that matches nothing. True: it may be ignored."""
        return False

    def _on_reply(self, exchange: Exchange, frame: Frame, now: float) -> None:
        marks = frame.marks
        client = exchange.client
        if exchange.state == SENT:
            exchange.move(REPLYING)
        if marks & INTERIM and exchange.weight > 1:
            self._on_some(exchange, frame.weight)
        if marks & LAST:
            self._strike(exchange)
            exchange.upstream = None
            self.in_flight -= exchange.weight
            self.server.in_flight -= exchange.weight
            if marks & END_UPSTREAM:
                self.retiring = frame.note
            if exchange.marks & PIN:
                self._on_pinned_reply(exchange, now)
            if exchange is self._streaming:
                self.retiring, self._streaming = "reply before the request's end", None
        if client is not None:
            self._deliver(client, exchange, self._for_client(exchange, frame), now)
        elif marks & LAST:
            self._on_nobodys(exchange, frame, now)
        if marks & LAST and exchange is self._doubt:
            self._doubt = self._asker = None
            self._mixed = True
            if marks & END_UPSTREAM:  # nobody's that waited for this reply: they go elsewhere (P2)
                self.close(self.retiring, now)
                return
            if self.connection is not None and not self._out:
                self.needs = self.connection.state
            if self.state == GREETING:
                self.open(now)
            self.flush(now)

    def _on_some(self, exchange: Exchange, weight: int) -> None:
        """Some of the requests that the exchange is have got their replies."""
        exchange.weight -= weight
        self.in_flight -= weight
        self.server.in_flight -= weight
        if exchange.client is not None:
            self.pool.replied += weight

    def _deliver(self, client: ClientRole, exchange: Exchange, frame: Frame, now: float) -> None:
        try:
            client.deliver(exchange, frame, now)
        except Exception:
            client.on_bug(now)  # which may be on no ledger of ours any more (P2, P3)
            raise
        if client.write_paused or exchange.parked is not None:
            self._hold_for(client, frame, now)

    def _on_pinned_reply(self, exchange: Exchange, now: float) -> None:
        if exchange.pin[1]:  # it blocked, and so did those behind it: their time begins now
            for other in self._waiting_for_reply():
                other.sent = max(other.sent, now)
        streaming = self._streaming
        if not exchange.marks & UNPIN or self.owner is None:
            return
        if streaming is None and exchange.marks & STREAM:
            return  # given back when its request was in, and perhaps another's by now
        if streaming is None or streaming is exchange:
            self.give_back(now)
        else:
            self.pin_reason = STREAMING  # the owner's next one is still coming in: given back with its end

    def _on_nobodys(self, exchange: Exchange, frame: Frame, now: float) -> None:
        """The end of a reply that no client waits for: a prelude's or an abandoned one's."""
        is_ours = exchange.reason is None and exchange.state == REPLYING
        if exchange.state != DONE:
            exchange.move(DONE)
        if is_ours and self.connection is not None and not frame.marks & INTERIM:
            why = self.connection.on_prelude_reply(frame)
            if why is not None:
                self._on_bad_answer(exchange.note, why, now)

    def _on_bad_answer(self, purpose: str, why: str, now: float) -> None:
        if purpose is GREET:
            self.failed = True
            self.close(why, now, "greeting failed")  # counted by names of ours: a server has any number
        elif purpose is not PRELUDE:
            self.fail(f"{purpose} failed", Reason.SERVER_BROKE, why, now)
        elif self._asker is not None:  # who needed that state is told; the connection goes on without it
            exchange = self._asker
            self._take_out(exchange)
            if exchange.marks & PIN and self.owner is not None:
                self.give_back(now)
            if exchange.client is None:
                exchange.move(DONE)
            else:
                exchange.client.refuse(exchange, Reason.STATE_REFUSED, f"{self.server}: {why}", now)

    def _rearm(self, now: float) -> None:
        oldest = self._oldest()
        if self._held_for:
            self.expect_by(self._look)
        elif oldest is None or oldest is self._streaming or self.read_paused:
            # A server is not late while its client still owes it the rest of the request.
            self.deadline = INF
        else:
            late = oldest.sent + self.pool.reply_timeout
            self.expect_by(late if self.owner is not None else min(late, now + self.shared_pool.first_look))

    def _read_on(self, now: float) -> None:
        super()._read_on(now)
        if self._oldest() is not None:
            self._rearm(now)

    def on_last_call(self, why: str) -> None:
        """What is in flight finishes here; nothing new is written, not even what was gathered for it."""
        if self.retiring:
            return
        self.retiring = why
        self.shared_pool.take_back(None, self.take_unwritten(), [])

    # -- pins --------------------------------------------------------------------------------------

    def give_back(self, now: float) -> None:
        """From its owner to all others, in a state that is known or not at all."""
        self.unpin()
        if self.read_paused and not self._held_for:  # for its owner, who does not wait for it any more
            self.resume_reading(now)
            self._rearm(now)
        connection = self.connection
        if connection is None or not connection.dirty or self.state != OPEN:
            return
        data, replies = connection.reset()
        if replies:
            self._ask(data, replies, RESET, now)
            self.needs = connection.state
        else:
            self.retiring = "session left a state behind"

    def on_owner_left(self, now: float) -> None:
        """Reset, and another's; but who leaves while it blocks, or in the middle of a request, takes the
        connection along at once."""
        if self.state != OPEN:
            return
        blocks = any(
            exchange.pin[1] for exchange in (*self._waiting_for_reply(), *self._out) if exchange.marks & PIN
        )
        connection, is_over = self.connection, self.retiring or self.outdated
        if connection is None or is_over or blocks or self._streaming is not None:
            self.close("pinned session ended", now)
            return
        connection.dirty = True
        self.give_back(now)
        self.pool.release(self, now)

    # -- ends --------------------------------------------------------------------------------------

    def _take_out(self, exchange: Exchange) -> None:
        """Sent, but not written: as if it had not been."""
        self._out.remove(exchange)
        exchange.upstream = None
        if not exchange.marks & ONEWAY:
            self.in_flight -= exchange.weight
            self.server.in_flight -= exchange.weight
        if exchange is self._streaming:
            self._streaming = None
        if exchange is self._asker:
            self._asker = None
        if exchange is self._calm:
            self._calm = None

    def _on_room(self, now: float) -> None:
        if self.state == OPEN:
            self.pool.release(self, now)

    def abandon(self, exchange: Exchange, now: float) -> None:
        if exchange in self._out:
            # Written later, a MULTI would stand behind the reset that its client's leaving brings (P2).
            self._take_out(exchange)
            exchange.move(DONE)
            self.pool.world.soon(lambda: self._on_room(now))  # when all of its client's are gone (P4)
            return
        if exchange.marks & ONEWAY:
            exchange.move(DONE)
        else:
            exchange.move(ABANDONED)
        if exchange is self._streaming:
            self.close("client left", now)

    def cut(self, exchange: Exchange, now: float) -> None:
        if exchange in self._out:
            self._take_out(exchange)
        else:
            exchange.client = None  # and the others on it are told by their own clients

    def give_up(self, exchange: Exchange, now: float) -> None:
        why = "request incomplete"
        owed = [other for other in self.take_owed() if other is not exchange]
        self.close(why, now)
        self.lose(owed, Reason.SERVER_CLOSED, why, now)

    def on_reply_deadline(self, now: float) -> None:
        """Those whose time is up get their error; the connection lives on unless its oldest is stuck."""
        timeout = self.pool.reply_timeout
        oldest = self._oldest()
        if oldest is None or oldest is self._streaming:
            return
        look = self._look_at_silence(now)
        if oldest.sent + 2 * timeout <= now:
            self.fail("reply timeout", Reason.REPLY_TIMEOUT, f"stuck for {2 * timeout:g} s", now)
            return
        next_look = min(look, oldest.sent + 2 * timeout)
        for exchange in self._waiting_for_reply():
            if exchange is self._streaming:
                break
            if exchange.sent + timeout > now:
                next_look = min(next_look, exchange.sent + timeout)
                break
            client = exchange.client
            if client is not None:
                exchange.client = None
                client.refuse(
                    exchange, Reason.REPLY_TIMEOUT, f"{self.server}: no reply for {timeout:g} s", now
                )
        self.expect_by(next_look)

    def on_write_paused(self, now: float) -> None:
        self._write_paused = True
        if self._streaming is not None and self._streaming.client is not None:
            self._streaming.client.halt()

    def on_write_resumed(self, now: float) -> None:
        self._write_paused = False
        if self._streaming is not None and self._streaming.client is not None:
            self._streaming.client.halt(False)

    def on_server_eof(self, now: float) -> bool:
        self.on_broken_off(now)
        self.fail("server closed", Reason.SERVER_CLOSED, "server closed the connection", now)
        return False

    def lose(self, owed: list[Exchange], reason: Reason, text: str, now: float) -> None:
        super().lose(owed, reason, text, now)
        self.pool.serve(now)  # those that take_owed put back may find room elsewhere at once

    def take_owed(self) -> list[Exchange]:
        """What was written, to be lost; what was not goes back to the pool first."""
        out, self._out = self._out, []
        unwritten = [exchange for exchange in out if exchange.client is not None]
        owed = self._all()
        self.server.in_flight -= self.in_flight
        self.in_flight = 0
        self._streaming = self._doubt = self._asker = self._calm = None
        queue, self.queue = self.queue, None
        waiting = []
        while queue is not None and queue.size:
            waiting.append(queue.pop())
        if queue is not None:
            queue.close()
        lost = self.shared_pool.take_back(self.owner, unwritten, waiting)
        return owed + lost + [exchange for exchange in out if exchange.client is None]
