"""Ledgers of connections with many exchanges in flight: by order and by tag.

What is sent while nothing is in flight goes out at once; otherwise requests gather in `_out` and are
written once per turn of the event loop: one system call for many clients' requests is what makes a
multiplexer cheap (DESIGN, the hot path). What is still in `_out` when the connection ends was not written,
and may go elsewhere without asking P9.

Pinned (`owner` set), the same ledgers serve one client alone.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from muxproxy.mux.deadlines import INF
from muxproxy.mux.exchange import ABANDONED, DONE, REPLYING, SENT, STREAM, Exchange
from muxproxy.mux.queue import Queue
from muxproxy.mux.upstream import OPEN, Upstream
from muxproxy.protocols.contract import (
    BROKEN,
    END_UPSTREAM,
    FIRST,
    INTERIM,
    LAST,
    ONEWAY,
    PIN,
    UNPIN,
    Frame,
    Reason,
    Sharing,
)

if TYPE_CHECKING:
    from muxproxy.mux.server import Server
    from muxproxy.mux.shared_pool import SharedPool


STREAMING = "streaming"  # why it is pinned: a request is coming in, whose parts must stand together


class ByOrder(Upstream):
    """ORDERED: replies come in the order of requests."""

    pool: SharedPool

    __slots__ = ("_out", "_streaming", "_write_paused", "connection", "owed", "queue", "reserved")

    def __init__(self, pool: SharedPool, server: Server, now: float) -> None:
        super().__init__(pool, server, now)
        self.connection = pool.protocol.connection(self.replies)
        self.owed: deque[Exchange] = deque()  # the ledger, oldest first, with preludes and abandoned ones
        self.queue: Queue | None = None  # clients that must stay on this connection and find it full
        self.reserved = False  # no more for the many: a client waits to have it alone
        self._out: list[Exchange] = []  # on the ledger, not written yet
        self._streaming: Exchange | None = (
            None  # its request is still coming in; pinned, so nobody else's follows
        )

        self._write_paused = False  # its wire's buffer is full

    # -- the ledger: what ByTag does otherwise -----------------------------------------------------

    def _enter(self, exchange: Exchange) -> None:
        self.owed.append(exchange)

    def _match(self, frame: Frame) -> Exchange | None:
        """Whose reply is this a frame of? None: nobody's."""
        return self.owed[0] if self.owed else None

    def _strike(self, exchange: Exchange) -> None:
        self.owed.popleft()

    def _oldest(self) -> Exchange | None:
        return self.owed[0] if self.owed else None

    def _all(self) -> list[Exchange]:
        everything = list(self.owed)
        self.owed.clear()
        return everything

    def load(self) -> int:
        return len(self.owed)

    def _for_client(self, exchange: Exchange, frame: Frame) -> Frame:
        return frame

    # -- requests ----------------------------------------------------------------------------------

    def has_room(self) -> bool:
        return (
            self.state == OPEN
            and self.load() < self.pool.config.max_in_flight
            and self._streaming is None
            and not self.retiring
        )

    def is_awaited(self) -> bool:
        """Somebody waits for this connection and no other."""
        return self.queue is not None and len(self.queue) > 0

    def is_shared(self) -> bool:
        return self.owner is None

    def send(self, exchange: Exchange, now: float) -> None:
        exchange.move(SENT)
        exchange.upstream = self
        exchange.sent = now
        pool = self.pool
        if self.served:
            pool.reused += 1
        self.served += 1
        client = exchange.client
        if client is not None:
            client.upstream = self
            if exchange.marks & PIN:
                streams = exchange.marks & STREAM and not exchange.whole
                self.pin(client, STREAMING if streams else "pinned")
        begins = not self._out
        idle = begins and not self.load()
        connection = self.connection
        if connection is not None and exchange.needs is not connection.state:
            self._send_prelude(connection.prelude(exchange.needs), now)
        if not exchange.marks & ONEWAY:
            self._enter(exchange)
            self.server.in_flight += 1
            self.replies.expect(exchange.note)
        if not exchange.whole:
            self._streaming = exchange
        self._out.append(exchange)
        if idle:
            self.expect_by(now + pool.config.reply_timeout)
            self.flush()
        elif begins:
            pool.world.soon(self.flush)
        if not exchange.whole and client is not None:
            client.on_sent(now)
            if self._write_paused:  # with what came before: nobody will say so again (P7)
                client.halt()

    def _send_prelude(self, prelude: tuple[bytes, int], now: float) -> None:
        """Bytes that nobody's reply belongs to, with their places on the ledger."""
        data, replies = prelude
        for _ in range(replies):
            place = Exchange(None, Frame(data, FIRST | LAST))
            data = b""
            place.state = SENT
            place.sent = now
            place.upstream = self
            self._enter(place)
            self.server.in_flight += 1
            self.replies.expect(None)
            self._out.append(place)

    def flush(self) -> None:
        """Everything gathered, in one write."""
        out, self._out = self._out, []
        if not out or self.wire is None or self.state != OPEN:
            return
        parts: list[bytes] = []
        for exchange in out:
            parts.append(exchange.data)
            if exchange.more is not None:
                parts.extend(exchange.more)
        self.wire.write(parts[0] if len(parts) == 1 else b"".join(parts))
        for exchange in out:
            if exchange.marks & ONEWAY and exchange.client is not None and exchange.whole:
                exchange.client.deliver(exchange, Frame(b"", FIRST | LAST), exchange.sent)

    def send_more(self, exchange: Exchange, data: bytes, now: float) -> None:
        self.flush()
        exchange.data, exchange.more = b"", None
        if self.wire is not None and self._streaming is exchange:
            self.wire.write(data)
        if exchange.whole:
            self._streaming = None
            exchange.sent = now
            self._rearm(now)
            if self.pin_reason == STREAMING:  # others may follow now, though its reply is to come
                self.unpin()
                self.pool.release(self, now)
            if exchange.marks & ONEWAY and exchange.client is not None:
                exchange.client.deliver(exchange, Frame(b"", FIRST | LAST), now)

    # -- replies -----------------------------------------------------------------------------------

    def on_data(self, data: bytes, now: float) -> None:
        if self.state != OPEN:
            return
        for frame in self.replies.feed(data):
            if frame.marks & BROKEN:
                self.fail("server broke the protocol", Reason.SERVER_BROKE, frame.note, now)
                return
            exchange = self._match(frame)
            if exchange is not None:
                self._on_reply(exchange, frame, now)
            elif not self._stray():
                self.fail("unsolicited bytes", Reason.SERVER_BROKE, "a reply that no request asked for", now)
                return
            if self.state != OPEN:
                return
        self._rearm(now)
        self.pool.release(self, now)

    def _stray(self) -> bool:
        """A reply that matches nothing. True: it may be ignored."""
        return False

    def _on_reply(self, exchange: Exchange, frame: Frame, now: float) -> None:
        marks = frame.marks
        client = exchange.client
        if exchange.state == SENT:
            exchange.move(REPLYING)
        if marks & LAST:
            self._strike(exchange)
            exchange.upstream = None
            self.server.in_flight -= 1
            if marks & END_UPSTREAM:
                self.retiring = frame.note
            if exchange.marks & UNPIN and self.owner is not None:
                self.unpin()
            if exchange is self._streaming:
                self.retiring, self._streaming = "reply before the request's end", None
        if client is not None:
            client.deliver(exchange, self._for_client(exchange, frame), now)
        elif marks & LAST:
            self._on_nobodys(exchange, frame, now)

    def _on_nobodys(self, exchange: Exchange, frame: Frame, now: float) -> None:
        """The end of a reply that no client waits for: a prelude's or an abandoned one's."""
        prelude = exchange.reason is None and exchange.state == REPLYING
        if exchange.state != DONE:
            exchange.move(DONE)
        if prelude and self.connection is not None and not frame.marks & INTERIM:
            why = self.connection.on_prelude_reply(frame)
            if why is not None:
                self.fail("prelude refused", Reason.SERVER_BROKE, why, now)

    def _rearm(self, now: float) -> None:
        oldest = self._oldest()
        if oldest is None or oldest is self._streaming or self.read_paused:
            # A server is not late while its client still owes it the rest of the request.
            self.deadline = INF
        else:
            self.expect_by(oldest.sent + self.pool.config.reply_timeout)

    # -- ends --------------------------------------------------------------------------------------

    def abandon(self, exchange: Exchange, now: float) -> None:
        if exchange.marks & ONEWAY:
            exchange.move(DONE)
        else:
            exchange.move(ABANDONED)
        if exchange is self._streaming:
            self.close("client left", now)

    def give_up(self, exchange: Exchange, now: float) -> None:
        why = "request incomplete"
        owed = [other for other in self.take_owed() if other is not exchange]
        self.close(why, now)
        self.lose(owed, Reason.SERVER_CLOSED, why, now)

    def on_reply_deadline(self, now: float) -> None:
        """Those whose time is up get their error; the connection lives on unless its oldest is stuck."""
        timeout = self.pool.config.reply_timeout
        oldest = self._oldest()
        if oldest is self._streaming:
            return
        if oldest is not None and oldest.sent + 2 * timeout <= now:
            self.fail("reply timeout", Reason.REPLY_TIMEOUT, f"stuck for {2 * timeout:g} s", now)
            return
        for exchange in self._waiting_for_reply():
            if exchange.sent + timeout > now or exchange is self._streaming:
                break
            client = exchange.client
            if client is not None:
                exchange.client = None
                client.refuse(
                    exchange, Reason.REPLY_TIMEOUT, f"{self.server}: no reply for {timeout:g} s", now
                )
        self.expect_by(now + timeout)

    def _waiting_for_reply(self) -> list[Exchange]:
        return list(self.owed)

    def on_write_paused(self, now: float) -> None:
        self._write_paused = True
        if self._streaming is not None and self._streaming.client is not None:
            self._streaming.client.halt()

    def on_write_resumed(self, now: float) -> None:
        self._write_paused = False
        if self._streaming is not None and self._streaming.client is not None:
            self._streaming.client.unhalt()

    def on_server_eof(self, now: float) -> bool:
        self.fail("server closed", Reason.SERVER_CLOSED, "server closed the connection", now)
        return False

    def _may_retry(self, exchange: Exchange, reason: Reason) -> bool:
        """Of one client's only the last: two at once could overtake each other."""
        client = exchange.client
        is_last = self.pool.sharing is not Sharing.ORDERED or (client is not None and client.last is exchange)
        return is_last and super()._may_retry(exchange, reason)

    def lose(self, owed: list[Exchange], reason: Reason, text: str, now: float) -> None:
        super().lose(owed, reason, text, now)
        self.pool.serve(now)  # those that take_owed put back may find room elsewhere at once

    def take_owed(self) -> list[Exchange]:
        """What was written, to be lost; what was not goes back to the pool first."""
        out, self._out = self._out, []
        unwritten = {exchange for exchange in out if exchange.client is not None}
        owed = self._all()
        self.server.in_flight -= len(owed)
        self._streaming = None
        queue, self.queue = self.queue, None
        waiting = []
        while queue is not None and len(queue):
            waiting.append(queue.pop())
        if queue is not None:
            queue.close()
        self.pool.take_back([exchange for exchange in out if exchange in unwritten], waiting)
        return [exchange for exchange in owed if exchange not in unwritten]


class ByTag(ByOrder):
    """TAGGED: replies by id, in any order. Ids are ours on the wire and the client's own in its reply."""

    __slots__ = ("_by_tag", "_next_tag")

    def __init__(self, pool: SharedPool, server: Server, now: float) -> None:
        super().__init__(pool, server, now)
        self._by_tag: dict[int, Exchange] = {}  # oldest first, as dicts keep their order
        self._next_tag = 0

    def _enter(self, exchange: Exchange) -> None:
        tag = self._next_tag = self._next_tag + 1
        self._by_tag[tag] = exchange
        exchange.data = self.pool.protocol.retag(exchange.data, tag)
        exchange.wire_tag = tag

    def _match(self, frame: Frame) -> Exchange | None:
        return self._by_tag.get(frame.tag)

    def _strike(self, exchange: Exchange) -> None:
        del self._by_tag[exchange.wire_tag]

    def _oldest(self) -> Exchange | None:
        return next(iter(self._by_tag.values()), None)

    def _all(self) -> list[Exchange]:
        everything = list(self._by_tag.values())
        self._by_tag.clear()
        return everything

    def load(self) -> int:
        return len(self._by_tag)

    def _for_client(self, exchange: Exchange, frame: Frame) -> Frame:
        if not frame.marks & FIRST:
            return frame
        return Frame(
            self.pool.protocol.retag(frame.data, exchange.tag), frame.marks, frame.note, exchange.tag
        )

    def _stray(self) -> bool:
        self.pool.count_closed("stray reply ignored")
        return True

    def _waiting_for_reply(self) -> list[Exchange]:
        return list(self._by_tag.values())
