"""What several machines judge by, of the heart's own ledgers: where a promise is about who waits (P4)."""

from __future__ import annotations

from muxproxy.budget import Order
from muxproxy.mux.base.upstream import CLOSING, OPEN
from muxproxy.mux.deadlines import INF
from tests.fakes import Stage


class Bound:
    """P1 of a pool whose allowance changes: what is open is no more than it may have; and where that has
    become fewer, no more than was open before."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._most = stage.pool.max_connections
        self._pinned = stage.pool.pinned_limit
        self._kept_since = INF  # an idle connection, though others ask for one

    def judge(self) -> None:
        pool, sockets = self._stage.pool, len(self._stage.world.sockets)
        assert sockets <= max(pool.max_connections, self._most), "P1"
        assert pool.allowance.report().held >= max(sockets, pool.max_connections), "P1: more than it says"
        assert pool.pinned <= max(pool.pinned_limit, self._pinned), "P7"
        self._most = max(pool.max_connections, sockets)
        self._pinned = max(pool.pinned_limit, pool.pinned)
        idle = [u for u in pool.upstreams if u.state == OPEN and u.owner is None and not u.load()]
        assert not (idle and len(pool.upstreams) > pool.max_connections), "P1: kept beyond the bound"
        on_its_way = sum(upstream.state >= CLOSING for upstream in pool.upstreams)
        if not idle or pool.gate.waiting or pool.allowance.share.asked <= on_its_way:
            self._kept_since = INF
        else:
            self._kept_since = min(self._kept_since, self._stage.world.now)
        assert self._stage.world.now - self._kept_since < 0.05, "an idle one is kept from who asks"

    def owned(self) -> int:
        return sum(upstream.owner is not None for upstream in self._stage.pool.upstreams)

    def allow(self, most: int, asked: int = 0) -> None:
        pool = self._stage.pool
        order = Order(pool.allowance.share.serial + 1, min(most, pool.config.max_connections), asked)
        with self._stage.turn():
            pool.allowance.on_order(order, self._stage.world.now)


class Waiting:
    """P7 of a queue whose bound changes: who waits may stay, but there are no more than that."""

    def __init__(self) -> None:
        self._before = 0

    def judge(self, waiting: int, bound: int) -> None:
        assert 0 <= waiting <= max(bound, self._before), "P7"
        self._before = waiting


def nobody_stays_who_may_not(stage: Stage) -> None:
    """Of a server that was removed, or outdated otherwise: those that owe nothing, and are no session's."""
    for upstream in stage.pool.upstreams:
        if upstream.outdated or upstream.server.gone:
            assert upstream.state >= CLOSING or upstream.is_busy(), f"{upstream} should have closed"
            assert upstream.outdated, upstream


def may_another_serve(stage: Stage) -> bool:
    """Is there a shared connection that is not silent, full perhaps; or is one coming, or may be dialled?"""
    pool, now = stage.pool, stage.world.now
    shared = [u for u in pool.upstreams if u.state == OPEN and u.owner is None and not u.read_paused]
    if any(not (u.suspect or u.retiring or getattr(u, "reserved", False)) for u in shared):
        return True
    may_dial = any(server.may_dial(now) for server in pool.servers)
    has_place = len(stage.world.sockets) < pool.max_connections
    return any(u.state < OPEN for u in pool.upstreams) or (may_dial and has_place)


def nobody_waits_beside_a_free_place(stage: Stage) -> None:
    """P4, but for whose turn it is."""
    pool, now = stage.pool, stage.world.now
    is_due = pool.all_pins is not None and pool.all_pins.is_due()  # served in the next slot of time
    may_pin = bool(len(pool.pin_queue)) and pool.pins_left() > 0 and not is_due
    may_pin = may_pin or bool(len(pool.stream_queue))
    free = [upstream for upstream in pool.upstreams if upstream.state == OPEN and upstream.has_room()]
    unowned = [u for u in free if u.owner is None and not (may_pin and getattr(u, "reserved", False))]
    if may_another_serve(stage):  # behind one that is silent nobody need stand
        unowned = [u for u in unowned if not u.suspect]
    assert not (len(pool.queue) and unowned), "P4: beside a free place"
    assert not (may_pin and any(not u.load() and u.owner is None for u in free)), (
        "P4: a pin beside a free place"
    )
    assert not any(len(u.queue) for u in free if getattr(u, "queue", None)), "P4: on its own connection"
    connecting = any(upstream.state < OPEN for upstream in pool.upstreams)
    if (
        (len(pool.queue) or len(pool.retry_queue) or may_pin)
        and not connecting
        and len(stage.world.sockets) < pool.max_connections
    ):
        late = now - 0.02  # the wheel turns in grains
        assert not any(server.may_dial(late) for server in pool.servers), "P4: nobody dials for who waits"
    assert not any(pool._next_retry(upstream) for upstream in unowned), "P4: once more, and a place"
