"""A worker process: from its configuration to its drain.

start -> Configure -> Ready -> (Ask -> Stats)* -> Drain -> Drained -> exit 0
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import resource
from typing import Any

from muxproxy.config import sources
from muxproxy.config.address import parse_listen
from muxproxy.config.limits import client_sockets
from muxproxy.messages import Configure, Drain, Drained, Log, Ready
from muxproxy.mux.admission.memory import Memory
from muxproxy.mux.base.failures import INTERVAL, Failures
from muxproxy.mux.base.pool import Pool
from muxproxy.mux.base.statistics import statistics
from muxproxy.mux.sharings import new_pool
from muxproxy.native import running
from muxproxy.protocols import build
from muxproxy.worker.bugs import describe, describe_current
from muxproxy.worker.control import ControlChannel, open_control
from muxproxy.worker.engine import Engine
from muxproxy.worker.listener import Accepting, Listener
from muxproxy.worker.resolver import Resolver

EXIT_CANNOT_START = 69  # the supervisor logs it and tries again with backoff
EXIT_SUPERVISOR_GONE = 70  # of os._exit: nobody is left to read it
# Seconds in which who was cut off takes what it was told: to exit over what it is still sending, or has not
# taken, is an RST. The supervisor waits a second longer (goodbye in supervisor/workers.py).
LAST_WORDS = 1.0


class Worker:
    """`handler` of the control channel. `ended` is set when there is nothing left to do."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._channel: ControlChannel | None = None
        self._build = running()  # asked once: what is loaded by now is all of it
        self._engine = Engine(loop, self._log)
        self._engine.lobby.give_back = _give_back
        self._engine.on_drained = lambda pool: self._on_drained()
        self._pools: dict[str, Pool] = {}
        self._memory: Memory | None = None
        self._failures: list[Failures] = []
        self._accepting: Accepting | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._draining = False
        self._cutting = False
        self._left = 0  # exchanges that were cut off
        self.exit_code = 0
        self.ended = asyncio.Event()

    async def run(self, control_fd: int) -> int:
        """Returns the exit code."""
        self._loop.set_exception_handler(self._on_loop_trouble)
        self._channel = await open_control(control_fd, self)
        await self.ended.wait()
        return self.exit_code

    # -- told by the supervisor --------------------------------------------------------------------

    def on_configure(self, message: Configure) -> None:
        self._tasks.append(self._loop.create_task(self._start_or_exit(message)))

    def on_ask(self, message: object) -> dict[str, Any]:
        now = self._engine.time()
        return {
            **self._engine.statistics(),
            "build": self._build,
            "accepting_paused": 0 if self._accepting is None else self._accepting.paused,
            **({} if self._memory is None else self._memory.statistics()),
            "backends": {name: statistics(pool, now) for name, pool in self._pools.items()},
        }

    def on_drain(self, message: Drain) -> None:
        """Accept no more, finish what is owed, for at most `message.timeout` seconds."""
        if self._draining:
            return
        self._draining = True
        if self._accepting is not None:
            self._accepting.close()
        self._loop.call_later(message.timeout, self._cut_off)
        now = self._engine.time()
        for pool in self._pools.values():
            pool.drain(now)
        self._on_drained()

    def on_supervisor_gone(self) -> None:
        if not self.ended.is_set():
            os._exit(EXIT_SUPERVISOR_GONE)  # at once: no orphan keeps a port or an upstream socket

    def _on_loop_trouble(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What nobody caught; asyncio's own handler prints a peer's bytes with it, and past the log."""
        error = context.get("exception")
        if isinstance(error, OSError):
            return  # of a connection, which is told of its end besides
        where = "" if error is None else describe(error)
        self._log("error", "bug", {"message": context.get("message", ""), "traceback": where})

    # -- life --------------------------------------------------------------------------------------

    async def _start_or_exit(self, message: Configure) -> None:
        try:
            await self._start(message)
        except Exception:
            self._log("error", "worker cannot start", {"traceback": describe_current()})
            self.exit_code = EXIT_CANNOT_START
            self.ended.set()

    async def _start(self, message: Configure) -> None:
        listeners: list[Listener] = []
        memory = self._memory = Memory(message.memory, self._engine.fine, _give_back)
        for backend in message.backends:
            protocol = build(backend)
            pool = new_pool(backend, protocol, self._engine, self._engine.fine, self._engine.slow)
            pool.memory = memory
            self._pools[backend.name] = pool
            self._failures.append(Failures(pool))
            task = Resolver(pool, self._engine.time).start()
            if task is not None:
                self._tasks.append(task)
            for place, fd in message.listeners[backend.name]:
                who = sources.of(backend.clients.from_, parse_listen(place))
                listeners.append(Listener(self._engine, pool, fd, who))
        nofile = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._accepting = Accepting(self._engine, listeners, client_sockets(message.backends, nofile))
        self._accepting.open()
        self._loop.call_later(INTERVAL, self._tell_failures)
        _settle_gc()
        if self._channel is not None:
            self._channel.send(Ready())

    def _on_drained(self) -> None:
        if self._draining and not self._cutting and not any(pool.clients for pool in self._pools.values()):
            self._finish()

    def _cut_off(self) -> None:
        self._cutting = True  # or the first pool without clients would report before the others are counted
        now = self._engine.time()
        self._left = sum(pool.cut_off(now) for pool in self._pools.values())
        self._cutting = False
        self._loop.call_later(LAST_WORDS, self._finish)
        self._engine.soon(self._on_drained)

    def _finish(self) -> None:
        if not self.ended.is_set():
            self.ended.set()
            self._log_failures()
            if self._channel is not None:
                self._channel.send(Drained(self._left))

    def _tell_failures(self) -> None:
        self._log_failures()
        self._loop.call_later(INTERVAL, self._tell_failures)

    def _log_failures(self) -> None:
        for failures in self._failures:
            for fields in failures.news():
                self._log("warning", "requests failed", fields)
            for fields in failures.remarks():
                self._log("warning", "not as configured", fields)

    def _log(self, level: str, event: str, fields: dict[str, Any]) -> None:
        if self._channel is not None:
            self._channel.send(Log(level, event, fields))


def _give_back() -> None:
    """To the kernel, what was freed: glibc keeps it where anything that lives stands behind it (measured: 170
    MiB when 190 MiB of unread replies were gone, and nothing with this)."""
    with contextlib.suppress(OSError, AttributeError):  # another libc
        ctypes.CDLL(None).malloc_trim(0)


def _settle_gc() -> None:
    """The collector looks for cycles; a request leaves none, so it need not look often, nor at what is here
    for good."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
