"""One worker: the processes that play it one after the other, and when the next one may begin.

A process that ends is reaped first, so that the kernel has closed its sockets (P1), and only then replaced:
at once if it had served well, after a growing pause if it keeps dying young. The listening sockets stay open
meanwhile.

    STARTING -> READY -> (it dies) RESTARTING -> STARTING ...       any of them -> DRAINING -> STOPPED
"""

from __future__ import annotations

import enum
import random
import signal
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import trio

from muxproxy.budget import Order
from muxproxy.config.limits import PLACES
from muxproxy.config.model import Backend, Node
from muxproxy.messages import (
    Applied,
    Apply,
    Configure,
    Drain,
    Drained,
    Gone,
    Holds,
    Lend,
    Message,
    Ready,
    Reconnect,
    Stats,
)
from muxproxy.messages import Log as LogLine
from muxproxy.supervisor.channel import Channel
from muxproxy.supervisor.ledger import Ledger
from muxproxy.supervisor.listening.sockets import Listener, Listeners
from muxproxy.supervisor.log import Log
from muxproxy.supervisor.process import Process, Spawn


class Patience(NamedTuple):
    """How long the supervisor waits for a worker, in seconds."""

    ready: float = 10.0  # exec to Ready takes 0.3 s; ten times that on a node that is booting is no fault
    answer: float = 1.0  # to a question: longer than any turn of a healthy event loop
    goodbye: float = 2.0  # beyond a drain's time, and between the end of its channel and its exit
    pause: float = 1.0  # between two questions whether it lives
    questions: int = 5  # without a word in answer: it hangs. Counted, so that a clock that jumps kills nobody
    tries: int = 5  # to start it the first time: an installation that is broken, or not its user's to read
    busy: int = 60  # without an answer, but it does something: two minutes in which it serves nobody else


PATIENCE = Patience()


class State(enum.StrEnum):
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    DRAINING = "draining"
    STOPPED = "stopped"


class Backoff:
    """The pause before the next process: none after a life of `young` seconds or more, nor after the first
    short one (a single crash costs no pause); then `first`, doubled each time up to `most`. The upper half of
    a pause is random, so that a hundred nodes with the same fault do not beat in time.
    """

    def __init__(self, first: float = 0.1, most: float = 10.0, young: float = 5.0) -> None:
        self._first = first
        self._most = most
        self._young = young
        self._in_a_row = 0

    def pause(self, lived: float, jitter: float) -> float:
        """`lived`: seconds of service; `jitter`: a random number in [0, 1)."""
        if lived >= self._young:
            self._in_a_row = 0
        self._in_a_row += 1
        if self._in_a_row == 1:
            return 0.0
        doublings = min(self._in_a_row - 2, 32)  # a float ends at 2**1024, and a crash loop may not
        return min(self._most, self._first * 2.0**doublings) * (0.5 + jitter / 2)


class Worker:
    def __init__(
        self,
        index: int,
        backends: Sequence[Backend],
        listeners: Listeners,
        spawn: Spawn,
        log: Log,
        patience: Patience = PATIENCE,
        jitter: Callable[[], float] = random.random,
        memory: int = Node().memory,
        ledger: Ledger | None = None,
        on_news: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_news`: the ledger may have something to say to others."""
        self._memory = memory
        self.lenient = 0.0  # seconds (messages.Configure), of a process that begins now
        self._ledger = Ledger() if ledger is None else ledger
        self._on_news = on_news
        self.index = index
        self.backends = backends
        self.state = State.STARTING
        self.pid: int | None = None
        self.answers = True  # False: a question has no answer yet, or it is condemned and not yet reaped
        self.latest: dict[str, Any] | None = None  # its last answer
        self.restarts = 0
        self.was_ready = trio.Event()  # once, ever
        self.stopped = trio.Event()
        self.hopeless = trio.Event()  # it was never ready, and we have stopped trying
        self._listeners = listeners
        self._spawn = spawn
        self._log = log
        self._patience = patience
        self._jitter = jitter
        self._backoff = Backoff()
        self._draining = trio.Event()
        self._channel: Channel | None = None
        # of the current process
        self._process: Process | None = None
        self._applied: dict[int, trio.Event] = {}
        self._ready = trio.Event()
        self._ready_at: float | None = None
        self._heard = 0  # how often it said something
        self._condemned = ""  # why we killed it

    async def keep(self) -> None:
        """Until drained, or hopeless. Cancelled, it kills the process and waits for its end."""
        try:
            while not self._draining.is_set():
                self.state = State.STARTING
                end = await self._one_life()
                if self._draining.is_set():
                    continue
                if not self.was_ready.is_set() and self.restarts + 1 >= self._patience.tries:
                    # Clients would wait in the backlog for ever, and a service manager believe that we start.
                    self._log.error(
                        "worker cannot be started", worker=self.index, how=end, tries=self.restarts + 1
                    )
                    self.hopeless.set()
                    return
                await self._pause(end)
        finally:
            self.state = State.STOPPED
            self.stopped.set()

    def drain(self, timeout: float, *, gently: bool = False) -> None:
        """Accept no more, finish what is owed within `timeout`, exit; `stopped` is set then. `gently`: others
        accept meanwhile."""
        self._draining.set()
        self.state = State.DRAINING
        if self._channel is not None:
            self._channel.say(Drain(timeout, gently))

    def lend(self, holder: int, order: Order, number: str = PLACES) -> None:
        """To its process, if there is one: the next begins with what it has then."""
        if self._channel is not None:
            self._channel.say(Lend(holder, order, number))

    def apply(self, change: Apply, backends: Sequence[Backend], descriptors: Sequence[int]) -> None:
        """Its part of a reload. Said at once, so that no process begins in between with half of it; one that
        does not listen is replaced by one that begins with it."""
        self.backends = backends
        self._memory = change.memory
        if self._channel is None or self._process is None:
            self._ledger.close_all(self.index)  # places for a process that is not there
            return
        self._applied[change.serial] = trio.Event()
        try:
            self._process.hand_over(descriptors)
        except OSError as error:
            self._condemn(self._process, f"takes no sockets: {error}")
        else:
            if not self._channel.say(change):
                self._condemn(self._process, "does not listen to a reload")

    def reconnect(self, backend: str, server: str) -> bool:
        """False if the process does not listen. One that is yet to come connects anew anyway."""
        if self._channel is None or all(mine.name != backend for mine in self.backends):
            return True
        return self._channel.say(Reconnect(backend, server))

    async def applied(self, serial: int) -> None:
        """That is done, by this process or because the next one will begin so."""
        done, process = self._applied.get(serial), self._process
        if done is None:
            return
        with trio.move_on_after(self._patience.ready):
            await done.wait()
        self._applied.pop(serial, None)
        if not done.is_set() and process is not None:
            self._condemn(process, "did not carry out a reload")

    async def ask(self) -> dict[str, Any] | None:
        """Its snapshot, or None if there is nobody to answer, or nobody who answers in time."""
        if self._channel is None or not self._ready.is_set():
            return None
        with trio.move_on_after(self._patience.answer):
            self.latest = await self._channel.ask()
            return self.latest
        return None

    async def _pause(self, end: str) -> None:
        lived = 0.0 if self._ready_at is None else trio.current_time() - self._ready_at
        pause = self._backoff.pause(lived, self._jitter())
        self.state = State.RESTARTING
        self.restarts += 1
        self._log.error("worker died", worker=self.index, pid=self.pid, how=end, lived=lived, pause=pause)
        self.pid = None
        with trio.move_on_after(pause):
            await self._draining.wait()

    async def _one_life(self) -> str:
        """Spawn a process and stay with it until it is reaped. Returns how it ended."""
        self._ready = trio.Event()
        self._ready_at = None
        self._heard = 0
        self._condemned = ""
        self.answers = True  # it has `ready` seconds to begin
        self.latest = None
        try:
            process = self._spawn([listener.socket.fileno() for listener in self._all_listeners()])
        except OSError as error:  # no memory, no descriptor, no process left: all of them may pass
            return f"could not be started: {error}"
        self.pid = process.pid
        self._process = process
        self._channel = channel = Channel(process.channel)
        places = {backend.name: self._ledger.open(backend.name, self.index) for backend in self.backends}
        backends, listening = list(self.backends), self._descriptors()
        channel.say(Configure(backends, listening, self._memory, places, self.lenient))
        self._on_news()
        try:
            async with trio.open_nursery() as nursery:
                heard_all = trio.Event()
                nursery.start_soon(channel.write)
                nursery.start_soon(self._listen, process, channel, heard_all)
                nursery.start_soon(self._expect_ready, process)
                nursery.start_soon(self._watch, process)
                status = await process.wait()
                with trio.move_on_after(self._patience.goodbye):
                    await heard_all.wait()  # its last words
                nursery.cancel_scope.cancel()
        finally:
            self._channel = self._process = None
            process.kill()
            with trio.CancelScope(shield=True):  # P1: reaped before it is replaced, and before we exit
                await process.wait()
                await channel.aclose()
            self._ledger.close_all(self.index)
            self._on_news()
            for done in self._applied.values():
                done.set()  # the next one begins with it
        end = self._condemned or _describe(status)
        if self._draining.is_set():
            self._log.info("worker stopped", worker=self.index, pid=self.pid, how=end)
        return end

    def _all_listeners(self) -> list[Listener]:
        return [listener for backend in self.backends for listener in self._listeners.backends[backend.name]]

    def _descriptors(self) -> dict[str, list[tuple[str, int]]]:
        return {
            backend.name: [
                (mine.address, mine.socket.fileno()) for mine in self._listeners.backends[backend.name]
            ]
            for backend in self.backends
        }

    async def _listen(self, process: Process, channel: Channel, heard_all: trio.Event) -> None:
        try:
            while messages := await channel.receive():
                self._heard += 1
                for message in messages:
                    self._on_message(channel, message)
        except ValueError as error:
            self._condemn(process, f"wrote garbage on its control channel: {error}")
        heard_all.set()
        await trio.sleep(self._patience.goodbye)
        self._condemn(process, "closed its control channel and did not exit")

    async def _expect_ready(self, process: Process) -> None:
        with trio.move_on_after(self._patience.ready):
            await self._ready.wait()
            return
        self._condemn(process, f"not ready after {self._patience.ready:g} s")

    async def _watch(self, process: Process) -> None:
        """A process that hangs does not die: its clients would wait for ever, and nobody would be told."""
        await self._ready.wait()
        silent = busy = 0
        while silent < self._patience.questions and busy < self._patience.busy:
            before, done = self._heard, process.headway()
            await trio.sleep(self._patience.pause)
            await self.ask()
            self.answers = self._heard > before
            if self.answers:  # a late answer is one, too
                silent = busy = 0
            elif process.headway() > done:
                silent, busy = 0, busy + 1
                if busy == self._patience.questions:
                    self._log.warning("worker is busy", worker=self.index, pid=self.pid, unanswered=busy)
            else:
                silent += 1
        why = "hangs: no" if silent else "is busy with one thing only: no"
        self._condemn(process, f"{why} answer to {silent or busy} questions in a row")

    def _condemn(self, process: Process, why: str) -> None:
        self._condemned = self._condemned or f"{why}; killed"
        self.answers = False
        process.kill()

    def _on_message(self, channel: Channel, message: Message) -> None:
        match message:
            case LogLine(level, event, fields):
                self._log.line(level, event, {"worker": self.index} | fields)
            case Stats():
                channel.on_stats(message)
            case Holds(holder, report, number):
                self._ledger.on_report(self.index, holder, report, number)
                self._on_news()
            case Applied(serial, problem):
                self._on_applied(serial, problem)
            case Gone(holder):
                self._ledger.close(holder)
                self._on_news()
            case Ready():
                self._on_ready()
            case Drained(left):
                self._log.info("worker drained", worker=self.index, pid=self.pid, cut_off=left)
            case _:
                raise ValueError(f"{type(message).__name__} is not a worker's word")

    def _on_applied(self, serial: int, problem: str) -> None:
        if problem and self._process is not None:
            self._log.error("reload failed in a worker", worker=self.index, traceback=problem)
            self._condemn(self._process, "failed in a reload")
        elif serial in self._applied:
            self._applied[serial].set()

    def _on_ready(self) -> None:
        self._ready.set()
        self._ready_at = trio.current_time()
        self.was_ready.set()
        if self.state is State.STARTING:
            self.state = State.READY
        self._log.info("worker ready", worker=self.index, pid=self.pid)


def _describe(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal has a number only
        return f"killed by signal {-status}"
