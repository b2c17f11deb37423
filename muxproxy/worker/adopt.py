"""A connection that was accepted by us becomes a transport of uvloop's.

`connect_accepted_socket` is a coroutine with one thing to wait for, the call of connection_made() in the next
turn. A task for that would cost as much as the rest of it: here it is taken up again when that has come.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any, cast


class _Accepted:
    """All that uvloop asks of a socket: once, in the call. One object does for all that come, so that no
    client has one of its own."""

    type = socket.SOCK_STREAM

    def __init__(self, family: int) -> None:
        self.family = family
        self.descriptor = -1

    def fileno(self) -> int:
        return self.descriptor

    def close(self) -> None: ...  # the transport has closed it


class Adoption:
    """Of one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._address = _Accepted(socket.AF_INET)  # or AF_INET6, which is the same to it
        self._path = _Accepted(socket.AF_UNIX)

    def adopt(self, descriptor: int, family: int, hands: object) -> None:
        """`hands` are told connection_made() in the next turn. The descriptor is the transport's from here,
        which will close it."""
        accepted = self._path if family == socket.AF_UNIX else self._address
        accepted.descriptor = descriptor
        making = cast(
            "Coroutine[Any, Any, object]",
            self._loop.connect_accepted_socket(
                lambda: cast(asyncio.Protocol, hands), cast(socket.socket, accepted)
            ),
        )
        made: asyncio.Future[None] = making.send(None)
        made.add_done_callback(lambda _: _end(making))


def _end(making: Coroutine[Any, Any, object]) -> None:
    try:
        making.send(None)
    except StopIteration:  # as coroutines return
        pass
