"""The measure of the machine, measured: a bound that gives way by too much would prove nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from tests.system.lateness import NAP, Lateness


def test_only_naps_that_lie_between_the_moments_count_and_only_by_what_they_were_late() -> None:
    lateness = Lateness()
    for began, late in ((1.0, 0.0), (2.0, 0.5), (3.0, 0.25), (4.0, 0.125)):
        lateness.on_woke(began, began + NAP + late, 0.0)
    assert lateness.between(0.0, 1.5) == pytest.approx(0.5)  # the second ends after it
    assert lateness.between(2.6, 3.1) == pytest.approx(0.25)
    assert lateness.between(2.1, 9.9) == pytest.approx(0.875)
    assert lateness.between(9.0, 9.9) == 0.0


def test_a_process_that_waits_for_a_core_is_late() -> None:
    """Two that want the same one."""
    spin = f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})\nwhile True: pass"
    processes = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range(2)]
    try:
        with Lateness(processes[0].pid) as lateness:
            began = time.monotonic()
            while lateness.between(began, time.monotonic()) < 0.2:
                assert time.monotonic() < began + 30
                time.sleep(NAP)
    finally:
        for process in processes:
            process.kill()
            process.wait()
