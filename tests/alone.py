"""Whose test judges how fast something was has the machine to itself: `@pytest.mark.alone`.

tests/run.sh runs two files at a time. Every test holds a lock while it runs that all may share; one marked
`alone` holds it by itself. A turnstile before it keeps that one from waiting for ever: nobody gets past who
came later. A plugin of pytest, which tests/conftest.py names.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

MARK = "alone: judges how long something took, so no other test runs meanwhile"


@contextmanager
def place(folder: Path, alone: bool) -> Iterator[None]:
    """Held by as many as like at a time, or by one alone; let go of by the kernel if the process dies."""
    with open(folder / "turnstile", "w") as turnstile, open(folder / "lock", "w") as lock:
        fcntl.flock(turnstile, fcntl.LOCK_EX)
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(turnstile, fcntl.LOCK_UN)
        yield


def meeting_place() -> Path | None:
    """The folder that all processes of this run of pytest know of; nothing where there is but one."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None:
        return None
    folder = Path(tempfile.gettempdir(), f"muxproxy-tests-{run}")
    folder.mkdir(exist_ok=True)
    return folder


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARK)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    folder = meeting_place()
    by_itself = item.get_closest_marker("alone") is not None
    with place(folder, by_itself) if folder else nullcontext():
        return (yield)
