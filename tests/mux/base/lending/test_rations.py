"""What is bounded of a backend as a whole is lent between its pools by need: the sum is never more than what
is written, and nobody is refused beside what others do not use.

Real pools and the real ledger; the network between them loses, repeats and delays what it likes.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from muxproxy.budget import Report
from muxproxy.config.limits import CLIENTS, PINNED, PLACES, QUEUED
from muxproxy.mux.base.lending.rations import CALM, WAIT
from muxproxy.mux.deadlines import INF
from muxproxy.protocols.contract import Sharing
from tests.fakes import FINE_GRAIN, Stage
from tests.mux.base.lending.shards import DECIDED, Shard, Shards, is_inside
from tests.mux.dedicated.test_reserve import CANCEL
from tests.mux.test_machine import SETTINGS
from tests.sizes import size

# -- clients ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", list(Sharing))
def test_all_clients_may_be_on_one_shard(sharing: Sharing) -> None:
    shards = Shards(2, sharing, max_waiting=9)
    hot, cold = shards.all
    peers = [hot.comes() for _ in range(6)]  # in one turn: nobody has asked anybody yet
    assert sum(peer.is_paused for peer in peers) == 3
    shards.settle()
    assert not any(peer.is_paused for peer in peers)
    assert (hot.inside(0.0), cold.inside(0.0)) == (6, 0)
    seventh, elsewhere = hot.comes(), cold.comes()
    shards.passes(DECIDED)
    assert not is_inside(seventh)
    assert not is_inside(elsewhere)
    for peer in (peers[0], seventh, elsewhere):
        peer.breaks_off()
    refused = cold.comes()
    assert not is_inside(refused)  # not long ago all were taken
    refused.breaks_off()
    shards.passes(2 * FINE_GRAIN)
    assert is_inside(cold.comes())
    assert hot.inside(0.0) + cold.inside(0.0) == 6


def test_what_an_undecided_client_has_sent_is_answered_when_it_is_let_in() -> None:
    shards = Shards(2)
    hot, _ = shards.all
    for _ in range(3):
        hot.comes()
    late = hot.comes(b"hello\n")
    late.sends(b"again\n")
    assert not hot.stage.dials
    shards.settle()
    server = hot.stage.connects()
    assert server.got() == b"hello\n"
    server.sends(b"one\n")
    assert server.got() == b"again\n"


@pytest.mark.parametrize("sharing", [Sharing.EXCLUSIVE, Sharing.ORDERED, Sharing.DEDICATED])
def test_an_undecided_client_that_is_read_all_the_same_is_served_when_it_is_let_in(sharing: Sharing) -> None:
    """uvloop does not hear of a pause that it is told in connection_made()."""
    shards = Shards(2, sharing, max_connections=8)
    hot, _ = shards.all
    for _ in range(3):
        hot.comes()
    while hot.stage.dials:
        hot.stage.connects()
    late = hot.comes()
    brain = late.wire.brain
    assert brain is not None
    with hot.stage.turn():
        brain.on_data(b"hel", hot.stage.world.now)
        brain.on_data(b"lo\n", hot.stage.world.now)
    assert late.is_paused
    assert not hot.stage.dials
    shards.settle()
    while hot.stage.dials:
        server = hot.stage.connects()
    assert server.got() == b"hello\n"
    assert not late.is_paused


def test_who_comes_to_a_shard_that_has_just_begun_waits_for_what_has_to_come_back_first() -> None:
    shards = Shards(1)
    fresh = Shard(shards.ledger, 1, shards.sharing, shards.keys)
    shards.all.append(fresh)
    ann = fresh.comes()
    fresh.stage.passes(1.0)  # in which the other one is busy
    assert ann.is_paused
    shards.settle()
    assert is_inside(ann)
    assert not ann.is_paused


def test_in_a_drain_nobody_is_left_undecided() -> None:
    """A shard may go as soon as it has come: whom it has accepted nobody else can serve."""
    shards = Shards(1)
    fresh = Shard(shards.ledger, 1, shards.sharing, shards.keys)
    shards.all.append(fresh)
    ann, bob = fresh.comes(), fresh.comes(b"bob\n")
    assert ann.is_paused
    pool, now = fresh.stage.pool, fresh.stage.world.now
    with fresh.stage.turn():
        pool.drain(now, gentle_until=now + 10)
    assert not ann.is_paused
    assert ann.is_open
    cid = fresh.comes()
    assert not cid.is_paused
    ann.sends(b"ann\n")
    shards.settle()
    server = fresh.stage.connects()
    for peer, word in ((bob, b"bob\n"), (ann, b"ann\n")):
        assert server.got() == word
        server.sends(word)
        assert peer.got() == word


def test_an_undecided_client_that_leaves_leaves_nothing() -> None:
    shards = Shards(2)
    hot, _ = shards.all
    peers = [hot.comes() for _ in range(5)]
    peers[3].breaks_off()
    assert len(hot.stage.pool.clients) == 4
    shards.settle()
    assert is_inside(peers[4])
    assert hot.stage.outcomes() == {}


def test_in_a_full_house_who_comes_is_refused_at_once_until_somebody_leaves() -> None:
    shards = Shards(2)
    hot, cold = shards.all
    inside = [cold.comes() for _ in range(6)]
    shards.settle()
    late = hot.comes()
    shards.passes(WAIT / 2)
    assert late.is_paused  # not refused yet
    shards.passes(DECIDED)
    assert b"clients_full" in late.got()
    again = hot.comes()
    assert b"clients_full" in again.got()  # P8
    for peer in (late, again, inside[0]):
        peer.closes()
    shards.passes(2 * FINE_GRAIN)  # somebody was refused here not long ago: it goes there by itself
    assert is_inside(hot.comes())


def test_alone_with_its_backend_a_pool_refuses_at_once() -> None:
    shards = Shards(1)
    (alone,) = shards.all
    for _ in range(6):
        alone.comes()
    assert b"clients_full" in alone.comes().got()
    stage = Stage(Sharing.EXCLUSIVE, max_clients=1)  # and one of which nobody has heard
    stage.client()
    assert b"clients_full" in stage.client().got()


# -- the queue ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", [Sharing.EXCLUSIVE, Sharing.ORDERED, Sharing.TAGGED])
def test_the_whole_queue_may_be_on_one_shard(sharing: Sharing) -> None:
    shards = Shards(2, sharing, max_clients=99, max_in_flight=1)
    hot, _ = shards.all
    for number in range(7):
        data = b"%08d r\n" % number if sharing is Sharing.TAGGED else b"r%d\n" % number
        hot.comes(data)
    # one is on its way to each of its places
    shards.passes(DECIDED)
    assert hot.stage.outcomes() == {"queue_full": 2}
    assert hot.waiting(0.0) == 5


def test_who_is_one_too_many_is_refused_when_no_more_has_come_and_it_is_the_newest() -> None:
    shards = Shards(2, max_clients=99, max_connections=2)
    hot, cold = shards.all
    for _ in range(4):
        cold.comes(b"r\n")
    peers = [hot.comes(b"r\n") for _ in range(4)]
    shards.passes(DECIDED)
    assert hot.waiting(0.0) + cold.waiting(0.0) == 5
    refused = [b"queue_full" in peer.got() for peer in peers]
    assert refused == sorted(refused)
    assert b"queue_full" in hot.comes(b"r\n").got()  # at once, for a while
    shards.passes(CALM + 2 * FINE_GRAIN)
    assert hot.comes(b"r\n").got() == b""  # and then it is asked again
    shards.passes(DECIDED)
    assert hot.waiting(0.0) + cold.waiting(0.0) == 5


def test_who_wants_to_listen_is_undecided_as_all_are_and_the_newest_is_refused() -> None:
    shards = Shards(2, Sharing.ORDERED, max_clients=99, max_connections=4, max_waiting=6)
    hot, _ = shards.all
    peers = [hot.comes(b"go listen=%d\n" % number) for number in range(8)]  # and their connection waits, too
    refused = [b"queue_full" in peer.got() for peer in peers]
    assert refused == [False] * 5 + [True] * 3  # more than all there may be
    shards.passes(DECIDED)
    assert not any(peer.got() for peer in peers)
    server = hot.stage.connects()
    assert server.got() == b"sub 0\nsub 1\nsub 2\nsub 3\nsub 4\n"


def test_who_is_undecided_while_a_server_is_asked_to_tell_it_things_is_told_or_refused() -> None:
    shards = Shards(2, Sharing.ORDERED, max_clients=99, max_connections=4, max_waiting=3)
    hot, cold = shards.all
    cold.comes(b"r\n")
    hot.comes(b"go listen=0\n")
    server = hot.stage.connects()
    server.sends(b"*sub 0\n")
    assert server.got() == b"sub 0\n"
    peers = [hot.comes(b"go listen=%d\n" % number) for number in (1, 2, 3)]
    assert server.got() == b"sub 1\nsub 2\nsub 3\n"
    shards.passes(DECIDED)
    assert [b"queue_full" in peer.got() for peer in peers] == [False, False, True]
    server.sends(b"*sub 1\n*sub 2\n*sub 3\n")
    assert [peer.got() for peer in peers] == [b"listening 1\n", b"listening 2\n", b""]
    server.sends(b"*pub 3 who was put out\n")
    assert peers[2].got() == b""
    assert (hot.stage.pool.gate.waiting, cold.stage.pool.gate.waiting) == (0, 1)


def test_nobody_waits_where_nobody_may() -> None:
    shards = Shards(2, max_waiting=0)
    hot, _ = shards.all
    hot.comes(b"r\n")
    assert b"queue_full" in hot.comes(b"r\n").got()


# -- what is had alone --------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [0, 1])
def test_fewer_pins_than_shards_go_to_whoever_wants_one(index: int) -> None:
    shards = Shards(2, Sharing.ORDERED, max_connections=4)
    shard, other = shards.all[index], shards.all[1 - index]
    ann = shard.comes(b"r pin\n")
    shards.passes(0.1)
    while shard.stage.dials:
        shard.stage.connects()
    assert shard.stage.pool.pinned == 1
    bob = other.comes(b"r pin\n")
    shards.passes(0.1)
    while other.stage.dials:
        other.stage.connects()
    assert other.stage.pool.pinned == 0
    ann.closes()
    shards.passes(0.1)
    while other.stage.dials:
        other.stage.connects()
    assert other.stage.pool.pinned == 1
    assert bob.is_open


def test_places_that_are_reserved_stay_so_over_all_shards_and_no_more_than_these() -> None:
    shards = Shards(2, Sharing.DEDICATED, max_connections=4, reserve=2)
    hot, cold = shards.all
    for number in range(3):
        hot.comes(b"%d" % number)
    shards.passes(0.1)
    assert len(hot.stage.dials) == 2  # all that are not reserved
    cold.comes(b"3")
    shards.passes(0.1)
    assert not cold.stage.dials
    cold.comes(CANCEL)
    shards.passes(0.1)
    assert cold.stage.connects().got() == CANCEL
    hot.stage.connects().closes()
    shards.passes(0.1)
    assert len(hot.stage.world.sockets) + len(cold.stage.world.sockets) == 3


# -- the law ------------------------------------------------------------------------------------------------


class Machine(RuleBasedStateMachine):
    shards: Shards | None = None

    @initialize(
        number=st.integers(2, 3),
        sharing=st.sampled_from([Sharing.EXCLUSIVE, Sharing.ORDERED]),
        clients=st.integers(1, 9),
        waiting=st.integers(1, 6),
        pinned=st.integers(1, 2),
    )
    def begin(self, number: int, sharing: Sharing, clients: int, waiting: int, pinned: int) -> None:
        self.shards = Shards(
            number,
            sharing,
            max_connections=3,
            max_clients=clients,
            max_waiting=waiting,
            max_pinned=pinned,
            max_in_flight=2,
        )
        self.lost: list[tuple[Shard, str, Report]] = []
        self.reports: list[tuple[Shard, str, Report]] = []
        # That may be there: falls behind a bound that falls, as it comes back.
        self.most = dict(self.shards.bounds)

    def _pick(self, pick: int) -> Shard:
        assert self.shards is not None
        return self.shards.all[pick % len(self.shards.all)]

    @rule(pick=st.integers(0, 2), word=st.sampled_from([b"", b"r\n", b"r pin\n"]))
    def one_comes(self, pick: int, word: bytes) -> None:
        self._pick(pick).comes(word)

    @rule(pick=st.integers(0, 2), which=st.integers(0, 9), word=st.sampled_from([b"r\n", b"r pin\n"]))
    def one_asks(self, pick: int, which: int, word: bytes) -> None:
        clients = self._pick(pick).clients
        if clients:
            clients[which % len(clients)][1].sends(word)

    @rule(pick=st.integers(0, 2), which=st.integers(0, 9), breaks=st.booleans())
    def one_leaves(self, pick: int, which: int, breaks: bool) -> None:
        clients = self._pick(pick).clients
        if clients:
            _, peer = clients.pop(which % len(clients))
            if breaks:
                peer.breaks_off()
            else:
                peer.closes()

    @rule(pick=st.integers(0, 2))
    def a_server_is_reached(self, pick: int) -> None:
        shard = self._pick(pick)
        if shard.stage.dials:
            shard.servers.append(shard.stage.connects())

    @rule(pick=st.integers(0, 2), which=st.integers(0, 9))
    def a_server_answers(self, pick: int, which: int) -> None:
        servers = self._pick(pick).servers
        if servers:
            servers[which % len(servers)].sends(b"done\n")

    @rule(milliseconds=st.sampled_from([1, 10, 30, 150]))
    def time_passes(self, milliseconds: int) -> None:
        assert self.shards is not None
        for shard in self.shards.all:
            shard.stage.passes(milliseconds / 1000)

    @rule(pick=st.integers(0, 2))
    def one_dies(self, pick: int) -> None:
        assert self.shards is not None
        shards, old = self.shards, self._pick(pick)
        shards.ledger.close_all(old.index)
        fresh = Shard(shards.ledger, old.index, shards.sharing, shards.keys)
        fresh.stage.passes(shards.all[0].stage.world.now - fresh.stage.world.now)
        shards.all[old.index] = fresh
        self.reports = [each for each in self.reports if each[0] is not old]

    @rule(clients=st.integers(1, 9), waiting=st.integers(1, 6))
    def the_bounds_change(self, clients: int, waiting: int) -> None:
        assert self.shards is not None
        shards = self.shards
        shards.keys |= {"max_clients": clients, "max_waiting": waiting}
        shards.set_bounds()
        for shard in shards.all:
            shard.stage.configure(max_clients=clients, max_waiting=waiting)

    @rule()
    def all_is_said_again(self) -> None:
        assert self.shards is not None
        self.shards.say_again()

    @rule()
    def the_ledger_speaks(self) -> None:
        """And nobody writes yet: what it says next takes the place of that."""
        assert self.shards is not None
        self.shards.send()

    @rule(pick=st.integers(0, 2), which=st.integers(0, 30), fate=st.sampled_from(["comes", "twice", "lost"]))
    def an_order_is_under_way(self, pick: int, which: int, fate: str) -> None:
        assert self.shards is not None
        self.shards.send()
        shard = self._pick(pick)
        shard.go_out()
        if shard.orders:
            at = which % len(shard.orders)
            if fate != "lost":
                shard.hears(*shard.orders[at])
            if fate != "twice":
                del shard.orders[at]

    @rule(which=st.integers(0, 30), fate=st.sampled_from(["comes", "comes", "twice", "lost"]))
    def a_report_is_under_way(self, which: int, fate: str) -> None:
        assert self.shards is not None
        self.reports += [(shard, *each) for shard in self.shards.all for each in shard.says()]
        if self.reports:
            at = which % len(self.reports)
            shard, number, report = self.reports[at]
            if fate != "lost":
                self.shards.ledger.on_report(shard.index, shard.holder, report, number)
            if fate != "twice":
                del self.reports[at]

    @invariant()
    def the_sum_is_never_more_than_what_is_written(self) -> None:
        if self.shards is None:
            return
        shards = self.shards
        ledger, bounds = shards.ledger, shards.bounds
        for number, bound in bounds.items():
            self.most[number] = max(bound, min(self.most[number], ledger.lent("toys", number)))
        everything = shards.all
        assert sum(len(each.stage.pool.upstreams) for each in everything) <= self.most[PLACES], "P1"
        assert sum(each.stage.pool.pinned for each in everything) <= self.most[PINNED]
        assert sum(each.inside(DECIDED) for each in everything) <= self.most[CLIENTS]
        assert sum(each.waiting(DECIDED) for each in everything) <= self.most[QUEUED]
        for shard in everything:
            for ration in shard.stage.pool.rations.values():
                assert ration.used() <= ration.report().held

    def teardown(self) -> None:
        """When the network is well again, nobody is undecided, and one shard may have all that is left."""
        if self.shards is None:
            return
        shards = self.shards
        shards.say_again()
        shards.passes(2 * DECIDED + CALM)
        for shard in shards.all:
            assert not shard.stage.pool.rations[CLIENTS].missing()
        left = shards.bounds[CLIENTS] - sum(len(each.stage.pool.clients) for each in shards.all)
        late = [shards.all[0].comes() for _ in range(left)]
        shards.passes(DECIDED)
        assert all(map(is_inside, late)), "refused beside what others do not use"
        shards.passes(2 * CALM)
        for ration in (shard.stage.pool.rations[key] for shard in shards.all for key in (CLIENTS, QUEUED)):
            is_over = ration.used() > ration.most()
            assert ration.deadline == INF or ration.share.wanted or ration.share.asked or is_over, "no peace"


Machine.TestCase.settings = settings(SETTINGS, max_examples=size(30, 3_000))
TestRations = Machine.TestCase
