"""The world as the heart's ports want it: dialling, one timer for all deadlines, and what to do about our
own bugs.

`Engine` implements `mux.ports.World` on a uvloop event loop for all pools of this worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import random
import select
import socket
import struct
import termios
import time
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from muxproxy.config.limits import PLACES
from muxproxy.mux.deadlines import INF, Deadlines
from muxproxy.mux.ports import SAID_BY_TLS, ClientBrain, Secure, UpstreamBrain, Wire
from muxproxy.mux.work import Working
from muxproxy.worker import life
from muxproxy.worker.adopt import Adoption
from muxproxy.worker.bugs import describe_current
from muxproxy.worker.reaching.dial import Dialler
from muxproxy.worker.tls.connecting import ServerWire
from muxproxy.worker.tls.contexts import Contexts
from muxproxy.worker.tls.handshakes import Handshakes
from muxproxy.worker.tls.wire import TlsWire
from muxproxy.worker.upstream import UpstreamSocket
from muxproxy.worker.visit import Lobby, Visit

# Queues, upstreams and servers: few, and their timeouts are short. Clients: many, and theirs are long, so
# that their wheel may turn in coarse steps and hold few slots.
FINE_GRAIN, SLOW_GRAIN = 0.01, 0.25  # seconds
# Connections whose work goes on in one turn of the loop, beside those that are read in it (P10): each has a
# budget of its own, and their sum should leave the turn short.
BUSY_PER_TURN = 4
LAST = int(socket.MSG_DONTWAIT | socket.MSG_MORE)  # flags of what close() follows at once
_PEER = struct.Struct("iII")  # struct ucred: pid, uid, gid
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close() sends RST


def _socket(wire: Wire) -> socket.socket | None:
    """To ask the kernel about, while there is one."""
    sock = cast(asyncio.Transport, wire).get_extra_info("socket")
    return None if sock is None or sock.fileno() < 0 else cast(socket.socket, sock)


class Engine:
    def __init__(self, loop: asyncio.AbstractEventLoop, log: Callable[..., None]) -> None:
        self.time = loop.time  # uvloop reads the clock once per turn; this returns that reading
        self.jitter = random.random
        self.fine = Deadlines(FINE_GRAIN, self.alarm)
        self.slow = Deadlines(SLOW_GRAIN, self.alarm)
        self.client_sockets = 0
        self.client_limit = 0  # from here on on_client_limit is called for each that opens
        self.on_client_limit: Callable[[], None] = lambda: None
        self.accepting_paused = False
        self.on_drained: Callable[[object], None] = lambda pool: None
        self.on_shared: Callable[[object, str], None] = lambda pool, number: None
        self.adopt = Adoption(loop).adopt
        self.lobby = Lobby(self.soon, self.later, self._watch, self.adopt)
        self._loop = loop
        self._log = log
        self.dialler = Dialler(loop, self.adopt, self._log_bug)
        self.contexts = Contexts(self.later, self.log, time.time)
        self.handshakes = Handshakes(self.time, self.soon, self.later)
        self._shaking: dict[UpstreamBrain, ServerWire] = {}  # by TLS, with a server
        self._busy: deque[Working] = deque()  # whose work goes on in the next turn
        self._serving = False  # _serve_busy will be called
        self._armed = INF
        self._timer: asyncio.TimerHandle | None = None

    # -- mux.ports.World ---------------------------------------------------------------------------

    def dial(self, address: str, upstream: UpstreamBrain) -> None:
        hands = UpstreamSocket(upstream, self.time, self.soon, self.on_upstream_bug)
        protocol: object = hands
        try:
            secure = upstream.secure()
            if secure is not None:
                protocol = self._secured(address, upstream, hands, secure)
        except Exception as bug:  # its place must be given back all the same (P1)
            self._log_bug()
            protocol = f"internal error: {type(bug).__name__}"
        if isinstance(protocol, str):
            self._loop.call_soon(hands.on_gone, protocol)
        else:
            self.dialler.dial(address, upstream, hands, protocol)

    def hang_up(self, upstream: UpstreamBrain) -> None:
        if self.dialler.give_up(upstream):
            return
        if upstream in self._shaking:
            self._shaking[upstream].abort()
        else:
            # It has failed, and is told so soon; or is connected, and connection_made() comes soon. Then its
            # brain aborts it, but by TLS it begins to shake hands.
            self._loop.call_soon(self._stop_shaking, upstream)

    def _stop_shaking(self, upstream: UpstreamBrain) -> None:
        wire = self._shaking.get(upstream)
        if wire is not None:
            wire.abort()

    def reset(self, wire: Wire) -> None:
        sock = cast(asyncio.Transport, wire).get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):  # the peer was faster
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        wire.abort()

    def write_last(self, wire: Wire, data: bytes) -> None:
        # The last segment waits for the FIN that close() adds: one packet less for both ends, 4-5 us of a
        # one-request connection's 45. (SocketType, because what a transport names as its socket would make a
        # socket.socket with all its enums: 2 us more.)
        if isinstance(wire, Visit):
            wire.write_last(data)
            return
        if isinstance(wire, TlsWire):
            wire.write_last(data)
            return
        named = cast(asyncio.Transport, wire).get_extra_info("socket")
        if named is None:  # it broke a moment ago, and connection_lost() is on its way
            return
        if not wire.get_write_buffer_size():
            sock = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, named.fileno())
            try:
                data = data[sock.send(data, LAST) :]
            except OSError:
                pass  # it takes nothing now, or the peer was faster, as the transport will see
            finally:
                sock.detach()
        wire.write(data)

    def finish(self, wire: Wire) -> None:
        if isinstance(wire, TlsWire):
            wire.write_eof()
            return
        named = cast(asyncio.Transport, wire).get_extra_info("socket")
        if named is None or wire.get_write_buffer_size():
            return
        sock = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, named.fileno())  # as in write_last
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the peer was faster
        finally:
            sock.detach()

    def has_left(self, wire: Wire) -> bool:
        sock = _socket(wire)
        if sock is None:
            return True
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLRDHUP | select.POLLHUP | select.POLLERR)
        return bool(poll.poll(0))

    def hearing(self, wire: Wire) -> tuple[int, float]:
        sock = _socket(wire)
        return (0, 0.0) if sock is None else life.hearing(sock)

    def ask(self, wire: Wire, every: float) -> None:
        sock = _socket(wire)
        if sock is not None:
            life.ask(sock, every)

    def identity(self, wire: Wire) -> str:
        sock = _socket(wire)
        if sock is None:
            return ""
        try:
            if sock.family == socket.AF_UNIX:
                told = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
                pid, uid, _ = _PEER.unpack(told)
                return f"process {pid}" if pid else f"user {uid}"  # 0: of another namespace
            return str(sock.getpeername()[0])
        except OSError:  # the peer was faster
            return ""

    def unsent(self, wire: Wire) -> int:
        buffered = wire.get_write_buffer_size()
        sock = _socket(wire)
        if sock is None:
            return buffered
        try:
            queued = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
        except OSError:  # the peer was faster
            return buffered
        return buffered + cast(int, struct.unpack("i", queued)[0])

    def soon(self, callback: Callable[[], None]) -> None:
        self._loop.call_soon(callback)

    def postpone(self, working: Working) -> None:
        self._busy.append(working)
        if not self._serving:
            self._serving = True
            self._loop.call_soon(self._serve_busy)

    def later(self, delay: float, callback: Callable[[], None]) -> None:
        self._loop.call_later(delay, callback)

    def alarm(self, at: float) -> None:
        if at < self._armed:
            self._armed = at
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(at + 0.001, self._ring)  # uvloop's timers round to a millisecond

    def on_share(self, pool: object) -> None:
        self.on_shared(pool, PLACES)

    def on_ration(self, pool: object, key: str) -> None:
        self.on_shared(pool, key)

    def drained(self, pool: object) -> None:
        self.on_drained(pool)

    def log(self, event: str, *, level: str = "info", **fields: object) -> None:
        self._log(level, event, fields)

    def _watch(self, descriptor: int, on_readable: Callable[[], None]) -> None:
        self._loop.add_reader(descriptor, on_readable)

    # -- work ---------------------------------------------------------------------------------------

    def _serve_busy(self) -> None:
        """A turn later: those that had more to do than is one's share, the longest waiting first."""
        busy, now = self._busy, self.time()
        for _ in range(min(len(busy), BUSY_PER_TURN)):
            working = busy.popleft()
            try:
                working.go_on(now)
            except Exception:
                if isinstance(working, ClientBrain):
                    self.on_client_bug(working)
                elif isinstance(working, UpstreamBrain):
                    self.on_upstream_bug(working, working.wire)
        self._serving = len(busy) > 0
        if busy:
            self._loop.call_soon(self._serve_busy)

    # -- time --------------------------------------------------------------------------------------

    def _ring(self) -> None:
        # A loop runs its timers before it polls. When the process stood still (a busy node, a stopped VM),
        # what has come meanwhile is unread, and who sent it in time must not be ended for our own silence:
        # of these two turns the first ends with a poll.
        self._loop.call_soon(self._loop.call_soon, self._tick)

    def _tick(self) -> None:
        self._armed = INF
        self._timer = None
        now = self.time()
        for wheel in (self.fine, self.slow):
            try:
                wheel.tick(now)
            except Exception:
                self._log_bug()
            self.alarm(wheel.next_deadline())

    # -- connecting --------------------------------------------------------------------------------

    def _secured(
        self, address: str, upstream: UpstreamBrain, hands: UpstreamSocket, secure: Secure
    ) -> ServerWire | str:
        """Or why there is none."""
        secured = self.contexts.of(secure.backend, secure.protocol, secure.tls)
        if secured.context is None:
            return f"{SAID_BY_TLS}{secured.error}"

        def on_reached() -> None:
            self._shaking[upstream] = wire
            upstream.on_reached(self.time())

        def on_done() -> None:
            self._shaking.pop(upstream, None)

        wire = ServerWire(self._loop, hands, secured, secure, address, on_reached, on_done)
        return wire

    # -- our own bugs ------------------------------------------------------------------------------

    def on_client_bug(self, client: ClientBrain) -> None:
        """Something raised between a client's bytes and the ledgers: end all connections it may have
        touched."""
        self._log_bug()
        try:
            client.on_bug(self.time())
        except Exception:
            self._log_bug()
            if client.wire is not None:
                client.wire.abort()

    def on_accept_bug(self) -> None:
        """Who was accepted has no hands yet that could end it: its listener does."""
        self._log_bug()

    def on_door_bug(self, wire: Wire) -> None:
        """Who cannot be told apart does not come in."""
        self._log_bug()
        wire.abort()

    def on_upstream_bug(self, upstream: UpstreamBrain, wire: Wire | None) -> None:
        self._log_bug()
        try:
            upstream.on_bug(self.time())
        except Exception:
            self._log_bug()
        if wire is not None:
            wire.abort()

    def _log_bug(self) -> None:
        self._log("error", "bug", {"traceback": describe_current()})

    # -- client sockets ----------------------------------------------------------------------------

    def on_client_opened(self) -> None:
        self.client_sockets += 1
        if self.client_sockets >= self.client_limit:
            self.on_client_limit()

    def on_client_closed(self) -> None:
        self.client_sockets -= 1
        if self.accepting_paused:
            self.on_client_limit()

    def statistics(self) -> dict[str, Any]:
        return {"client_sockets": self.client_sockets}
