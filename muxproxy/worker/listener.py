"""Accepting, and not accepting: listening sockets that can be paused while descriptors are short.

libuv accepts until the kernel's queue is empty, and answers EMFILE by closing whom it accepted: a silent
close. So accepting stops before the limit is reached: at `descriptors left for clients` minus the backlogs,
which is what one turn of the loop may still bring in. Whoever comes then waits in the kernel's backlog.

Pausing closes uvloop's copy of the listening socket; the descriptor inherited from the supervisor stays
open, and with it the backlog.
"""

from __future__ import annotations

import asyncio
import socket

from muxproxy.config.sources import Sources
from muxproxy.mux.base.pool import Pool
from muxproxy.worker.client import ClientSocket
from muxproxy.worker.door import Door
from muxproxy.worker.engine import Engine

_RESUME_AT = 0.95  # of the mark at which accepting paused: not at each client that leaves
_RETRY = 1.0  # seconds after listeners could not be opened again


class Listener:
    """One listening socket of one pool."""

    def __init__(self, engine: Engine, pool: Pool, fd: int, sources: Sources | None = None) -> None:
        self._engine = engine
        self._door = None if sources is None else Door(sources)
        self._pool = pool
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        if self._server is not None:
            return
        loop = asyncio.get_running_loop()
        copy = self._socket.dup()
        backlog = self._pool.clients_config.backlog
        try:
            if copy.family == socket.AF_UNIX:
                # cleanup_socket (Python 3.13): the path is the supervisor's; a pause must not unlink it
                self._server = await loop.create_unix_server(
                    self._hands,
                    sock=copy,
                    backlog=backlog,
                    cleanup_socket=False,  # type: ignore[call-arg] # uvloop takes it on every Python
                )
            else:
                self._server = await loop.create_server(self._hands, sock=copy, backlog=backlog)
        except BaseException:
            copy.close()
            raise

    def _hands(self) -> ClientSocket:
        return ClientSocket(self._engine, self._pool, self._door)

    def pause(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def close(self) -> None:
        self.pause()
        self._socket.close()


class Accepting:
    """All listeners of a worker: open while there are descriptors for clients."""

    def __init__(self, engine: Engine, listeners: list[Listener], limit: int) -> None:
        self._engine = engine
        self._listeners = listeners
        self.limit = engine.client_limit = limit  # client sockets at which accepting pauses
        self.paused = 0  # times
        self._state = "open"  # open | pausing | paused | resuming | closed
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references
        engine.on_client_limit = self._on_client_limit

    async def open(self) -> None:
        for listener in self._listeners:
            await listener.open()

    def close(self) -> None:
        self._state = "closed"
        for listener in self._listeners:
            listener.close()

    def _on_client_limit(self) -> None:
        clients = self._engine.client_sockets
        if self._state == "open":
            if clients >= self.limit:
                self._state = "pausing"
                # not from within an accept: libuv is walking the queue of this very socket
                self._engine.soon(self._pause)
        elif self._state == "paused" and clients <= self.limit * _RESUME_AT:
            self._state = "resuming"
            task = asyncio.get_running_loop().create_task(self._resume())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _pause(self) -> None:
        if self._state != "pausing":
            return
        self._state = "paused"
        self._engine.accepting_paused = True
        self.paused += 1
        for listener in self._listeners:
            listener.pause()
        clients = self._engine.client_sockets
        self._engine.log("accepting paused", level="warning", client_sockets=clients, limit=self.limit)
        self._on_client_limit()

    async def _resume(self) -> None:
        try:
            for listener in self._listeners:
                if self._state == "resuming":
                    await listener.open()
        except OSError as error:  # still short of descriptors, and perhaps no client is left who could leave
            if self._state == "resuming":
                self._state = "paused"
                self._engine.log("accepting cannot be resumed yet", error=error.strerror)
                asyncio.get_running_loop().call_later(_RETRY, self._on_client_limit)
            return
        if self._state == "resuming":
            self._state = "open"
            self._engine.accepting_paused = False
            self._engine.log(
                "accepting resumed", client_sockets=self._engine.client_sockets, limit=self.limit
            )
            self._on_client_limit()
