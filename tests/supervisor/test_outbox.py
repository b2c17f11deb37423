"""The outbox: of what a budget says the newest of each number, of all else so much and no more."""

from __future__ import annotations

from muxproxy.budget import Order, Report
from muxproxy.messages import Apply, Drain, Holds, Lend, MessageReader, Reconnect
from muxproxy.supervisor.outbox import MOST, Outbox


def test_what_was_put_is_taken_in_order_and_once() -> None:
    outbox = Outbox()
    assert outbox.put(Drain(1.0))
    assert outbox.put(Reconnect("app"))
    assert len(outbox) == 2
    assert MessageReader().feed(outbox.take_bytes()) == [Drain(1.0), Reconnect("app")]
    assert outbox.take() == []


def test_the_newest_order_of_a_number_takes_the_place_of_the_one_that_has_not_gone_out() -> None:
    outbox = Outbox()
    change = Apply(1, memory=0, drain_timeout=1.0)
    outbox.put(Lend(1, Order(1, 8, 0)))
    outbox.put(Lend(1, Order(1, 9, 0), "clients"))
    outbox.put(Lend(2, Order(1, 7, 0)))
    outbox.put(change)
    outbox.put(Lend(1, Order(2, 4, 0)))
    # behind what it may go by
    expected = [Lend(1, Order(1, 9, 0), "clients"), Lend(2, Order(1, 7, 0)), change, Lend(1, Order(2, 4, 0))]
    assert outbox.take() == expected
    outbox.put(Lend(1, Order(3, 5, 0)))
    assert outbox.take() == [Lend(1, Order(3, 5, 0))]


def test_the_newest_report_likewise() -> None:
    outbox = Outbox()
    for held in (8, 5, 3):
        outbox.put(Holds(1, Report(1, held, 0)))
    assert outbox.take() == [Holds(1, Report(1, 3, 0))]


def test_no_burst_of_the_ledger_fills_it_and_what_is_counted_still_finds_room() -> None:
    """Seven numbers of five hundred backends change a hundred times in one go."""
    outbox = Outbox()
    for serial in range(100):
        for holder in range(500):
            for number in "abcdefg":
                assert outbox.put(Lend(holder, Order(serial, serial, 0), number))
    assert len(outbox) == 7 * 500
    assert all(outbox.put(Drain(1.0)) for _ in range(MOST))
    assert not outbox.put(Drain(1.0))
    assert outbox.put(Lend(0, Order(100, 1, 0), "a"))
    outbox.take()
    assert outbox.put(Drain(1.0))
