"""The hands of one upstream connection: uvloop's callbacks, passed on with the time.

`connection_lost` comes before the descriptor is closed: nothing is sent on the connection from then on, but
its place under the bound is given back one turn of the loop later, when the kernel has let go of the socket
(P1).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from muxproxy.mux.ports import UpstreamBrain, Wire
from muxproxy.worker.remains import unread

# Request bytes a server has not taken yet: beyond it its client is not read (P7). asyncio's own mark.
REQUEST_HIGH_WATER = 64 * 1024


class UpstreamSocket:
    """An asyncio.Protocol but for the name, as client.py's. `soon`: one turn of the loop later. `on_bug`: of
    ours, in what `brain` did; the wire is to be cut."""

    __slots__ = ("_brain", "_gone", "_on_bug", "_soon", "_time", "_wire")

    def __init__(
        self,
        brain: UpstreamBrain,
        time: Callable[[], float],
        soon: Callable[[Callable[[], None]], None],
        on_bug: Callable[[UpstreamBrain, Wire | None], None],
    ) -> None:
        self._brain = brain
        self._time = time
        self._soon = soon
        self._on_bug = on_bug
        self._wire: asyncio.BaseTransport | None = None
        self._gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = transport
        wire = cast(asyncio.Transport, transport)
        try:
            wire.set_write_buffer_limits(high=REQUEST_HIGH_WATER, low=REQUEST_HIGH_WATER // 4)
            self._brain.on_connected(wire, self._time())
        except Exception:
            self._on_bug(self._brain, wire)

    def data_received(self, data: bytes) -> None:
        try:
            self._brain.on_data(data, self._time())
        except Exception:
            self._on_bug(self._brain, self._brain.wire)

    def eof_received(self) -> bool:
        try:
            return self._brain.on_server_eof(self._time())
        except Exception:
            self._on_bug(self._brain, self._brain.wire)
            return False

    def cut_received(self) -> bool:
        """As eof_received(), by TLS and without a close_notify."""
        try:
            return self._brain.on_server_cut(self._time())
        except Exception:
            self._on_bug(self._brain, self._brain.wire)
            return False

    def pause_writing(self) -> None:
        try:
            self._brain.on_write_paused(self._time())
        except Exception:
            self._on_bug(self._brain, self._brain.wire)

    def resume_writing(self) -> None:
        try:
            self._brain.on_write_resumed(self._time())
        except Exception:
            self._on_bug(self._brain, self._brain.wire)

    def connection_lost(self, exc: Exception | None) -> None:
        error = (exc.strerror if isinstance(exc, OSError) else None) or str(exc or "")
        self._soon(lambda: self.on_gone(error))
        wire, self._wire = self._wire, None
        try:
            if exc is not None and wire is not None:
                self._brain.on_breaking(self._time())
                for data in unread(wire):
                    self._brain.on_data(data, self._time())
            self._brain.on_lost(error, self._time())
        except Exception:
            self._on_bug(self._brain, None)

    def on_gone(self, error: str) -> None:
        """The socket is closed, or was never connected. Who tells it may not be the only one."""
        if self._gone:
            return
        self._gone = True
        try:
            self._brain.on_closed(error, self._time())
        except Exception:
            self._on_bug(self._brain, None)
