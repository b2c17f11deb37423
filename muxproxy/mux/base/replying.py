"""What a client gets: replies in its order, refusals, and what follows when one is out.

The half of a Client that writes; client.py is the half that reads. Only the first exchange that is owed may
write to the client, what others get meanwhile is parked. (Where replies have ids, any one that has begun may
finish: tagged/client.py.)
"""

from __future__ import annotations

from typing import Final

from muxproxy.mux.admission.memory import HEAVY, PARKED
from muxproxy.mux.base.accounts import Accounts
from muxproxy.mux.base.patience import ENDING, IDLE, OWED, TUNNEL, Patience
from muxproxy.mux.deadlines import INF
from muxproxy.mux.exchange import BEGUN, DONE, Exchange
from muxproxy.mux.ports import Wire
from muxproxy.protocols.contract import (
    END_CLIENT,
    FIRST,
    INTERIM,
    LAST,
    ONEWAY,
    SWITCH,
    UNTOLD,
    Frame,
    Reason,
)

# looking a member up costs more than the rest of a line
_OK: Final = Reason.OK
_LOCAL: Final = Reason.LOCAL
MOMENT: Final = 0.1  # seconds in which what lies in our kernel is read
LULL: Final = 1.0  # seconds of silence after which a drain that is gentle closes who is owed nothing


class Replying(Patience):
    """What a client has, and how it is answered. All times are the loop's, in seconds."""

    __slots__ = (
        "_again",
        "_flushing",
        "_framing",
        "_held",
        "_pushes",
        "framer",
        "session",
    )

    def __init__(self, pool: Accounts, wire: Wire | None, now: float) -> None:
        super().__init__(pool, wire, now)
        self.framer = pool.protocol.requests()
        self.session = pool.protocol.session(self.framer)
        self.pinned = None
        self.upstream = None
        self._held: Exchange | None = None  # the first that may not go to the pool yet
        self._pushes: list[bytes] | None = None  # what it is fed while a reply is half out
        self._framing = False  # on_data's loop is running
        self._flushing = False  # _settle's loop is running
        self._again = False  # the framer holds a request that may be framed now

    def deliver(self, exchange: Exchange, frame: Frame, now: float) -> None:
        if exchange is not self.first:
            self._park(exchange, frame, now)
            return
        data = frame.data
        marks = frame.marks
        self.pool.bytes_to_clients += len(data)
        if data and self.wire is not None:
            if exchange.after is not None or self._kept is not None or self.write_paused:
                self.put(data, more=exchange.after is not None)
            elif marks & END_CLIENT:
                self.pool.world.write_last(self.wire, data)
            else:
                self.wire.write(data)
        if marks & LAST:
            exchange.move(DONE)  # as Pool.end, without the call
            exchange.reason = _OK
            self.pool.replied += exchange.weight
            self._settle(exchange, marks, now)
            return
        if not marks & INTERIM:
            exchange.begun |= BEGUN | marks & UNTOLD
        elif exchange is self.filling:  # 100 Continue, as a rule: now it is the client's turn
            self._allowed_from = now
        if marks & SWITCH:
            self.on_switch(exchange, now)
        elif self.phase == TUNNEL:
            self.deadline = now + self.pool.tunnel_timeout
        if self.write_paused:
            self._pace(now)

    def refuse(self, exchange: Exchange, reason: Reason, text: str, now: float) -> None:
        self.pool.end(exchange, reason)
        if exchange.begun:
            self.end_cut(now, is_told=not exchange.begun & UNTOLD, linger=not exchange.whole)
            return
        self._unpark_half(exchange)
        if exchange is self.filling and exchange is not self.first:  # told in its turn; the rest is discarded
            self.filling, self.phase, self.deadline = None, OWED, INF
        closing = not exchange.whole or self.pool.draining
        if exchange.marks & ONEWAY:  # a reply that nobody expects would be taken for the next one's (P2)
            frame = Frame(b"", FIRST | LAST)
        else:
            frame = self.pool.refusal(reason, text, exchange, closing, now)
        self._answer(exchange, frame, now, linger=closing)

    def _answer(self, exchange: Exchange, frame: Frame, now: float, *, linger: bool) -> None:
        """`frame` is the whole reply to an exchange that has been counted."""
        if linger and exchange is not self.first:
            frame = Frame(frame.data, frame.marks | END_CLIENT)
        if exchange is not self.first:
            self._park(exchange, frame, now)
            return
        if self.wire is not None:
            self.pool.bytes_to_clients += len(frame.data)
            self.put(frame.data, more=exchange.after is not None)
            if frame.marks & END_CLIENT and exchange.reason is _LOCAL and exchange.after is None:
                self.uncork()
                self.pool.world.finish(self.wire)  # QUIT: who reads to the end has it with the answer
        self._settle(exchange, frame.marks | END_CLIENT if linger else frame.marks, now)

    def _park(self, exchange: Exchange, frame: Frame, now: float) -> None:
        if exchange.parked is None:
            exchange.parked = []
        exchange.parked.append(frame)
        self._parked += len(frame.data) + PARKED
        if self._parked > self.pool.clients_config.response_buffer:
            self._regulate()

    def _settle(self, exchange: Exchange, marks: int, now: float) -> None:
        """The reply to the first exchange is out: what now?"""
        if self._pushes is not None:
            self._push_kept()
        if exchange.after is None:
            self.first = self.last = None
        else:
            self._unlink(exchange)
        early = self.filling is exchange
        if marks & END_CLIENT or early:
            self.filling = None
            # A client that is still sending must not lose the reply to an RST.
            unread = self._framing and self.pool.draining  # what it had asked besides may lie in our kernel
            refused = exchange.reason is Reason.BAD_REQUEST
            self.end(now, linger=early or unread or refused or not exchange.whole)
            return
        first = self.first
        if first is None:
            if not self.write_paused:
                self.phase = IDLE
                self.deadline = deadline = now + self.pool.client_idle_timeout
                if deadline < self.wake:
                    self.pool.slow.watch(self)
            framer = self.framer
            framer.resume()
            if framer.held:
                self._again = True
                if not self._framing:
                    self.on_data(b"", now)
            elif self.pool.draining and not framer.more and not self.may_stay(now):
                self.end(now, linger=self._may_be_asking())
        elif first.parked is not None and not self._flushing:
            self._flushing = True  # a loop, not a recursion: thousands may be parked behind one slow reply
            while self.first is not None and self.first.parked is not None:
                self._unpark(self.first, now)
            self._flushing = False
        if self._read_paused:
            self._regulate()
        if self._held is not None:
            self.proceed(now)

    def may_stay(self, now: float) -> bool:
        """In a drain: who is idle, for a while. A gentle one's FIN would meet its next request on the way; a
        protocol that can announce its close has done so in the reply. And who is being read, or was not,
        may have asked more before it began: that is read, and answered, first."""
        is_gentle = now < self.pool.gentle_until
        if self.phase != IDLE or not (is_gentle or self._unheard or self._framing):
            return False
        self.expect(IDLE, now + (LULL if is_gentle else MOMENT))
        return True

    def postpone(self) -> None:
        if self.busy or self.wire is None or self.wire.is_closing():
            return
        self.busy = True
        if not self._read_paused:
            self._read_paused = self._unheard = True
            self.wire.pause_reading()
        self.pool.world.postpone(self)

    def go_on(self, now: float) -> None:
        self.busy = False
        self._taken = 0
        if self.wire is None or self.wire.is_closing():
            return
        if self.phase == ENDING:  # what is thrown away has a budget, too
            if self._read_paused:
                self._read_paused = False
                self.wire.resume_reading()
            return
        if not self._is_full():
            self.on_data(b"", now)
        self._regulate()
        if self.pool.draining and not self.busy:
            self.drain(now)

    def _has_more(self) -> bool:
        return self.framer.more > 0 or (self._again and not self._framing)

    def _pace(self, now: float) -> None:
        """Its socket is full: is an upstream that is its own read all the same (P5)?"""
        upstream = None if self.first is None else self.first.upstream
        if upstream is None or upstream.is_shared():
            return
        if self.is_behind() or not self._is_pipelining():
            upstream.pause_reading()
        elif upstream.read_paused:
            upstream.resume_reading(now)

    def _grows_heavy(self) -> bool:
        framer = self.framer
        return framer.held > HEAVY or framer.more > HEAVY or super()._grows_heavy()

    def weight(self) -> int:
        if self.wire is None:
            return 0
        size = super().weight() + self.framer.held + self.framer.more
        return size if self.session is None else size + self.session.size

    def shares(self) -> tuple[int, int]:
        return self.unread(), 0 if self.session is None else self.session.size

    def _is_pipelining(self) -> bool:
        """It has asked for more before it has read this."""
        return self.framer.held > 0 and self.phase != TUNNEL

    def _may_be_asking(self) -> bool:
        """Its next request may be on its way, though it was answered a moment ago."""
        return False

    def _push_kept(self) -> None: ...  # the reply that was half out is out

    def _unpark(self, exchange: Exchange, now: float) -> None:
        parked, exchange.parked = exchange.parked, None
        for frame in parked or ():
            self._parked -= len(frame.data) + PARKED
            if exchange.state == DONE:
                self._answer(exchange, frame, now, linger=False)
            else:
                self.deliver(exchange, frame, now)
        if self.holding and not self.write_paused and not self._parked:
            self.let_go(now)
            self._rest(now)

    def _unlink(self, exchange: Exchange) -> None:
        before, after = exchange.before, exchange.after
        if before is None:
            self.first = after
        else:
            before.after = after
            exchange.before = None
        if after is None:
            self.last = before
        else:
            after.before = before
            exchange.after = None

    def on_switch(self, exchange: Exchange, now: float) -> None:
        """(SWITCH) The connection is opaque from here."""
        raise NotImplementedError

    def on_session(self, exchange: Exchange, now: float) -> None:
        exchange.whole = False
        self.filling, self._halted = exchange, False  # as in _begin_body
        self.expect(TUNNEL, now + self.pool.tunnel_timeout)
