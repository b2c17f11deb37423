"""The incident's client: bursts of commands that all want a connection at once, and redigo's pool.

`python -m muxproxy.incident.redis.client` says `{"ready": true}`, takes one order, and tells how it goes
(incident/telling.py). The order:

    address        "HOST:PORT", or the path of a unix socket: all that differs with muxproxy
    held           Redis's own unix socket: there it is told to hold everybody's commands (CLIENT PAUSE) for
    hold           so many milliseconds at the beginning of each burst, as a slow command or a fork would
    pool           max_idle, max_active, wait
    burst, every   between how many commands, and seconds from one to the next; not before the last one's end
    seconds        how long, and not before so many
    bursts         have been
    until          nor before this file has something in it; "": nobody waits for one

A command is `GET key:N`; its reply says N, so that another's would be seen. Callbacks on plain sockets, as in
cli/demo/load.py.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
import time
from collections import deque
from typing import Any

from muxproxy.incident.redis.redigo import Pool
from muxproxy.incident.telling import Telling, take_order

KEYS = 1000
VALUE = 100  # bytes
PATIENCE = 25.0  # seconds after the end for what is under way
EXHAUSTED = "redigo: connection pool exhausted"
_CHUNK = 16 * 1024


def value(key: int) -> bytes:
    return (b"%d:" % key).ljust(VALUE, b"x")


def get(key: int) -> bytes:
    name = b"key:%d" % key
    return b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(name), name)


class Connection:
    """A pool's; it carries one command at a time."""

    __slots__ = ("began", "expected", "received", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.began = 0.0
        self.expected = b""
        self.received = b""


class Client:
    def __init__(self, loop: asyncio.AbstractEventLoop, order: dict[str, Any]) -> None:
        self._loop = loop
        self._order = order
        self._pool: Pool[Connection] = Pool(**order["pool"])
        self._address: tuple[str, int] | str = order["address"]
        self._family = socket.AF_UNIX
        if not order["address"].startswith("/"):
            host, _, port = order["address"].rpartition(":")
            self._address, self._family = (host, int(port)), socket.AF_INET
        self._held = socket.socket(socket.AF_UNIX)
        self._held.connect(order["held"])
        self._random = random.Random(7)
        self._live: set[Connection] = set()
        self._waiting: deque[float] = deque()  # when they asked
        self._under_way = 0
        self._bursts = 0
        self._next_burst = time.monotonic()
        self._end = time.monotonic() + order["seconds"]
        self._telling = Telling(loop, lambda: self._pool.active)

    def begin(self) -> None:
        self._burst()
        self._telling.begin()
        self._loop.call_later(self._order["seconds"] + PATIENCE, self._finish)

    def close(self) -> None:
        """After the end, in a process that lives on."""
        self._held.close()
        for connection in list(self._live):
            self._close(connection)

    # -- bursts ------------------------------------------------------------------------------------------

    def _burst(self) -> None:
        now = time.monotonic()
        if now >= self._end and self._bursts >= self._order["bursts"] and self._is_awaited():
            self._finish()
            return
        self._next_burst = max(self._next_burst + self._order["every"], now)
        self._held.send(b"*3\r\n$6\r\nCLIENT\r\n$5\r\nPAUSE\r\n$2\r\n%02d\r\n" % self._order["hold"])
        self._held.recv(_CHUNK)
        self._bursts += 1
        least, most = self._order["burst"]
        commands = self._random.randint(least, most)
        self._under_way = commands
        for _ in range(commands):  # each is a goroutine's: it wants a connection, asks, gives it back
            self._want(now)

    def _is_awaited(self) -> bool:
        until = self._order["until"]
        return not until or os.path.getsize(until) > 0

    def _command_is_over(self) -> None:
        self._under_way -= 1
        if not self._under_way and not self._telling.is_over:
            delay = max(0.0, self._next_burst - time.monotonic())
            self._loop.call_later(delay, self._burst)

    # -- a command ---------------------------------------------------------------------------------------

    def _want(self, since: float) -> None:
        pool = self._pool
        if pool.must_wait():
            self._waiting.append(since)
            return
        connection = pool.get_idle()
        if connection is not None:
            self._ask(connection, since)
        elif pool.may_dial():
            self._dial(since)
        else:
            self._fail(EXHAUSTED)

    def _dial(self, since: float) -> None:
        self._telling.dialled += 1
        sock = socket.socket(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        code = sock.connect_ex(self._address)
        if code in (0, errno.EINPROGRESS):
            connection = Connection(sock)
            self._live.add(connection)
            self._loop.add_reader(sock, self._on_readable, connection)
            self._ask(connection, since)
        else:
            sock.close()
            self._pool.lost()
            self._fail(f"dial: connect: {os.strerror(code)}")

    def _ask(self, connection: Connection, since: float) -> None:
        key = self._random.randrange(KEYS)
        connection.began, connection.received = since, b""
        connection.expected = b"$%d\r\n%s\r\n" % (VALUE, value(key))
        self._send(connection, get(key))

    def _send(self, connection: Connection, command: bytes) -> None:
        try:
            connection.sock.send(command)  # on one machine the handshake is usually over by now
        except BlockingIOError:
            self._loop.add_writer(connection.sock, self._on_writable, connection, command)
        except OSError as error:
            self._break(connection, f"dial: connect: {error.strerror}")

    def _on_writable(self, connection: Connection, command: bytes) -> None:
        self._loop.remove_writer(connection.sock)
        self._send(connection, command)

    def _on_readable(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(_CHUNK)
        except OSError as error:
            self._break(connection, f"read: {error.strerror}")
            return
        connection.received += data
        if not data:
            self._break(connection, "read: EOF")
        elif connection.received == connection.expected:
            self._telling.took.add(time.monotonic() - connection.began)
            self._give_back(connection)
        elif not connection.expected.startswith(connection.received):
            said = connection.received.partition(b"\r\n")[0].decode("latin-1")
            self._break(connection, said if said.startswith("-") else "somebody else's reply")

    def _give_back(self, connection: Connection) -> None:
        surplus = self._pool.put(connection)
        if surplus is not None:
            self._close(surplus)
        self._next_waiter()
        self._command_is_over()

    def _break(self, connection: Connection, error: str) -> None:
        self._close(connection)
        self._pool.lost()
        self._fail(error)
        self._next_waiter()

    def _fail(self, error: str) -> None:
        self._telling.errors[error] += 1
        self._loop.call_soon(self._command_is_over)  # not within the burst that it belongs to

    def _next_waiter(self) -> None:
        if self._waiting and not self._pool.must_wait():
            self._want(self._waiting.popleft())

    def _close(self, connection: Connection) -> None:
        self._live.discard(connection)
        self._loop.remove_reader(connection.sock)
        self._loop.remove_writer(connection.sock)
        connection.sock.close()

    def _finish(self) -> None:
        if self._under_way and not self._telling.is_over:
            self._telling.errors[f"no reply {PATIENCE:g}s after the end"] += self._under_way
        self._telling.finish()


def main() -> None:
    take_order(lambda loop, order: Client(loop, order).begin())


if __name__ == "__main__":
    main()
