"""A client of a TAGGED protocol: its replies go out in any order, but never one inside another.

Beside its exchanges it may ask whether we live (ASIDE). It is answered at once, but never in the middle of a
reply, and in a write of its own: the decoders of some consumers lose what comes in one read behind a
heartbeat. So what follows waits for APART, in which a consumer has read what it was told.
"""

from __future__ import annotations

from collections import deque
from typing import Final, cast

from muxproxy.mux.base.accounts import Accounts
from muxproxy.mux.base.patience import ENDING, IDLE, OWED
from muxproxy.mux.deadlines import INF
from muxproxy.mux.exchange import DONE, NEW, WAITING, Exchange
from muxproxy.mux.ports import Wire
from muxproxy.mux.shared.client import SharedClient
from muxproxy.native import i64
from muxproxy.protocols.contract import (
    ANSWER,
    ASIDE,
    BROKEN,
    END_CLIENT,
    FIRST,
    LAST,
    ONEWAY,
    Frame,
    Reason,
    TaggedProtocol,
)

# A reader that is awake takes what came within microseconds. The kernel joins what has not been read, and
# does not say what has: whoever sleeps longer loses here what it would lose without muxproxy, too.
APART: Final = 0.002  # seconds
MAX_ASIDE: Final = 4096  # bytes of answers that wait; beyond it a question gets none

FEW: Final = 12  # exchanges that it is owed, up to which no set is kept of their ids
LARGE: Final = 4096  # bytes of a reply that is not copied to be written
_LARGE: Final = 4096  # bytes of a request; smaller ones are bounded well enough by max_waiting
_TRICKLES: Final = (Reason.REQUEST_TIMEOUT, Reason.BAD_REQUEST)  # of which nothing more is waited for
_WHOLE: Final = FIRST | LAST
_OK: Final = Reason.OK  # looking a member up costs more than the rest of a line


class TaggedClient(SharedClient):
    """Replies in any order, each by itself: whoever has begun to write finishes before another begins."""

    __slots__ = ("_aside", "_mute", "_protocol", "_tags", "_talking", "_told")

    def __init__(self, pool: Accounts, wire: Wire | None, now: float) -> None:
        super().__init__(pool, wire, now)
        self._protocol = cast(TaggedProtocol, pool.protocol)
        self._talking: Exchange | None = None
        self._mute: deque[Exchange] = deque()  # those with parked frames, in the order of their first
        self._tags: set[int] | None = None  # of all that it is owed a reply for, when those are many
        self._aside = b""  # what waits for the end of a reply
        self._told = False  # to ask elsewhere

    # -- requests ----------------------------------------------------------------------------------

    def _on_frame(self, frame: Frame, now: float) -> None:
        marks = frame.marks
        is_plain = marks == _WHOLE and self.session is None
        pool = self.pool
        if is_plain and self.phase != ENDING and not pool.draining and not self._is_asked(frame.tag):
            # As nearly always, and what Client does then.
            if self._tags is not None:
                self._tags.add(frame.tag)
            exchange = Exchange(self, frame)
            if not self._owe(exchange, now):
                return
            pool.submit(exchange, now)
            if exchange.state == WAITING:
                self._on_waits(frame)
            return
        if marks & FIRST and self.phase != ENDING:
            if marks & ASIDE:
                self._on_aside(frame, now)
                return
            if marks & BROKEN:
                pool.fault(Reason.BAD_REQUEST, frame.note)
            elif not marks & ONEWAY:
                tag = frame.tag
                if self._is_asked(tag):  # which of the two would a reply be for? (P2)
                    why = f"id {tag} is in flight already"
                    pool.fault(Reason.BAD_REQUEST, why)
                    frame = Frame(b"", FIRST | BROKEN, why)
                elif self._tags is not None:
                    self._tags.add(tag)
            if pool.draining and now >= pool.gentle_until and not frame.marks & (ANSWER | BROKEN):
                frame = self._refusal(frame)
        super()._on_frame(frame, now)
        if self.last is not None and self.last.state == WAITING:
            self._on_waits(frame)

    def _is_asked(self, tag: int) -> bool:
        """It is owed a reply under that id. Of few the ledger is asked, which is cheaper than to keep a set
        of what it says; of many that set."""
        if self._tags is not None:
            if self.first is not None:
                return tag in self._tags
            self._tags = None
        exchange = self.last
        left = FEW
        while exchange is not None:
            if exchange.tag == tag and not exchange.marks & ONEWAY:
                return True
            left -= 1
            if not left:
                self._tags = tags = self._owed_tags()
                return tag in tags
            exchange = exchange.before
        return False

    def _owed_tags(self) -> set[int]:
        tags: set[int] = set()
        exchange = self.last
        while exchange is not None:
            if not exchange.marks & ONEWAY:
                tags.add(exchange.tag)
            exchange = exchange.before
        return tags

    def _refusal(self, frame: Frame) -> Frame:
        """In a drain nothing new begins: who always has something in flight would keep it waiting."""
        text = f"{self.pool.name}: muxproxy is stopping"
        kept = frame.marks & (FIRST | LAST | ONEWAY)
        if kept & ONEWAY:
            return Frame(b"", kept | ANSWER, Reason.DRAINING)
        data = self.pool.protocol.refusal(Reason.DRAINING, text, note=frame.note, tag=frame.tag).data
        return Frame(data, kept | ANSWER, Reason.DRAINING, frame.tag)

    def drain(self, now: float) -> None:
        """Told to ask elsewhere; what it is owed it gets, and then its connection ends."""
        if self.phase != ENDING and not self._told:
            self._told = True
            self._aside += self._protocol.goodbye()
            self._say_aside()
        super().drain(now)

    def _on_waits(self, frame: Frame) -> None:
        if len(frame.data) >= _LARGE:
            self.pool.memory.add(self)
            self._regulate()

    def _on_aside(self, frame: Frame, now: float) -> None:
        self.pool.count(Reason.LOCAL)
        if self.first is None and not self.write_paused:
            self.expect(IDLE, now + self.pool.client_idle_timeout)
        if len(self._aside) + len(frame.data) <= MAX_ASIDE:
            self._aside += frame.data
        self._say_aside()

    def _say_aside(self) -> None:
        """Between two replies."""
        busy = self._talking is not None or self._apart > 0 or self.write_paused or self.phase == ENDING
        if not self._aside or busy or self.wire is None:
            return
        data, self._aside = self._aside, b""
        self.uncork()  # what is kept stands before it
        self.pool.bytes_to_clients += len(data)
        self.wire.write(data)
        self._apart = self.pool.clients_config.response_buffer
        self._kept = [b""]
        self.pool.world.later(APART, self._join)

    def _join(self) -> None:
        """What was said has been read by now."""
        if self._apart:
            self._apart = 0
            self.uncork()
            self._say_aside()

    def end(self, now: float, *, linger: bool) -> None:
        self._apart = 0
        super().end(now, linger=linger)

    def abort(self) -> None:
        self._apart = 0
        super().abort()

    def on_write_resumed(self, now: float) -> None:
        super().on_write_resumed(now)
        self._say_aside()

    def _is_ahead(self, last: Exchange) -> bool:
        """More of what it has sent waits for a connection than is kept of one request: the rest may wait in
        its socket (P7). What waits for a limit does not count: others of its requests may pass."""
        queues = (self.pool.queue, self.pool.stream_queue, self.pool.retry_queue)
        waiting = 0
        exchange: Exchange | None = last
        while exchange is not None and exchange.state == WAITING:
            if exchange.queue in queues:
                waiting += len(exchange.data) + exchange.size
            if waiting > self.pool.clients_config.request_buffer:
                return True
            exchange = exchange.before
        return False

    def _is_full(self) -> bool:
        filling = self.filling
        before = None if filling is None or filling.state != NEW else filling.before
        # what has begun holds no connection yet
        return super()._is_full() or (before is not None and self._is_ahead(before))

    def _is_pipelining(self) -> bool:
        return True

    def _may_be_asking(self) -> bool:
        return True  # whoever always has something in flight may be sending the next one now

    def proceed(self, now: float) -> None:
        """One of those that waited has gone."""
        if self._read_paused:
            self._regulate()

    def on_eof(self, now: float) -> bool:
        if self.framer.midway or self.filling is not None:
            self.pool.fault(Reason.CLIENT_BROKE, "the connection ended in the middle of a frame")
            if self.framer.midway:
                self.pool.count(Reason.CLIENT_BROKE)
            self.leave(Reason.CLIENT_BROKE, now)
        return super().on_eof(now)

    # -- replies -----------------------------------------------------------------------------------

    def deliver(self, exchange: Exchange, frame: Frame, now: float) -> None:
        if self._talking is None or self._talking is exchange:
            self._bring_forward(exchange)
            self._talking = None if frame.marks & LAST else exchange
        super().deliver(exchange, frame, now)

    def deliver_whole(self, exchange: Exchange, data: bytes, at: i64, end: i64, now: float) -> None:
        """As `deliver`, of the reply `data[at:end]`, which still has our id."""
        tag = exchange.tag
        if self.first is self.last and self._is_plain():
            self._deliver_last(exchange, data, at, end, now)
            return
        protocol = self._protocol
        if self._talking is not None or self.first is self.last or self._read_paused:
            self.deliver(exchange, Frame(protocol.retag_span(data, at, end, tag), _WHOLE, None, tag), now)
            return
        # Others are owed, so there is no more to settle than this one: as deliver and _settle, without five
        # calls.
        self._unlink(exchange)
        pool = self.pool
        pool.bytes_to_clients += end - at
        if self._apart or pool.corked is None:
            if self.wire is not None:
                self.put(protocol.retag_span(data, at, end, tag), more=True)
        elif self.wire is not None:
            kept = self._kept  # as put
            if kept is None:
                kept = self._kept = []
                pool.corked.append(self)
            protocol.retag_span_into(kept, data, at, end, tag)
        exchange.move(DONE)
        exchange.reason = _OK
        pool.replied += exchange.weight
        if self._tags is not None:
            self._tags.discard(tag)

    def _is_plain(self) -> bool:
        """There is nothing to settle but what it is owed."""
        return not (
            self._kept is not None
            or self._read_paused
            or self.write_paused
            or self._talking is not None
            or self.filling is not None
            or self.wire is None
            or self._aside
            or self._mute
            or self.framer.held
            or self.pool.draining
        )

    def _deliver_last(self, exchange: Exchange, data: bytes, at: i64, end: i64, now: float) -> None:
        """All that it is owed, where _is_plain: as deliver and _settle."""
        wire = self.wire
        assert wire is not None
        pool = self.pool
        pool.bytes_to_clients += end - at
        if end - at < LARGE:
            wire.write(self._protocol.retag_span(data, at, end, exchange.tag))
        else:
            parts: list[bytes | memoryview] = []
            self._protocol.retag_span_into(parts, data, at, end, exchange.tag)
            wire.writelines(parts)
        exchange.move(DONE)
        exchange.reason = _OK
        pool.replied += exchange.weight
        self.first = self.last = None
        if not self.write_paused:
            self.phase = IDLE
            self.deadline = deadline = now + pool.client_idle_timeout
            if deadline < self.wake:
                pool.slow.watch(self)
        self.framer.resume()
        if self._read_paused:
            self._regulate()

    def _answer(self, exchange: Exchange, frame: Frame, now: float, *, linger: bool) -> None:
        if linger and not exchange.whole and exchange.reason not in _TRICKLES and not self.pool.draining:
            linger = False  # what is still to come of it is skipped: where it ends is known
        if linger and exchange.reason not in _TRICKLES and self.first is not self.last:
            linger = False  # a drain: the others get theirs first, and the last one ends the connection
        if self._talking is None or self._talking is exchange:
            self._bring_forward(exchange)
        super()._answer(exchange, frame, now, linger=linger)

    def _park(self, exchange: Exchange, frame: Frame, now: float) -> None:
        if exchange.parked is None:
            self._mute.append(exchange)
        super()._park(exchange, frame, now)

    def _settle(self, exchange: Exchange, marks: int, now: float) -> None:
        self._talking = None
        if self._aside:
            self._say_aside()
        if self._tags is not None and not exchange.marks & ONEWAY:
            self._tags.discard(exchange.tag)
        if self.filling is exchange and not marks & END_CLIENT:
            self.filling = None  # answered early, and as in _answer
            if not self.write_paused:
                self.phase, self.deadline = OWED, INF
        super()._settle(exchange, marks, now)
        if self._flushing:
            return
        self._flushing = True
        while self._mute and not self._is_talking() and self.phase != ENDING:
            mute = self._mute.popleft()
            if mute.parked is not None:
                self._bring_forward(mute)
                self._unpark(mute, now)
        self._flushing = False

    def _is_talking(self) -> bool:
        return self._talking is not None

    def _unpark(self, exchange: Exchange, now: float) -> None:
        super()._unpark(exchange, now)
        if self._talking is exchange and not self.write_paused:
            for upstream in self.holding:
                if upstream is exchange.upstream:
                    # It is not read because of what is parked, which goes out only when this reply has ended.
                    self.holding = tuple(each for each in self.holding if each is not upstream)
                    upstream.unhold(self, now)
                    return

    def _bring_forward(self, exchange: Exchange) -> None:
        """To the head of the ledger: among tagged replies the order is free."""
        if self.first is exchange:
            return
        self._unlink(exchange)
        first = self.first
        if first is not None:
            first.before = exchange
            exchange.after = first
        else:
            self.last = exchange
        self.first = exchange
