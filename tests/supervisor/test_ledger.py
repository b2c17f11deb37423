"""The ledger: the sum of what all workers may hold of a backend never exceeds its bound (P1)."""

from __future__ import annotations

from muxproxy.budget import Order, Report
from muxproxy.config.limits import PLACES
from muxproxy.supervisor.ledger import Ledger


def ledger(bound: int = 8) -> Ledger:
    made = Ledger()
    made.set_bound("app", bound)
    return made


def orders(made: Ledger) -> dict[int, Order]:
    return {holder: order for _, holder, number, order in made.news() if number == PLACES}


def opened(made: Ledger, backend: str, worker: int) -> tuple[int, Order]:
    holder, lent = made.open(backend, worker)
    return holder, lent[PLACES]


def test_the_only_worker_has_the_whole_bound() -> None:
    made = ledger()
    holder, order = opened(made, "app", 0)
    assert order.most == 8
    assert made.news() == []
    made.set_bound("app", 10)
    assert orders(made)[holder].most == 10


def test_a_lowered_bound_is_lent_again_only_when_it_has_come_back() -> None:
    made = ledger()
    holder, _ = opened(made, "app", 0)
    made.set_bound("app", 3)
    order = orders(made)[holder]
    assert (order.most, made.lent("app")) == (3, 8)
    made.on_report(0, holder, Report(order.serial, 5, 0))
    assert made.lent("app") == 5
    made.on_report(0, holder, Report(order.serial, 3, 0))
    assert made.lent("app") == 3


def test_what_is_paused_is_lent_nothing_and_gets_its_newest_bound_back() -> None:
    made = ledger()
    made.set_bound("other", 4)
    holder, _ = opened(made, "app", 0)
    other, order = opened(made, "other", 0)
    made.pause(frozenset({"app"}))
    told = orders(made)
    assert (told[holder].most, other in told, order.most) == (0, False, 4)
    made.on_report(0, holder, Report(told[holder].serial, 3, 5))
    assert made.lent("app") == 3
    made.on_report(0, holder, Report(told[holder].serial, 0, 5))
    made.set_bound("app", 10)  # a reload meanwhile
    assert orders(made) == {}
    made.close_all(0)
    again, order = opened(made, "app", 0)  # and a worker that died
    assert order.most == 0
    made.pause(frozenset())
    assert orders(made)[again].most == 10


def test_a_pause_outlives_its_backend() -> None:
    made = ledger()
    made.pause(frozenset({"app"}))
    made.close(opened(made, "app", 0)[0])
    made.forget("app")
    made.pause(frozenset({"app", "unknown"}))
    made.pause(frozenset({"app"}))
    made.set_bound("app", 8)
    assert opened(made, "app", 0)[1].most == 0
    assert made.is_held("app")
    assert not made.is_held("unknown")


def test_a_dead_worker_gives_back_all_and_what_it_said_before_is_nothing() -> None:
    made = ledger()
    old, order = opened(made, "app", 0)
    made.close_all(0)
    assert made.lent("app") == 0
    new, again = opened(made, "app", 0)
    assert (new, again.most) == (old + 1, 8)
    made.on_report(0, old, Report(order.serial, 0, 0))
    assert made.lent("app") == 8


def test_a_worker_speaks_for_its_own_pools_only() -> None:
    made = ledger()
    holder, order = opened(made, "app", 0)
    made.on_report(1, holder, Report(order.serial, 0, 0))
    assert made.lent("app") == 8


def test_a_backend_that_comes_again_waits_for_what_its_last_pool_holds() -> None:
    made = ledger()
    old, first = opened(made, "app", 0)
    made.on_report(0, old, Report(first.serial, 8, 0))
    made.forget("app")
    made.set_bound("app", 8)
    new, order = opened(made, "app", 1)
    assert order.most == 0
    told = orders(made)
    assert told[old].most == 4
    made.on_report(1, new, Report(order.serial, 0, 4))
    made.on_report(0, old, Report(told[old].serial, 6, 0))
    assert orders(made)[new].most == 2
    made.close(old)
    assert orders(made)[new].most == 8
    assert made.lent("app") == 8


def test_when_its_last_pool_is_gone_nothing_is_left_of_it() -> None:
    made = ledger()
    made.close(opened(made, "app", 0)[0])
    made.close(99)
    assert made.news() == []
    assert made.lent("app") == 0


def numbers(made: Ledger) -> dict[tuple[int, str], int]:
    return {(holder, number): order.most for _, holder, number, order in made.news()}


def test_each_number_of_a_backend_is_lent_by_itself_and_the_sum_is_what_is_written() -> None:
    made = Ledger()
    made.set_bounds("app", {PLACES: 8, "clients": 100})
    one, lent = made.open("app", 0)
    assert {number: order.most for number, order in lent.items()} == {PLACES: 8, "clients": 100}
    made.on_report(0, one, Report(lent["clients"].serial, 100, 0), "clients")
    two, lent = made.open("app", 1)
    assert lent["clients"].most == 0
    told = numbers(made)
    assert told[one, "clients"] == 50
    made.on_report(0, one, Report(2, 50, 0), "clients")
    assert numbers(made)[two, "clients"] == 50
    assert made.lent("app", "clients") == 100


def test_numbers_come_and_go_with_a_reload_and_who_drains_gets_no_new_ones() -> None:
    made = Ledger()
    made.set_bounds("app", {PLACES: 4, "limited S.*": 6})
    (leaving, _), (staying, _) = made.open("app", 0), made.open("app", 1)
    made.news()
    made.retire("app", 0)
    made.set_bounds("app", {PLACES: 4, "limited T.*": 2})
    assert numbers(made) == {(staying, "limited T.*"): 2}
    assert made.lent("app", "limited S.*") == 0
    made.on_report(1, staying, Report(1, 0, 0), "limited S.*")  # late, of what is no more
    made.close(leaving)
    made.close(staying)
    assert not made.is_held("app")


def test_a_successor_is_lent_places_alone() -> None:
    made = Ledger()
    made.set_bounds("app", {PLACES: 4, "clients": 6})
    made.open("app", 0)
    holder, lent = made.open("app", -1, only_places=True)
    assert list(lent) == [PLACES]
    made.set_bounds("app", {PLACES: 4, "clients": 6, "pinned": 2})
    assert (holder, "pinned") not in numbers(made)
