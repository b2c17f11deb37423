"""What was recorded: the most of each state, what is said of it, and JSON that is the same when read."""

from __future__ import annotations

from muxproxy.incident.record import TIME_WAIT, Leg, duration, from_json, outcome, to_json
from tests.incident.records import recorded


def test_the_most_is_of_a_moment_and_not_of_states_that_never_met() -> None:
    direct, through = recorded().legs
    assert direct.most(TIME_WAIT) == 1500
    assert direct.most("ESTABLISHED", "SYN_SENT") == 51
    assert direct.most_open == 53
    assert direct.most_in_all == 1553
    assert direct.most_at_servers == 50
    assert direct.failed == 5
    assert direct.first_error == 1.6
    assert through.first_error is None
    assert Leg("a", "A", "", 1.0).most_in_all == 0


def test_json_says_it_all() -> None:
    record = recorded()
    assert from_json(to_json(record)) == record
    assert record.leg("muxproxy") is record.legs[1]


def test_the_outcome_names_sockets_errors_and_times() -> None:
    direct, through = (outcome(leg, "commands") for leg in recorded().legs)
    assert direct == [
        "Direct: 53 sockets to the servers at most, 1,500 TIME_WAIT; 200 commands answered, 5 errors, "
        "p50 20 ms, p99 1.5 s",
        "    5 x dial: connect: Cannot assign requested address",
    ]
    assert through == [
        "Through muxproxy: 8 sockets to the servers at most; 171 commands answered, 0 errors, "
        "p50 1.0 ms, p99 20 ms"
    ]
    assert [duration(each) for each in (0.0004, 0.0123, 0.999, 12.0)] == [
        "0.4 ms",
        "12 ms",
        "999 ms",
        "12.0 s",
    ]
