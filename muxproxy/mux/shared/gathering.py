"""A connection with many exchanges in flight, on the way out: what is sent gathers, and is written together.

What is sent while nothing is in flight goes out at once, unless several came in the turn that was written
last: then so many may come in this one, and the first of them would be a system call by itself. Otherwise
requests gather in `_out` and are written once per turn of the event loop, or as [redis] batch says: one
system call for many clients' requests is what makes a multiplexer cheap (DESIGN, the hot path). They enter
the ledger as they are written. What is still in
`_out` when the connection ends was not written, and may go elsewhere without asking P9.

Requests that need another state than the connection has wait for those that do not, then a prelude is
written, and nothing behind it until its replies are in (P2). What must be QUIET waits until nothing is in
flight, and whoever comes meanwhile waits behind it.
"""

from __future__ import annotations

from typing import Final

from muxproxy.mux.admission.queue import Queue
from muxproxy.mux.base.server import Server
from muxproxy.mux.base.upstream import CONNECTING, GREETING, OPEN, Upstream
from muxproxy.mux.exchange import SENT, STREAM, Exchange
from muxproxy.mux.ports import Wire
from muxproxy.mux.shared.accounts import SharedAccounts
from muxproxy.protocols.contract import (
    ANYWHERE,
    FIRST,
    IDEMPOTENT,
    LAST,
    LISTEN,
    ONEWAY,
    PIN,
    QUIET,
    UNPIN,
    Frame,
    Reason,
)

# In a row, without a request served in between.
MAX_PRELUDES: Final = 100
STREAMING: Final = "streaming"  # why it is pinned: a request is coming in, whose parts must stand together
# What a place on the ledger that is nobody's is for (the note of its Exchange).
GREET: Final = "greeting"
PRELUDE: Final = "prelude"
RESET: Final = "reset"
FENCE: Final = "fence"


class Gathering(Upstream):
    """The half of a SharedUpstream that writes."""

    __slots__ = (
        "_asker",
        "_calm",
        "_doubt",
        "_fenced",
        "_gathered",
        "_is_full",
        "_mixed",
        "_out",
        "_preludes",
        "_several",
        "_streaming",
        "_write_paused",
        "before",
        "connection",
        "gathered_bytes",
        "in_flight",
        "needs",
        "queue",
        "reserved",
        "shared_pool",
    )

    def __init__(self, pool: SharedAccounts, server: Server, now: float) -> None:
        super().__init__(pool, server, now)
        self.shared_pool = pool  # the same as `pool`, which the base sees as less
        connection = self.connection = pool.protocol.connection(self.replies)
        self.queue: Queue | None = None  # clients that must stay on this connection and find it full
        self.reserved = False  # no more for the many: a client waits to have it alone
        self.needs: object = None if connection is None else connection.state  # of the last one sent
        self.before = self.needs  # and of those before that needed another state
        self.in_flight = 0  # on the ledger, and in _out without those that need no place there
        self._out: list[Exchange] = []  # sent, not written yet, so not on the ledger
        self._mixed = False  # perhaps not all of _out need the state that the connection has
        self._gathered = now  # when the first of _out came
        self.gathered_bytes = 0  # of what was sent since it was written last
        self._is_full = False  # as many as [redis] batch asks for have come
        self._several = False  # more than one had come at the end of the turn that was written last
        self._doubt: Exchange | None = None  # nothing is written before the reply to this one
        self._asker: Exchange | None = None  # whose prelude was written
        self._calm: Exchange | None = None  # it is QUIET's turn: what was in flight before it is waited for
        self._preludes = 0  # since one was written that served somebody
        self._fenced = 0  # exchanges since the last fence
        self._streaming: Exchange | None = None  # its request is coming in; pinned, so nobody else's follows
        self._write_paused = False  # its wire's buffer is full

    # -- supplied by the ledger --------------------------------------------------------------------

    def _enter(self, exchange: Exchange) -> None:
        """It is written now: its reply is owed."""
        raise NotImplementedError

    def _newest(self) -> Exchange | None:
        """On the ledger."""
        raise NotImplementedError

    def _strike_unwritten(self, exchange: Exchange) -> None:
        """It was entered, and not written after all."""
        raise NotImplementedError

    def _pass(self, exchange: Exchange) -> None:
        """It is written now, and nothing will be owed for it."""

    def _rearm(self, now: float) -> None:
        """The deadline of what is owed."""
        raise NotImplementedError

    def give_back(self, now: float) -> None:
        """From its owner to all others."""
        raise NotImplementedError

    # -- life --------------------------------------------------------------------------------------

    def on_connected(self, wire: Wire, now: float) -> None:
        """CONNECTING => (GREETING | OPEN)"""
        data, replies = (b"", 0) if self.connection is None else self.connection.greeting()
        if self.state != CONNECTING or not replies:
            super().on_connected(wire, now)
            return
        self.wire = wire
        self.state = GREETING  # and its deadline stays connect_timeout's
        self._ask(data, replies, GREET, now)

    def _ask(self, data: bytes, replies: int, purpose: str, now: float) -> None:
        """Write what nobody's reply belongs to, with its places on the ledger, the last one in `_doubt`."""
        self._doubt = self._add_places(replies, purpose, now)
        self._mixed = True
        if self.wire is not None:
            self.wire.write(data)
        if self.state == OPEN:
            self._rearm(now)

    def _add_places(self, replies: int, purpose: str, now: float) -> Exchange | None:
        """On the ledger, for replies that are nobody's. Returns the last."""
        place: Exchange | None = None
        for _ in range(replies):
            place = Exchange(None, Frame(b"", FIRST | LAST, purpose))
            place.state = SENT
            place.sent = now
            place.upstream = self
            self._enter(place)
            self.in_flight += 1
            self.server.in_flight += 1
            self.replies.expect(None)
        return place

    # -- requests ----------------------------------------------------------------------------------

    def load(self) -> int:
        return self.in_flight

    def has_room(self, weight: int = 1) -> bool:
        return (
            self.state == OPEN
            and (self.in_flight + weight <= self.pool.max_in_flight or not self.in_flight)
            and self._streaming is None
            and not self.retiring
            and not self.read_paused
        )

    def is_awaited(self) -> bool:
        """Somebody waits for this connection and no other."""
        return self.queue is not None and self.queue.size > 0

    def is_shared(self) -> bool:
        return self.owner is None

    def send(self, exchange: Exchange, now: float) -> None:
        exchange.move(SENT)
        exchange.upstream = self
        exchange.sent = now
        needs = exchange.needs
        if needs is not self.needs and not exchange.marks & ANYWHERE:
            self.before, self.needs = self.needs, needs
        if self.connection is not None and (needs is not self.connection.state or exchange.marks & QUIET):
            self._mixed = True
        if not exchange.whole:
            self._streaming = exchange
        pool = self.pool
        if self.served:
            pool.reused += 1
        self.served += 1
        client = exchange.client
        if client is not None:
            client.upstream = self
            if exchange.marks & PIN:
                self._pin_for(exchange, now)
        is_idle = not self.in_flight
        if not exchange.marks & ONEWAY:
            self.in_flight += exchange.weight
            self.server.in_flight += exchange.weight
        out = self._out
        out.append(exchange)
        self.gathered_bytes += len(exchange.data) + exchange.size
        if self._doubt is None:
            if len(out) == 1:
                self._gathered = now
                if is_idle:
                    look = self.shared_pool.first_look
                    if self.owner is not None or exchange.marks & ONEWAY:  # whose silence means nothing
                        look = pool.reply_timeout
                    self.expect_by(exchange.sent + look)
                    if self._several and exchange.whole:
                        self.pool.world.soon(self._flush_now)
                    else:
                        self.flush(now)
                else:
                    self._flush_later()
            elif self.shared_pool.batch_delay and not self._is_full:
                self._look_if_full()
        if not exchange.whole and client is not None:
            client.on_sent(now)
            if self._write_paused or exchange in self._out:  # nobody else will say so (P7)
                client.halt()

    def _pin_for(self, exchange: Exchange, now: float) -> None:
        client = exchange.client
        assert client is not None
        if not exchange.marks & STREAM:
            why, patience = exchange.pin
            exchange.sent += patience
            self.pin(client, why)
        elif exchange.whole:  # it came in while it waited, and needs none alone any more
            exchange.marks &= ~(PIN | UNPIN | STREAM)
        else:
            self.pin(client, STREAMING, counts=False)

    def _flush_later(self) -> None:
        """At the end of this turn of the loop; with a batch, after its delay or when enough have come."""
        pool = self.shared_pool
        if not pool.batch_delay:
            pool.world.soon(self._flush_now)
            return
        pool.world.later(pool.batch_delay, self._flush_now)
        self._look_if_full()

    def _look_if_full(self) -> None:
        """With a batch only: the sum is over no more than its number of exchanges."""
        if sum(exchange.weight for exchange in self._out) >= self.shared_pool.batch_commands:
            self._is_full = True
            self.pool.world.soon(self._flush_now)

    def _flush_now(self) -> None:
        if self._out:
            self._several = len(self._out) > 1
            self.flush(self._gathered)

    def flush(self, now: float) -> None:
        """Everything gathered that may be written, in one write."""
        self._is_full = False
        self.gathered_bytes = 0
        while self._out and self._doubt is None and self.state == OPEN and self.wire is not None:
            if self._mixed and self.connection is not None:
                out = self._take_ready(self.connection.state)
            else:
                out, self._out = self._out, []
            if out:
                self._write(out, now)
            else:
                self._change_state(now)

    def _take_ready(self, state: object) -> list[Exchange]:
        """Of those gathered, what may be written as the connection is. Nothing goes past what must be QUIET:
        behind it may be its client's own, and it would wait for ever."""
        out = self._out
        if out[0] is self._calm:
            return []
        end = next((at for at, exchange in enumerate(out) if exchange.marks & QUIET), len(out))
        ready: list[Exchange] = []
        waits: list[Exchange] = []
        for exchange in out[:end]:
            is_ready = exchange.needs is state or (exchange.marks & ANYWHERE and self._is_free(exchange))
            (ready if is_ready else waits).append(exchange)
        self._out = waits + out[end:]
        self._mixed = len(self._out) > 0
        return ready

    def _is_free(self, exchange: Exchange) -> bool:
        """It needs no prelude. Behind others of its client it would overtake them."""
        client = exchange.client
        return (
            client is not None
            and client.first is exchange
            and self.connection is not None
            and self.connection.is_alike(exchange.needs)
        )

    def _change_state(self, now: float) -> None:
        """None of those gathered may go as it is: make it so for the first of them."""
        assert self.connection is not None
        exchange = self._out[0]
        newest = self._newest()
        if newest is not None and (exchange.marks & QUIET or self.connection.must_be_quiet(exchange.needs)):
            self._calm, self._doubt = exchange, newest
            return
        self._calm = None
        data, replies = self.connection.prelude(exchange.needs)
        if replies and self._preludes > MAX_PRELUDES:
            self.fail(
                "preludes without end", Reason.SERVER_BROKE, "no prelude leads to the state needed", now
            )
        elif replies:
            self._preludes += 1
            self._asker = exchange
            self._ask(data, replies, PRELUDE, now)
        else:
            self._write([self._out.pop(0)], now)
            self._mixed = True
            if self.connection.state is None and not exchange.marks & ONEWAY:  # whose reply would end it
                self._doubt = exchange

    def _write(self, out: list[Exchange], now: float) -> None:
        parts: list[bytes | memoryview] = []
        self._preludes = 0
        replies = self.replies
        is_oneway = is_large = False
        # a pinned one may be in a transaction, where all is only queued
        fence = self.pool.protocol.fence if self.owner is None else 0
        for exchange in out:
            if exchange.marks & ONEWAY:
                is_oneway = True
                self._pass(exchange)
            else:
                self._enter(exchange)
                replies.expect(exchange.note)
            parts.append(exchange.data)
            if exchange.more is not None:
                is_large = True
                parts.extend(exchange.more)
            if fence:
                self._fenced += exchange.weight
                if self._fenced >= fence:
                    parts.append(self._fence(now))
        wire = self.wire
        assert wire is not None
        if is_large:
            wire.writelines(parts)
        else:
            wire.write(exchange.data if len(parts) == 1 else b"".join(parts))
        if wire.is_closing():
            self._on_unwritten(out)
            return
        if is_large:
            self._drop_bodies(out)
        if is_oneway:
            self._finish_oneway(out, now)
        if self._streaming is not None and not self._write_paused and self._streaming.client is not None:
            self._streaming.client.halt(False)

    def _drop_bodies(self, out: list[Exchange]) -> None:
        """What is written and will not be sent again (P9): nothing large is kept until its reply."""
        for exchange in out:
            if exchange.more is not None and not exchange.marks & IDEMPOTENT:
                exchange.data, exchange.more = b"", None

    def _on_unwritten(self, out: list[Exchange]) -> None:
        """The kernel has refused it (RST, or FIN and RST, came before it was read) and so has taken nothing:
        write() is a system call where nothing is queued, and where something is it cannot fail. on_lost
        follows in the loop's next turn, and takes these elsewhere with the rest of _out (P9)."""
        for exchange in out:
            if not exchange.marks & ONEWAY:
                self._strike_unwritten(exchange)
        self._out = [*out, *self._out]
        self._doubt = out[0]

    def _fence(self, now: float) -> bytes:
        self._fenced = 0
        assert self.connection is not None
        data, replies = self.connection.fence()
        self._add_places(replies, FENCE, now)
        return data

    def _finish_oneway(self, out: list[Exchange], now: float) -> None:
        for exchange in out:
            client = exchange.client
            if exchange.marks & LISTEN and self.connection is not None:
                self.connection.listen()
            if exchange.marks & ONEWAY and client is not None and exchange.whole:
                client.deliver(exchange, Frame(b"", FIRST | LAST), now)

    def send_more(self, exchange: Exchange, data: bytes, now: float) -> None:
        self.flush(now)
        if self._streaming is not exchange:
            return
        if exchange in self._out:  # behind a prelude whose reply is to come
            exchange.keep(data)
        else:
            exchange.data, exchange.more = b"", None
            if self.wire is not None:
                self.wire.write(data)
        if exchange.whole:
            self._streaming = None
            exchange.sent = now
            self._rearm(now)
            if self.pin_reason == STREAMING:  # others may follow now, though its reply is to come
                self.give_back(now)
                self.pool.release(self, now)
            if exchange.marks & ONEWAY and exchange.client is not None:
                exchange.client.deliver(exchange, Frame(b"", FIRST | LAST), now)
