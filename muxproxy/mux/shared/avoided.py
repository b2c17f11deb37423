"""When a shared connection is not for everybody: who comes to it then goes to another, if another can serve.

    SILENT   it owes and has said nothing for suspect_after; until it speaks
    APART    it brings a large reply to a client that does not read as fast; until it owes nothing: large
             replies and small ones part company

A client that is pipeline_buffer behind holds its connection up: that is not read, either. Those behind wait
for their server in vain, so nobody stands behind more than one such wait, whoever causes it: the first client
that holds it up may be below hold_rate for hold_timeout, and of those that hold up the same others after it
each gets half of what the one before got, beginning with an eighth (P5). Whose like was cut for it again and
again gets less (admission/offenders.py).
"""

from __future__ import annotations

from typing import Final

from muxproxy.mux.base.server import Server
from muxproxy.mux.base.upstream import APART, OPEN, SILENT
from muxproxy.mux.deadlines import INF
from muxproxy.mux.exchange import ClientRole, Exchange
from muxproxy.mux.shared.accounts import SharedAccounts
from muxproxy.mux.shared.gathering import Gathering
from muxproxy.protocols.contract import LAST, ONEWAY, Frame

# A client is slow that has so many times response_buffer of replies unread.
BEHIND: Final = 16


class Avoided(Gathering):
    """The part of a SharedUpstream that is about standing still."""

    __slots__ = ("_cuts", "_held_bytes", "_held_for", "_held_since", "_held_until", "_look")

    def __init__(self, pool: SharedAccounts, server: Server, now: float) -> None:
        super().__init__(pool, server, now)
        self._held_for: dict[ClientRole, float] = {}  # clients because of whom it is not read, and since when
        self._held_since = 0.0  # those who wait now began to stand behind a client
        self._held_until = -INF
        self._held_bytes = 0  # that such clients have to take now
        self._cuts = 0  # of such clients
        self._look = INF  # when to look at those that hold it

    # -- supplied by the ledger --------------------------------------------------------------------

    def _waiting_for_reply(self) -> list[Exchange]:
        raise NotImplementedError

    def _clients_bound(self) -> set[ClientRole | None]:
        """Whose replies come from here, and in order."""
        raise NotImplementedError

    # -- who goes elsewhere ------------------------------------------------------------------------

    def avoid(self, why: int, now: float) -> None:
        if self.suspect & why:
            return
        pool = self.shared_pool
        pool.suspects += not self.suspect
        self.suspect |= why
        pool.count_event("suspected" if why == SILENT else "set_apart")
        if pool.has_other(now):
            # What it has not written need not stand behind what is stuck.
            back = self.take_unwritten()
            pool.take_back(None, back, self._take_waiting(back))
        pool.serve(now)  # and who waits for no other than silent ones may have to make do with them

    def trust(self, why: int = SILENT | APART) -> None:
        """`why` it was avoided is no longer so."""
        if self.suspect & why:
            self.suspect &= ~why
            self.shared_pool.suspects -= not self.suspect

    def take_unwritten(self) -> list[Exchange]:
        """What is gathered and may go elsewhere, as if it had not been sent: not what must stay behind what
        its client is owed here."""
        stay = self._clients_bound()
        out = self._out
        back = [e for e in out if e is not self._streaming and e.client is not None and e.client not in stay]
        if back:
            self._out = [each for each in out if each not in back]
            places = sum(each.weight for each in back if not each.marks & ONEWAY)
            self.in_flight -= places
            self.server.in_flight -= places
            if self._asker in back:
                self._asker = None
            if self._calm in back:
                self._calm = None
        return back

    def _take_waiting(self, back: list[Exchange]) -> list[Exchange]:
        """What the clients of `back` would have sent there behind it goes with it, or would overtake it
        (P2)."""
        queue = self.queue
        if queue is None:
            return []
        clients = {exchange.client for exchange in back}
        behind = [exchange for exchange in queue.all() if exchange.client in clients]
        for exchange in behind:
            queue.remove(exchange)
        return behind

    def _look_at_silence(self, now: float) -> float:
        """It has said nothing since its deadline was set. Returns when to look again."""
        if self.owner is None:
            self.avoid(SILENT, now)
        return INF

    # -- who holds it up ---------------------------------------------------------------------------

    def _hold_for(self, client: ClientRole, frame: Frame, now: float) -> None:
        """It takes no more for now: what comes is kept for it, up to pipeline_buffer. What would come then
        cannot be left out, so the connection is not read (P5)."""
        if self.owner is not None or self.state != OPEN:
            return
        if not frame.marks & LAST and client.unread() > BEHIND * self.pool.clients_config.response_buffer:
            self.avoid(APART, now)
        if client.is_behind():
            self._begin_hold(client, len(frame.data), now)
            self.pause_reading()
            client.hold(self, len(frame.data), now)
            if client in self._held_for:
                self.avoid(APART, now)
                look = now + self.pool.clients_config.hold_timeout / 8  # others may come to wait
                self._look = min(self._look, look, self._due(client, self._held_for[client], now))
                self.expect_by(self._look)

    def _begin_hold(self, client: ClientRole, size: int, now: float) -> None:
        if not self._held_for:
            others = (e.sent for e in self._waiting_for_reply() if e.client is not client)
            if next(others, INF) > self._held_until:  # none of these has stood behind another one before
                self._held_since, self._cuts = now, 0
            else:  # what they had to take before, they have taken
                paid = self._held_since + self._held_bytes / self.pool.clients_config.hold_rate
                self._held_since = min(now, paid)
            self._held_bytes, self._look = 0, INF
        self._held_bytes += size
        self._held_for.setdefault(client, now)

    def on_deadline(self, now: float) -> None:
        if not self._held_for or self.state != OPEN:
            super().on_deadline(now)
            return
        self.deadline = INF
        self._look = now + self.pool.clients_config.hold_timeout / 8
        for client, since in list(self._held_for.items()):
            due = self._due(client, since, now)
            if due > now:
                self._look = min(self._look, due)
            elif self.has_others(client):
                self._cuts += 1
                client.cut_in_the_way(now)
        if self._held_for and self.state == OPEN:
            self.expect_by(self._look)

    def _due(self, client: ClientRole, since: float, now: float) -> float:
        """Until then it may hold up others; see above."""
        config = self.pool.clients_config
        due = self._held_since + config.hold_timeout + self._held_bytes / config.hold_rate
        due = max(due, since + config.hold_timeout / (8 << min(self._cuts, 16)))
        if self.pool.offenders:
            due = min(due, since + self.pool.grace(client, now) + self._held_bytes / config.hold_rate)
        return due

    def unhold(self, client: ClientRole, now: float) -> None:
        self._held_for.pop(client, None)
        if self._held_for or not self.read_paused or self.state != OPEN:
            return
        self._held_until = now
        self.resume_reading(now)
        for exchange in self._waiting_for_reply():  # whose servers could not be heard
            exchange.sent = max(exchange.sent, now)
        self._rearm(now)
        self.pool.release(self, now)

    def has_others(self, client: ClientRole) -> bool:
        waiting = (*self._waiting_for_reply(), *self._out)
        return any(exchange.client is not client for exchange in waiting)
