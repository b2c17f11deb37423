"""The machine of test_machine.py for a TAGGED protocol with all that it may have beside: limits, heartbeats
both ways, last calls, and servers that answer what needs no answer.

The judge of the limits is what servers have in hand, whatever became of their clients.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from muxproxy.mux.tagged.limited import LimitedPool
from muxproxy.mux.tagged.limits import NONE
from muxproxy.protocols.contract import Limit, Sharing
from tests.mux.census import SEES_ALL
from tests.mux.judges import Waiting
from tests.mux.test_machine import PICK, SETTINGS, Machine
from tests.tagged_toys import TaggedToy, tagged
from tests.toys import Toy

PLACES = (1, 2)
TIMEOUTS = (0.5, 2.0)  # below and above [queue] timeout


class LimitedMachine(Machine):
    sharing = Sharing.TAGGED
    words = ("", "lim=0", "lim=0", "lim=1", "lim=1", "idem", "oneway", "bye", "!")

    def __init__(self) -> None:
        super().__init__()
        self.waiting_for_limits = Waiting()

    def protocol(self) -> Toy:
        limits = [Limit(f"limit {n}", PLACES[n], TIMEOUTS[n]) for n in range(2)]
        return TaggedToy(probe_interval=4.0, limits=limits)

    @precondition(lambda self: any(server.peer.is_open for server in self.servers))
    @rule(pick=PICK, what=st.sampled_from([b"asks\n", b"stops\n", b"stays\n", b"stray\n"]))
    def a_server_says_something_by_itself(self, pick: int, what: bytes) -> None:
        alive = [server for server in self.servers if server.peer.is_open]
        server = alive[pick % len(alive)]
        if not server.rest:
            server.peer.sends(tagged(90_000_000, what))

    @invariant()
    def servers_never_have_more_than_the_limit_in_hand(self) -> None:
        if self.stage is None or self.stage.pool.events.get("replies_that_never_came"):
            return  # what was given up may still be in hand, and nobody knows
        alive = [server for server in self.servers if server.peer.is_open]
        for number, places in enumerate(PLACES):
            word = f"lim={number}"
            assert sum(word in request.words for server in alive for request in server.pending) <= places

    @invariant()
    def who_waits_for_a_limit_waits_for_no_other_reason(self) -> None:
        if self.stage is None:
            return
        self.census.look(self.stage.pool.clients)
        pool = self.stage.pool
        assert isinstance(pool, LimitedPool)
        snapshot = pool.limits_snapshot()
        held = [exchange.limit for exchange in self.exchanges if exchange.limit != NONE]
        for number in range(len(PLACES)):
            of = snapshot[f"limit {number}"]
            assert of["active"] <= of["active_max"]
            of_all = of["active"] + of["waiting"]
            assert of_all == held.count(number) if SEES_ALL else of_all >= held.count(number)
            assert not of["waiting"] or of["active"] == of["active_max"], "P4: beside a free place"
        assert pool.limits.gate.waiting == sum(of["waiting"] for of in snapshot.values())
        self.waiting_for_limits.judge(pool.limits.gate.waiting, self.stage.config.queue.max_waiting)


TestLimited = LimitedMachine.TestCase
TestLimited.settings = SETTINGS
