"""Connects to servers: a socket, connect(2), and what has come of it when the kernel says that it can be
written to. The rest of its life is uvloop's, as that of an accepted one (worker/adopt.py).

A socket that fails, or is given up, is closed at once, and its hands are told one turn of the loop later:
never inside of the call that dials or gives up (P1).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from muxproxy.config.address import parse_server
from muxproxy.mux.ports import UpstreamBrain
from muxproxy.worker import life
from muxproxy.worker.upstream import UpstreamSocket

GIVEN_UP: Final = "connect given up"
_SOCKET: Final = socket.SocketType  # without the enums of socket.socket
_STREAM: Final = int(socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
_UNIX: Final = int(socket.AF_UNIX)
_UNDER_WAY: Final = (errno.EINPROGRESS, errno.EALREADY, errno.EINTR)
_DONE: Final = (0, errno.EISCONN)


@lru_cache(maxsize=1024)
def place_of(address: str) -> tuple[int, str | tuple[str, int]]:
    """The family, and what connect() takes. Raises ValueError."""
    where = parse_server(address)
    if where.kind == "unix":
        return _UNIX, where.path
    if where.is_name:  # connect() would ask name servers, and the loop stand still meanwhile
        raise ValueError(f"{address}: a name, where an address is dialled")
    return int(socket.AF_INET6 if where.is_ipv6 else socket.AF_INET), (where.host, where.port)


class Dial:
    """A connect under way, of `upstream`. `protocol`: told by uvloop of what happens on the connection; the
    hands themselves, or TLS above them."""

    __slots__ = ("family", "hands", "is_watched", "place", "protocol", "sock", "upstream")

    def __init__(self, upstream: UpstreamBrain, hands: UpstreamSocket, protocol: object) -> None:
        self.upstream = upstream
        self.hands = hands
        self.protocol = protocol
        self.sock: socket.SocketType | None = None
        self.family = 0
        self.place: str | tuple[str, int] = ""
        self.is_watched = False


class Dialler:
    """Of one loop. `adopt`: makes a transport of a connected descriptor. `on_bug`: of ours, for the log."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        adopt: Callable[[int, int, object], None],
        on_bug: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._adopt = adopt
        self._on_bug = on_bug
        self.under_way: dict[UpstreamBrain, Dial] = {}

    def dial(self, address: str, upstream: UpstreamBrain, hands: UpstreamSocket, protocol: object) -> None:
        dial = Dial(upstream, hands, protocol)
        try:
            dial.family, dial.place = place_of(address)
            dial.sock = sock = _SOCKET(dial.family, _STREAM, 0)
            error = sock.connect_ex(dial.place)
            if error == errno.EINPROGRESS:
                # On one machine both ends are connected, or one is refused, before connect() returns; but
                # only when it is called again it says so. It costs less than to watch and be told.
                error = sock.connect_ex(dial.place)
            self._judge(dial, error)
        except Exception as failure:
            self._fail(dial, self._why(failure))

    def give_up(self, upstream: UpstreamBrain) -> bool:
        """False: its connect is not under way, any more."""
        dial = self.under_way.get(upstream)
        if dial is None:
            return False
        self._fail(dial, GIVEN_UP)
        return True

    def _on_writable(self, dial: Dial) -> None:
        if dial.sock is None or not dial.is_watched:
            return
        try:
            self._judge(dial, dial.sock.connect_ex(dial.place))
        except Exception as failure:
            self._fail(dial, self._why(failure))

    def _judge(self, dial: Dial, error: int) -> None:
        if error in _DONE:
            self._hand_over(dial)
        elif error not in _UNDER_WAY:
            self._fail(dial, os.strerror(error))
        elif not dial.is_watched:
            assert dial.sock is not None
            self._loop.add_writer(dial.sock.fileno(), self._on_writable, dial)
            dial.is_watched = True
            self.under_way[dial.upstream] = dial

    def _hand_over(self, dial: Dial) -> None:
        sock = dial.sock
        assert sock is not None
        if dial.family != _UNIX:
            keepalive, patience = dial.upstream.keepalive()
            life.prepare(sock, keepalive, patience)
        self._forget(dial)  # before uvloop takes it, which wants no descriptor that is watched
        dial.sock = None
        descriptor = sock.detach()
        try:
            self._adopt(descriptor, dial.family, dial.protocol)
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(descriptor)
            raise

    def _fail(self, dial: Dial, why: str) -> None:
        self._forget(dial)
        sock, dial.sock = dial.sock, None
        if sock is not None:
            with contextlib.suppress(OSError):  # of an earlier call: it is closed all the same
                sock.close()
        self._loop.call_soon(dial.hands.on_gone, why)

    def _forget(self, dial: Dial) -> None:
        if dial.is_watched and dial.sock is not None:
            dial.is_watched = False
            del self.under_way[dial.upstream]
            self._loop.remove_writer(dial.sock.fileno())

    def _why(self, failure: Exception) -> str:
        if isinstance(failure, OSError):
            return failure.strerror or str(failure)
        self._on_bug()  # its place must be given back all the same (P1)
        return f"internal error: {type(failure).__name__}"
