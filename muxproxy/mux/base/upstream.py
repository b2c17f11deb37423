"""One upstream connection's life. Its ledger, who is owed what comes, is in each sharing's upstream.py; that
of those that share nothing is begun here.

    CONNECTING --> (GREETING -->) OPEN --> CLOSING --> CLOSED
         '-------------'-----------'---------^------->'

GREETING: connected, and what the protocol says first is not answered yet, or its server is one that closes
what it has accepted, and may do so again in a moment (server.py).

An upstream counts against its pool's bound from before connect() until its socket is gone: from its birth to
on_closed, in every state (P1).

The ledger is changed before bytes are handed to the wire, and whatever fails between the two closes the
connection: a reply shifted by one is the worst thing a multiplexer can do (P2).
"""

from __future__ import annotations

from typing import Final

from muxproxy.mux.base.server import PoolOfServers, Server
from muxproxy.mux.deadlines import INF
from muxproxy.mux.exchange import DONE, SENT, ClientRole, Exchange, UpstreamRole
from muxproxy.mux.ports import SAID_BY_TLS, Secure, Wire
from muxproxy.protocols.contract import Reason

CONNECTING: Final = 0
GREETING: Final = 1
OPEN: Final = 2
CLOSING: Final = 3
CLOSED: Final = 4
# why a shared connection is suspect (shared/avoided.py)
SILENT: Final = 1
APART: Final = 2
CUT_OFF: Final = f"{SAID_BY_TLS}server closed without a close_notify: its reply may lack its end"
CONNECT_TIMEOUT: Final = "connect timeout"
HANDSHAKE_TIMEOUT: Final = f"{SAID_BY_TLS}the handshake was not done within connect_timeout"
BROKEN_OFF: Final = "server closed"
LAST_TURNS: Final = 16  # of work, for replies that had come before the connection broke
# A server that ends one connection may be ending all it has (a reload): for so many seconds each idle one is
# looked at before it is used.
DOUBT: Final = 1.0
# Seconds for what is still buffered towards a server when its connection is closed.
CLOSE_TIMEOUT: Final = 2.0


class PoolOfUpstreams(PoolOfServers):
    """What an upstream connection asks of its pool."""

    def release(self, upstream: Upstream, now: float) -> None:
        """`upstream` may have room: to the oldest who waits for such a place, else idle."""
        raise NotImplementedError

    def on_connected(self, upstream: Upstream, now: float) -> None:
        raise NotImplementedError

    def on_closing(self, upstream: Upstream, now: float) -> None:
        """No more requests for it; its socket still counts."""
        raise NotImplementedError

    def on_closed(self, upstream: Upstream, connected: bool, error: str, now: float) -> None:
        """Its socket is gone: one place under the bound. `error`: why its connect failed, if it did."""
        raise NotImplementedError

    def on_failed(self, upstream: Upstream, error: str, now: float, *, closes: bool = False) -> None:
        """Its connect failed, or was in vain."""
        raise NotImplementedError

    def on_idle_deadline(self, upstream: Upstream, now: float) -> None:
        raise NotImplementedError


class Upstream(UpstreamRole):
    """What every upstream connection has: a state, a server, an owner if pinned. Times are the loop's,
    seconds."""

    __slots__ = (
        "_halted",
        "counts",
        "dialled",
        "failed",
        "is_told",
        "is_tried",
        "mute",
        "outdated",
        "outdated_at",
        "pool",
        "reached",
        "ready",
        "replies",
        "resting",
        "retire_at",
        "retiring",
        "said",
        "serial",
        "served",
        "server",
        "suspect",
    )

    def __init__(self, pool: PoolOfUpstreams, server: Server, now: float) -> None:
        super().__init__()
        self.pool = pool
        self.server = server
        self.state = CONNECTING
        self.wire = None
        self.replies = pool.protocol.replies()
        self.retire_at = INF  # max_lifetime ends then
        self.served = 0  # exchanges sent on it so far
        self.owner = None
        self.pin_reason = ""
        self.counts = False  # pinned: against max_pinned
        self.said = ""  # by TLS, of why it has ended
        self.retiring = ""  # why it will be closed as soon as it owes nothing
        self.outdated = ""  # why it may not stay, not even for a session's sake (changing.py)
        self.outdated_at = INF  # since then
        self.reached = False  # connected, and its handshake goes on
        self.ready = False  # it has been OPEN
        self.mute = True  # its server has not said a word
        self.is_tried = False  # GREETING: it is watched for a moment, and nothing else is due
        self.is_told = False  # that its server ended it was counted as a failure
        self.failed = False  # its end before that counts as a failure of its server
        self.resting = False  # nobody's, until its server has ended it or a while has passed
        self.read_paused = False  # for a client, or until its next turn
        self._halted = False  # for a client
        self.suspect = 0  # SILENT | APART: others get what is new
        self.dialled = now
        self.serial = pool.connects  # connects of its pool up to this one
        self.deadline = now + pool.config.connect_timeout
        self.wake = INF

    # -- to be supplied by each ledger -------------------------------------------------------------

    def on_reply_deadline(self, now: float) -> None:
        raise NotImplementedError

    def take_owed(self) -> list[Exchange]:
        """Empty the ledger: the connection is ending."""
        raise NotImplementedError

    def keepalive(self) -> tuple[float, float]:
        return self.pool.config.keepalive, self.pool.unacknowledged_timeout()

    def secure(self) -> Secure | None:
        return self.pool.secure(self.server.address)

    # -- life --------------------------------------------------------------------------------------

    def on_reached(self, now: float) -> None:
        self.reached = True

    def on_connected(self, wire: Wire, now: float) -> None:
        if self.state != CONNECTING:
            wire.abort()
            return
        self.wire = wire
        if self.server.closes:
            self.state, self.is_tried = GREETING, True
            self.expect_by(now + max(self.pool.config.backoff_min, 2.0 * (now - self.dialled)))
        else:
            self.open(now)

    def open(self, now: float) -> None:
        """(CONNECTING | GREETING) => OPEN"""
        self.state = OPEN
        self.ready = True
        self.pool.on_connected(self, now)

    def is_busy(self) -> bool:
        """It owes something, or a session has it alone."""
        return self.owner is not None or self.load() > 0

    def retire(self, why: str, now: float) -> None:
        """Nothing new goes on it, and it closes when it owes nothing. Whose session has it alone goes on."""
        if self.state < OPEN or not self.is_busy():
            self.close(why, now)
        elif self.owner is None and not self.retiring:
            self.on_last_call(why)

    def on_last_call(self, why: str) -> None:
        self.retiring = why

    def on_breaking(self, now: float) -> None:
        """With the last reply that is still to be read it is nobody's: what is written now is lost, though it
        may not be sent twice (P9)."""
        if self.state == OPEN and not self.retiring:
            self.retiring = BROKEN_OFF

    def on_lost(self, error: str, now: float) -> None:
        """OPEN => CLOSING: the connection has ended and takes no more bytes; its socket is not gone yet."""
        if error.startswith(SAID_BY_TLS):  # our certificate was refused, perhaps, and the handshake was done
            self.said = error
        if self.replies.more:
            self.on_breaking(now)
        for _ in range(LAST_TURNS):
            if self.state != OPEN or not self.replies.more:
                break
            self.on_data(b"", now)
        if self.state == CLOSING and self.retiring == BROKEN_OFF:  # behind its last reply
            self.on_broken_off(now)
        if self.state == OPEN:
            self.on_broken_off(now)
            self.fail("server closed", Reason.SERVER_CLOSED, error or "server closed the connection", now)

    def on_broken_off(self, now: float) -> None:
        """Its server has ended it, and nothing had said that it would."""
        self.server.doubted_until = now + DOUBT
        if self.mute and not self.is_told and (self.ready or self.is_tried) and self._was_meant(now):
            self.is_told = True
            self.pool.on_failed(self, self.said or "accepted, and closed without a word", now, closes=True)

    def _was_meant(self, now: float) -> bool:
        """Its end says something about the server. It does not if nobody has used it for a while."""
        return self.served > 0 or now - self.dialled < self.pool.config.backoff_max

    def on_first_word(self, now: float) -> None:
        self.mute = False
        server = self.server
        if server.closes and self.state == OPEN and self.dialled >= server.failed_at:
            server.on_back()
            self.pool.on_worth_a_try(now)  # others, too, now, and nothing else says so to who waits (P4)

    def is_left(self, now: float) -> bool:
        """Idle, about to be used while its server is in doubt: it is closed and True if the server has left,
        though only the kernel knows it yet."""
        if self.wire is None or not self.pool.world.has_left(self.wire):
            return False
        self.on_lost("", now)
        return True

    def on_closed(self, error: str, now: float) -> None:
        """Any state => CLOSED: the socket is gone, or the connect failed. Called exactly once."""
        was, self.state = self.state, CLOSED
        if was in (OPEN, GREETING):
            self.on_broken_off(now)
        owed = self.take_owed()
        self.wire = None
        if was == OPEN:
            self.pool.count_closed("server closed")
        failed = not self.ready and not self.is_told and (was < OPEN or self.failed)
        why = self.retiring or error or "closed before it answered the greeting"
        self.pool.on_closed(self, self.ready, why if failed else "", now)
        self.lose(owed, Reason.SERVER_CLOSED, error or "server closed the connection", now)

    def close(self, why: str, now: float, label: str = "") -> None:
        """(CONNECTING | GREETING | OPEN) => CLOSING; what it owes is lost. `why` is counted: a reason for not
        reusing it."""
        if self.state >= CLOSING:
            return
        was, self.state = self.state, CLOSING
        owed = self.take_owed()
        self.pool.on_closing(self, now)
        if was < OPEN:
            self.retiring = why
        if was == CONNECTING:
            self.pool.world.hang_up(self)
            return
        self.pool.count_closed(label or why)
        assert self.wire is not None
        if self.is_opaque():  # a session's last bytes are still worth sending
            self.expect_by(now + CLOSE_TIMEOUT)
            self.wire.close()
        else:
            self.deadline = INF
            self.wire.abort()
        self.lose(owed, Reason.SERVER_CLOSED, why, now)

    def fail(self, why: str, reason: Reason, text: str, now: float) -> None:
        owed = self.take_owed()
        self.failed = not self.ready
        self.close(why, now)
        self.lose(owed, reason, text, now)

    def on_server_cut(self, now: float) -> bool:
        """What is framed tells its end by itself, and nobody is owed what has not come."""
        return self.on_server_eof(now)

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
        """P9: idempotent, not lost before, on a reused connection, no reply byte seen. The keep-alive race
        and nothing else."""
        return (
            reason is Reason.SERVER_CLOSED
            and exchange.state == SENT
            and self.served > 1
            and exchange.is_replayable()
        )

    def on_deadline(self, now: float) -> None:
        """CONNECTING => CLOSING | reply too late | idle too long | CLOSING => aborted"""
        self.deadline = INF
        if self.is_tried and self.state == GREETING:
            self.open(now)
        elif self.state < OPEN:
            self.failed = True
            self.close(HANDSHAKE_TIMEOUT if self.reached and self.wire is None else CONNECT_TIMEOUT, now)
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

    def cut(self, exchange: Exchange, now: float) -> None:
        self.take_owed()
        self.close("cut off", now)

    # -- flow --------------------------------------------------------------------------------------

    def pause_reading(self) -> None:
        if self.wire is not None:
            self._halted = True
            self._stop_reading()

    def resume_reading(self, now: float) -> None:
        self._halted = False
        if self.read_paused and not self.busy and self.wire is not None:
            if self.replies.more:
                self.postpone()
            else:
                self._read_on(now)

    def _stop_reading(self) -> None:
        if not self.read_paused and self.wire is not None:
            self.read_paused = True
            self.deadline = INF
            self.wire.pause_reading()

    def _read_on(self, now: float) -> None:
        assert self.wire is not None
        self.read_paused = False
        self.wire.resume_reading()
        if self.load() and not self.is_opaque():  # whose silence its client's idle_timeout bounds
            self.expect_by(now + self.pool.reply_timeout)

    def postpone(self) -> None:
        if not self.busy and self.wire is not None and self.state < CLOSING:
            self.busy = True
            self._stop_reading()
            self.pool.world.postpone(self)

    def go_on(self, now: float) -> None:
        self.busy = False
        self._taken = 0
        if self.wire is not None and self.state < CLOSING and not self._halted:
            self._read_on(now)
            self.on_turn(now)

    def on_turn(self, now: float) -> None:
        """It is read again: what was held back goes first."""
        if self.replies.more:
            self.on_data(b"", now)

    def on_write_paused(self, now: float) -> None: ...

    def on_write_resumed(self, now: float) -> None: ...

    # -- pins --------------------------------------------------------------------------------------

    def pin(self, client: ClientRole, reason: str, *, counts: bool = True) -> None:
        """`counts`: against max_pinned."""
        if self.owner is None:
            self.owner = client
            self.pin_reason = reason
            client.pinned = self
            self.counts = counts
            self.pool.count_pin(int(counts))

    def unpin(self) -> None:
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.pinned = None
            self.pool.count_pin(-int(self.counts))
            self.retiring = self.retiring or self.outdated

    def on_owner_left(self, now: float) -> None:
        """Its session may have left any state behind: never to be another's (P2)."""
        if self.state == OPEN:
            self.close("pinned session ended", now)

    def __repr__(self) -> str:
        state = ("connecting", "greeting", "open", "closing", "closed")[self.state]
        return f"<Upstream {self.server} {state} load={self.load()} served={self.served}>"


class SingleUpstream(Upstream):
    """With one exchange at most. `current`: the one whose connection it is, or None."""

    __slots__ = ("current",)

    def __init__(self, pool: PoolOfUpstreams, server: Server, now: float) -> None:
        super().__init__(pool, server, now)
        self.current: Exchange | None = None

    def load(self) -> int:
        return 0 if self.current is None else 1

    def is_shared(self) -> bool:
        return False

    def take_owed(self) -> list[Exchange]:
        exchange, self.current = self.current, None
        if exchange is None:
            return []
        exchange.upstream = None
        self.server.in_flight -= 1
        return [exchange]
