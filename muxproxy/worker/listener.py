"""Accepting, and not accepting: listening sockets that can be paused while descriptors are short.

We accept by ourselves, for two reasons. Who leaves with its first reply needs no transport of uvloop's
(visit.py). And libuv answers EMFILE by closing whom it accepted, a silent close, while who is not accepted
waits in the kernel's backlog.

Accepting stops before descriptors run out (`descriptors left for clients`), and when they have all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable
from typing import Final

from muxproxy.config.sources import Sources
from muxproxy.mux.base.pool import Pool
from muxproxy.native import mypyc_attr
from muxproxy.worker import calls
from muxproxy.worker.arriving.newcomer import ClientWire
from muxproxy.worker.client import ClientSocket
from muxproxy.worker.door import Door
from muxproxy.worker.engine import Engine
from muxproxy.worker.tls.contexts import Secured
from muxproxy.worker.visit import Visit

# In one turn of the loop (P10), while so many come: asking for one more than there are costs a system
# call.
ACCEPTED_PER_TURN: Final = 16
CALM: Final = 4  # turns in which no more are, after one was asked for in vain: few, for a burst waits
_RESUME_AT: Final = 0.95  # of the mark at which accepting paused: not at each client that leaves
_RETRY = 1.0  # seconds after descriptors ran out, or listeners could not be watched again
_SHORT: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@mypyc_attr(allow_interpreted_subclasses=True)  # OriginalListener, which is not compiled
class Listener:
    """One listening socket of one pool. `on_short`: of what, when nobody can be accepted for now."""

    def __init__(
        self,
        engine: Engine,
        pool: Pool,
        fd: int,
        sources: Sources | None = None,
        secured: Secured | None = None,
    ) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self.admit(sources)
        self._pool = pool
        self.secure(secured)
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)
        self._descriptor = fd
        self._accept: Callable[[int], int] = calls.accept
        self._family = int(self._socket.family)
        self._is_open = False
        self._batch = 1  # as many as came last time, and twice that while all of them do
        self._calm = 0  # turns until it may grow again
        self.on_short: Callable[[str], None] = lambda why: None

    def admit(self, sources: Sources | None) -> None:
        """Who may connect from now on; None: everybody."""
        self._door = None if sources is None else Door(sources)

    def secure(self, secured: Secured | None) -> None:
        """How who connects from now on is spoken to; None: in plain text."""
        self._secured = secured
        self._has_visits = secured is None and self._pool.is_visited()

    def is_secure(self) -> bool:
        return self._secured is not None

    def open(self) -> None:
        if not self._is_open:
            self._loop.add_reader(self._socket.fileno(), self._on_readable)
            self._is_open = True

    def pause(self) -> None:
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._socket.fileno())

    def close(self) -> None:
        self.pause()
        self._socket.close()

    def _on_readable(self) -> None:
        for came in range(self._batch):
            descriptor = self._accept(self._descriptor)
            if descriptor < 0:
                self._batch, self._calm = max(1, came), CALM
                if -descriptor in _SHORT:
                    self.on_short(os.strerror(-descriptor))
                return  # or nobody is left, or whoever it was is gone: accept(2), "Error handling"
            self._take_in(descriptor)
            if not self._is_open:  # that one was the last for now
                return
        if self._calm:
            self._calm -= 1
        else:
            self._batch = min(2 * self._batch, ACCEPTED_PER_TURN)

    def _take_in(self, descriptor: int) -> None:
        self._take(descriptor, self._pool, self._door)

    def _take(self, descriptor: int, pool: Pool, door: Door | None) -> None:
        if self._secured is not None:
            self._take_in_by_tls(descriptor, self._secured, pool, door)
            return
        hands = ClientSocket(self._engine, pool, door)
        if self._has_visits:
            visit = Visit(self._engine.lobby, hands, self._family, descriptor)
            try:
                hands.begin(visit)
            except Exception:  # no memory, or a bug: nobody else would close it
                self._engine.on_accept_bug()
                visit.abort()
            return
        self._adopt(descriptor, hands)

    def _take_in_by_tls(self, descriptor: int, secured: Secured, pool: Pool, door: Door | None) -> None:
        if secured.context is None:  # its files cannot be used, as the log says
            pool.count_event("client_handshake_failed")
            os.close(descriptor)
            return
        self._adopt(descriptor, ClientWire(self._engine, self._loop, pool, secured, door))

    def _adopt(self, descriptor: int, hands: ClientSocket | ClientWire) -> None:
        try:
            self._engine.adopt(descriptor, self._family, hands)
        except Exception:  # no memory for it, or a bug: nobody else would give back what it has
            self._engine.on_accept_bug()
            with contextlib.suppress(OSError):
                os.close(descriptor)
            hands.connection_lost(None)


class Accepting:
    """All listeners of a worker: open while there are descriptors for clients."""

    def __init__(self, engine: Engine, listeners: list[Listener], limit: int) -> None:
        self._engine = engine
        self._listeners: list[Listener] = []
        self.limit = engine.client_limit = limit  # client sockets at which accepting pauses
        self.paused = 0  # times
        self._state = "new"  # new | open | paused | closed
        self._is_short = False  # the kernel has said so: waits for _RETRY
        engine.on_client_limit = self._on_client_limit
        for listener in listeners:
            self.add(listener)

    def open(self) -> None:
        self._state = "open"
        for listener in self._listeners:
            listener.open()

    def add(self, listener: Listener) -> None:
        """Another one: it accepts as the others do."""
        listener.on_short = self._on_short
        self._listeners.append(listener)
        if self._state == "open":
            listener.open()

    def remove(self, listener: Listener) -> None:
        self._listeners.remove(listener)
        listener.close()

    def set_limit(self, limit: int) -> None:
        self.limit = self._engine.client_limit = limit
        self._on_client_limit()

    def close(self) -> None:
        self._state = "closed"
        for listener in self._listeners:
            listener.close()

    def _on_client_limit(self) -> None:
        clients = self._engine.client_sockets
        if self._state == "open":
            if clients >= self.limit:
                self._pause(limit=self.limit)
        elif self._state == "paused" and not self._is_short and clients <= self.limit * _RESUME_AT:
            self._resume()

    def _on_short(self, why: str) -> None:
        if self._state == "open":
            self._pause(error=why)
            self._retry_later()

    def _pause(self, **why: object) -> None:
        self._state = "paused"
        self._engine.accepting_paused = True
        self.paused += 1
        for listener in self._listeners:
            listener.pause()
        self._engine.log(
            "accepting paused", level="warning", client_sockets=self._engine.client_sockets, **why
        )

    def _retry_later(self) -> None:
        """Nobody may be left whose leaving would tell."""
        self._is_short = True
        self._engine.later(_RETRY, self._retry)

    def _retry(self) -> None:
        self._is_short = False
        self._on_client_limit()

    def _resume(self) -> None:
        try:
            self.open()
        except OSError as error:
            self._state = "paused"
            for listener in self._listeners:
                listener.pause()
            self._engine.log("accepting cannot be resumed yet", error=error.strerror)
            self._retry_later()
            return
        self._engine.accepting_paused = False
        self._engine.log("accepting resumed", client_sockets=self._engine.client_sockets, limit=self.limit)
