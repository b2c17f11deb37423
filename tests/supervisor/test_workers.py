"""When a worker's process is replaced, drained, killed: a clock that jumps and fake processes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import trio
import trio.testing

from muxproxy.budget import Report
from muxproxy.config.limits import PLACES
from muxproxy.config.model import Backend
from muxproxy.messages import (
    Applied,
    Apply,
    Ask,
    Configure,
    Drain,
    Drained,
    Holds,
    Message,
    MessageReader,
    Ready,
    Stats,
    encode,
)
from muxproxy.messages import (
    Log as LogLine,
)
from muxproxy.supervisor.ledger import Ledger
from muxproxy.supervisor.listening.sockets import Listeners
from muxproxy.supervisor.log import Log
from muxproxy.supervisor.outbox import MOST
from muxproxy.supervisor.workers import PATIENCE, Backoff, State, Worker
from tests.config.models import backend


class FakeProcess:
    """A process without a kernel: the test says what the worker says and when it ends."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.born = trio.current_time()
        self.channel, self.worker_end = trio.testing.memory_stream_pair()
        self.status: int | None = None
        self.is_busy = False
        self.handed_over: list[int] = []
        self._headway = 0
        self.reaped = False
        self.ended = trio.Event()
        self._reader = MessageReader()

    async def wait(self) -> int:
        await self.ended.wait()
        self.reaped = True
        return self.status

    def kill(self) -> None:
        self.end(-9)

    def hand_over(self, descriptors: Sequence[int]) -> None:
        self.handed_over += descriptors

    def headway(self) -> int:
        self._headway += self.is_busy
        return self._headway

    def end(self, status: int) -> None:
        if self.status is None:
            self.status = status
            self.ended.set()
            self.worker_end.send_stream.close()

    async def say(self, *messages: Message) -> None:
        for message in messages:
            await self.worker_end.send_all(encode(message))

    async def hear(self) -> list[Message]:
        return self._reader.feed(await self.worker_end.receive_some())


class Stage:
    """One worker on a stage of fake processes."""

    def __init__(
        self,
        nursery: trio.Nursery,
        pause: float = math.inf,
        tries: int = 100,
        backends: Sequence[Backend] = (),
    ) -> None:
        """`pause`: between the supervisor's own questions; by default it asks none."""
        self.lines: list[str] = []
        self.refusals: list[OSError] = []  # of the next spawns
        self._born, self.births = trio.open_memory_channel[FakeProcess](100)
        self.processes: list[FakeProcess] = []
        log = Log(lambda level, line: self.lines.append(line), "debug")
        patience = PATIENCE._replace(pause=pause, tries=tries)
        self.ledger = Ledger()
        listeners = Listeners()
        for each in backends:
            self.ledger.set_bound(each.name, each.upstream.max_connections)
            listeners.backends[each.name] = []
        self.worker = Worker(
            0, backends, listeners, self.spawn, log, patience, jitter=lambda: 1.0, ledger=self.ledger
        )
        nursery.start_soon(self.worker.keep)

    def spawn(self, descriptors: Sequence[int]) -> FakeProcess:
        if self.refusals:
            raise self.refusals.pop()
        assert all(process.reaped for process in self.processes), "P1: the one before is not reaped"
        process = FakeProcess(pid=100 + len(self.processes))
        self.processes.append(process)
        self._born.send_nowait(process)
        return process

    async def next_process(self, *says: Message) -> FakeProcess:
        process = await self.births.receive()
        assert await process.hear() == [Configure([], {})]
        await process.say(*says)
        await trio.testing.wait_all_tasks_blocked()
        return process


@pytest.fixture
async def stage(nursery, autojump_clock):
    return Stage(nursery)


def test_backoff_begins_at_once_grows_to_its_cap_and_forgets_after_a_good_life():
    backoff = Backoff(first=0.1, most=1.0, young=5.0)
    pauses = [backoff.pause(lived=0.0, jitter=1.0) for _ in range(7)]
    assert pauses == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
    assert backoff.pause(lived=5.0, jitter=1.0) == 0.0
    assert backoff.pause(lived=4.9, jitter=0.0) == pytest.approx(0.05)


def test_backoff_survives_a_crash_loop_of_years():
    backoff = Backoff(most=10.0)
    for _ in range(5000):
        pause = backoff.pause(lived=0.0, jitter=0.5)
    assert pause == pytest.approx(7.5)


async def test_a_worker_is_configured_first_and_ready_when_it_says_so(autojump_clock, stage):
    assert stage.worker.state is State.STARTING
    process = await stage.next_process(Ready())
    assert stage.worker.state is State.READY
    assert stage.worker.was_ready.is_set()
    assert stage.worker.pid == process.pid


async def test_a_killed_worker_is_replaced_at_once(autojump_clock, stage):
    first = await stage.next_process(Ready())
    await trio.sleep(60)
    first.end(-9)
    died = trio.current_time()
    second = await stage.next_process(Ready())
    assert second.born == died
    assert stage.worker.restarts == 1
    assert any("worker died" in line and 'how="killed by SIGKILL"' in line for line in stage.lines)


async def test_a_worker_that_keeps_dying_young_is_replaced_ever_more_slowly(autojump_clock, stage):
    births = []
    for _ in range(6):
        process = await stage.next_process()
        births.append(process.born)
        process.end(1)
    assert births == pytest.approx([0.0, 0.0, 0.1, 0.3, 0.7, 1.5])
    await trio.testing.wait_all_tasks_blocked()
    assert stage.worker.state is State.RESTARTING


async def test_a_worker_that_is_not_ready_in_time_is_killed_and_counts_as_dying_young(autojump_clock, stage):
    births = []
    for _ in range(3):
        process = await stage.next_process()
        births.append(process.born)
        await process.ended.wait()
        assert process.status == -9
    assert births == pytest.approx([0.0, PATIENCE.ready, 2 * PATIENCE.ready + 0.1])
    assert any("not ready after 10 s" in line for line in stage.lines)


async def test_a_spawn_that_fails_is_tried_again(autojump_clock, stage):
    process = await stage.next_process(Ready())
    stage.refusals = [OSError(24, "Too many open files"), OSError(12, "Cannot allocate memory")]
    process.end(1)
    again = await stage.next_process(Ready())
    assert again.born == pytest.approx(0.3)
    assert any("could not be started: [Errno 24] Too many open files" in line for line in stage.lines)


async def test_a_worker_that_never_starts_is_given_up_after_a_few_tries(autojump_clock, nursery):
    """Whether it cannot be exec'ed, or ends before it is ready."""
    stage = Stage(nursery, tries=PATIENCE.tries)
    stage.refusals = [PermissionError(13, "Permission denied")] * 3
    for _ in range(PATIENCE.tries - 3):
        assert not stage.worker.hopeless.is_set()
        (await stage.next_process()).end(1)
    await stage.worker.hopeless.wait()
    assert stage.worker.state is State.STOPPED
    assert len(stage.processes) == PATIENCE.tries - 3
    assert 'worker cannot be started worker=0 how="exit status 1" tries=5' in stage.lines


async def test_a_worker_that_has_served_once_is_never_given_up(autojump_clock, nursery):
    """Its server may be full, or its node: clients are told of neither by our end."""
    stage = Stage(nursery, tries=PATIENCE.tries)
    (await stage.next_process(Ready())).end(1)
    for _ in range(2 * PATIENCE.tries):
        (await stage.next_process()).end(1)
    assert not stage.worker.hopeless.is_set()


@pytest.mark.parametrize("garbage", [b"\xff" * 8, encode(Ask(1)), b"\0\0\0\1\xc1"])
async def test_a_worker_that_writes_garbage_is_killed_and_replaced(autojump_clock, stage, garbage):
    process = await stage.next_process(Ready())
    await process.worker_end.send_all(garbage)
    await stage.next_process(Ready())
    assert process.status == -9
    assert any("wrote garbage on its control channel" in line for line in stage.lines)


async def test_a_worker_that_closes_its_channel_and_lives_on_is_killed(autojump_clock, stage):
    process = await stage.next_process(Ready())
    process.worker_end.send_stream.close()
    await stage.next_process(Ready())
    assert process.status == -9
    assert trio.current_time() == pytest.approx(PATIENCE.goodbye)


async def test_last_words_are_logged_before_the_replacement(autojump_clock, stage):
    process = await stage.next_process(Ready())
    await process.say(LogLine("error", "out of cheese", {"left": 0}))
    process.end(70)
    await stage.next_process(Ready())
    last = next(i for i, line in enumerate(stage.lines) if line == "out of cheese worker=0 left=0")
    died = next(i for i, line in enumerate(stage.lines) if "worker died" in line)
    assert last < died


async def test_a_drained_worker_is_not_replaced(autojump_clock, stage):
    process = await stage.next_process(Ready())
    stage.worker.drain(30.0)
    assert await process.hear() == [Drain(30.0)]
    assert stage.worker.state is State.DRAINING
    await process.say(Drained(2))
    process.end(0)
    await stage.worker.stopped.wait()
    assert stage.worker.state is State.STOPPED
    assert len(stage.processes) == 1
    assert "worker drained worker=0 pid=100 cut_off=2" in stage.lines


async def test_a_drain_during_the_pause_ends_it(autojump_clock, stage):
    for _ in range(5):
        (await stage.next_process()).end(1)
    await trio.testing.wait_all_tasks_blocked()
    before = trio.current_time()
    stage.worker.drain(30.0)
    await stage.worker.stopped.wait()
    assert trio.current_time() == before
    assert len(stage.processes) == 5


async def test_a_worker_told_to_drain_before_it_is_ready_hears_it_after_configure(autojump_clock, stage):
    await trio.testing.wait_all_tasks_blocked()
    stage.worker.drain(5.0)
    process = await stage.births.receive()
    heard = await process.hear()
    while len(heard) < 2:
        heard += await process.hear()
    assert heard == [Configure([], {}), Drain(5.0)]
    process.end(0)
    await stage.worker.stopped.wait()


async def test_a_question_gets_the_answer_with_its_serial(autojump_clock, stage, nursery):
    process = await stage.next_process(Ready())
    answers = []

    async def ask() -> None:
        answers.append(await stage.worker.ask())

    nursery.start_soon(ask)
    [question] = await process.hear()
    await process.say(Stats(question.serial + 7, {"of": "nobody"}), Stats(question.serial, {"backends": {}}))
    await trio.testing.wait_all_tasks_blocked()
    assert answers == [{"backends": {}}]
    await process.say(Stats(question.serial, {"too": "late"}))
    await trio.testing.wait_all_tasks_blocked()
    assert stage.worker.state is State.READY


async def test_a_worker_that_hangs_costs_a_question_one_second_and_nothing_else(autojump_clock, stage):
    process = await stage.next_process(Ready())
    process.channel.send_stream.send_all_hook = trio.sleep_forever  # its receive buffer is full
    for _ in range(MOST + 5):
        assert await stage.worker.ask() is None
    assert trio.current_time() == pytest.approx((MOST + 5) * PATIENCE.answer)
    stage.worker.drain(1.0)
    assert stage.worker.state is State.DRAINING


async def test_a_worker_that_hangs_is_killed_and_replaced(autojump_clock, nursery):
    stage = Stage(nursery, PATIENCE.pause)
    hung = await stage.next_process(Ready())
    heir = await stage.next_process(Ready())
    assert hung.status == -9
    assert heir.born == pytest.approx(PATIENCE.questions * (PATIENCE.pause + PATIENCE.answer))
    assert any('how="hangs: no answer to 5 questions in a row; killed"' in line for line in stage.lines)


async def test_it_is_known_who_does_not_answer_from_the_first_question_on(autojump_clock, nursery):
    """systemd's watchdog is not fed meanwhile (systemd/pulse.py)."""
    stage = Stage(nursery, PATIENCE.pause)
    worker = stage.worker
    hung = await stage.next_process()
    assert worker.answers  # it has its time to begin
    await hung.say(Ready())
    await trio.sleep(PATIENCE.pause + PATIENCE.answer + 0.1)
    assert not worker.answers
    heir = await stage.next_process(Ready())
    assert worker.answers
    [question] = await heir.hear()
    await heir.say(Stats(question.serial, {"backends": {"web": {}}}))
    await trio.testing.wait_all_tasks_blocked()
    assert worker.latest == {"backends": {"web": {}}}
    heir.is_busy = True
    await trio.sleep(2 * (PATIENCE.pause + PATIENCE.answer))
    assert not worker.answers
    heir.end(1)
    await stage.next_process(Ready())
    assert (worker.answers, worker.latest) == (True, None)


async def test_one_that_is_condemned_does_not_answer_until_it_is_reaped(autojump_clock, stage, monkeypatch):
    process = await stage.next_process(Ready())
    monkeypatch.setattr(process, "kill", lambda: None)  # in the kernel's hands, "D" in ps
    await process.worker_end.send_all(b"garbage")
    await trio.testing.wait_all_tasks_blocked()
    assert not stage.worker.answers
    process.end(-9)
    await stage.next_process(Ready())
    assert stage.worker.answers


async def test_a_worker_that_is_busy_does_not_hang_while_it_makes_headway(autojump_clock, nursery):
    stage = Stage(nursery, PATIENCE.pause)
    process = await stage.next_process(Ready())
    process.is_busy = True
    await trio.sleep(PATIENCE.busy * (PATIENCE.pause + PATIENCE.answer) - 5.0)
    assert process.status is None
    assert sum("worker is busy" in line for line in stage.lines) == 1
    process.is_busy = False  # and answers nothing more
    before = trio.current_time()
    heir = await stage.next_process(Ready())
    assert process.status == -9
    assert heir.born - before < (PATIENCE.questions + 2) * (PATIENCE.pause + PATIENCE.answer)


async def test_a_worker_that_is_busy_for_minutes_and_answers_nobody_is_replaced(autojump_clock, nursery):
    stage = Stage(nursery, PATIENCE.pause)
    process = await stage.next_process(Ready())
    process.is_busy = True
    heir = await stage.next_process(Ready())
    assert heir.born == pytest.approx(PATIENCE.busy * (PATIENCE.pause + PATIENCE.answer))
    assert any("is busy with one thing only: no answer to 60 questions" in line for line in stage.lines)


async def test_a_worker_that_answers_late_is_left_alone(autojump_clock, nursery):
    stage = Stage(nursery, PATIENCE.pause)
    process = await stage.next_process(Ready())
    answered = 0
    while trio.current_time() < 60:
        for question in await process.hear():
            await trio.sleep(4 * PATIENCE.answer)
            await process.say(Stats(question.serial, {"backends": {}}))
            answered += 1
    assert answered > 5
    assert process.status is None


async def test_cancelled_the_worker_kills_its_process_and_waits_for_its_end(autojump_clock):
    async with trio.open_nursery() as nursery:
        stage = Stage(nursery)
        process = await stage.next_process(Ready())
        nursery.cancel_scope.cancel()
    assert process.status == -9
    assert process.reaped
    assert stage.worker.stopped.is_set()


CHANGE = Apply(3, 1 << 30, 5.0)


async def test_a_reload_is_carried_out_when_the_worker_says_so(autojump_clock, stage, nursery):
    process = await stage.next_process(Ready())
    stage.worker.apply(CHANGE, ["web"], [9, 10])
    assert process.handed_over == [9, 10]
    assert stage.worker.backends == ["web"]
    assert await process.hear() == [CHANGE]
    began = trio.current_time()
    nursery.start_soon(stage.worker.applied, 3)
    await trio.sleep(1)
    await process.say(Applied(3))
    await stage.worker.applied(3)
    assert trio.current_time() == began + 1
    assert process.status is None


@pytest.mark.parametrize(
    ("word", "why"),
    [(None, "did not carry out a reload"), (Applied(3, "Traceback ..."), "failed in a reload")],
)
async def test_who_does_not_carry_it_out_is_replaced_by_one_that_begins_so(autojump_clock, stage, word, why):
    process = await stage.next_process(Ready())
    stage.worker.apply(CHANGE, [], [])
    await process.hear()
    if word is not None:
        await process.say(word)
    await stage.worker.applied(3)
    await process.ended.wait()
    await stage.next_process(Ready())
    assert any(why in line for line in stage.lines)


async def test_where_no_process_runs_the_next_one_begins_with_it(autojump_clock, stage):
    process = await stage.next_process(Ready())
    await trio.sleep(1)
    for _ in range(3):
        process.end(1)
        await trio.testing.wait_all_tasks_blocked()
        process = stage.processes[-1]
    assert stage.worker.state is State.RESTARTING
    stage.ledger.set_bound("web", 4)
    stage.ledger.open("web", 0)
    stage.worker.apply(CHANGE, [], [])
    assert stage.ledger.lent("web") == 0
    await stage.worker.applied(3)  # at once


async def test_what_it_holds_is_the_ledgers_and_all_of_it_comes_back_when_it_dies(autojump_clock, nursery):
    stage = Stage(nursery, backends=[backend("web", upstream__max_connections=4)])
    process = await stage.births.receive()
    (start,) = await process.hear()
    holder, order = start.holders["web"]
    assert order[PLACES].most == 4
    await process.say(Ready(), Holds(holder, Report(order[PLACES].serial, 3, 0)))
    await trio.testing.wait_all_tasks_blocked()
    assert stage.ledger.lent("web") == 4  # what it does not hold has been lent to it again
    stage.ledger.set_bound("web", 2)
    stage.worker.lend(holder, stage.ledger.news()[0].order)
    (said,) = [word for word in await process.hear() if word.order.most == 2]
    assert said.holder == holder
    process.end(-9)
    await trio.testing.wait_all_tasks_blocked()
    again = await stage.births.receive()
    ((_, fresh),) = (await again.hear())[0].holders.values()
    assert fresh[PLACES].most == stage.ledger.lent("web") == 2
