"""The machines of test_machine.py over several destinations: after each step the same promises, of each pool
and of all of them together.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from muxproxy.budget import Order
from muxproxy.mux.base.pool import Pool
from muxproxy.mux.base.upstream import CLOSING, OPEN
from muxproxy.mux.deadlines import INF
from muxproxy.protocols.contract import Sharing
from tests.mux.destinations.city import City, place
from tests.mux.judges import Waiting, nobody_waits_beside_a_free_place
from tests.mux.observers import ClientEnd
from tests.mux.scale import MAX_CLIENTS, REQUEST_HIGH, SCALE
from tests.mux.test_machine import (
    SETTINGS,
    Machine,
)
from tests.mux.test_machine_dedicated import BUFFER, SessionsMachine, Talker
from tests.sizes import size
from tests.toys import Toy

PLACES = 4  # destinations


class OneOf:
    """A pool beside the sockets that are its own, as a stage of one pool has them."""

    def __init__(self, city: City, pool: Pool) -> None:
        self.pool = pool
        self.world = self
        self.now = city.world.now
        self.sockets = [each for each in city.world.sockets if each.pool is pool]


class BoundOfAll:
    """P1, as judges.Bound, over all destinations; and that what is idle goes to who waits (P4)."""

    def __init__(self, city: City) -> None:
        self._city = city
        self._most = city.front.max_connections
        self._each: dict[Pool, int] = {}
        self._kept_since = INF

    def owned(self) -> int:
        return sum(upstream.owner is not None for upstream in self._city.front.all_upstreams())

    def allow(self, most: int, asked: int = 0) -> None:
        front = self._city.front
        order = Order(front.allowance.share.serial + 1, min(most, front.config.max_connections), asked)
        with self._city.turn():
            front.allowance.on_order(order, self._city.world.now)

    def judge(self) -> None:
        city, front = self._city, self._city.front
        sockets = len(city.world.sockets)
        assert sockets == front.sockets(), "P1: one that nobody counts"
        assert sockets <= max(front.max_connections, self._most), "P1"
        assert front.allowance.report().held >= sockets, "P1: more than it says"
        assert front.lending.places.is_right(), "P1: sums that are not those of all"
        together = [pool.pinned for pool in front.pools() if pool.all_pins is not None]
        assert front.upgrades.used == sum(together) <= front.upgrades.bound, "what all have alone"
        self._most = max(front.max_connections, sockets)
        for pool in front.pools():
            most = max(pool.config.max_connections, self._each.get(pool, 0))
            assert len(pool.upstreams) <= most, "P1: of one destination"
            self._each[pool] = len(pool.upstreams)
            assert pool.max_connections <= pool.allowance.share.most
        self.judge_idle()

    def judge_idle(self) -> None:
        city, front, now = self._city, self._city.front, self._city.world.now
        pools = list(front.pools())
        wanting = [pool for pool in pools if self._wants(pool, now)]
        idle = [
            each
            for pool in pools
            if not pool.gate.waiting
            for each in pool.upstreams
            if each.state <= OPEN and each.owner is None and not each.load()
        ]
        leaving = sum(each.state >= CLOSING for each in front.all_upstreams())
        free = front.max_connections - len(city.world.sockets)
        if not wanting or not (idle or free > 0) or leaving:
            self._kept_since = INF
        else:
            self._kept_since = min(self._kept_since, now)
        assert now - self._kept_since < 0.06, "P4: a place that nobody uses is kept from who waits"

    def _wants(self, pool: Pool, now: float) -> bool:
        return (
            bool(len(pool.queue) or len(pool.retry_queue))
            and len(pool.upstreams) < pool.config.max_connections
            and not pool.upstreams
            and any(server.may_dial(now - 0.02) for server in pool.servers)
        )


class Destinations(Machine):
    stage: Any

    @initialize(
        connections=st.integers(1, 4),
        each=st.integers(1, 3),
        in_flight=st.integers(1, 3),
        waiting=st.integers(0, 6),
        pinned=st.integers(0, 2),
        destinations=st.integers(2, PLACES),
    )
    def begin(
        self, connections: int, each: int, in_flight: int, waiting: int, pinned: int, destinations: int
    ) -> None:
        made = self.protocol

        class Town(City):
            def protocol(self) -> Toy:
                return made()

        self.stage = Town(
            self.sharing,
            max_connections=connections,
            max_connections_each=each,
            max_destinations=destinations,
            max_in_flight=in_flight,
            max_waiting=waiting,
            max_pinned=pinned,
            **SCALE,
        )
        self.stage.request_high = REQUEST_HIGH
        self.bound: Any = BoundOfAll(self.stage)
        self.waiting = Waiting()
        self.most_in_flight = 0

    @precondition(lambda self: sum(client.peer.is_open for client in self.clients) < MAX_CLIENTS)
    @rule(pick=st.integers(1, PLACES))
    def a_client_connects(self, pick: int = 1) -> None:
        city = self.stage
        is_known = any(room.destination.host == f"10.0.0.{pick}" for room in city.front.rooms.values())
        is_allowed = f"10.0.0.{pick}" not in city.config.upstream.deny
        if is_allowed and (is_known or len(city.front.rooms) < city.config.upstream.max_destinations):
            self.clients.append(ClientEnd(len(self.clients), city.goes(pick), self.sharing))

    def the_configuration_changes(self, *args: Any, **keys: Any) -> None: ...

    @rule(
        keys=st.fixed_dictionaries(
            {},
            optional={
                "max_waiting": st.integers(0, 6),
                "max_connections_each": st.integers(1, 3),
                "deny": st.sampled_from([(), (), ("10.0.0.1",)]),
                "idle_timeout": st.sampled_from([1.0, 10.0]),
            },
        )
    )
    def the_numbers_change(self, keys: dict[str, Any]) -> None:
        self.stage.change(**keys)

    @rule()
    def the_time_to_drain_is_up(self) -> None:
        with self.stage.turn():
            self.stage.front.end_retiring(self.stage.world.now)
        assert not any(u.outdated and u.state < CLOSING for u in self.stage.front.all_upstreams())

    def p1_the_bound_holds(self) -> None:
        self.bound.judge()

    def p4_nobody_waits_beside_a_free_place(self) -> None:
        for pool in self.stage.front.pools():
            one: Any = OneOf(self.stage, pool)
            if pool.config.max_connections >= len(pool.upstreams):
                nobody_waits_beside_a_free_place(one)

    def p7_bounds_hold(self) -> None:
        front = self.stage.front
        pools = list(front.pools())
        in_flight = 3 if self.sharing is not Sharing.EXCLUSIVE else 1
        extra = any(p.retried for p in pools) or front.retried or front.closed or front.hall.bound == 0
        spare = front.config.max_connections * in_flight if extra else 0
        waiting = sum(pool.gate.waiting for pool in pools)
        self.waiting.judge(waiting, front.hall.bound + spare)
        assert front.hall.waiting() <= waiting
        for pool in pools:
            assert pool.gate.waiting == sum(map(len, pool.queues()))
        assert len(front.rooms) <= front.config.max_destinations


class ExclusiveDestinations(Destinations):
    sharing = Sharing.EXCLUSIVE


class OrderedDestinations(Destinations):
    sharing = Sharing.ORDERED


class TaggedDestinations(Destinations):
    sharing = Sharing.TAGGED


class SessionsEverywhere(SessionsMachine):
    """Raw TCP, led to where the app meant to connect."""

    bound: Any

    @initialize(
        connections=st.integers(1, 3),
        each=st.integers(1, 2),
        waiting=st.integers(0, 3),
        destinations=st.integers(2, PLACES),
        half=st.booleans(),
        seconds=st.sampled_from([0.0, 15.0]),
    )
    def begin(
        self, connections: int, each: int, waiting: int, destinations: int, half: bool, seconds: float
    ) -> None:
        self.half = half

        class Town(City):
            def protocol(self) -> Toy:
                return Toy(Sharing.DEDICATED, half_close=half)

        self.stage = Town(
            Sharing.DEDICATED,
            max_connections=connections,
            max_connections_each=each,
            max_destinations=destinations,
            max_waiting=waiting,
            session_timeout=seconds,
            timeout=1.0,
            client_idle_timeout=20.0,
            request_buffer=BUFFER,
            response_buffer=BUFFER,
        )
        self.stage.request_high = BUFFER
        self.bound = BoundOfAll(self.stage)
        self.waiting = Waiting()

    @precondition(lambda self: sum(client.peer.is_open for client in self.clients) < MAX_CLIENTS)
    @rule(speaks=st.booleans(), pick=st.integers(1, PLACES))
    def a_client_connects(self, speaks: bool, pick: int = 1) -> None:
        city = self.stage
        is_known = place(pick) in city.front.rooms
        if is_known or len(city.front.rooms) < city.config.upstream.max_destinations:
            self._comes(Talker(city.goes(pick), f"10.0.0.{pick}:80"), speaks)

    def the_configuration_changes(self, *args: Any, **keys: Any) -> None: ...

    def p1_the_bound_holds(self) -> None:
        self.bound.judge()

    def p4_nobody_waits_beside_a_free_place(self) -> None:
        for pool in self.stage.front.pools():
            idle = sum(each.state == OPEN and not each.load() for each in pool.upstreams)
            assert not (idle and pool.gate.waiting)

    def p7_bounds_hold(self) -> None:
        front = self.stage.front
        waiting = sum(pool.gate.waiting for pool in front.pools())
        self.waiting.judge(waiting, front.hall.bound + front.config.max_connections)
        assert len(front.rooms) <= front.config.max_destinations
        self.buffers_are_bounded()


_SETTINGS = settings(SETTINGS, max_examples=size(30, 5_000))
TestExclusive = ExclusiveDestinations.TestCase
TestExclusive.settings = _SETTINGS
TestOrdered = OrderedDestinations.TestCase
TestOrdered.settings = _SETTINGS
TestTagged = TaggedDestinations.TestCase
TestTagged.settings = _SETTINGS
TestSessions = SessionsEverywhere.TestCase
TestSessions.settings = _SETTINGS
