"""A few steps of handshakes in one turn, and each in its time."""

from __future__ import annotations

from collections.abc import Callable

from muxproxy.worker.tls.handshakes import LOOK_EVERY, PER_TURN, Handshakes, Shaking


class One(Shaking):
    def __init__(self, patience: float = 1.0) -> None:
        self.steps = 0
        self.late = False
        self._patience = patience

    def patience(self) -> float:
        return self._patience

    def go_on(self) -> None:
        self.steps += 1

    def on_late(self) -> None:
        self.late = True


class World:
    def __init__(self) -> None:
        self.now = 0.0
        self.turn: list[Callable[[], None]] = []
        self.timers: list[Callable[[], None]] = []
        self.all = Handshakes(
            lambda: self.now, self.turn.append, lambda delay, call: self.timers.append(call)
        )

    def turns(self) -> None:
        calls, self.turn[:] = self.turn[:], []
        for call in calls:
            call()

    def looks(self) -> None:
        self.now += LOOK_EVERY
        calls, self.timers[:] = self.timers[:], []
        for call in calls:
            call()


def test_many_at_once_wait_for_each_other() -> None:
    world = World()
    many = [One() for _ in range(2 * PER_TURN + 1)]
    for one in many:
        world.all.go_on(one)
    for turn in range(3):
        world.turns()
        assert sum(one.steps for one in many) == min(len(many), (turn + 1) * PER_TURN)
    assert not world.turn, "nobody is left to be called for"
    world.all.go_on(many[0])
    world.turns()
    assert many[0].steps == 2


def test_who_takes_too_long_is_told_and_who_is_done_is_not() -> None:
    world = World()
    slow, patient, done = One(), One(patience=100.0), One()
    for one in (slow, patient, done):
        world.all.begin(one)
    world.all.end(done)
    for _ in range(4):
        assert not slow.late
        world.looks()
    assert (slow.late, patient.late, done.late) == (True, False, False)
    for one in (slow, patient):
        world.all.end(one)
    world.looks()
    assert not world.timers, "no timer while nobody shakes hands"
