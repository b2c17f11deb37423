"""The wire of a client that does not ask often: an epoll of our own watches it, and uvloop has never heard of
it.

A connection per request is accepted, read, answered and closed. uvloop's transport of it costs as many system
calls again (addresses, options, epoll in and out) and two turns of the loop, and 1.3 KiB for as long as it
lives. So a transport is for who shows that it is busy, by some requests each right behind the last reply, or
has more to say or to take than comes at once: read and written by it they cost less, some 5 us a request
where few come at a time. Who then says nothing for a while comes back here.
"""

from __future__ import annotations

import select
import socket
from asyncio import Transport
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from muxproxy.native import mypyc_attr
from muxproxy.worker import calls

# Bytes that are read at once: a head, and what most bodies are. Who has sent more gets its transport.
AT_ONCE: Final = 16 * 1024  # as calls.receive() does
READ_PER_TURN = 64  # visits that are read in one turn of the loop, and once each (P10)
# Who asks again within SOON seconds of its last reply, so many times in a row, is busy. Each time until then
# costs up to 5 us more: as much in all as its transport will. And there is 1 KiB less held for it.
SOON = 0.1
OFTEN = 6
IDLE = 10.0  # seconds after which who stays gives its transport back, until it speaks again
MORE: Final = 256  # descriptors that are made room for at a time
LOOKS: Final = 50  # one of so many is looked at, for that, in each LOOK_EVERY
LOOK_EVERY = 0.1  # seconds
MANY = 4096  # that have come back leave memory that is worth to be given back, too
# Seconds between two times of that, which stop everybody: measured, 6 ms at 20 MiB and 30 at 130 (P10).
GIVE_EVERY = 60.0
_STREAM: Final = int(socket.SOCK_STREAM)
_receive: Final = calls.receive
_send: Final = calls.send
_close: Final = calls.close


@mypyc_attr(allow_interpreted_subclasses=True)
class Visitor:
    """Whose wire it is: the hands of the client (client.py). As an asyncio.Protocol, and more."""

    __slots__ = ()

    def open(self, data: bytes) -> None:
        """Accepted, with what it has sent by now."""
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        raise NotImplementedError

    def eof_received(self) -> bool:
        raise NotImplementedError

    def pause_writing(self) -> None:
        raise NotImplementedError

    def resume_writing(self) -> None:
        raise NotImplementedError

    def connection_lost(self, exc: Exception | None) -> None:
        raise NotImplementedError

    def on_bug(self) -> None:
        """Ours, in its wire."""
        raise NotImplementedError

    def is_owed(self) -> bool:
        raise NotImplementedError

    def is_read_paused(self) -> bool:
        raise NotImplementedError

    def has_rested(self, idle: float) -> bool:
        """Nothing has been owed or half said for so many seconds: what comes now is a new request."""
        raise NotImplementedError

    def come_back(self, idle: float) -> bool:
        """From its transport to a visit, if it has been idle for so long. True: it has, or it has left."""
        raise NotImplementedError


def _nothing(descriptor: int) -> None: ...


class Lobby:
    """All visits of a worker."""

    def __init__(
        self,
        soon: Callable[[Callable[[], None]], object],
        later: Callable[[float, Callable[[], None]], object],
        watch: Callable[[int, Callable[[], None]], object],
        adopt: Callable[[int, int, Any], None],
    ) -> None:
        self.soon = soon
        self.adopt = adopt
        self._later = later
        self._staying: deque[Visitor] = deque()  # who has a transport, or has left
        self._looking = False  # _look will be called
        self._back = 0  # that have come back since memory was given back
        self._has_given = False  # not long ago
        self.give_back: Callable[[], None] = lambda: None
        self._watch = watch  # tells uvloop to call back when a descriptor is readable
        self._epoll: select.epoll | None = None  # until the first has come
        self._register: Callable[[int], object] = _nothing
        # Those that are read, by their descriptors, which are small numbers: a store, where a dictionary is
        # three look-ups for each client.
        self._visits: list[Visit | None] = []
        self.reads = 0  # so many
        self._gone: list[Visitor] = []  # to be told in the next turn, as by a transport

    def enter(self, descriptor: int, visit: Visit) -> None:
        """Read it from here on, if it is not read already."""
        visits = self._visits
        if descriptor >= len(visits):
            visits.extend([None] * (descriptor + MORE - len(visits)))
        if visits[descriptor] is not None:
            return
        if self._epoll is None:
            self._epoll = select.epoll()
            self._register = calls.watcher(self._epoll)
            self._watch(self._epoll.fileno(), self.on_readable)
        visits[descriptor] = visit
        self.reads += 1
        self._register(descriptor)

    def leave(self, descriptor: int, *, is_open: bool) -> None:
        """A descriptor that is closed has left the epoll by that."""
        visits = self._visits
        if descriptor >= len(visits) or visits[descriptor] is None:
            return
        visits[descriptor] = None
        self.reads -= 1
        if is_open and self._epoll is not None:
            self._epoll.unregister(descriptor)

    def on_readable(self) -> None:
        assert self._epoll is not None
        for descriptor, _ in self._epoll.poll(0, READ_PER_TURN):
            visit = self._visits[descriptor]
            if visit is not None:  # else another's end was its own
                visit.read()

    def on_stays(self, hands: Visitor) -> None:
        """It has a transport."""
        self._staying.append(hands)
        if not self._looking:
            self._looking = True
            self._later(LOOK_EVERY, self._look)

    def _look(self) -> None:
        staying = self._staying
        for _ in range(len(staying) // LOOKS + 1):
            hands = staying.popleft()
            if hands.come_back(IDLE):
                self._back += 1
            else:
                staying.append(hands)
            if not staying:
                break
        if self._back >= MANY and not self._has_given:
            self._back, self._has_given = 0, True
            self.soon(self.give_back)  # of what is closed in this turn, too
            self._later(GIVE_EVERY, self._on_given)
        self._looking = len(staying) > 0
        if self._looking:
            self._later(LOOK_EVERY, self._look)

    def _on_given(self) -> None:
        self._has_given = False

    def tell_lost(self, hands: Visitor) -> None:
        self._gone.append(hands)
        if len(self._gone) == 1:
            self.soon(self._tell)

    def _tell(self) -> None:
        gone, self._gone = self._gone, []
        for hands in gone:
            hands.connection_lost(None)


class Visit:
    """A mux.ports.Wire."""

    __slots__ = (
        "_asked",
        "_descriptor",
        "_eof",
        "_family",
        "_hands",
        "_high",
        "_kept",
        "_lobby",
        "_moving",
        "_size",
        "_sock",
        "_writing_paused",
        "_wrote",
        "closing",
    )

    def __init__(self, lobby: Lobby, hands: Visitor, family: int, descriptor: int) -> None:
        self._lobby = lobby
        self._hands = hands
        self._family = family
        self._descriptor = descriptor  # -1: closed, or its transport's
        self._sock: socket.SocketType | None = None  # the same, once somebody has asked for it
        self.closing = False
        self._high = 0  # with more than so many bytes kept, the hands are told to pause
        self._kept: list[bytes] | None = None  # what its socket has not taken
        self._size = 0  # bytes of that
        self._eof = False
        self._wrote = False
        self._asked = 0  # times in a row, soon behind its last reply
        self._moving = False  # its transport is being made: the descriptor is both's, and that one will close
        self._writing_paused = False

    # -- mux.ports.Wire ----------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        self._send(data, False)

    def writelines(self, parts: list[bytes | memoryview]) -> None:
        self._send(b"".join(parts), False)

    def write_last(self, data: bytes) -> None:
        """The last segment waits for the FIN that close() adds."""
        self._send(data, True)

    def write_eof(self) -> None:
        self._eof = True
        self.stay()

    def close(self) -> None:
        if self.closing:
            return
        self.closing = True
        if self._kept:
            self.stay()
        elif not self._moving:
            descriptor, self._descriptor = self._descriptor, -1
            self._forget()
            _close(descriptor)
            self._lobby.leave(descriptor, is_open=False)
            self._lobby.tell_lost(self._hands)

    def abort(self) -> None:
        self._kept = None
        self._size = 0
        self.close()

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        if not self._moving and not self.closing:  # else the transport is told by settle()
            self._lobby.leave(self._descriptor, is_open=True)

    def resume_reading(self) -> None:
        if not self._moving and not self.closing:
            self._lobby.enter(self._descriptor, self)

    def get_write_buffer_size(self) -> int:
        return self._size

    # -- what else is asked of a transport ---------------------------------------------------------

    def get_extra_info(self, name: str) -> Any:
        if self._descriptor < 0:
            return None
        sock = self._sock
        if sock is None:  # few are asked for it
            sock = self._sock = socket.SocketType(self._family, _STREAM, 0, self._descriptor)
        if name == "socket":
            return sock
        try:
            return sock.getpeername() if name == "peername" else sock.getsockname()
        except OSError:  # the peer was faster
            return None

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        self._high = high

    def _forget(self) -> None:
        """What is asked about the socket must not end it."""
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.detach()

    # -- its socket --------------------------------------------------------------------------------

    def come_back(self) -> None:
        """It has been busy, and has rested since."""
        self._wrote = True
        self.resume_reading()

    def begin(self) -> None:
        """It has been accepted. Most have sent their request by now, and some have left."""
        try:
            said = _receive(self._descriptor)
        except OSError:
            said = b""
        if said is not None and not said:
            self.close()
            return
        data = said or b""
        self._hands.open(data)
        if not self._hands.is_read_paused():
            if len(data) == AT_ONCE:
                self.stay()
            else:
                self.resume_reading()

    def read(self) -> None:
        """What has come, once."""
        try:
            data = _receive(self._descriptor)
        except (OSError, MemoryError):  # what came may be lost by that: nobody is to read on behind it (P2)
            self.abort()
            return
        if data is None:
            return
        if data:
            if self._wrote:
                self._asked = 0 if self._hands.has_rested(SOON) else self._asked + 1
            self._hands.data_received(data)
            # Whoever is not read now stays with what it says when it is: a transport begins with reading.
            if (self._asked >= OFTEN or len(data) == AT_ONCE) and not self._hands.is_read_paused():
                self.stay()
        elif self._hands.is_owed():
            self.stay()  # who may go on in one direction does it there; the FIN is told again
        else:
            self._hands.eof_received()
            self.close()

    def _send(self, data: bytes, is_last: bool) -> None:
        if self.closing:
            return
        self._wrote = True
        sent = 0
        if not self._kept:
            try:
                sent = _send(self._descriptor, data, is_last)
            except OSError:  # the peer was faster
                self.abort()
                return
            if sent == len(data):
                return
            self._kept = []
            self._lobby.soon(self.stay)  # unless it is closed in this very turn
        assert self._kept is not None
        self._kept.append(data[sent:])
        self._size += len(data) - sent
        if self._size > self._high and not self._writing_paused:
            self._writing_paused = True
            self._hands.pause_writing()

    # -- staying -----------------------------------------------------------------------------------

    def stay(self) -> None:
        """Let it have a transport, if it has none yet and is not gone."""
        descriptor = self._descriptor
        if self._moving or descriptor < 0:
            return
        self._moving = True
        self._lobby.leave(descriptor, is_open=True)
        try:
            self._lobby.adopt(descriptor, self._family, self._hands)
        except Exception:  # no memory for it, or a bug of ours
            self._moving = self.closing = False  # nobody else will close it
            self._hands.on_bug()
            self.abort()

    def settle(self, transport: Transport) -> None:
        """Its transport is here, and the hands know it: what was said so far is its to do."""
        self._forget()
        self._descriptor = -1
        kept, self._kept = self._kept, None
        for data in kept or ():
            transport.write(data)
        if self.closing:
            transport.close()
        elif self._eof:
            transport.write_eof()
        elif self._hands.is_read_paused():
            # It begins to read when this turn ends, whatever is said now.
            self._lobby.soon(lambda: self._hold(transport))
        if self._writing_paused and transport.get_write_buffer_size() <= self._high:
            self._hands.resume_writing()  # else the transport has paused them, too, and will resume them

    def _hold(self, transport: Transport) -> None:
        if self._hands.is_read_paused():
            transport.pause_reading()
