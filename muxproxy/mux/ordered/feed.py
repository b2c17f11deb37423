"""What many clients listen to over one upstream connection (contract.Feed): the heart's half.

A `FeedClient` is a client of our own. It asks its pool for a connection alone, as any session that needs one
does, so that the connection is inside every bound (P1), keeps it while anybody listens, and gets another
when it is lost. Listeners that ask wait here until the server has acknowledged.

A message is a write for each who listens. In a turn of the loop so many get theirs (LISTENERS); what is left
is `_late`, the replies that came behind it too, and meanwhile the connection is not read (P10). So `_late` is
never more than what one chunk brought.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from muxproxy.mux.admission.queue import Queue
from muxproxy.mux.base.pool import Pool
from muxproxy.mux.deadlines import INF
from muxproxy.mux.exchange import DONE, Exchange
from muxproxy.mux.ordered.client import FeedRole, OrderedClient
from muxproxy.mux.ordered.upstream import OrderedUpstream
from muxproxy.mux.shared.accounts import SharedAccounts
from muxproxy.protocols.contract import (
    FIRST,
    FRAMES,
    LAST,
    LINES,
    LISTEN,
    ONEWAY,
    PIN,
    UNPIN,
    Feed,
    Frame,
    Reason,
)

FRAME: Final = LINES // FRAMES  # what a frame counts, in lines
LISTENERS: Final = 2  # that get a message in one turn: some 5 ms of system calls
REASON: Final = "listening"  # why it has a connection alone


class FeedClient(FeedRole):
    """One per connection state that listeners need. `wire`: none; nothing is ever written to it."""

    __slots__ = (
        "_asks",
        "_clients",
        "_feed",
        "_given",
        "_heard",
        "_late",
        "_lost_at",
        "_needs",
        "_probing",
        "_shared_pool",
        "_upstream",
        "asking",
        "interrupted",
        "messages",
        "unasked",
    )

    def __init__(self, pool: SharedAccounts, needs: Any, now: float) -> None:
        super().__init__(pool, None, now)
        self._shared_pool = pool  # the same as `pool`, which the base sees as less
        self.messages = 0  # that came for listeners
        self.interrupted = 0  # times that they may have missed something
        feed = pool.protocol.feed()
        assert feed is not None
        self._feed: Feed = feed
        self._needs = needs
        self._clients: dict[Any, OrderedClient] = {}  # by session
        self._asks: dict[Any, Exchange] = {}  # by session: not acknowledged yet
        self.unasked = Queue(pool.queue.timeout, pool.fine, self._on_unasked)  # there is nobody to ask yet
        self.asking = Queue(pool.reply_timeout, pool.fine, self._on_unanswered)
        self._upstream: OrderedUpstream | None = None  # once it has been told what we listen to
        self._heard = now  # when it last said anything
        self._probing = False
        self._given = 0  # messages since its last turn
        # (message, who has not got it yet, None) or (reply, who gets it, to which exchange), oldest first
        self._late: deque[tuple[bytes, Sequence[Any], Exchange | None]] = deque()
        self._lost_at = INF  # since when listeners may miss something
        self.deadline = INF

    def is_silent_by_design(self) -> bool:
        return True

    def configure(self, now: float) -> None:
        """Its pool has new numbers."""
        self.unasked.set_timeout(self.pool.queue.timeout, now)
        self.asking.set_timeout(self.pool.reply_timeout, now)

    # -- listeners -----------------------------------------------------------------------------------

    def ask(self, exchange: Exchange, client: OrderedClient, now: float) -> None:
        """NEW => WAITING, until the server has acknowledged all it asks for."""
        listener = client.session
        client.feed = self
        self._clients[listener] = client
        self._asks[listener] = exchange
        if exchange.marks & UNPIN:
            client.give_back(now)
        self.pool.gate.waiting += 1
        (self.asking if self._upstream is not None else self.unasked).push(exchange, now)
        self._tell(self._feed.on_request(listener, Frame(exchange.data, exchange.marks, exchange.note)), now)

    def drop(self, client: OrderedClient, now: float) -> None:
        client.feed = None
        if self._clients.pop(client.session, None) is not None:
            self._forget_ask(client.session)
            self._tell(self._feed.leave(client.session), now)

    def put_out(self, exchange: Exchange, client: OrderedClient, now: float) -> None:
        """WAITING => DONE: too many wait. It is off its queue."""
        self._asks.pop(client.session, None)
        data = self._feed.cancel(client.session)
        self.pool.refuse_full(exchange, now)
        self._tell(data, now)

    def on_push(self, frame: Frame, now: float) -> None:
        self._heard = now
        self._probing = False
        if self._lost_at != INF:
            self._on_restored(now)
        data, listeners = self._feed.on_push(frame)
        self._weigh(len(listeners))
        if listeners:
            self.messages += 1
            self._late.append((data, listeners, None))
            if self._given < LISTENERS:
                self._push_late(now)
        self._tell(b"", now)

    def _push_late(self, now: float) -> None:
        """Until nothing is left, or this turn has had its share."""
        late = self._late
        while late and self._given < LISTENERS:
            data, whom, exchange = late.popleft()
            if exchange is not None:
                self._acknowledge(whom[0], exchange, data, now)
                continue
            room = LISTENERS - self._given
            if len(whom) > room:
                late.appendleft((data, whom[room:], None))
                whom = whom[:room]
            self._push(data, whom, now)
            self._given += len(whom)
        # As Working.take: whether those before were of this very turn nobody tells.
        if self._given >= LISTENERS:
            if self._upstream is not None:
                self._upstream.pause_reading()
            self.postpone()

    def _push(self, data: bytes, listeners: Sequence[Any], now: float) -> None:
        clients = [client for each in listeners if (client := self._clients.get(each)) is not None]
        behind = [client for client in clients if not (data and client.push(data))]
        for client in behind:  # apart, because it takes them off the channel
            client.fall_behind(now)

    def postpone(self) -> None:
        if not self.busy:
            self.busy = True
            self.pool.world.postpone(self)

    def go_on(self, now: float) -> None:
        self.busy = False
        self._given = 0
        self.pool.corked = []
        try:
            self._push_late(now)
        finally:
            corked, self.pool.corked = self.pool.corked, None
            for client in corked:
                client.uncork()
        if self._upstream is not None and self._upstream.read_paused and self._given < LISTENERS:
            self._heard = now  # it was us who did not read
            self._upstream.resume_reading(now)
        self._tell(self._feed.go_on() if self._feed.more else b"", now)

    def _tell(self, data: bytes, now: float) -> None:
        """What the feed wants said, where there is somebody to say it to; a connection is got or given back
        as it is needed."""
        upstream = self._upstream
        if upstream is not None and data and upstream.wire is not None:
            upstream.wire.write(data)
        self._answer_all(now)
        data = self._feed.flush()
        if upstream is not None and data and upstream.wire is not None:
            upstream.wire.write(data)
        if self._feed.more:
            self.postpone()
        if self._feed.is_empty():
            self._give_back(now)
        else:
            self._get_connection(now)

    def _answer_all(self, now: float) -> None:
        for listener, reply in self._feed.take():
            exchange = self._forget_ask(listener)
            if self._late and exchange is not None:  # behind the messages that came before
                self._late.append((reply, (listener,), exchange))
            else:
                self._acknowledge(listener, exchange, reply, now)

    def _acknowledge(self, listener: Any, exchange: Exchange | None, reply: bytes, now: float) -> None:
        client = self._clients.get(listener)
        if exchange is not None and client is not None:
            client.deliver(exchange, Frame(reply, FIRST | LAST), now)

    def _forget_ask(self, listener: Any) -> Exchange | None:
        exchange = self._asks.pop(listener, None)
        if exchange is not None and exchange.queue is not None:
            exchange.queue.remove(exchange)
            self.pool.gate.waiting -= 1
        return exchange

    def _weigh(self, listeners: int) -> None:
        """P10: a message is as much work as there are clients who get it."""
        if self._upstream is not None:
            replies = self._upstream.replies
            replies.push_cost = max((1 + listeners) * FRAME, replies.push_cost * 7 // 8)

    # -- the connection ------------------------------------------------------------------------------

    def _get_connection(self, now: float, since: float = INF) -> None:
        if self.first is None and self.pinned is None and self.deadline == INF:
            exchange = Exchange(self, Frame(b"", FIRST | LAST | PIN | ONEWAY | LISTEN))
            exchange.needs = self._needs
            exchange.pin = (REASON, 0.0)
            self.first = self.last = exchange
            Pool.submit(self._shared_pool, exchange, now)  # as everybody's, but nothing holds it
            queue = exchange.queue
            if queue is not None and since < now:
                queue.remove(exchange)
                exchange.since = since
                queue.push_back(exchange)

    def deliver(self, exchange: Exchange, frame: Frame, now: float) -> None:
        """Its own exchange was written: the connection is in the state that is needed, and ours."""
        exchange.move(DONE)
        self.first = self.last = None
        upstream = self.pinned
        assert isinstance(upstream, OrderedUpstream)
        self._upstream = upstream
        upstream.feeder = self
        if self._given >= LISTENERS:
            upstream.pause_reading()
        self._weigh(len(self._clients))
        self._heard, self._probing = now, False
        self._look_at(now + self.pool.config.idle_timeout)
        while self.unasked.size:
            asked = self.unasked.pop()
            asked.since = now
            self.asking.push_back(asked)
        self._tell(self._feed.restore(), now)

    def deliver_plain(self, exchange: Exchange, data: bytes, now: float) -> None:
        self.deliver(exchange, Frame(data, FIRST | LAST), now)

    def _give_back(self, now: float) -> None:
        upstream, self._upstream = self._upstream, None
        self._lost_at = INF
        if upstream is not None:
            self.deadline = INF
            upstream.feeder = None
            if self._given >= LISTENERS:
                upstream.resume_reading(now)
            upstream.on_owner_left(now)

    def on_lost(self, error: str, now: float) -> None:
        """Get another, and say all of it again."""
        self._upstream = None
        self.deadline = INF
        if not self._clients:
            return
        if self._lost_at != INF:  # again, before it has said anything: still the same gap
            self._look_at(now + self.pool.config.backoff_max)
            return
        self._lost_at = now
        self.interrupted += 1
        where = {"backend": self.pool.name, "listeners": len(self._clients)}
        self.pool.world.log("listeners may miss something", level="warning", **where, error=error)
        self._look_at(now + self.pool.config.backoff_min)

    def _on_restored(self, now: float) -> None:
        """The server has acknowledged: nothing is missed from here on."""
        gap, self._lost_at = now - self._lost_at, INF
        if self._upstream is not None:
            where = {"backend": self.pool.name, "server": str(self._upstream.server)}
            self.pool.world.log("listening again", **where, listeners=len(self._clients), gap=round(gap, 3))

    def refuse(self, exchange: Exchange, reason: Reason, text: str, now: float) -> None:
        """There is no connection for us now: who asked as long ago is told, for all others we try again."""
        exchange.move(DONE)
        self.first = self.last = None
        self._look_at(now + self.pool.config.backoff_max)  # before that nobody's telling asks again
        if reason is Reason.QUEUE_TIMEOUT or reason is Reason.NO_SERVER:
            self.unasked.on_deadline(now)
        else:
            for listener in list(self._asks):
                asked, client = self._forget_ask(listener), self._clients.get(listener)
                self._feed.cancel(listener)
                if asked is not None and client is not None:
                    client.refuse(asked, reason, text, now)
        if reason is Reason.STATE_REFUSED:  # nor will there be one: who listens must know
            for client in list(self._clients.values()):
                client.leave(Reason.SERVER_CLOSED, now)
                client.end(now, linger=False)
        since = self.unasked.oldest()
        if since is not None:  # who asked later keeps its place (P4)
            self.deadline = INF
            self._get_connection(now, since)
        elif self._feed.is_empty():
            self.deadline = INF

    # -- time ----------------------------------------------------------------------------------------

    def _on_unasked(self, exchange: Exchange, now: float) -> None:
        """It waited for a connection as long as anybody does."""
        client = exchange.client
        assert isinstance(client, OrderedClient)
        self._asks.pop(client.session, None)
        self._feed.cancel(client.session)
        self.pool.on_expired(exchange, now)

    def _on_unanswered(self, exchange: Exchange, now: float) -> None:
        """The server owes an acknowledgement: its connection is stuck, and what this client listens to is in
        doubt (P2)."""
        self.pool.gate.waiting -= 1
        client = exchange.client
        assert isinstance(client, OrderedClient)
        self._asks.pop(client.session, None)
        text = f"{self.pool.name}: no acknowledgement for {self.pool.reply_timeout:g} s"
        client.refuse(exchange, Reason.REPLY_TIMEOUT, text, now)
        client.end(now, linger=False)
        if self._upstream is not None:
            self._upstream.fail("reply timeout", Reason.REPLY_TIMEOUT, text, now)

    def _look_at(self, deadline: float) -> None:
        self.deadline = deadline
        if deadline < self.wake:
            self.pool.fine.watch(self)

    def on_deadline(self, now: float) -> None:
        """No connection: ask for one again. A silent one: ask the server whether it lives."""
        self.deadline = INF
        upstream, config = self._upstream, self.pool.config
        if upstream is None:
            if not self._feed.is_empty():
                self._get_connection(now)
        elif self._probing:
            self._upstream = None
            upstream.fail("reply timeout", Reason.REPLY_TIMEOUT, "silent", now)
        elif self._heard + config.idle_timeout <= now:
            self._probing = True
            if upstream.wire is not None:
                upstream.wire.write(self._feed.probe())
            self._look_at(now + config.reply_timeout)
        else:
            self._look_at(self._heard + config.idle_timeout)

    def on_bug(self, now: float) -> None:
        """Ours: try again later, or listeners would wait for ever. Messages that are left are a gap."""
        if self._upstream is not None and self._upstream.read_paused and not self.busy:
            self._late.clear()
            self._upstream.on_bug(now)
        self._look_at(now + self.pool.config.backoff_max)

    def statistics(self) -> dict[str, int]:
        return self._feed.statistics()
