"""The queue: first come, first out, removal from anywhere, and a timeout that is the head's to meet first."""

from __future__ import annotations

import pytest

from muxproxy.errors import BugError
from muxproxy.mux.admission.queue import Queue
from muxproxy.mux.deadlines import INF, Deadlines
from muxproxy.mux.exchange import DONE, SENT, WAITING, Exchange
from muxproxy.protocols.contract import FIRST, LAST, Frame


class Scene:
    def __init__(self, timeout: float = 5.0) -> None:
        self.wheel = Deadlines(0.01, lambda at: None)
        self.expired: list[tuple[Exchange, float]] = []
        self.queue = Queue(timeout, self.wheel, lambda exchange, now: self.expired.append((exchange, now)))

    def exchanges(self, count: int) -> list[Exchange]:
        return [Exchange(None, Frame(b"%d" % n, FIRST | LAST)) for n in range(count)]


def test_who_came_first_goes_first() -> None:
    scene = Scene()
    exchanges = scene.exchanges(3)
    for exchange in exchanges:
        scene.queue.push(exchange, 1.0)
    assert [exchange.state for exchange in exchanges] == [WAITING] * 3
    assert [scene.queue.pop() for _ in exchanges] == exchanges
    assert len(scene.queue) == 0
    assert scene.queue.first is None
    assert scene.queue.oldest() is None


def test_anyone_may_leave_from_anywhere() -> None:
    scene = Scene()
    one, two, three = scene.exchanges(3)
    for now, exchange in enumerate((one, two, three)):
        scene.queue.push(exchange, float(now))
    scene.queue.remove(two)
    scene.queue.remove(one)
    assert two.queue is None
    assert scene.queue.oldest() == 2.0
    assert scene.queue.pop() is three


def test_who_comes_back_stands_in_front_with_the_age_it_had() -> None:
    scene = Scene()
    old, young = scene.exchanges(2)
    scene.queue.push(old, 1.0)
    scene.queue.pop()
    old.move(SENT)
    scene.queue.push(young, 3.0)
    scene.queue.push_back(old)
    assert old.state == WAITING
    assert scene.queue.oldest() == 1.0
    scene.wheel.tick(6.5)
    assert [exchange for exchange, _ in scene.expired] == [old]


def test_who_comes_back_among_elder_ones_stands_where_its_age_puts_it() -> None:
    scene = Scene()
    exchanges = scene.exchanges(5)
    for now, exchange in enumerate(exchanges):
        scene.queue.push(exchange, float(now))
    one, two, three, four, five = exchanges
    for exchange in (two, three, four):
        scene.queue.remove(exchange)
    scene.queue.push_back(two, three)
    scene.queue.push_back(four)
    assert [scene.queue.pop() for _ in exchanges] == [one, two, three, four, five]


def test_each_expires_when_it_has_waited_the_timeout_and_is_out_by_then() -> None:
    scene = Scene(timeout=5.0)
    one, two = scene.exchanges(2)
    scene.queue.push(one, 1.0)
    scene.queue.push(two, 3.0)
    scene.wheel.tick(5.9)
    assert scene.expired == []
    scene.wheel.tick(6.02)
    assert scene.expired == [(one, 6.02)]
    assert one.queue is None
    scene.wheel.tick(8.02)
    assert scene.expired == [(one, 6.02), (two, 8.02)]
    assert scene.queue.deadline == INF


def test_a_queue_that_was_empty_for_a_while_times_its_next_waiter_anew() -> None:
    scene = Scene(timeout=5.0)
    one, two = scene.exchanges(2)
    scene.queue.push(one, 1.0)
    scene.queue.remove(one)
    scene.queue.push(two, 4.0)
    scene.wheel.tick(8.9)
    assert scene.expired == []
    scene.wheel.tick(9.02)
    assert scene.expired == [(two, 9.02)]


def test_an_exchange_that_is_over_cannot_wait() -> None:
    scene = Scene()
    (exchange,) = scene.exchanges(1)
    exchange.move(DONE)
    with pytest.raises(BugError, match="done cannot become waiting"):
        scene.queue.push(exchange, 1.0)
    assert len(scene.queue) == 0


def test_a_closed_queue_is_off_the_wheel() -> None:
    scene = Scene()
    (exchange,) = scene.exchanges(1)
    scene.queue.push(exchange, 1.0)
    scene.queue.pop()
    scene.queue.close()
    assert scene.queue.wake == INF
    assert not any(scene.wheel._slots.values())


def test_a_bug_about_one_waiter_does_not_stop_the_clock_of_the_others() -> None:
    expired: list[Exchange] = []

    def raises_once(exchange: Exchange, now: float) -> None:
        expired.append(exchange)
        if len(expired) == 1:
            raise ZeroDivisionError("a bug of ours")

    scene = Scene()
    queue = Queue(5.0, scene.wheel, raises_once)
    exchanges = scene.exchanges(3)
    for now, exchange in enumerate(exchanges):
        queue.push(exchange, float(now))
    with pytest.raises(ZeroDivisionError):
        scene.wheel.tick(6.5)
    scene.wheel.tick(6.5)
    assert expired == exchanges[:2]
    scene.wheel.tick(7.1)
    assert expired == exchanges


def test_a_shorter_timeout_is_met_by_who_comes_from_then_on_though_others_stand_before_him() -> None:
    scene = Scene(5.0)
    old, new, newest, last = scene.exchanges(4)
    scene.queue.push(old, 1.0)
    scene.queue.set_timeout(0.5, 2.0)
    scene.queue.push(new, 2.0)
    assert (scene.queue.told(1.0), scene.queue.told(2.0)) == (5.0, 0.5)
    scene.wheel.tick(2.6)
    assert [exchange for exchange, _ in scene.expired] == [new]
    scene.queue.set_timeout(2.0, 3.0)
    scene.queue.push(newest, 3.0)
    scene.wheel.tick(5.1)
    assert [exchange for exchange, _ in scene.expired] == [new, newest]
    scene.wheel.tick(5.9)
    assert scene.queue.first is old
    scene.wheel.tick(6.1)
    assert [exchange for exchange, _ in scene.expired] == [new, newest, old]
    assert scene.queue.deadline == INF
    scene.queue.push(last, 6.2)
    scene.wheel.tick(8.3)
    assert scene.queue.first is None
    assert scene.queue.told(1.0) == 2.0  # nobody can be left who was told other


def test_a_longer_timeout_gives_who_waits_nothing() -> None:
    scene = Scene(0.5)
    old, new = scene.exchanges(2)
    scene.queue.push(old, 1.0)
    scene.queue.set_timeout(5.0, 1.2)
    scene.queue.push(new, 1.3)
    scene.wheel.tick(1.6)
    assert [exchange for exchange, _ in scene.expired] == [old]
    scene.wheel.tick(6.2)
    assert scene.queue.first is new
    scene.wheel.tick(6.4)
    assert scene.queue.first is None


def test_who_comes_back_after_a_change_waits_as_he_was_told() -> None:
    scene = Scene(5.0)
    old, new = scene.exchanges(2)
    scene.queue.push(old, 1.0)
    scene.queue.pop()
    old.move(SENT)
    scene.queue.set_timeout(0.5, 2.0)
    scene.queue.push(new, 2.0)
    scene.queue.push_back(old)
    scene.wheel.tick(5.9)
    assert [exchange for exchange, _ in scene.expired] == [new]
    scene.wheel.tick(6.1)
    assert [exchange for exchange, _ in scene.expired] == [new, old]


def test_who_is_served_because_another_was_told_is_not_told_himself() -> None:
    scene = Scene(1.0)
    one, two = scene.exchanges(2)
    scene.queue.push(one, 1.0)
    scene.queue.push(two, 1.0)
    scene.queue.set_timeout(2.0, 1.5)
    scene.queue._on_expired = lambda exchange, now: scene.queue.remove(two)
    scene.wheel.tick(2.1)
    assert two.queue is None
    assert scene.queue.first is None


def test_who_comes_back_while_others_are_told_is_told_with_them_if_his_time_is_up_too() -> None:
    scene = Scene(1.0)
    one, back = scene.exchanges(2)
    scene.queue.push(back, 1.0)
    scene.queue.pop()
    back.move(SENT)
    scene.queue.push(one, 1.1)
    scene.queue.set_timeout(2.0, 1.5)
    told: list[Exchange] = []

    def on_expired(exchange: Exchange, now: float) -> None:
        told.append(exchange)
        if exchange is one:
            scene.queue.push_back(back)

    scene.queue._on_expired = on_expired
    scene.wheel.tick(2.2)
    assert told == [one, back]
    assert scene.queue.deadline == INF


def test_what_was_told_before_is_forgotten_however_often_it_changes() -> None:
    scene = Scene(1.0)
    for n in range(1000):
        scene.queue.set_timeout(1.0 + n % 2, float(n))
    assert len(scene.queue._before) <= 3
