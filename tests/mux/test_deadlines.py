"""The wheel of time: never early, at most a grain late, and nobody stays on it who was taken off."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.errors import BugError
from muxproxy.mux.deadlines import INF, Deadlines, Timed

GRAIN = 0.25


class Egg(Timed):
    """Rings once: at its deadline, as late as the wheel makes it."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.wake = INF
        self.rang: list[float] = []
        self.next = INF
        self.then: Callable[[], None] = lambda: None

    def on_deadline(self, now: float) -> None:
        self.rang.append(now)
        self.deadline = self.next
        self.then()

    def on_bug(self, now: float) -> None:
        raise AssertionError("nothing here raises")


class Clock:
    """Ticks when an alarm was asked for and at no other time, as worker/engine.py does."""

    def __init__(self) -> None:
        self.now = 0.0
        self.armed = INF
        self.alarms = 0
        self.wheel = Deadlines(GRAIN, self.alarm)

    def alarm(self, at: float) -> None:
        self.alarms += 1
        self.armed = min(self.armed, at)

    def run_until(self, end: float) -> None:
        while self.armed <= end:
            self.now, self.armed = max(self.now, self.armed), INF
            self.wheel.tick(self.now)
            self.alarm(self.wheel.next_deadline())
        self.now = end


def on_wheel(wheel: Deadlines) -> int:
    return sum(len(slot) for slot in wheel._slots.values())


def test_it_rings_at_the_deadline_or_a_grain_later_and_never_before() -> None:
    clock = Clock()
    eggs = [Egg(0.1 * n) for n in range(1, 100)]
    for egg in eggs:
        clock.wheel.watch(egg)
    clock.run_until(20.0)
    for egg in eggs:
        deadline = 0.1 * (eggs.index(egg) + 1)
        assert len(egg.rang) == 1
        assert deadline <= egg.rang[0] <= deadline + GRAIN + 1e-9
    assert on_wheel(clock.wheel) == 0
    assert clock.wheel.next_deadline() == INF


def test_a_deadline_that_moved_later_by_a_plain_store_is_kept() -> None:
    clock = Clock()
    egg = Egg(1.0)
    clock.wheel.watch(egg)
    egg.deadline = 5.0
    clock.run_until(4.9)
    assert egg.rang == []
    clock.run_until(6.0)
    assert egg.rang == [5.25]


def test_a_deadline_that_moved_sooner_is_kept_after_watch() -> None:
    clock = Clock()
    egg = Egg(100.0)
    clock.wheel.watch(egg)
    egg.deadline = 1.0
    clock.wheel.watch(egg)
    clock.run_until(2.0)
    assert egg.rang == [1.25]
    assert on_wheel(clock.wheel) == 0


def test_watching_again_and_again_files_it_once() -> None:
    clock = Clock()
    egg = Egg(1.0)
    for _ in range(10):
        clock.wheel.watch(egg)
    assert on_wheel(clock.wheel) == 1
    assert clock.alarms == 1


def test_who_is_forgotten_is_off_the_wheel_at_once() -> None:
    clock = Clock()
    eggs = [Egg(100.0 + n / 1000) for n in range(1000)]
    for egg in eggs:
        clock.wheel.watch(egg)
        clock.wheel.forget(egg)
        clock.wheel.forget(egg)
    assert on_wheel(clock.wheel) == 0
    clock.run_until(200.0)
    assert not any(egg.rang for egg in eggs)


def test_who_sleeps_may_be_watched_again() -> None:
    clock = Clock()
    egg = Egg(1.0)
    clock.wheel.watch(egg)
    clock.run_until(2.0)
    egg.deadline = 3.0
    clock.wheel.watch(egg)
    clock.run_until(4.0)
    assert egg.rang == [1.25, 3.25]


def test_who_forgets_another_that_is_due_in_the_same_slot_spares_it() -> None:
    clock = Clock()
    eggs = [Egg(1.0), Egg(1.0)]

    eggs[0].then = lambda: clock.wheel.forget(eggs[1])
    eggs[1].then = lambda: clock.wheel.forget(eggs[0])
    for egg in eggs:
        clock.wheel.watch(egg)
    clock.run_until(2.0)
    assert sum(len(egg.rang) for egg in eggs) == 1


def test_a_deadline_in_the_past_that_comes_up_while_others_ring_is_not_lost() -> None:
    clock = Clock()
    late = Egg(1.0)

    class Finder(Egg):
        def on_deadline(self, now: float) -> None:
            super().on_deadline(now)
            clock.wheel.watch(late)

    finder = Finder(5.0)
    clock.wheel.watch(finder)
    clock.run_until(6.0)
    assert late.rang
    assert on_wheel(clock.wheel) == 0


def test_one_that_does_not_move_its_deadline_is_our_bug_and_the_others_still_ring() -> None:
    clock = Clock()
    stuck, fine = Egg(1.0), Egg(1.0)
    stuck.next = 1.0
    for egg in (stuck, fine):
        clock.wheel.watch(egg)
    with pytest.raises(BugError, match="did not move its deadline"):
        clock.wheel.tick(1.25)
    clock.wheel.tick(1.25)
    assert fine.rang == [1.25]
    assert stuck.rang == [1.25]
    assert stuck.wake == INF


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["watch", "later", "sooner", "forget", "time"]),
            st.integers(0, 4),
            st.floats(0.001, 3.0),
        ),
        max_size=60,
    )
)
def test_whatever_happens_each_rings_once_per_deadline_and_in_time(
    steps: list[tuple[str, int, float]],
) -> None:
    clock = Clock()
    eggs = [Egg(INF) for _ in range(5)]
    due: dict[int, float] = {}

    def look(end: float) -> None:
        clock.run_until(end)
        for number, egg in enumerate(eggs):
            for rang in egg.rang:
                deadline = due.pop(number)
                assert deadline <= rang <= deadline + GRAIN + 1e-9
            egg.rang.clear()
            assert number not in due or due[number] + GRAIN + 1e-9 > end

    for what, number, seconds in steps:
        egg = eggs[number]
        if what == "time":
            look(clock.now + seconds)
        elif what == "forget":
            clock.wheel.forget(egg)
            egg.deadline = INF
            due.pop(number, None)
        elif what == "later" and number in due:
            due[number] = egg.deadline = egg.deadline + seconds
        else:
            due[number] = egg.deadline = clock.now + seconds
            clock.wheel.watch(egg)
    look(clock.now + 100.0)
    assert due == {}
    assert on_wheel(clock.wheel) == 0
