"""A budget: what is lent never exceeds the bound whatever the network does, and nobody starves."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from muxproxy.budget import Budget, Order, Report, Share


class Holder:
    """One that uses what it may have: so many places are taken, so many would be besides."""

    def __init__(self) -> None:
        self.share = Share()
        self.taken = 0
        self.demand = 0  # places that it would take in all
        self.served = 0  # how often it has had one

    def act(self) -> Report:
        """Open what it may, close what it must and what it is asked for and does not use; say so."""
        share = self.share
        before = self.taken
        self.taken = max(before, min(self.demand, share.most))
        self.served += self.taken - before
        idle = share.most - min(self.demand, share.most)
        give = min(idle, share.asked)
        if give:
            self.taken = min(self.taken, share.most - give)
            share.give(give)
        share.wanted = max(0, self.demand - share.most)
        return share.report(self.taken)


class World:
    """A budget, its holders, and what is under way between them."""

    def __init__(self, bound: int, spread: bool) -> None:
        self.budget: Budget[int] = Budget(bound, spread=spread)
        self.holders: dict[int, Holder] = {}
        self.orders: list[tuple[int, Order]] = []
        self.reports: list[tuple[int, Report]] = []
        self.ever = 0

    def join(self) -> int:
        self.ever += 1
        self.holders[self.ever] = Holder()
        self.budget.join(self.ever)
        return self.ever

    def send(self) -> None:
        self.orders += self.budget.orders()

    def hear(self, key: int, order: Order) -> None:
        if key in self.holders:
            self.holders[key].share.on_order(order)
            self.reports.append((key, self.holders[key].act()))

    def settle(self, rounds: int) -> None:
        """A network that loses nothing; each connection that is too many ends."""
        for _ in range(rounds):
            self.budget.repeat()
            self.send()
            orders, self.orders = self.orders, []
            for key, order in orders:
                self.hear(key, order)
            for key, holder in self.holders.items():
                holder.taken = min(holder.taken, holder.share.most)
                self.reports.append((key, holder.act()))
            reports, self.reports = self.reports, []
            for key, report in reports:
                self.budget.on_report(key, report)
                self.send()

    def taken(self) -> int:
        return sum(holder.taken for holder in self.holders.values())


class Machine(RuleBasedStateMachine):
    """The network loses, repeats and delays what it likes; holders come, die, want and end as they like."""

    @initialize(bound=st.integers(1, 12), spread=st.booleans(), holders=st.integers(1, 4))
    def begin(self, bound: int, spread: bool, holders: int) -> None:
        self.world = World(bound, spread)
        self.most = bound  # that may be taken: falls behind a bound that falls, as places come back
        for _ in range(holders):
            self.world.join()
        self.world.send()

    def _holder(self, pick: int) -> tuple[int, Holder]:
        keys = list(self.world.holders)
        key = keys[pick % len(keys)]
        return key, self.world.holders[key]

    @precondition(lambda self: len(self.world.holders) < 6)
    @rule()
    def one_comes(self) -> None:
        self.world.join()
        self.world.send()

    @precondition(lambda self: self.world.holders)
    @rule(pick=st.integers(0, 5))
    def one_dies(self, pick: int) -> None:
        key, _ = self._holder(pick)
        del self.world.holders[key]
        self.world.budget.leave(key)
        self.world.send()

    @precondition(lambda self: self.world.holders)
    @rule(pick=st.integers(0, 5), demand=st.integers(0, 14))
    def one_wants(self, pick: int, demand: int) -> None:
        key, holder = self._holder(pick)
        holder.demand = demand
        self.world.reports.append((key, holder.act()))

    @precondition(lambda self: self.world.holders)
    @rule(pick=st.integers(0, 5))
    def a_place_comes_free(self, pick: int) -> None:
        key, holder = self._holder(pick)
        holder.taken = max(0, holder.taken - 1)
        self.world.reports.append((key, holder.act()))

    @rule(bound=st.integers(0, 12))
    def the_bound_changes(self, bound: int) -> None:
        self.world.budget.set_bound(bound)
        self.world.send()

    @rule()
    def all_is_said_again(self) -> None:
        self.world.budget.repeat()
        self.world.send()

    @precondition(lambda self: self.world.orders)
    @rule(pick=st.integers(0, 30), keep=st.booleans())
    def an_order_is_heard(self, pick: int, keep: bool) -> None:
        orders = self.world.orders
        at = pick % len(orders)
        self.world.hear(*orders[at])
        if not keep:
            del orders[at]

    @precondition(lambda self: self.world.reports)
    @rule(pick=st.integers(0, 30), keep=st.booleans())
    def a_report_is_heard(self, pick: int, keep: bool) -> None:
        reports = self.world.reports
        at = pick % len(reports)
        self.world.budget.on_report(*reports[at])
        if not keep:
            del reports[at]
        self.world.send()

    @rule(pick=st.integers(0, 30))
    def something_is_lost(self, pick: int) -> None:
        for bag in (self.world.orders, self.world.reports):
            if bag:
                del bag[pick % len(bag)]

    @invariant()
    def no_more_is_taken_than_the_bound(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        self.most = max(world.budget.bound, min(self.most, world.budget.lent()))
        assert world.taken() <= self.most, "P1"
        for key, holder in world.holders.items():
            assert holder.taken <= world.budget.lent(key), "it holds what nobody has lent it"
            assert holder.share.most <= world.budget.lent(key), "it may open what nobody has lent it"

    def teardown(self) -> None:
        """When the network is well again, places stand where they are wanted."""
        if not hasattr(self, "world"):
            return
        world = self.world
        world.settle(40)
        budget = world.budget
        assert budget.lent() <= budget.bound
        wanting = [h for h in world.holders.values() if h.share.wanted]
        content = [h for h in world.holders.values() if not h.share.wanted]
        for holder in content:
            spare = holder.share.most - holder.demand
            assert not (wanting and spare > 0), "an idle place stands beside somebody's queue"
        if wanting:
            assert budget.lent() == budget.bound, "a place is nobody's while somebody wants one"
        if wanting and budget.bound >= len(world.holders):
            most = max(holder.share.most for holder in world.holders.values())
            assert all(holder.share.most >= most - 1 for holder in wanting), (
                "one has more than its even share"
            )


TestBudget = Machine.TestCase


def test_two_shards_begin_with_a_half_each() -> None:
    world = World(9, spread=True)
    for _ in range(2):
        world.join()
    world.settle(5)
    assert sorted(holder.share.most for holder in world.holders.values()) == [4, 5]


@pytest.mark.parametrize("spread", [True, False])
def test_all_places_go_where_all_clients_are(spread: bool) -> None:
    world = World(8, spread)
    hot, cold = world.join(), world.join()
    world.settle(3)
    world.holders[hot].demand = 100
    world.settle(10)
    assert world.holders[hot].share.most == 8
    assert world.holders[cold].share.most == 0
    world.holders[cold].demand = 100
    world.settle(10)
    assert world.holders[hot].share.most == world.holders[cold].share.most == 4


def test_who_has_given_a_part_is_asked_again() -> None:
    world = World(6, spread=True)
    hot, busy, idle = (world.join() for _ in range(3))
    world.settle(3)
    world.holders[busy].demand = 2
    world.holders[hot].demand = 4
    for _ in range(10):  # nothing is said twice
        for key, holder in world.holders.items():
            world.budget.on_report(key, holder.act())
        for key, order in world.budget.orders():
            world.holders[key].share.on_order(order)
    assert {key: holder.share.most for key, holder in world.holders.items()} == {hot: 4, busy: 2, idle: 0}


def test_a_large_bound_moves_in_large_steps() -> None:
    world = World(1_000_000, spread=True)
    hot, _ = world.join(), world.join()
    world.settle(3)
    world.holders[hot].demand = 2_000_000
    world.settle(5)
    assert world.holders[hot].share.most == 1_000_000
    world.budget.set_bound(7)
    world.settle(5)
    assert world.budget.lent() == 7


def test_where_there_are_more_holders_than_places_each_has_its_turn() -> None:
    world = World(2, spread=False)
    for _ in range(5):
        world.holders[world.join()].demand = 1
    world.settle(40)
    served = [holder.served for holder in world.holders.values()]
    assert min(served) > 2, served
    assert max(served) - min(served) <= 2, served


def test_what_has_not_come_back_is_not_lent_again() -> None:
    budget: Budget[str] = Budget(4, spread=True)
    budget.join("old")
    ((_, order),) = budget.orders()
    budget.on_report("old", Report(order.serial, 4, 0))
    budget.join("new")
    orders = dict(budget.orders())
    assert orders["new"].most == 0
    budget.on_report("new", Report(orders["new"].serial, 0, 2))
    orders |= dict(budget.orders())
    assert orders["old"].most == 2
    budget.on_report("old", Report(orders["old"].serial, 4, 0))  # heard, and busy with all four
    assert not dict(budget.orders())
    budget.on_report("old", Report(orders["old"].serial, 3, 0))
    assert dict(budget.orders())["new"].most == 1


def test_a_report_that_answers_an_older_order_brings_nothing_back() -> None:
    budget: Budget[str] = Budget(4)
    budget.join("one")
    late = Report(budget.orders()[0][1].serial, 0, 0)
    budget.on_report("one", late._replace(wanted=3))
    assert dict(budget.orders())["one"].most == 3
    budget.on_report("one", late)
    assert budget.lent("one") == 3


def test_an_order_that_comes_late_is_not_obeyed() -> None:
    share = Share()
    assert share.on_order(Order(2, 3, 0))
    share.give(1)
    assert share.on_order(Order(2, 3, 1))
    assert not share.on_order(Order(1, 8, 0))
    assert (share.most, share.asked) == (2, 1)
