"""The hands of one client: uvloop's callbacks, passed on with the time.

An exception in the heart ends the connections it may have touched and nothing else (P2).
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, cast

from muxproxy.mux.base.client import Client
from muxproxy.mux.base.pool import Pool
from muxproxy.worker.remains import unread
from muxproxy.worker.visit import Visit, Visitor

if TYPE_CHECKING:
    from muxproxy.worker.door import Door
    from muxproxy.worker.engine import Engine


_NOBODY = asyncio.Protocol()  # is told of the end of transports that are given back


class ClientSocket(Visitor):
    """An asyncio.Protocol but for the name: what uvloop calls is here, and a compiler knows the class."""

    __slots__ = ("_brain", "_door", "_engine", "_pool", "_time", "_visit")

    def __init__(self, engine: Engine, pool: Pool, door: Door | None = None) -> None:
        self._engine = engine
        self._pool = pool
        self._door = door
        self._time = engine.time
        self._brain: Client | None = None  # until it is open, and of who is turned away
        self._visit: Visit | None = None
        engine.on_client_opened()

    def begin(self, visit: Visit) -> None:
        """It has been accepted, and is this client's wire for now: it will `open`."""
        self._visit = visit
        visit.begin()

    def open(self, data: bytes) -> None:
        assert self._visit is not None
        self._open(self._visit, data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        wire = cast(asyncio.Transport, transport)
        visit, self._visit = self._visit, None
        if visit is None:
            self._open(wire)
            return
        self._set_limits(wire)
        if self._brain is not None:
            self._brain.wire = wire
        self._engine.lobby.on_stays(self)
        try:
            visit.settle(wire)
        except Exception:
            self._on_bug(wire)

    def _open(self, wire: asyncio.Transport | Visit, data: bytes = b"") -> None:
        self._set_limits(wire)
        now = self._time()
        if self._door is not None and self._is_turned_away(self._door, wire, now):
            return
        brain = self._brain = self._pool.new_client(wire, now)
        try:
            brain.on_opened(now, data)
        except Exception:
            self._engine.on_client_bug(brain)

    def has_rested(self, idle: float) -> bool:
        return self._brain is not None and self._brain.idle_since() <= self._time() - idle

    def come_back(self, idle: float) -> bool:
        brain = self._brain
        if brain is None or brain.wire is None:
            return True
        wire = cast(asyncio.Transport, brain.wire)
        now = self._time()
        if brain.idle_since() > now - idle or wire.is_closing() or wire.get_write_buffer_size():
            return False
        named = wire.get_extra_info("socket")
        if named is None:
            return False
        try:
            descriptor = os.dup(named.fileno())  # the transport closes its own
        except OSError:  # none is left
            return False
        self._visit = visit = Visit(self._engine.lobby, self, int(named.family), descriptor)
        self._set_limits(visit)
        brain.wire = visit
        wire.set_protocol(_NOBODY)
        wire.abort()
        visit.come_back()
        return True

    def _set_limits(self, wire: asyncio.Transport | Visit) -> None:
        high = self._pool.response_buffer
        # uvloop's own low-water mark is 16 bytes: a client would be resumed only when all but empty, and the
        # upstream stand still meanwhile.
        wire.set_write_buffer_limits(high=high, low=high // 4)

    def on_bug(self) -> None:
        self._on_bug(self._visit)

    def _on_bug(self, wire: asyncio.Transport | Visit | None) -> None:
        """`wire`: to be cut where there is no brain to do it."""
        if self._brain is not None:
            self._engine.on_client_bug(self._brain)
        elif wire is not None:
            self._engine.on_door_bug(wire)

    def is_owed(self) -> bool:
        return self._brain is not None and self._brain.is_owed()

    def is_read_paused(self) -> bool:
        return self._brain is not None and self._brain.is_read_paused()

    def _is_turned_away(self, door: Door, wire: asyncio.Transport | Visit, now: float) -> bool:
        """Then it never becomes a client: of its connection no more is told here than its end."""
        try:
            why = door.turns_away(wire)
            if why:
                self._pool.turn_away(wire, why, now, door.reason)
        except Exception:
            self._engine.on_door_bug(wire)
            return True
        return why != ""

    def data_received(self, data: bytes) -> None:
        brain = self._brain
        if brain is None:  # turned away
            return
        try:
            brain.on_data(data, self._time())
        except Exception:
            self._engine.on_client_bug(brain)

    def eof_received(self) -> bool:
        brain = self._brain
        if brain is None:
            return False
        try:
            return brain.on_eof(self._time())
        except Exception:
            self._engine.on_client_bug(brain)
            return False

    def pause_writing(self) -> None:
        brain = self._brain
        if brain is None:
            return
        try:
            brain.on_write_paused(self._time())
        except Exception:
            self._engine.on_client_bug(brain)

    def resume_writing(self) -> None:
        brain = self._brain
        if brain is None:
            return
        try:
            brain.on_write_resumed(self._time())
        except Exception:
            self._engine.on_client_bug(brain)

    def connection_lost(self, exc: Exception | None) -> None:
        self._visit = None
        brain = self._brain
        if brain is not None:
            self._end(brain, exc)
        self._engine.on_client_closed()

    def _end(self, brain: Client, exc: Exception | None) -> None:
        wire = brain.wire
        try:
            if exc is not None and wire is not None and brain.wants_remains():
                # A session's last words go on. Elsewhere who has left takes back what nobody has done yet.
                for data in unread(cast(asyncio.Transport, wire)):
                    brain.on_data(data, self._time())
            brain.on_closed(self._time())
        except Exception:
            self._engine.on_client_bug(brain)
