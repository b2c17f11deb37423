"""A client of an ORDERED protocol: what it asks for in order is also done in order.

All that a client has in flight is on one connection, and at most one of its exchanges waits for a place.
Those behind it are held back here, NEW, and the client is not read meanwhile. A request that begins to need
a connection alone (PIN), or another state than those before it, is held until everything before it has been
answered: it may go to another connection, or in another order, and must not overtake the first.
"""

from __future__ import annotations

from typing import Final

from muxproxy.mux.admission.memory import HEAVY, OBJECTS
from muxproxy.mux.base.accounts import Accounts
from muxproxy.mux.base.patience import ENDING
from muxproxy.mux.exchange import DONE, NEW, SENT, WAITING, Exchange
from muxproxy.mux.ports import Wire
from muxproxy.mux.shared.client import SharedClient
from muxproxy.protocols.contract import EAGER, FIRST, LAST, LISTEN, PIN, UNPIN, Frame, Reason

# looking a member up costs more than the rest of a line
_OK: Final = Reason.OK
_WHOLE: Final = FIRST | LAST


class OrderedClient(SharedClient):
    """One at a time may wait; `_held` and all that came after it are held back."""

    __slots__ = (
        "_ahead",
        "_in_pin",
        "_is_void",
        "_latest",
        "_orphaned",
        "_proceeding",
        "_pushed",
        "feed",
        "pin_start",
    )

    def __init__(self, pool: Accounts, wire: Wire | None, now: float) -> None:
        super().__init__(pool, wire, now)
        self._ahead = 0  # bytes of what is held, objects and all (P7)
        self._latest: Exchange | None = None  # the last that went to the pool
        self._in_pin = False  # it began a pin and did not end it
        self._proceeding = False  # proceed's loop is running
        self.pin_start: Exchange | None = None  # the first of the pin it is in, or was in last
        self._orphaned = False  # the connection it had alone is gone, and with it what its session was about
        self._is_void = False  # a part of that was refused: it cannot begin elsewhere
        self.feed: FeedRole | None = None  # what it listens to, if it does
        self._pushed = 0  # bytes of these

    def holds(self, exchange: Exchange, now: float) -> bool:
        """Asked by the pool before it takes `exchange`. True: not now; it will be submitted again."""
        if self._held is None and (exchange is self.first or self._may_go(exchange)) and not self._orphaned:
            if exchange.marks & PIN and not (self._in_pin and self.pinned is not None):
                self.pin_start = exchange
            self._latest = exchange
            self._in_pin = exchange.marks & (PIN | UNPIN) == PIN
            return False
        exchange.sent = now
        if self._held is None:
            self._held = exchange
            self._ahead = 0
        self._ahead += len(exchange.data) + OBJECTS
        self._regulate()
        return True

    def _may_go(self, exchange: Exchange) -> bool:
        if exchange is self.first:
            return True
        latest = self._latest
        if latest is not None and (latest.state == WAITING or latest.needs is not exchange.needs):
            return False
        begins = exchange.marks & PIN and not (self._in_pin and self.pinned is not None)
        return not (begins or exchange.marks & LISTEN)

    def _is_ahead(self, last: Exchange) -> bool:
        """Read on for a while, though nothing of it can go yet: who has left is seen only so."""
        bound = self.pool.clients_config.request_buffer
        return self.framer.held > bound or (self._held is not None and self._ahead > bound)

    def _grows_heavy(self) -> bool:
        return (self._held is not None and self._ahead > HEAVY) or super()._grows_heavy()

    def weight(self) -> int:
        return super().weight() + self._pushed

    def shares(self) -> tuple[int, int]:
        unread, remembered = super().shares()
        return unread + self._pushed, remembered

    def _is_pipelining(self) -> bool:
        return True  # others come to wait for the connection that it has alone, if it is not read

    def proceed(self, now: float) -> None:
        """Who was in the way has gone: submit what is held, until one must wait."""
        if self._proceeding:
            return
        self._proceeding = True  # a loop, not a recursion: each refusal leads back here
        while (
            self._held is not None
            and self.phase != ENDING
            and not self._orphaned
            and self._may_go(self._held)
        ):
            exchange = self._held
            after = self._next_held(exchange)
            self._held = None
            if not (self.write_paused and self._is_refused_unread(exchange, now)):
                self.pool.submit(exchange, now)
            # What is held by now came behind an answer that was had at once: it is all that there is.
            if not self._holds() and self.phase != ENDING:
                self._held = after
        self._proceeding = False
        if self._read_paused:
            self._regulate()

    def _holds(self) -> bool:
        return self._held is not None

    def _next_held(self, exchange: Exchange) -> Exchange | None:
        """What stands between has been answered already and is parked."""
        after = exchange.after
        while after is not None and after.state != NEW:
            after = after.after
        return after if after is not None and self._is_due(after) else None

    def _is_due(self, exchange: Exchange) -> bool:
        """False: more of it must come before it goes to the pool for the first time."""
        come = max(len(exchange.data), exchange.size)
        return (
            exchange.whole or exchange.marks & EAGER != 0 or come >= self.pool.clients_config.request_buffer
        )

    def take_back(self, first: Exchange, others: list[Exchange]) -> None:
        """Their connection is gone and they were not written: `first` waits again, the others are held."""
        for exchange in others:
            exchange.move(NEW)
        if others:
            self._held = others[0]
        self._latest = first
        self._in_pin = first.marks & (PIN | UNPIN) == PIN

    def refuse(self, exchange: Exchange, reason: Reason, text: str, now: float) -> None:
        self._is_void |= self._is_missed(exchange)
        if exchange is self._held:
            self._held = self._next_held(exchange)
        nested, self._proceeding = self._proceeding, True
        super().refuse(exchange, reason, text, now)
        if self._is_void or exchange.marks & (PIN | UNPIN) == PIN:
            self.on_pin_lost(now)
        if reason is Reason.QUEUE_TIMEOUT or reason is Reason.NO_SERVER:
            # Who was held as long behind it goes with it, or a long pipeline would be told one by one, a
            # timeout each.
            while self._held is not None and self._held.sent + self._told(self._held) <= now:
                exchange = self._held
                self._held = self._next_held(exchange)
                self._is_void |= self._is_missed(exchange)
                super().refuse(exchange, reason, text, now)
            if self._is_void:
                self.on_pin_lost(now)
        self._proceeding = nested
        self.proceed(now)

    def _told(self, held: Exchange) -> float:
        return self.pool.queue.told(held.sent)

    def _is_missed(self, exchange: Exchange) -> bool:
        """Refused unsent, it breaks what others are part of: a transaction without one of its commands, or
        without its EXEC, so that the client's next requests would land in it (P2)."""
        if not exchange.marks & PIN or exchange.state not in (NEW, WAITING):
            return False
        if not exchange.marks & UNPIN:
            return True
        is_alone = exchange is self.pin_start if exchange is self._latest else not self._in_pin
        return self.pinned is not None and not is_alone

    def deliver_plain(self, exchange: Exchange, data: bytes, now: float) -> None:
        if exchange is not self.first:
            self._park(exchange, Frame(data, _WHOLE), now)
            return
        self.pool.bytes_to_clients += len(data)
        wire = self.wire
        if wire is not None:
            if exchange.after is not None or self._kept is not None or self.write_paused:
                self.put(data, more=exchange.after is not None)
            else:
                wire.write(data)
        exchange.move(DONE)  # as deliver
        exchange.reason = _OK
        self.pool.replied += exchange.weight
        self._settle(exchange, _WHOLE, now)

    def _answer(self, exchange: Exchange, frame: Frame, now: float, *, linger: bool) -> None:
        if frame.marks & UNPIN and exchange is self.first:  # what it asked for earlier goes first
            self.give_back(now)
        super()._answer(exchange, frame, now, linger=linger)

    def on_pin_lost(self, now: float) -> None:
        """In the middle of what its session was about (a transaction): what is in flight gets its error, then
        the client is closed, as it would have been without us. Elsewhere its requests would mean something
        else (P2)."""
        if (self._in_pin or self._is_void) and self.phase != ENDING and not self._orphaned:
            self._orphaned = True
            self.pool.world.soon(lambda: self._end_orphan(now))

    def _end_orphan(self, now: float) -> None:
        start = self.pin_start
        begun = start is None or start.state not in (NEW, WAITING, SENT) or start.reason is not None
        if not begun and not self._is_void:
            self._orphaned = False  # nothing of it had been written: it begins elsewhere
            self.proceed(now)
        elif self.phase != ENDING:
            self.leave(Reason.SERVER_CLOSED, now)
            if self._cut:
                self.abort()
            else:
                self.end(now, linger=False)

    def push(self, data: bytes) -> bool:
        """What it listens to: between two replies, never inside one. False: it is too far behind (P5)."""
        wire = self.wire
        if wire is None or self.phase == ENDING:
            return True
        if self.first is not None and self.first.begun:
            if self._pushes is None:
                self._pushes = []
            self._pushes.append(data)
            self._pushed += len(data)
        else:
            self.pool.bytes_to_clients += len(data)
            self.put(data)
        if not (self._pushed or self.write_paused):
            return True
        return self._pushed + self.unread() <= self.pool.protocol.subscriber_buffer

    def fall_behind(self, now: float) -> None:
        """It misses something of what it listens to: it is cut, so that it knows."""
        self.pool.cut_listeners += 1
        self.leave(Reason.CLIENT_STALLED, now)
        self.abort()

    def _push_kept(self) -> None:
        data = b"".join(self._pushes or ())
        self._pushes, self._pushed = None, 0
        self.pool.bytes_to_clients += len(data)
        self.put(data)

    def give_back(self, now: float) -> None:
        """Its session has forgotten everything: the connection that it has alone is for others."""
        self._in_pin = False
        if self.pinned is not None:
            self.pinned.on_owner_left(now)

    def is_listening(self) -> bool:
        return self.feed is not None and self.session is not None and self.session.listening

    def leave(self, reason: Reason, now: float) -> int:
        self._held = self._latest = None
        ended = super().leave(reason, now)
        self.pin_start = None  # it leads back here, and a cycle is kept for long
        if self.feed is not None:
            self.feed.drop(self, now)
        return ended


class FeedRole(OrderedClient):
    """A client of our own, for all who listen to the same: what they and its connection may ask of it
    (feed.py)."""

    __slots__ = ()

    def drop(self, client: OrderedClient, now: float) -> None:
        """A listener is gone, or its session has forgotten all it listened to."""
        raise NotImplementedError

    def put_out(self, exchange: Exchange, client: OrderedClient, now: float) -> None:
        """What it asked for waits no more: it is refused, for too many wait."""
        raise NotImplementedError

    def on_push(self, frame: Frame, now: float) -> None:
        """A message, or what answers a request of ours."""
        raise NotImplementedError

    def on_lost(self, error: str, now: float) -> None:
        """Its connection is gone."""
        raise NotImplementedError
