"""How much of what is bounded of a backend as a whole this pool may use, where others share it: its clients,
its queue, what sessions have alone (config/limits.py numbers(); places, which have sockets: allowance.py).

Lent by need, by the same law (budget.py): a pool that is at its part wants more at once, and has it a few
messages later if anybody has some to spare; of what is unused here others get half, so that whoever was
generous need not ask back at the next client. Nothing that has been let in is ever put out for it.

Who finds the part used up is neither let in nor refused for a moment: it is decided when more comes, or when
WAIT is over and none has come. Then all are refused at once for CALM, while more is wanted all the same: a
full house must not keep everybody waiting (P8). Alone with its backend a pool has all of it, and refuses at
once.

Who comes to a pool that drains was accepted before it had heard of that, and nobody else can serve him:
clients may then be as many as the whole backend's. Undecided, he would be ended unread. What they ask stands
in line by what is lent, with more time for the decision.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from muxproxy.budget import Order, Report, Share
from muxproxy.config.limits import CLIENTS, PINNED
from muxproxy.mux.admission.gate import Gate
from muxproxy.mux.admission.queue import Queue
from muxproxy.mux.base.client import Client
from muxproxy.mux.base.refusing import Refusing
from muxproxy.mux.deadlines import INF, Timed
from muxproxy.mux.exchange import Exchange

# Seconds. It takes 2 ms, and a hundred where thirty processes want the CPU: with a WAIT of 20 ms somebody was
# refused there beside a queue that was empty. One in six waits for that where all is taken (WAIT of CALM).
WAIT: Final = 0.2
# Where what is wanted has to come back first, from workers that are busy with a reload or an upgrade: a shard
# has just begun, with nothing; another process takes over from this one, or this one from another.
FIRST: Final = 2.0
# Nothing was lent yet by a predecessor: it does so when all workers of this one are ready.
READY: Final = 10.0
CALM: Final = 1.0
LOOK: Final = 0.005  # seconds between two looks, while somebody wants more: here, or elsewhere
PARTS: Final = 16  # of a part of the bound that is even: so much is wanted at a time, or a message for each


class Ration(Timed):
    """Of one number of one pool."""

    __slots__ = (
        "_bound",
        "_calm_until",
        "_is_new",
        "_pool",
        "_since",
        "_told",
        "_until",
        "is_lent",
        "key",
        "refused",
        "share",
    )

    def __init__(self, pool: Refusing, key: str, bound: int) -> None:
        self._pool = pool
        self.key = key
        self._bound = bound  # of the whole backend
        self.share = Share()
        self.share.most = bound
        self._told = Report(0, 0, 0)
        self._is_new = False  # nothing was lent yet
        self.is_lent = False  # somebody lends it; else all of it is ours
        self.refused = 0  # since the last look
        self._calm_until = -INF
        self._since = INF  # who came from then on is neither let in nor refused yet
        self._until = INF  # for so long
        self.deadline = INF
        self.wake = INF

    # -- what the kinds supply ---------------------------------------------------------------------

    def used(self) -> int:
        """By those that are let in."""
        raise NotImplementedError

    def missing(self) -> int:
        """How many more could be used now, by those that are here."""
        raise NotImplementedError

    def settle(self, now: float) -> None:
        """`most()` has changed, or whether anybody is kept undecided: what goes by it, and who may go in."""
        raise NotImplementedError

    def turn_away(self, now: float) -> None:
        """Those that came since `_since`, and are too many: no more has come."""

    # -- the configuration, and who lends ----------------------------------------------------------

    def most(self) -> int:
        """That may be used."""
        return min(self.share.most, self._bound)

    def configure(self, bound: int, now: float) -> None:
        self._bound = bound
        if not self.is_lent:
            self.share.most = bound
        self.settle(now)

    def begin(self, order: Order, now: float) -> None:
        """What a new pool has been lent."""
        self.is_lent = True
        self.share.serial, self.share.most, self.share.asked = order
        self._is_new = order.most == 0
        self.settle(now)

    def on_order(self, order: Order, now: float) -> None:
        if self.share.on_order(order):
            self.is_lent = True
            self._is_new &= self.share.most == 0
            self.settle(now)
        self._look(now)
        self._tell()

    def report(self) -> Report:
        return self.share.report(self.used())

    def _tell(self) -> None:
        self._told = self.report()
        self._pool.world.on_ration(self._pool, self.key)

    # -- more --------------------------------------------------------------------------------------

    def may_rise(self) -> bool:
        """Others have some of it."""
        return self.most() < self._bound

    def keeps(self, now: float) -> bool:
        """May who is one too many be kept for a moment? It is wanted for it, whether or not."""
        if not self.may_rise():
            return False
        if now < self._calm_until:
            self.refused += 1
            self.want(now)
            return False
        if self._since == INF:
            self._since, self._until = now, now + self._patience(now)
        self.want(now, 1)
        return True

    def _patience(self, now: float) -> float:
        """How long somebody may be undecided."""
        pool = self._pool
        if now < pool.lenient_until:
            return READY if self._is_new else FIRST
        return FIRST if self._is_new or pool.draining else WAIT

    def want(self, now: float, coming: int = 0) -> None:
        """`coming`: beside those that are missing by now."""
        if not self.may_rise():
            return
        before = self.share.wanted
        self._set_wanted(coming)
        self._look_at(now + LOOK)
        if self.share.wanted > before:
            self._tell()

    def _set_wanted(self, coming: int) -> None:
        """In parts, so that not each is a message."""
        needed = max(self.missing() + coming, min(1, self.refused))
        part = max(1, self._bound // (2 * PARTS))
        self.share.wanted = min(max(0, self._bound - self.share.most), -(-needed // part) * part)

    def on_deadline(self, now: float) -> None:
        self.deadline = INF
        if now >= self._until:
            self._since_ends(now, vain=True)
        self._look(now)
        if self.is_lent and self.report() != self._told:
            self._tell()

    def _since_ends(self, now: float, *, vain: bool) -> None:
        """Nobody is undecided any more."""
        if vain:
            self._is_new = False
            self._calm_until = now + CALM
            self.turn_away(now)
        self._since = self._until = INF
        self.settle(now)

    def _look(self, now: float) -> None:
        """What is wanted now, and what others may have."""
        if self._since != INF and not self.missing():
            self._since_ends(now, vain=False)
        if self._calm_until <= now and self._calm_until != -INF:
            self._calm_until = -INF
            self.settle(now)
        self._set_wanted(0)
        self.refused = 0
        self._give(now)
        is_over = self.used() > self.share.most  # what comes free is others'
        if self.share.wanted or self.share.asked or is_over or self._since != INF or self._calm_until != -INF:
            self._look_at(now + LOOK)

    def _look_at(self, when: float) -> None:
        if when < self.deadline:
            self.deadline = when
            self._pool.fine.watch(self)

    def _give(self, now: float) -> None:
        """Of what is unused, to who asks."""
        share = self.share
        unused = share.most - self.used()
        if share.asked and unused > 0 and not share.wanted:
            share.give(min(share.asked, self.spare(unused)))
            self.settle(now)

    def spare(self, unused: int) -> int:
        return (unused + 1) // 2

    def on_bug(self, now: float) -> None:
        """Ours: whoever comes next is looked at."""


class ClientRation(Ration):
    """Of clients. Those that are undecided are not read."""

    __slots__ = ("_anteroom",)

    def __init__(self, pool: Refusing, bound: int) -> None:
        self._anteroom: dict[Client, bytes] = {}  # and what they had sent when they were accepted
        super().__init__(pool, CLIENTS, bound)

    def used(self) -> int:
        return len(self._pool.clients) - len(self._anteroom)

    def missing(self) -> int:
        return len(self._anteroom)

    def most(self) -> int:
        return self._bound if self._pool.draining else super().most()

    def settle(self, now: float) -> None:
        most = self.most()
        self._pool.admit_clients(most)
        room = self._anteroom
        while room and len(self._pool.clients) - len(room) < most:
            client = next(iter(room))
            client.enter(room.pop(client), now)

    def turn_away(self, now: float) -> None:
        while self._anteroom:
            client, _ = self._anteroom.popitem()
            client.turn_away(now)

    def spare(self, unused: int) -> int:
        return unused if self._pool.draining else super().spare(unused)  # nobody comes any more

    def admit(self, client: Client, data: bytes, now: float) -> bool:
        """One more than may be is here. True: it is kept."""
        if len(self._anteroom) >= self._bound or not self.keeps(now):
            return False
        self._anteroom[client] = data
        return True

    def keep_early(self, client: Client, data: bytes) -> None:
        if client in self._anteroom:
            self._anteroom[client] += data

    def forget(self, client: Client) -> None:
        """It has left."""
        self._anteroom.pop(client, None)


class QueueRation(Ration):
    """Of those that wait. Who is undecided stands in line as all do, and goes if a place comes free."""

    __slots__ = ("_gate", "_stood")

    def __init__(self, pool: Refusing, gate: Gate, key: str, bound: int) -> None:
        self._gate = gate
        self._stood = 0  # in line, when the first came that is undecided
        super().__init__(pool, key, bound)

    def used(self) -> int:
        """Who is undecided is not: no more were let in than stood here when the first of them came, but by
        more that has been lent since."""
        standing = self.standing()
        return standing if self._since == INF else min(standing, max(self._stood, self.most()))

    def standing(self) -> int:
        return self._gate.waiting

    def missing(self) -> int:
        return self.standing() - self.used()

    def keeps(self, now: float) -> bool:
        if self._since == INF:
            self._stood = self.standing()
        return super().keeps(now)

    def keeps_beyond(self, gate: Gate, now: float) -> bool:
        """May who finds a gate full be kept for a moment? Here it is full when all that there may be are."""
        self.keeps(now)
        return False

    def settle(self, now: float) -> None:
        gate = self._gate
        gate.let_in = self.most()
        may_keep = self.may_rise() and now >= self._calm_until
        gate.max_waiting = self._bound if may_keep else gate.let_in

    def queues(self, *, is_asked: bool) -> list[Queue]:
        return self._pool.lines(is_asked=is_asked)

    def refuse(self, exchange: Exchange, now: float) -> None:
        """It waits no more."""
        self._pool.put_out(exchange, now)

    def turn_away(self, now: float) -> None:
        """The newest; those last of which a server knows."""
        gate = self._gate
        while gate.waiting > self.most():
            exchange = self._newest(is_asked=False) or self._newest(is_asked=True)
            if exchange is None:
                return
            assert exchange.queue is not None
            exchange.queue.remove(exchange)
            gate.waiting -= 1
            self.refuse(exchange, now)

    def _newest(self, *, is_asked: bool) -> Exchange | None:
        return newest(self.queues(is_asked=is_asked), self._since)


def newest(queues: Iterable[Queue], since: float) -> Exchange | None:
    """Of those that came since then."""
    found: Exchange | None = None
    for queue in queues:
        last = queue.last
        if last is not None and last.since >= since and (found is None or last.since >= found.since):
            found = last
    return found


class PinRation(Ration):
    """Of sessions that have a connection alone. Those that are too many wait anyhow."""

    __slots__ = ()

    def __init__(self, pool: Refusing, bound: int) -> None:
        super().__init__(pool, PINNED, bound)

    def used(self) -> int:
        return self._pool.pinned

    def missing(self) -> int:
        pool = self._pool
        return pool.pin_queue.size if pool.pinned >= pool.most_pins else 0

    def settle(self, now: float) -> None:
        pool, before = self._pool, self._pool.pinned_limit
        pool.most_pins = self.most()
        pool.allow(pool.max_connections)
        if pool.pinned_limit > before and pool.pin_queue.size:
            pool.serve(now)
