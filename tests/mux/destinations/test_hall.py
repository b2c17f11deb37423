"""One max_waiting for many queues: nobody's fills it, and all together never exceed it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from muxproxy.mux.admission.gate import Gate
from muxproxy.mux.destinations.hall import SharedHall


def gates(hall: SharedHall, number: int) -> list[Gate]:
    made = [Gate(0) for _ in range(number)]
    for gate in made:
        hall.enter(gate)
    return made


def come(gate: Gate, number: int = 1000) -> int:
    """So many want to wait. Returns how many may."""
    for came in range(number):
        if gate.is_full():
            return came
        gate.waiting += 1
    return number


def test_one_queue_is_as_long_as_what_it_leaves_free() -> None:
    hall = SharedHall(100)
    one, two, three = gates(hall, 3)
    assert come(one) == 50
    assert come(two) == 25
    assert come(three) == 13
    assert hall.waiting() == 88


def test_what_one_does_not_use_any_more_is_the_others() -> None:
    hall = SharedHall(100)
    one, two = gates(hall, 2)
    come(one)
    one.waiting = 0
    assert come(two) == 50
    hall.leave(two)
    assert hall.waiting() == 0


def test_a_bound_of_one_is_for_one_and_of_none_for_nobody() -> None:
    one, two = gates(SharedHall(1), 2)
    assert (come(one), come(two)) == (1, 0)
    assert come(*gates(SharedHall(0), 1)) == 0


def test_who_waits_when_the_bound_falls_may_stay() -> None:
    hall = SharedHall(100)
    one, two = gates(hall, 2)
    come(one)
    hall.set_bound(10)
    assert one.waiting == 50
    assert (come(one), come(two)) == (0, 0)
    one.waiting = 0
    assert come(two) == 5


@given(st.integers(0, 40), st.lists(st.tuples(st.integers(0, 3), st.integers(-20, 20)), max_size=40))
def test_all_together_never_exceed_it(bound: int, steps: list[tuple[int, int]]) -> None:
    hall = SharedHall(bound)
    made = gates(hall, 4)
    for pick, change in steps:
        gate = made[pick]
        if change > 0:
            come(gate, change)
        else:
            gate.waiting = max(0, gate.waiting + change)
        assert sum(each.waiting for each in made) <= bound
        assert hall.waiting() == sum(each.waiting for each in made)
