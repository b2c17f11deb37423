"""So many at a time, and the others in their turn: the turnstiles alone."""

from __future__ import annotations

from muxproxy.mux.deadlines import INF, Deadlines
from muxproxy.mux.exchange import DONE, NEW, WAITING, Exchange
from muxproxy.mux.tagged.limits import NONE, Limits, Turnstile
from muxproxy.protocols.contract import FIRST, LAST, Frame, Limit, Reason


class Gatekeeper:
    """Limits of 2 and of 1 at a time, and what became of each exchange."""

    def __init__(self, max_waiting: int = 10) -> None:
        self.went: list[Exchange] = []
        self.refused: list[tuple[Exchange, Reason, str]] = []
        self.alarms: list[float] = []
        self.wheel = Deadlines(0.01, self.alarms.append)
        limits = (Limit("orders.create", 2, 1.0), Limit("stock.*", 1, 0.2))
        self.limits = Limits(limits, max_waiting, self.wheel, self.go, self.refuse, self.want)

    def go(self, exchange: Exchange, now: float) -> None:
        assert exchange.state == NEW
        self.went.append(exchange)

    def refuse(self, exchange: Exchange, reason: Reason, text: str, now: float) -> None:
        exchange.move(DONE)
        self.refused.append((exchange, reason, text))

    def want(self, turnstile: Turnstile | None, now: float) -> None:
        """All of it is ours."""

    def enter(self, number: int = 0, now: float = 0.0) -> Exchange:
        exchange = Exchange(None, Frame(b"x", FIRST | LAST))
        if self.limits.enter(exchange, number, now):
            self.went.append(exchange)
        return exchange


def test_the_one_too_many_waits_for_the_first_who_is_done() -> None:
    gate = Gatekeeper()
    one, two, three, four = (gate.enter() for _ in range(4))
    assert gate.went == [one, two]
    assert (three.state, four.state) == (WAITING, WAITING)
    gate.limits.free(two, 0.5)
    assert gate.went == [one, two, three]
    gate.limits.free(one, 0.6)
    gate.limits.free(three, 0.7)
    assert gate.went == [one, two, three, four]
    assert gate.limits.snapshot()["orders.create"] == {
        "active": 1,
        "active_max": 2,
        "waiting": 0,
        "waited": 2,
        "expired": 0,
    }


def test_limits_do_not_know_each_other() -> None:
    gate = Gatekeeper()
    entered = [gate.enter(), gate.enter(), gate.enter(1)]
    assert gate.went == entered
    waiting = gate.enter(1)
    gate.limits.free(entered[0], 0.0)
    assert gate.went == entered
    gate.limits.free(entered[2], 0.0)
    assert gate.went == [*entered, waiting]


def test_who_waits_longer_than_the_limits_own_timeout_is_refused() -> None:
    gate = Gatekeeper()
    gate.enter(1)
    late = gate.enter(1, now=0.1)
    gate.wheel.tick(0.29)
    assert gate.refused == []
    gate.wheel.tick(0.32)
    text = "stock.*: waited 0.2 s for one of 1 places"
    assert gate.refused == [(late, Reason.LIMIT_TIMEOUT, text)]
    assert late.limit == NONE
    assert gate.limits.gate.waiting == 0
    assert gate.limits.snapshot()["stock.*"]["expired"] == 1


def test_no_more_wait_than_may_at_all_limits_together() -> None:
    gate = Gatekeeper(max_waiting=2)
    gate.enter(1)
    waiting = [gate.enter(1), gate.enter(1)]
    refused = gate.enter(1)
    text = "stock.*: 2 requests wait for limits, max_waiting is 2"
    assert gate.refused == [(refused, Reason.LIMIT_FULL, text)]
    assert [each.state for each in waiting] == [WAITING, WAITING]


def test_who_leaves_while_it_waits_takes_no_place() -> None:
    gate = Gatekeeper()
    first, gone, next_one = gate.enter(1), gate.enter(1), gate.enter(1)
    assert not gate.limits.take_out(first)
    assert gate.limits.take_out(gone)
    gone.move(DONE)
    assert not gate.limits.take_out(gone)
    gate.limits.free(first, 0.0)
    assert gate.went == [first, next_one]
    assert gate.limits.gate.waiting == 0


def test_a_thousand_that_are_refused_as_they_go_are_a_loop_and_no_recursion() -> None:
    gate = Gatekeeper(max_waiting=5000)
    first = gate.enter(1)
    waiting = [gate.enter(1) for _ in range(5000)]

    def refuse_at_once(exchange: Exchange, now: float) -> None:
        gate.went.append(exchange)
        gate.limits.free(exchange, now)

    gate.limits._go = refuse_at_once
    gate.limits.free(first, 0.0)
    assert gate.went == [first, *waiting]
    assert gate.limits.snapshot()["stock.*"]["active"] == 0


def test_the_oldest_wait_is_told() -> None:
    gate = Gatekeeper()
    assert gate.limits.oldest_wait(5.0) == 0.0
    gate.enter(1, now=1.0)
    gate.enter(1, now=2.0)
    assert gate.limits.oldest_wait(5.0) == 3.0
    assert gate.wheel.next_deadline() < INF
