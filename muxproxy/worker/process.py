"""A worker process: from its configuration to its drain.

start -> Configure -> Ready -> (Ask -> Stats | Lend | Apply -> Applied)* -> Drain -> Drained -> exit 0
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import resource
from typing import Any

from muxproxy.budget import Order
from muxproxy.config.limits import client_sockets
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
    Log,
    Message,
    Ready,
    Reconnect,
)
from muxproxy.mux.admission.memory import Memory
from muxproxy.mux.base.failures import INTERVAL
from muxproxy.native import running
from muxproxy.worker.backend.service import Service
from muxproxy.worker.bugs import describe, describe_current
from muxproxy.worker.control import ControlChannel, Sockets, open_control
from muxproxy.worker.engine import Engine
from muxproxy.worker.listener import Accepting

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
        self._engine.on_shared = self._on_shared
        self._services: dict[str, Service] = {}
        self._leaving: list[Service] = []  # removed, and not gone
        self._memory = Memory(Node().memory, self._engine.fine, _give_back)
        self._sockets: Sockets | None = None
        self._accepting = Accepting(self._engine, [], 0)
        self._draining = False
        self._cutting = False
        self._left = 0  # exchanges that were cut off
        self.exit_code = 0
        self.ended = asyncio.Event()

    async def run(self, control_fd: int, sockets_fd: int | None = None) -> int:
        """Returns the exit code."""
        self._loop.set_exception_handler(self._on_loop_trouble)
        self._sockets = None if sockets_fd is None else Sockets(sockets_fd)
        self._channel = await open_control(control_fd, self)
        await self.ended.wait()
        return self.exit_code

    # -- told by the supervisor --------------------------------------------------------------------

    def on_configure(self, message: Configure) -> None:
        """At once: a reload may be the next word."""
        try:
            self._start(message)
        except Exception:
            self._log("error", "worker cannot start", {"traceback": describe_current()})
            self.exit_code = EXIT_CANNOT_START
            self.ended.set()

    def on_ask(self, message: object) -> dict[str, Any]:
        now = self._engine.time()
        return {
            **self._engine.statistics(),
            "build": self._build,
            "accepting_paused": self._accepting.paused,
            **self._memory.statistics(),
            "backends": {name: service.statistics(now) for name, service in self._services.items()},
        }

    def on_lend(self, message: Lend) -> None:
        """It may come late, for a pool that is gone."""
        for service in self._all():
            if service.holder == message.holder:
                service.on_lend(message.number, message.order)

    def on_apply(self, message: Apply) -> None:
        problem = ""
        try:
            self._apply(message)
        except Exception:
            problem = describe_current()
        self._send(Applied(message.serial, problem))

    def on_reconnect(self, message: Reconnect) -> None:
        """It may come for a backend that a reload has just taken away."""
        if message.backend in self._services:
            self._services[message.backend].pool.reconnect(self._engine.time(), message.server)

    def on_drain(self, message: Drain) -> None:
        """Accept no more, finish what is owed, for at most `message.timeout` seconds."""
        if self._draining:
            return
        self._draining = True
        self._accepting.close()
        self._loop.call_later(message.timeout, self._cut_off)
        for service in self._services.values():
            service.drain(message.timeout, gently=message.gently)
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

    def _start(self, message: Configure) -> None:
        self._memory.bound = message.memory
        for backend in message.backends:
            service = self._add(backend, message.holders.get(backend.name), message.lenient)
            for address, descriptor in message.listeners[backend.name]:
                self._accepting.add(service.listen(address, descriptor))
        self._fit()
        self._accepting.open()
        self._loop.call_later(INTERVAL, self._tell_failures)
        _settle_gc()
        self._send(Ready())

    def _add(
        self, backend: Backend, place: tuple[int, dict[str, Order]] | None, lenient: float = 0.0
    ) -> Service:
        service = Service(self._engine, backend, self._memory, place, lenient)
        self._services[backend.name] = service
        service.start()
        return service

    def _fit(self) -> None:
        """How many clients there may be, of all backends together, before descriptors run out."""
        nofile = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        backends = [service.backend for service in self._services.values()]
        self._accepting.set_limit(client_sockets(backends, nofile))

    def _all(self) -> list[Service]:
        return [*self._services.values(), *self._leaving]

    # -- reload ------------------------------------------------------------------------------------

    def _apply(self, message: Apply) -> None:
        """The supervisor has checked all of it: what raises here is a bug."""
        descriptors = self._sockets.take(len(message.opened)) if self._sockets is not None else []
        self._memory.bound = message.memory
        closing = [self._services[name].stop_listening(address) for name, address in message.closed]
        removed = [self._services.pop(name) for name in message.removed]
        closing += [listener for service in removed for _, listener in service.listeners]
        for backend in message.changed:
            self._services[backend.name].configure(backend)
        for backend in message.added:
            self._add(backend, message.holders.get(backend.name))
        self._fit()
        for (name, address), descriptor in zip(message.opened, descriptors, strict=True):
            self._accepting.add(self._services[name].listen(address, descriptor))
        for listener in closing:
            self._accepting.remove(listener)
        self._leaving += removed
        for service in removed:
            service.remove(message.drain_timeout)
        self._loop.call_later(message.drain_timeout, self._end_retiring, removed, self._engine.time())
        self._on_drained()

    def _end_retiring(self, leaving: list[Service], asked: float) -> None:
        """The time is up for what the reload of that moment has removed; a later one has its own."""
        now = self._engine.time()
        for service in self._services.values():
            service.pool.end_retiring(now, asked)
        for service in leaving:
            if service in self._leaving:
                left = service.pool.cut_off(now)
                if left:
                    self._log("warning", "cut off", {"backend": service.pool.name, "requests": left})
        self._loop.call_later(LAST_WORDS, self._part_from_clients, leaving)

    def _part_from_clients(self, leaving: list[Service]) -> None:
        """Of those who do not take what they were told."""
        for service in leaving:
            for client in list(service.pool.clients):
                if client.wire is not None:
                    client.wire.abort()
        self._on_drained()

    def _on_shared(self, pool: object, number: str) -> None:
        for service in self._all():
            if service.pool is pool and service.holder:
                self._send(Holds(service.holder, service.report(number), number))

    # -- the end -----------------------------------------------------------------------------------

    def _on_drained(self) -> None:
        for service in list(self._leaving):
            if service.close_connections():
                self._leaving.remove(service)
                self._log_failures([service])
                self._send(Gone(service.holder))
                self._loop.call_later(LAST_WORDS, gc.collect)
        if self._draining and not self._cutting and not any(service.pool.clients for service in self._all()):
            self._finish()

    def _cut_off(self) -> None:
        self._cutting = True  # or the first pool without clients would report before the others are counted
        now = self._engine.time()
        self._left = sum(service.pool.cut_off(now) for service in self._all())
        self._cutting = False
        self._loop.call_later(LAST_WORDS, self._finish)
        self._engine.soon(self._on_drained)

    def _finish(self) -> None:
        if not self.ended.is_set():
            self.ended.set()
            self._log_failures(self._all())
            self._send(Drained(self._left))

    def _tell_failures(self) -> None:
        self._log_failures(self._all())
        self._loop.call_later(INTERVAL, self._tell_failures)

    def _log_failures(self, services: list[Service]) -> None:
        for service in services:
            for fields in service.failures.news():
                self._log("warning", "requests failed", fields)
            for fields in service.failures.remarks():
                self._log("warning", "not as configured", fields)

    def _log(self, level: str, event: str, fields: dict[str, Any]) -> None:
        self._send(Log(level, event, fields))

    def _send(self, message: Message) -> None:
        if self._channel is not None:
            self._channel.send(message)


def _give_back() -> None:
    """To the kernel, what was freed: glibc keeps it where anything that lives stands behind it (measured: 170
    MiB when 190 MiB of unread replies were gone, and nothing with this)."""
    with contextlib.suppress(OSError, AttributeError):  # another libc
        ctypes.CDLL(None).malloc_trim(0)


def _settle_gc() -> None:
    """The collector looks for cycles; a request leaves none, so it need not look often, nor at what is here
    for good. A backend that is gone leaves some, and has lived for so long that nobody would look: then it is
    asked to."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
