"""The worker as a program: whom it obeys, and when it ends by itself."""

from __future__ import annotations

import signal

from muxproxy.messages import Ask, Drain, Drained, Ready, Stats
from muxproxy.worker.process import EXIT_SUPERVISOR_GONE
from tests.worker.spawned import configuration, descriptors, places, spawned


def test_it_ends_at_once_when_its_supervisor_is_gone() -> None:
    with places("web") as opened, spawned(*descriptors(opened)) as worker:
        worker.says(configuration(opened))
        assert worker.hears() == Ready()
        worker.control.close()
        assert worker.exits() == EXIT_SUPERVISOR_GONE


def test_it_ends_when_its_supervisor_went_before_it_was_configured() -> None:
    with spawned() as worker:
        worker.control.close()
        assert worker.exits() != 0


def test_signals_to_the_whole_group_are_its_supervisors_to_hear() -> None:
    with places("web") as opened, spawned(*descriptors(opened)) as worker:
        worker.says(configuration(opened))
        assert worker.hears() == Ready()
        for number in (signal.SIGINT, signal.SIGTERM):
            worker.process.send_signal(number)
        worker.says(Ask(1))
        assert isinstance(worker.hears(), Stats)
        worker.says(Drain(1.0))
        assert worker.hears() == Drained(0)
        assert worker.exits() == 0
