"""The pulse: fed while all answer, numbers that are true, and nothing said twice."""

from __future__ import annotations

import socket
from dataclasses import dataclass

import pytest
import trio

from muxproxy.supervisor.systemd.pulse import PAUSE, Pulse, watchdog
from muxproxy.supervisor.workers import PATIENCE


@dataclass
class Worker:
    index: int = 0
    answers: bool = True
    latest: dict | None = None


def numbers(clients: int = 0, replied: int = 0) -> dict:
    web = {
        "clients": clients,
        "waiting": 1,
        "in_flight": 2,
        "upstream_sockets": 3,
        "upstream_max": 4,
        "outcomes": {"replied": {"ok": replied, "error": 1}, "refused": {"full": 9}},
    }
    return {"backends": {"web": web, "api": {**web, "clients": 1000, "outcomes": {}}}}


def pulse(*workers: Worker, timeout: float | None = 180.0) -> Pulse:
    return Pulse(workers, lambda: "serving 2 backends", timeout)


@pytest.mark.parametrize(
    ("answering", "is_fed"), [((True, True), True), ((True, False), False), ((False, False), False)]
)
def test_the_watchdog_is_fed_only_while_every_worker_answers(answering, is_fed):
    it = pulse(*(Worker(index, answers) for index, answers in enumerate(answering)))
    for _ in range(3):
        assert ("WATCHDOG=1" in list(it.beat(2.0))) is is_fed


def test_nobody_feeds_a_watchdog_that_is_not_there():
    assert "WATCHDOG=1" not in list(pulse(Worker(), timeout=None).beat(2.0))


def test_the_status_has_the_sums_and_is_said_when_it_has_changed():
    worker = Worker(latest=numbers(clients=234, replied=99))
    it = pulse(worker, Worker(1), timeout=None)
    [first] = it.beat(2.0)
    assert first == (
        "STATUS=serving 2 backends: 1,234 clients, 2 waiting, 4 in flight, "
        "6 of 8 upstream sockets, 50 replies/s"
    )
    worker.latest = numbers(clients=234, replied=5099)
    assert [word.rpartition(", ")[2] for word in it.beat(2.0)] == ["2,500 replies/s"]
    worker.latest = numbers(clients=234, replied=0)  # replaced
    assert [word.rpartition(", ")[2] for word in it.beat(2.0)] == ["0 replies/s"]
    assert list(it.beat(2.0)) == []


def test_shards_of_a_backend_have_one_bound():
    [status] = pulse(Worker(latest=numbers()), Worker(1, latest=numbers()), timeout=None).beat(2.0)
    assert " of 8 upstream sockets" in status


def test_the_status_names_who_does_not_answer():
    [status] = pulse(Worker(), Worker(1, answers=False), timeout=180.0).beat(2.0)
    assert status.endswith("; no answer from worker 1")


def test_each_time_is_long_before_the_next():
    """As pulse.py says, and the unit: tests/config/test_examples.py has WatchdogSec=."""
    question = PATIENCE.pause + PATIENCE.answer
    assert question <= PAUSE < PATIENCE.questions * question == 10 < PATIENCE.busy * question == 120 < 180


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "180000000"}, 180.0),
        ({"WATCHDOG_USEC": "180000000", "WATCHDOG_PID": "7"}, 180.0),
        ({"WATCHDOG_USEC": "180000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdogs_time_is_read_as_sd_watchdog_enabled_reads_it(environ, expected):
    assert watchdog(environ, 7) == expected
    assert "WATCHDOG_PID" not in environ


def test_a_short_watchdog_is_fed_twice_in_its_time():
    assert pulse(timeout=3.0).pause == 1.5
    assert pulse(timeout=None).pause == pulse().pause == PAUSE


async def test_it_beats_until_it_is_cancelled(tmp_path, monkeypatch, autojump_clock):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"{tmp_path}/notify")
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", f"{tmp_path}/notify")
        with trio.move_on_after(PAUSE * 2.5):
            await pulse(Worker(latest=numbers())).keep()
        assert [manager.recv(4096).partition(b"\n")[0] for _ in range(2)] == [b"WATCHDOG=1"] * 2
        with pytest.raises(BlockingIOError):
            manager.recv(4096)
