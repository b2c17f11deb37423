"""How long we bear with one client, and how its connection ends.

A client's `phase` says what we are waiting for, and so what its deadline means:

    FRESH     its first request                     idle_timeout, then closed
    IDLE      its next request                      the same
    HEAD      the rest of a head                    head_timeout, then 408
    BODY      the rest of a body                    stall_timeout* below min_rate, then 408
    OWED      nothing: it is our turn               none; if it is not read, to see whether it has left
    STALLED   room in its socket for a reply        stall_timeout* without headway, then cut (P5); to ask on
                                                    is headway too, and not its fault that we do not read
    TUNNEL    anything, on an opaque connection     tunnel_timeout; of raw TCP idle_timeout
    ENDING    its socket to empty, and its FIN      stall_timeout without headway, then LINGER_TIMEOUT

    * hold_timeout, while the client holds an upstream connection that others wait for

Both rates are of late, not of ever: bytes win time back, but what was sent fast before buys no silence now.
"""

from __future__ import annotations

from typing import Final

from muxproxy.mux.admission.memory import HEAVY, LEDGER, OBJECTS, PARKED
from muxproxy.mux.base.accounts import Accounts
from muxproxy.mux.base.backlog import Backlog
from muxproxy.mux.deadlines import INF
from muxproxy.mux.exchange import NEW, WAITING, ClientRole, Exchange, UpstreamRole
from muxproxy.mux.ports import Wire
from muxproxy.protocols.contract import EAGER, INTERIM, Reason

FRESH: Final = 0
IDLE: Final = 1
HEAD: Final = 2
BODY: Final = 3
OWED: Final = 4
STALLED: Final = 5
TUNNEL: Final = 6
ENDING: Final = 7
UNDECIDED: Final = 8  # whether it may stay (base/lending/rations.py)
# In a drain, for who has connected and is about to ask: its request may be on the wire, and a close without a
# word would be its only answer. Who was served before asks again elsewhere.
FRESH_GRACE: Final = 1.0  # seconds
# After a refusal the client may still be sending; closing then would make the kernel send RST and destroy the
# refusal on its way (RFC 9112 section 9.6). So FIN, then read and discard this much for this long.
# Only bytes that are thrown away, so many: clients that send all before they read anything are the rule.
LINGER_BYTES: Final = 64 * 1024 * 1024
# By then a server has said 100 Continue, if it says it at all: curl's --expect100-timeout.
CONTINUE_TIMEOUT: Final = 1.0  # seconds
LOOK_AGAIN: Final = 0.25  # seconds, until a client that must see an RST has taken what came before it
_NEVER: Final = -INF  # one for all clients
LINGER_TIMEOUT: Final = 2.0  # seconds; nginx lingering_timeout 5 s, lingering_time 30 s


class Patience(ClientRole):
    """The clockwork under a Client. `wire` is None once it is closed."""

    __slots__ = (
        "_allowed_from",
        "_apart",
        "_asks_on",
        "_backlog",
        "_behind_bytes",
        "_behind_since",
        "_behind_until",
        "_cut",
        "_discards",
        "_halted",
        "_kept",
        "_parked",
        "_read_paused",
        "_resets",
        "_took_at",
        "_unheard",
        "_unsent",
        "filling",
        "holding",
        "is_heavy",
        "phase",
        "pool",
    )

    def __init__(self, pool: Accounts, wire: Wire | None, now: float) -> None:
        super().__init__()
        self.pool = pool
        self.wire = wire
        self.first = None
        self.last = None
        self.filling: Exchange | None = None  # the one whose request is still coming in
        self.phase = FRESH
        self.deadline = now + pool.client_idle_timeout
        self.wake = INF
        self._cut = False  # it was left in the middle of a reply
        self._resets = 0.0  # RST, as soon as it has taken what it got of that, or by then without headway
        self._read_paused = False
        self._unheard = False  # it is not read, or nothing of it has been since it was not
        self._halted = False  # who takes its body can take no more
        # It is as late as if it had been silent since then. Of who waits for 100 Continue: in the future.
        self._allowed_from = 0.0
        self.write_paused = False
        self._backlog: Backlog | None = None  # what is behind that
        self._asks_on = False  # it has sent something since the deadline last looked
        self._discards = 0  # lingering: so much more of what it sends is read
        self.holding: tuple[UpstreamRole, ...] = ()  # shared connections that are not read because of it
        self.slow = False
        self._behind_since = self._behind_until = 0.0  # it held any, last
        self._behind_bytes = 0  # that it has to take now
        self._kept: list[bytes | memoryview] | None = None  # to be written with what follows in this turn
        self._apart = 0  # so many bytes are kept apart from what was written last
        self._parked = 0  # bytes of reply frames that wait for their turn
        self._unsent = 0  # what its socket had not taken when the deadline last looked
        self.is_heavy = False  # the worker's Memory looks at it
        self._took_at = _NEVER  # when a socket that had been full was so no longer

    def leave(self, reason: Reason, now: float) -> int:
        """Nobody waits for our replies any more: give up what is owed. Returns how many exchanges that
        ended."""
        raise NotImplementedError

    def refuse_trickle(self, now: float) -> None:
        """A head or body has not come in the time it was allowed."""
        raise NotImplementedError

    def is_listening(self) -> bool:
        """Its silence is no reason to close it."""
        return False

    def on_deadline(self, now: float) -> None:
        """(FRESH | IDLE) => closed; (HEAD | BODY) => refused; (STALLED | ENDING) => aborted; each only
        without headway."""
        config = self.pool.clients_config
        phase = self.phase
        if self._resets and self.wire is not None:
            self._reset_when_taken(now)
            return
        if self.busy and phase != ENDING:  # what it has sent waits for its turn
            self.deadline = now + config.hold_timeout
            return
        if phase == BODY:
            if self._halted or self._read_paused:  # it is we who do not read
                self._allowed_from = now
                if self._has_left_unseen(now):
                    return
            self.deadline = self._grace_until(now)
        elif phase == STALLED:
            waits = self._read_paused and not self.is_behind()  # it is we who do not read
            if waits and self._has_left_unseen(now):
                return
            moves = self._has_headway() or self._asks_on or waits
            if moves and not (self.holding and self._is_in_the_way(now)):
                self._allowed_from = now
            self._asks_on = False
            self.deadline = self._grace_until(now)
        elif phase == OWED:
            self._look_whether_it_left(now)
            return
        elif phase != HEAD and self._has_headway():
            self.deadline = now + config.stall_timeout
        if self.deadline > now:
            if phase in (BODY, STALLED):  # look again soon: others may come to wait
                self.deadline = min(self.deadline, now + config.hold_timeout)
            return
        self.deadline = INF
        if phase in (HEAD, BODY):
            self.refuse_trickle(now)
        elif phase <= IDLE and self.first is None and not self._unsent:
            if self.is_listening():
                self.deadline = now + config.idle_timeout
            else:
                self.end(now, linger=False)
        elif phase == STALLED and self._is_contended():
            self.cut_in_the_way(now)
        else:
            self.leave(Reason.TUNNEL_TIMEOUT if phase == TUNNEL else Reason.CLIENT_STALLED, now)
            self.abort()

    def _look_whether_it_left(self, now: float) -> None:
        self.deadline = now + self.pool.clients_config.stall_timeout if self._read_paused else INF
        self._has_left_unseen(now)

    def _has_left_unseen(self, now: float) -> bool:
        """It is not read, for all that it has sent is yet to be done: its FIN is not seen."""
        if not self._read_paused or self.wire is None or not self.pool.world.has_left(self.wire):
            return False
        self.deadline = INF
        self.leave(Reason.CLIENT_LEFT, now)
        self.abort()
        return True

    def hurry(self, now: float) -> None:
        """Draining: who has not asked yet should, if it means to."""
        if self.phase == FRESH:
            self.expect(FRESH, now + FRESH_GRACE)

    def start_clock(self, exchange: Exchange, now: float) -> None:
        """Of a body that is to come. Who waits for 100 Continue is silent because the server is: as long as a
        server may be."""
        self._allowed_from = now + self.pool.reply_timeout if exchange.marks & EAGER else now

    def on_stalled(self, now: float) -> None:
        """Its socket takes no more: it costs memory, and from now on it has to take something."""
        self._unsent = self._all_unsent()
        self._asks_on = False
        self._allowed_from = now
        self.expect(STALLED, now + self.pool.clients_config.hold_timeout)

    def _rest(self, now: float) -> None:
        """The reply flows again: back to the phase that the ledger tells."""
        config = self.pool.clients_config
        filling = self.filling
        if filling is None:
            idle = self.first is None
            self.expect(IDLE if idle else OWED, now + config.idle_timeout if idle else INF)
        elif filling.begun and filling.upstream is not None and filling.upstream.is_opaque():
            self.expect(TUNNEL, now + self.pool.tunnel_timeout)
        else:
            self._allowed_from = now
            self.expect(BODY, now + config.stall_timeout)

    def pay(self, size: int, now: float) -> None:
        """So much of a body has come: min_rate of it wins a second back, and none is kept for later."""
        paid = self._allowed_from + size / self.pool.clients_config.min_rate
        self._allowed_from = paid if paid < now else now

    def _grace_until(self, now: float) -> float:
        """P5: short for who holds a connection that others wait for, else generous."""
        config = self.pool.clients_config
        since = self._allowed_from
        if not self._is_contended():
            return since + config.stall_timeout
        if since > now:  # its server is silent; others need not wait for that as long as it may
            since -= self.pool.reply_timeout - min(CONTINUE_TIMEOUT, self.pool.reply_timeout)
        return since + self.pool.grace(self, now)

    def _is_contended(self) -> bool:
        """Others wait for what it holds."""
        first = self.first
        holds = first is not None and first.upstream is not None and not first.upstream.is_shared()
        if holds and self.pool.gate.waiting > 0:
            return True
        return any(upstream.has_others(self) for upstream in self.holding)

    def expect(self, phase: int, deadline: float) -> None:
        self.phase = phase
        self.deadline = deadline
        if deadline < self.wake:
            self.pool.slow.watch(self)

    def _has_headway(self) -> bool:
        """Has its socket taken anything since we last looked? Asked only when a deadline has come."""
        unsent = self._all_unsent()
        moving = 0 < unsent < self._unsent or (self._unsent == 0 < unsent)
        self._unsent = unsent
        return moving

    def _regulate(self) -> None:
        """Read from the client, or not: the one place that decides it (P7)."""
        wire = self.wire
        if wire is None or self.phase == ENDING:
            return
        if not self.is_heavy and self._grows_heavy():
            self.pool.memory.add(self)
        if self.busy or self._is_full():
            if not self._read_paused:
                self._read_paused = self._unheard = True
                wire.pause_reading()
        elif self._read_paused:
            if self._has_more():
                self.postpone()
            else:
                self._read_paused = False
                wire.resume_reading()

    def _is_full(self) -> bool:
        """It has sent as much as we keep."""
        filling = self.filling
        if filling is not None:
            return self._halted or (
                filling.state in (NEW, WAITING) and filling.size >= self.pool.clients_config.request_buffer
            )
        return self._parked > self.pool.clients_config.response_buffer or (
            self.last is not None and self._is_ahead(self.last)
        )

    def _has_more(self) -> bool:
        """Something that was read waits for the next turn."""
        raise NotImplementedError

    def _is_ahead(self, last: Exchange) -> bool:
        """It has sent as much as we keep of what cannot go on yet."""
        raise NotImplementedError

    def _unpark_half(self, exchange: Exchange) -> None:
        """What is parked of a reply whose rest will not come is not to be written before the refusal (P2)."""
        parked = exchange.parked
        if parked is not None:
            exchange.parked = [frame for frame in parked if frame.marks & INTERIM] or None
            kept = exchange.parked or ()
            self._parked += sum(len(frame.data) + PARKED for frame in kept)
            self._parked -= sum(len(frame.data) + PARKED for frame in parked)

    def put(self, data: bytes, *, more: bool = False) -> None:
        """Write. `more`: other replies to it may come in this turn, so that one write can do for all."""
        kept = self._kept
        if self._apart and kept is not None:
            kept.append(data)
            self._apart -= len(data)
            if self._apart > 0:
                return
            self._apart, data, more = 0, b"", False
        if more or kept is not None:
            if kept is None:
                kept = self._kept = []
                if self.pool.corked is not None:
                    self.pool.corked.append(self)
            kept.append(data)
            if more and self.pool.corked is not None:
                return
            self._kept = None
            data = b"".join(kept)
        if self.write_paused:
            if self._backlog is None:
                self._backlog = Backlog()
            self._backlog.add(data)
            self._unsent += len(data)
        elif self.wire is not None:
            self.wire.write(data)

    def _write_backlog(self, *, all_of_it: bool = False) -> None:
        """As much as its socket takes."""
        backlog, wire = self._backlog, self.wire
        while backlog is not None and backlog.size and (all_of_it or not self.write_paused):
            data = backlog.take()
            if wire is not None:
                wire.write(data)

    def unread(self) -> int:
        size = self._parked
        if self._backlog is not None:
            size += self._backlog.size
        return size if self.wire is None else size + self.wire.get_write_buffer_size()

    def _grows_heavy(self) -> bool:
        """It may weigh more than what everybody may."""
        filling = self.filling
        return self.write_paused or self._parked > HEAVY or (filling is not None and filling.size > HEAVY)

    def shed(self, text: str, now: float) -> None:
        """What is held for it is needed."""
        raise NotImplementedError

    def weight(self) -> int:
        """Bytes that are held for it: what it has sent and what it has not read."""
        size = self.unread()
        exchange, left = self.last, LEDGER
        while exchange is not None and left:
            size += len(exchange.data) + exchange.size + OBJECTS
            exchange = exchange.before
            left -= 1
        return size

    def shares(self) -> tuple[int, int]:
        return self.unread(), 0

    def _all_unsent(self) -> int:
        unsent = 0 if self._backlog is None else self._backlog.size
        return unsent if self.wire is None else unsent + self.pool.world.unsent(self.wire)

    def uncork(self) -> None:
        if self._kept is not None:
            self.put(b"")

    def end(self, now: float, *, linger: bool) -> None:
        """Close once everything written is out; `linger`: FIN first, for a client that may still be
        sending. So is who was not read: what it has sent is in our kernel, and to close over that is an RST,
        which destroys what it was told last (RFC 9112 section 9.6)."""
        self.leave(Reason.CLIENT_LEFT, now)
        self.uncork()
        self._write_backlog(all_of_it=True)
        wire = self.wire
        if wire is None:
            return
        if linger or self._unheard:
            self._unsent = self._all_unsent()
            self._discards = LINGER_BYTES
            if self._read_paused:
                self._read_paused = False
                wire.resume_reading()
            wire.write_eof()
            stalls = self.pool.clients_config.stall_timeout if wire.get_write_buffer_size() else 0.0
            self.expect(ENDING, now + max(LINGER_TIMEOUT, stalls))
            return
        wire.close()
        if wire.get_write_buffer_size():
            self._unsent = self.pool.world.unsent(wire)
            self.expect(ENDING, now + self.pool.clients_config.stall_timeout)

    def end_cut(self, now: float, *, is_told: bool, linger: bool) -> None:
        """A reply will never be complete: all that has come of it goes out first. `is_told`: its length or
        its framing tells, so that FIN may follow; else an RST must, once the client has everything."""
        if is_told:
            self.end(now, linger=linger)
            return
        self.leave(Reason.CLIENT_LEFT, now)
        self.uncork()
        self._cut = True
        if self.wire is not None:
            self._unsent = self.pool.world.unsent(self.wire)
            if self._unsent:
                self._resets = now + self.pool.clients_config.stall_timeout
                self.expect(ENDING, now + LOOK_AGAIN)
            else:
                self.abort()

    def _reset_when_taken(self, now: float) -> None:
        """ENDING => aborted, when all is taken, or nothing for stall_timeout."""
        assert self.wire is not None
        unsent, before = self.pool.world.unsent(self.wire), self._unsent
        self._unsent = unsent
        if unsent < before:
            self._resets = now + self.pool.clients_config.stall_timeout
        self.deadline = now + LOOK_AGAIN
        if not unsent or now >= self._resets:
            self.deadline = INF
            self.abort()

    def discard(self, size: int) -> None:
        """Lingering: bounded by LINGER_BYTES here; when it has had all, by LINGER_TIMEOUT on the wheel."""
        self._discards -= size
        if self._discards < 0:
            self.abort()

    def abort(self) -> None:
        """Close at once. What has not reached its end must not pass for whole: then with an error (P2)."""
        self.uncork()
        wire = self.wire
        if wire is None:
            return
        if self._cut or self.unread():
            self.pool.world.reset(wire)
        else:
            wire.abort()

    def refuse_connection(self, reason: Reason, text: str, now: float) -> None:
        """There is no exchange to end, but somebody who must be told; it counts as one."""
        self.pool.count(reason)
        frame = self.pool.refusal(reason, text, None, True, now)
        if self.first is None:
            self.put(frame.data)
        self.end(now, linger=True)

    def pass_eof(self) -> None:
        if self.wire is not None:
            self.wire.write_eof()

    def hold(self, upstream: UpstreamRole, size: int, now: float) -> None:
        """It takes no more, and `upstream`, which others share, has `size` bytes for it: that one waits. For
        how long: P5."""
        if now > self._behind_until + self.pool.clients_config.hold_timeout:
            self._behind_since = now
        else:  # what it had to take before, it has taken
            paid = self._behind_since + self._behind_bytes / self.pool.clients_config.hold_rate
            self._behind_since = min(now, paid)
        self._behind_until = now
        self._behind_bytes = size
        self.slow = True
        if upstream not in self.holding:
            self.holding += (upstream,)
        if self.phase == OWED:  # its socket takes all, but another reply stands before this one
            self._unsent, self._allowed_from = 0, now
            self.expect(STALLED, now + self.pool.clients_config.hold_timeout)
        if self._is_in_the_way(now):
            self.cut_in_the_way(now)

    def cut_in_the_way(self, now: float) -> None:
        self.pool.on_offence(self, now)
        self.leave(Reason.CLIENT_STALLED, now)
        self.abort()

    def _is_in_the_way(self, now: float) -> bool:
        """It has held what others wait for longer than is theirs to bear: hold_timeout, and what it takes to
        send it this at hold_rate."""
        config = self.pool.clients_config
        until = self._behind_since + config.hold_timeout + self._behind_bytes / config.hold_rate
        return now > until and any(upstream.has_others(self) for upstream in self.holding)

    def let_go(self, now: float) -> None:
        if self.holding:
            holding, self.holding = self.holding, ()
            for upstream in holding:
                upstream.unhold(self, now)

    def is_behind(self) -> bool:
        """What it has not taken is as much as we keep for it. Who asks on is told so a fifth earlier: who is
        blocked in writing what we do not read will never read (client.py)."""
        bound = self.pool.clients_config.pipeline_buffer
        bound += bound // 4
        if self.is_listening():
            bound += self.pool.protocol.subscriber_buffer
        return self.wire is not None and self.unread() > bound
