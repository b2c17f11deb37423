"""An upgrade: of clients and queue, too, the successor has only what its predecessor has given up, and nobody
is refused for it. Real pools, real ledgers, and between these what main.py says; no time passes on the way.
"""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from muxproxy.config.limits import CLIENTS, PLACES, QUEUED
from muxproxy.messages import Holds, Lend
from muxproxy.mux.base.lending.rations import CALM, FIRST
from muxproxy.supervisor.upgrade import SUCCESSOR, Predecessor
from tests.fakes import FINE_GRAIN, Peer
from tests.mux.base.lending.shards import DECIDED, KEYS, Shards, is_inside
from tests.mux.test_machine import SETTINGS
from tests.sizes import size

DRAIN = 30.0  # seconds; nobody silent is closed in the first half


class Old(Shards):
    def __init__(self, **keys: Any) -> None:
        self.to_heir: list[Lend] = []
        super().__init__(1, **keys)

    def send(self) -> None:
        for worker, holder, number, order in self.ledger.news():
            if worker == SUCCESSOR:
                self.to_heir.append(Lend(holder, order, number, "toys"))
            else:
                self.all[worker].outbox.put(Lend(holder, order, number))


class New(Shards):
    def set_bounds(self) -> None:
        super().set_bounds()
        self.ledger.set_bounds("toys", dict.fromkeys(self.bounds, 0))


class Takeover:
    def __init__(self, **keys: Any) -> None:
        self.old = Old(**keys)
        self.new = New(1, **keys)
        self.pools = [each.all[0].stage.pool for each in (self.old, self.new)]
        self.pools[1].lenient_until = self.new.all[0].stage.world.now + DRAIN
        ours, theirs = socket.socketpair()
        ours.close()
        self.predecessor = Predecessor(theirs.detach())
        os.close(self.predecessor.channel._stream.socket.detach())  # what it says is taken from its outbox
        self.is_ready = False

    def ready(self) -> None:
        """Every worker of the successor accepts; the predecessor drains."""
        stage = self.old.all[0].stage
        with stage.turn():
            stage.pool.drain(stage.world.now, gentle_until=stage.world.now + DRAIN / 2)
        holder, orders = self.old.ledger.open("toys", SUCCESSOR)
        self.old.to_heir += [Lend(holder, order, number, "toys") for number, order in orders.items()]
        self.is_ready = True
        self.settle()

    def settle(self) -> None:
        for _ in range(60):
            self.old.settle()
            self.new.settle()
            lent, self.old.to_heir = self.old.to_heir, []
            for each in lent:
                self.predecessor._on_lend(each, {"toys": self.old.bounds}, self.new.ledger)
            self.predecessor.tell(self.new.ledger)
            said = self.predecessor.channel._outbox.take()
            for word in said:
                assert isinstance(word, Holds)
                self.old.ledger.on_report(SUCCESSOR, word.holder, word.report, word.number)
            if not lent and not said:
                return

    def passes(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.005)):
            for each in (self.old, self.new):
                each.all[0].stage.passes(0.005)
            self.settle()

    def comes(self, data: bytes = b"") -> Peer:
        """To whoever accepts."""
        return (self.new if self.is_ready else self.old).all[0].comes(data)

    def inside(self) -> int:
        """Clients that are let in."""
        shards = [each.all[0] for each in (self.old, self.new)]
        inside = sum(is_inside(peer) for shard in shards for _, peer in shard.clients)
        return inside - sum(pool.rations[CLIENTS].missing() for pool in self.pools)


def test_a_full_house_stays_one_and_who_comes_for_one_that_leaves_is_let_in() -> None:
    takeover = Takeover(max_waiting=9)
    inside = [takeover.comes(b"r\n") for _ in range(KEYS["max_clients"])]  # who is owed nothing is closed
    for _ in takeover.pools:
        takeover.old.all[0].stage.connects()
    takeover.settle()
    early = takeover.new.all[0].comes()  # its workers accept before it is ready
    takeover.passes(0.5)
    assert early.is_paused
    takeover.ready()
    takeover.passes(0.1)
    assert early.is_paused
    inside[0].closes()
    takeover.passes(2 * FINE_GRAIN)
    assert not early.is_paused
    assert takeover.inside() == KEYS["max_clients"]
    late = takeover.comes()
    takeover.passes(FIRST + 2 * FINE_GRAIN)
    assert b"clients_full" in late.got()


def test_in_a_house_that_is_not_full_nobody_notices() -> None:
    takeover = Takeover()
    for _ in range(2):
        takeover.comes()
    takeover.settle()
    takeover.ready()
    peers = [takeover.comes() for _ in range(KEYS["max_clients"] - 2)]
    takeover.passes(2 * FINE_GRAIN)
    assert not any(peer.is_paused for peer in peers)
    assert takeover.inside() == KEYS["max_clients"]


@pytest.mark.parametrize("first", ["old", "new"])
def test_the_queue_is_one_and_who_still_asks_the_predecessor_has_his_part_of_it(first: str) -> None:
    takeover = Takeover(max_clients=99, max_waiting=4)
    kept = [takeover.comes() for _ in range(6)]
    takeover.settle()
    takeover.ready()
    takeover.passes(0.1)
    fresh = [takeover.comes() for _ in range(6)]
    takeover.passes(0.1)
    for peers in (kept, fresh) if first == "old" else (fresh, kept):
        for peer in peers:
            peer.sends(b"r\n")
        takeover.passes(0.1)
    takeover.passes(FIRST + 2 * FINE_GRAIN)
    assert sum(pool.gate.waiting for pool in takeover.pools) == 4


class Machine(RuleBasedStateMachine):
    """Clients come, ask and leave, before and after; there are never more than there may be."""

    takeover: Takeover | None = None

    @initialize(clients=st.integers(1, 7), waiting=st.integers(1, 4))
    def begin(self, clients: int, waiting: int) -> None:
        self.takeover = Takeover(max_clients=clients, max_waiting=waiting)
        self.peers: list[Peer] = []

    @rule(data=st.sampled_from([b"", b"r\n"]))
    def one_comes(self, data: bytes) -> None:
        assert self.takeover is not None
        self.peers.append(self.takeover.comes(data))

    @precondition(lambda self: self.takeover is not None and self.peers)
    @rule(pick=st.integers(0, 9))
    def one_asks(self, pick: int) -> None:
        peer = self.peers[pick % len(self.peers)]
        if is_inside(peer):
            peer.sends(b"r\n")

    @precondition(lambda self: self.takeover is not None and self.peers)
    @rule(pick=st.integers(0, 9))
    def one_leaves(self, pick: int) -> None:
        self.peers.pop(pick % len(self.peers)).breaks_off()

    @precondition(lambda self: self.takeover is not None and not self.takeover.is_ready)
    @rule()
    def the_successor_is_ready(self) -> None:
        assert self.takeover is not None
        self.takeover.ready()

    @rule(is_new=st.booleans())
    def a_server_answers(self, is_new: bool) -> None:
        assert self.takeover is not None
        stage = (self.takeover.new if is_new else self.takeover.old).all[0].stage
        if stage.dials:
            stage.connects().sends(b"done\n")

    @rule(milliseconds=st.sampled_from([5, 50, 500]))
    def time_passes(self, milliseconds: int) -> None:
        assert self.takeover is not None
        self.takeover.passes(milliseconds / 1000)

    @invariant()
    def both_together_are_one(self) -> None:
        takeover = self.takeover
        if takeover is None:
            return
        bounds = takeover.old.bounds
        assert sum(len(pool.upstreams) for pool in takeover.pools) <= bounds[PLACES], "P1"
        for number in (CLIENTS, QUEUED):
            assert takeover.old.ledger.lent("toys", number) <= bounds[number]
        assert takeover.inside() <= bounds[CLIENTS]
        assert sum(pool.rations[QUEUED].used() for pool in takeover.pools) <= bounds[QUEUED]

    def teardown(self) -> None:
        """What the predecessor's clients leave is the successor's."""
        takeover = self.takeover
        if takeover is None:
            return
        for peer in self.peers:
            peer.breaks_off()
        if not takeover.is_ready:
            takeover.ready()
        takeover.passes(2 * CALM)
        late = [takeover.comes() for _ in range(takeover.old.bounds[CLIENTS])]
        takeover.passes(DECIDED)
        assert all(is_inside(peer) and not peer.is_paused for peer in late)


Machine.TestCase.settings = settings(SETTINGS, max_examples=size(12, 1_000), stateful_step_count=20)
TestTakeover = Machine.TestCase
