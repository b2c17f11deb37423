"""Who judges time has the machine alone, and nobody waits for ever for it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tests.alone import meeting_place, place

SHARED, ALONE = False, True


class Visit(threading.Thread):
    """Somebody who takes a place, says so, and stays until told to go."""

    def __init__(self, folder: Path, alone: bool) -> None:
        super().__init__(daemon=True)
        self.folder, self.alone = folder, alone
        self.inside, self.go = threading.Event(), threading.Event()
        self.start()

    def run(self) -> None:
        with place(self.folder, self.alone):
            self.inside.set()
            self.go.wait(30)

    def leave(self) -> None:
        self.go.set()
        self.join(30)


def waits(visit: Visit) -> bool:
    """Whether it is asleep before a lock, as the kernel sees it, and not just late."""
    locks = Path("/proc/locks").read_text()
    while str(os.getpid()) not in "".join(line for line in locks.splitlines() if "->" in line):
        if visit.inside.wait(0.001):
            return False
        locks = Path("/proc/locks").read_text()
    return not visit.inside.is_set()


def test_many_share_it(tmp_path: Path) -> None:
    visits = [Visit(tmp_path, SHARED) for _ in range(3)]
    assert all(visit.inside.wait(10) for visit in visits)
    for visit in visits:
        visit.leave()


@pytest.mark.parametrize(("first", "second"), [(ALONE, SHARED), (SHARED, ALONE), (ALONE, ALONE)])
def test_who_is_alone_is_alone(tmp_path: Path, first: bool, second: bool) -> None:
    one = Visit(tmp_path, first)
    assert one.inside.wait(10)
    other = Visit(tmp_path, second)
    assert waits(other)
    one.leave()
    assert other.inside.wait(10)
    other.leave()


def test_nobody_overtakes_who_waits_to_be_alone(tmp_path: Path) -> None:
    one = Visit(tmp_path, SHARED)
    assert one.inside.wait(10)
    alone = Visit(tmp_path, ALONE)
    assert waits(alone)
    late = Visit(tmp_path, SHARED)
    assert waits(late)
    one.leave()
    assert alone.inside.wait(10)
    assert not late.inside.is_set()
    alone.leave()
    assert late.inside.wait(10)
    late.leave()


def test_where_one_process_runs_all_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_XDIST_TESTRUNUID", raising=False)
    assert meeting_place() is None


def test_processes_of_a_run_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_TESTRUNUID", f"test-{os.getpid()}")
    folder = meeting_place()
    assert folder is not None
    assert folder == meeting_place()
    folder.rmdir()
