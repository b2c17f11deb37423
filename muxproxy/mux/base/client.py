"""What we owe one client, in order.

A client's exchanges stand in a list through the exchanges themselves, oldest first. How they are answered is
replying.py's; how long we wait for the client, and how its connection ends, patience.py's.
"""

from __future__ import annotations

from muxproxy.mux.admission.memory import HEAVY
from muxproxy.mux.base.patience import BODY, ENDING, FRESH, HEAD, IDLE, OWED, STALLED, TUNNEL, UNDECIDED
from muxproxy.mux.base.replying import Replying
from muxproxy.mux.deadlines import INF
from muxproxy.mux.exchange import ABANDONED, DONE, NEW, REPLYING, SENT, WAITING, Exchange
from muxproxy.mux.work import LARGE
from muxproxy.protocols.contract import (
    ANSWER,
    BROKEN,
    EAGER,
    END_CLIENT,
    FIRST,
    FRAMES,
    LAST,
    PIN,
    Frame,
    Reason,
)


class Client(Replying):
    """The brain of one client's connection. All times are the loop's, in seconds."""

    __slots__ = ()

    # -- told by the hands -------------------------------------------------------------------------

    def on_opened(self, now: float, data: bytes = b"") -> None:
        pool = self.pool
        pool.clients[self] = None
        if len(pool.clients) > pool.most_clients:
            if pool.keeps_client(self, data, now):
                self.busy = True  # and so it is not read
                self.phase = UNDECIDED
                self._regulate()
            else:
                self.turn_away(now)
        else:
            self._begin(now)
            if data:
                self.on_data(data, now)
        if self.deadline < self.wake:  # whose request is here is not waited for: most have no deadline ever
            pool.slow.watch(self)

    def enter(self, data: bytes, now: float) -> None:
        """It waited for that, undecided, and may stay; `data`: what it had sent."""
        self.busy = False
        if self.phase == ENDING or self.wire is None:
            return
        self.phase = FRESH
        self._begin(now)
        if data:
            self.on_data(data, now)
        self._regulate()

    def turn_away(self, now: float) -> None:
        """There are as many as may be."""
        self.busy = False
        self.phase = FRESH
        text = f"{self.pool.name}: {self.pool.clients_config.max_connections} clients are connected"
        self.refuse_connection(Reason.CLIENTS_FULL, text, now)

    def _on_early(self, data: bytes) -> None:
        """uvloop reads once from whoever is not to be read, where it was told so as he connected."""
        self.pool.keep_early(self, data)
        if self.wire is not None:
            self.wire.pause_reading()

    def _begin(self, now: float) -> None:
        """It is connected, and may stay."""

    def on_data(self, data: bytes, now: float) -> None:
        size = len(data)
        if self._unheard and size:
            self._unheard = False
        if size >= LARGE:
            self.take(size)
        elif not size and self.busy:
            return  # in its turn
        if self.phase >= ENDING:
            if self.phase == UNDECIDED:
                self._on_early(data)
            else:
                self.discard(size)
            return
        self.pool.bytes_from_clients += size
        self._asks_on = self.write_paused
        framer = self.framer
        self._framing = True
        one = framer.one(data)
        if one is not None:
            self._on_frame(one, now)
        else:
            frames = framer.feed(data)
            if len(frames) == 1:  # an iterator is dearer than this question
                self._on_frame(frames[0], now)
            else:
                for frame in frames:
                    self._on_frame(frame, now)
        turns = FRAMES
        while self._again and turns:
            turns -= 1
            self._again = False
            for frame in framer.feed(b""):
                self._on_frame(frame, now)
        self._framing = False
        if framer.more or not turns:
            self.pool.count_event("client_turns_over_budget")
            self.postpone()
        if self.write_paused:
            self._pace(now)
        if self.first is None or self._read_paused or framer.held:
            self._after_data(now)

    def on_eof(self, now: float) -> bool:
        # FIN means that the client has left, as for nginx (499) and Go's net/http: a client that
        # waits and one that is gone look alike, and serving the gone is what fills queues.
        self._unheard = False
        self.leave(Reason.CLIENT_LEFT, now)
        if self._cut:
            self.abort()
        else:
            self.end(now, linger=False)  # with the replies that it still has to take
        return False

    def is_owed(self) -> bool:
        return self.first is not None

    def is_read_paused(self) -> bool:
        return self._read_paused

    def idle_since(self) -> float:
        framer = self.framer
        is_midway = self._read_paused or self.busy or framer.midway or framer.held or framer.more
        if self.phase != IDLE or self.first is not None or is_midway or self.is_listening():
            return INF
        return self.deadline - self.pool.client_idle_timeout

    def on_closed(self, now: float) -> None:
        if self.wire is not None:
            self.wire = self._backlog = None
            if self.wake != INF:
                self.pool.slow.forget(self)
            if self.busy:
                self.pool.forget_client(self)
            clients = self.pool.clients
            if self in clients:
                del clients[self]
            if self.phase != ENDING:  # else it has left
                self.leave(Reason.CLIENT_LEFT, now)
            if self.pool.draining:
                self.pool.maybe_drained()

    def on_write_paused(self, now: float) -> None:
        self.write_paused = True
        if self.phase != ENDING and self.wire is not None:
            self._pace(now)
            self.on_stalled(now)
            self._regulate()

    def on_write_resumed(self, now: float) -> None:
        self.write_paused = False
        self._took_at = now
        self._write_backlog()
        if self.phase == ENDING or self.wire is None:
            return
        if self.write_paused:
            if 2 * self.unread() <= self.pool.clients_config.pipeline_buffer:  # not one by one at the bound
                self.let_go(now)
                self._pace(now)
            return
        first = self.first
        if first is not None and first.upstream is not None and not first.upstream.is_shared():
            first.upstream.resume_reading(now)
        self.let_go(now)
        self._rest(now)
        self._regulate()

    # -- requests ----------------------------------------------------------------------------------

    def _on_frame(self, frame: Frame, now: float) -> None:
        marks = frame.marks
        if self.phase == ENDING:
            return
        if not marks & FIRST:
            self._continue(frame, now)
            return
        session = self.session
        if session is not None and not marks & (ANSWER | BROKEN):
            frame = session.on_request(frame)
            marks = frame.marks
        exchange = Exchange(self, frame)
        if not self._owe(exchange, now):
            return
        if marks & (ANSWER | BROKEN):
            self._on_local(exchange, frame, now)
            return
        if session is not None:
            exchange.needs = session.needs
            if marks & PIN:
                exchange.pin = (session.pin_reason, session.patience)
        if marks & LAST:
            self.pool.submit(exchange, now)
        else:
            self._begin_body(exchange, now)

    def _owe(self, exchange: Exchange, now: float) -> bool:
        """The newest on its ledger. False: it was refused, for those before it are not read."""
        last = self.last
        if last is None:
            self.first = exchange
        else:
            last.after = exchange
            exchange.before = last
        self.last = exchange
        if self.write_paused:
            return not self._is_refused_unread(exchange, now)
        self.phase = OWED
        self.deadline = INF
        return True

    def _is_refused_unread(self, exchange: Exchange, now: float) -> bool:
        """It asks for more and does not read: what it has coming is kept for it up to pipeline_buffer.
        Beyond, it is told so of each request, and with a quarter more, refusals and all, it ends (P7). Who
        reads meanwhile only has to wait (P5)."""
        bound = self.pool.clients_config.pipeline_buffer
        unread = self.unread()
        if unread <= bound or now < self._took_at + self.pool.clients_config.hold_timeout:
            return False
        if unread > bound + bound // 4:
            self.leave(Reason.UNREAD, now)
            if self._cut:
                self.abort()
            else:
                self.end(now, linger=True)
            return True
        if exchange.marks & (ANSWER | BROKEN):  # its session has answered, and goes by that
            return False
        text = f"{self.pool.name}: {unread} bytes of replies are unread, pipeline_buffer is {bound}"
        self.refuse(exchange, Reason.UNREAD, text, now)
        return True

    def _on_local(self, exchange: Exchange, frame: Frame, now: float) -> None:
        reason = frame.note
        if frame.marks & BROKEN:
            self.pool.end(exchange, Reason.BAD_REQUEST)
            self._unlink(exchange)
            self.leave(Reason.CLIENT_BROKE, now)
            self.abort()
            return
        if not isinstance(reason, Reason):
            reason = Reason.BAD_REQUEST if not self.session or frame.marks & END_CLIENT else Reason.LOCAL
        self.pool.end(exchange, reason)
        self._answer(exchange, frame, now, linger=reason is Reason.BAD_REQUEST)

    def _begin_body(self, exchange: Exchange, now: float) -> None:
        self.filling = exchange
        self._halted = False  # that was for another body, whose upstream need not take it to its end
        self.start_clock(exchange, now)
        self._expect_body(now)
        if exchange.marks & EAGER or len(exchange.data) >= self.pool.clients_config.request_buffer:
            self._submit_streaming(exchange, now)
            self._regulate()
        elif len(exchange.data) > HEAVY:
            self.pool.memory.add(self)

    def _submit_streaming(self, exchange: Exchange, now: float) -> None:
        """NEW => as Pool.submit, with more of the request to come."""
        self.pool.submit(exchange, now)

    def _expect_body(self, now: float) -> None:
        self.expect(BODY, now + self.pool.clients_config.hold_timeout)

    def _continue(self, frame: Frame, now: float) -> None:
        """A further part of the request that is coming in."""
        exchange = self.filling
        if exchange is None:
            return  # it was answered early; what is left of it is discarded
        if frame.marks & BROKEN:
            self._refuse_rest(exchange, Reason.BAD_REQUEST, frame.note, now)
            return
        self.pay(len(frame.data), now)
        last = frame.marks & LAST
        if last:
            exchange.whole = True
            self.filling = None
            if self.write_paused:
                self.on_stalled(now)
            else:
                self.phase = OWED
                self.deadline = INF
        elif self.phase == TUNNEL:
            self.deadline = now + self.pool.tunnel_timeout
        state = exchange.state
        if state in (SENT, REPLYING):
            if exchange.upstream is not None:  # else its reply is here already, and waits for its turn
                exchange.upstream.send_more(exchange, frame.data, now)
            return
        exchange.keep(frame.data)
        if state == NEW:
            if last:
                self.pool.submit(exchange, now)
            elif exchange.size >= self.pool.clients_config.request_buffer:
                self._submit_streaming(exchange, now)
        self._regulate()

    def _after_data(self, now: float) -> None:
        while (
            self.first is None
            and self.session is not None
            and self.framer.held
            and self.phase != ENDING
            and not self.busy
        ):
            # held behind a barrier for a request that was answered before it was in: nobody else says go on
            self.framer.resume()
            frames = self.framer.feed(b"")
            for frame in frames:
                self._on_frame(frame, now)
            if not frames:
                break
        if self.first is None and self.phase <= IDLE and self.framer.midway:
            self.expect(HEAD, now + self.pool.clients_config.head_timeout)
        self._regulate()
        if self._read_paused and self.phase == OWED:
            self.expect(OWED, now + self.pool.clients_config.stall_timeout)

    def on_sent(self, now: float) -> None:
        if self.filling is not None:
            self.start_clock(self.filling, now)
        self._regulate()

    def halt(self, is_full: bool = True) -> None:
        self._halted = is_full
        self._regulate()

    def _is_ahead(self, last: Exchange) -> bool:
        return self.framer.held > 0

    def on_shorter_tunnels(self, now: float) -> None:
        """Its bytes move its deadline by plain stores, which the wheel does not see if that comes earlier."""
        deadline = now + self.pool.tunnel_timeout
        if self.phase == TUNNEL and deadline < self.deadline:
            self.expect(TUNNEL, deadline)

    # -- ends --------------------------------------------------------------------------------------

    def drain(self, now: float) -> None:
        """As soon as nothing is owed but what is in its wire's buffer."""
        if (
            self.first is None
            and self.phase in (IDLE, STALLED)
            and not (self.framer.held or self.framer.more)
            and not self.may_stay(now)
        ):
            self.end(now, linger=False)
        self.hurry(now)

    def cut_off(self, now: float) -> int:
        left = 0
        while self.first is not None and self.phase != ENDING and not self.first.begun:
            first, left, text = self.first, left + 1, f"{self.pool.name}: muxproxy is stopping"
            if first.upstream is not None:
                text += "; the request may have been served"
                first.upstream.cut(first, now)
            self.pool.take_out(first)
            self.refuse(first, Reason.DRAINING, text, now)
        if self.first is not None:
            left += self.leave(Reason.DRAINING, now)
            self.abort()
        elif self.phase != ENDING:  # nothing is owed; its next request has not come to an end, or not begun
            self.end(now, linger=False)
        return left

    def shed(self, text: str, now: float) -> None:
        """What is held for it is needed: it ends, with a word if there is nothing before that."""
        if self.phase == ENDING:  # it has been told
            self.abort()
            return
        self.pool.fault(Reason.MEMORY, text)
        first = self.first
        if not self.unread() and first is not None and first is self.filling and not first.begun:
            self._refuse_rest(first, Reason.MEMORY, text, now)
        elif not self.unread() and first is None:
            self.refuse_connection(Reason.MEMORY, f"{self.pool.name}: {text}", now)
        else:
            if first is None:
                self.pool.count(Reason.MEMORY)
            self.leave(Reason.MEMORY, now)
            self.abort()

    def on_bug(self, now: float) -> None:
        """Ours: something raised while its bytes were handled. What it may have touched is closed (P2)."""
        exchange = self.first
        while exchange is not None:
            if exchange.upstream is not None:
                exchange.upstream.on_bug(now)
                exchange = self.first  # that changed the ledger
            else:
                exchange = exchange.after
        self.leave(Reason.INTERNAL, now)
        self.abort()

    def end_session(self, exchange: Exchange, now: float) -> None:
        self.pool.end(exchange, Reason.OK)
        self.end(now, linger=False)

    def refuse_trickle(self, now: float) -> None:
        exchange = self.filling
        if exchange is None:
            text = f"{self.pool.name}: the request head is incomplete"
            self.refuse_connection(Reason.REQUEST_TIMEOUT, text, now)
            return
        self._refuse_rest(exchange, Reason.REQUEST_TIMEOUT, "the request body is incomplete", now)

    def _refuse_rest(self, exchange: Exchange, reason: Reason, why: str, now: float) -> None:
        """A request that has begun will never be complete."""
        if exchange.state in (NEW, WAITING):
            self.pool.take_out(exchange)
        elif exchange.upstream is not None:
            exchange.upstream.give_up(exchange, now)
        self.refuse(exchange, reason, f"{self.pool.name}: {why}", now)

    def leave(self, reason: Reason, now: float) -> int:
        """Nobody waits for our replies any more: give up what is owed. Returns how many exchanges that
        ended."""
        ended = 0
        self.filling = None
        self.phase = ENDING
        self.let_go(now)
        while self.first is not None:
            exchange = self.first
            self._unlink(exchange)
            exchange.parked = None
            self._cut |= exchange.begun != 0 and not exchange.is_session()
            if exchange.state not in (DONE, ABANDONED):
                ended += 1
                self.pool.abandon(exchange, reason, now)
        pinned, self.pinned = self.pinned, None
        if pinned is not None:
            pinned.on_owner_left(now)
        return ended
