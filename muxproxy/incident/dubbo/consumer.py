"""A consumer as Dubbo's is: for each interface so many connections, all opened before the first call.

`python -m muxproxy.incident.dubbo.consumer` says `{"ready": true}`, takes one order, and tells how it goes
(incident/telling.py). The order:

    address        "HOST:PORT" of a provider, or of muxproxy
    connections    of each of
    interfaces     so many
    rate           calls per second, once all are open: the interfaces in turn, and their connections in turn
    seconds        how long

Ready is who has all connections, and a reply on each interface. Callbacks on plain sockets, as in
cli/demo/load.py: a consumer has ten thousand of them.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from typing import Any

from muxproxy.incident.dubbo.wire import OK, Frames, call, token_of_reply
from muxproxy.incident.telling import Telling, take_order

AT_A_TIME = 100  # connects under way
CALL_EVERY = 0.02  # seconds between two handfuls of calls
TIMEOUT = 5.0  # seconds of a call; Dubbo's own default is 1
PATIENCE = 20.0  # seconds for all connections to be open
_CHUNK = 16 * 1024


class Connection:
    __slots__ = ("frames", "interface", "sock")

    def __init__(self, sock: socket.socket, interface: int) -> None:
        self.sock = sock
        self.interface = interface
        self.frames = Frames()


class Consumer:
    def __init__(self, loop: asyncio.AbstractEventLoop, order: dict[str, Any]) -> None:
        self._loop = loop
        host, _, port = order["address"].rpartition(":")
        self._address = (host, int(port))
        self._rate: float = order["rate"]
        self._seconds: float = order["seconds"]
        self._began = time.monotonic()
        self._open: list[list[Connection]] = [[] for _ in range(order["interfaces"])]
        self._wanted = order["connections"] * order["interfaces"]
        self._connected = 0
        self._failed = 0
        self._answered: set[int] = set()  # interfaces
        self._next_id = 0
        self._flight: dict[int, tuple[bytes, float, int]] = {}  # token, when, which interface
        self._owed = 0.0  # calls
        self._telling = Telling(loop, lambda: self._connected)
        self._is_calling = False

    def begin(self) -> None:
        for _ in range(min(AT_A_TIME, self._wanted)):
            self._dial()
        self._loop.call_later(PATIENCE, self._start_calling)
        self._telling.begin()

    def close(self) -> None:
        """After the end, in a process that lives on."""
        for connection in [each for connections in self._open for each in connections]:
            self._loop.remove_reader(connection.sock)
            connection.sock.close()

    # -- connections -------------------------------------------------------------------------------------

    def _dial(self) -> None:
        interface = self._telling.dialled % len(self._open)
        self._telling.dialled += 1
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        code = sock.connect_ex(self._address)
        if code in (0, errno.EINPROGRESS):
            self._loop.add_writer(sock, self._on_connected, Connection(sock, interface))
        else:
            sock.close()
            self._loop.call_soon(self._on_failed, f"connect: {os.strerror(code)}")

    def _on_connected(self, connection: Connection) -> None:
        sock = connection.sock
        self._loop.remove_writer(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            sock.close()
            self._on_failed(f"connect: {os.strerror(code)}")
            return
        self._loop.add_reader(sock, self._on_readable, connection)
        self._open[connection.interface].append(connection)
        self._connected += 1
        self._go_on()

    def _on_failed(self, error: str) -> None:
        self._telling.errors[error] += 1
        self._failed += 1
        self._go_on()

    def _go_on(self) -> None:
        if self._telling.dialled < self._wanted:
            self._dial()
        elif self._connected + self._failed == self._wanted:
            self._start_calling()

    # -- calls -------------------------------------------------------------------------------------------

    def _start_calling(self) -> None:
        if not self._is_calling and not self._telling.is_over:
            self._is_calling = True
            for interface in range(len(self._open)):
                self._call(interface)
            self._loop.call_later(CALL_EVERY, self._call_some)
            self._loop.call_later(self._seconds, self._stop)

    def _call_some(self) -> None:
        if not self._is_calling:
            return
        self._owed += self._rate * CALL_EVERY
        while self._owed >= 1:
            self._owed -= 1
            self._call(self._next_id % len(self._open))
        self._loop.call_later(CALL_EVERY, self._call_some)

    def _call(self, interface: int) -> None:
        connections = self._open[interface]
        if not connections:
            self._telling.errors["no connection to call on"] += 1
            return
        tag = self._next_id
        self._next_id += 1
        connection = connections[tag // len(self._open) % len(connections)]
        token = b"%d-%d" % (os.getpid(), tag)
        self._flight[tag] = (token, time.monotonic(), interface)
        try:
            connection.sock.send(call(tag, b"com.acme.Service%d" % interface, token))
        except OSError as error:
            self._end(tag, f"write: {error.strerror}")

    def _on_readable(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(_CHUNK)
            frames = connection.frames.feed(data)
        except (OSError, ValueError) as error:
            self._lose(connection, f"read: {error}")
            return
        if not data:
            self._lose(connection, "the connection was closed")
        for flags, status, tag, body in frames:
            if not flags & 0x20:  # no event: a provider's heartbeat needs no answer to be alive
                self._on_reply(status, tag, body)

    def _on_reply(self, status: int, tag: int, body: bytes) -> None:
        token = self._flight.get(tag, (b"",))[0]
        if status != OK:
            self._end(tag, f"status {status}")
        else:
            self._end(tag, "" if token == token_of_reply(body) else "another's reply")

    def _end(self, tag: int, error: str) -> None:
        _, began, interface = self._flight.pop(tag, (b"", 0.0, -1))
        if error:
            self._telling.errors[error] += 1
            return
        self._telling.took.add(time.monotonic() - began)
        self._answered.add(interface)
        if self._telling.ready is None and len(self._answered) == len(self._open) and not self._failed:
            self._telling.ready = time.monotonic() - self._began
        if not self._is_calling:
            self._finish_if_done()

    def _lose(self, connection: Connection, error: str) -> None:
        """Whose replies they were is not known here: those that were owed there are late."""
        self._telling.errors[error] += 1
        self._loop.remove_reader(connection.sock)
        connection.sock.close()
        self._open[connection.interface].remove(connection)
        self._connected -= 1

    # -- the end -----------------------------------------------------------------------------------------

    def _stop(self) -> None:
        self._is_calling = False
        self._loop.call_later(TIMEOUT, self._give_up)
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        if not self._flight:
            self._telling.finish()

    def _give_up(self) -> None:
        if self._flight:
            self._telling.errors[f"no reply in {TIMEOUT:g} s"] += len(self._flight)
            self._flight.clear()
        self._finish_if_done()


def main() -> None:
    take_order(lambda loop, order: Consumer(loop, order).begin())


if __name__ == "__main__":
    main()
