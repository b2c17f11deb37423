"""The demo's clients: many at a time, each opens a connection, asks for one thing, checks the reply, closes.

`python -m muxproxy.cli.demo.load` says `{"ready": true}`, then carries out each order
`{"port": N, "clients": N, "seconds": S}`: it reports `{"tick": ...}` ten times a second and ends with
`{"done": ...}`. A closed loop: who has its reply comes again with the next request on a new connection.
One callback per event on plain sockets; no task, no future, no transport for a life of a millisecond.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from array import array
from collections import Counter
from collections.abc import Callable
from typing import Any

import uvloop

from muxproxy.stage.pipes import obey, say

REPORT_EVERY = 0.1  # seconds
RAMP = 50  # steps in which the clients arrive, within the first tenth of the time
PATIENCE = 5.0  # seconds after the end for what is under way
PAUSE = 0.05  # seconds until a client whose connect() failed at once tries again
# Clients come from several loopback addresses: the TIME_WAITs of one would use up its 28,000 ports.
SOURCES = [f"127.0.1.{number}" for number in range(1, 9)]
_CHUNK = 16 * 1024
_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h: the port is chosen at connect(), when the peer is known


class Client:
    """One connection and its one request."""

    __slots__ = ("began", "expected", "received", "sock")

    def __init__(self, sock: socket.socket, began: float, expected: bytes) -> None:
        self.sock = sock
        self.began = began
        self.expected = expected
        self.received = b""


def judge(received: bytes, expected: bytes) -> str | None:
    """ "" for the right reply, else what is wrong with it; None while there is more to come."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return None
    name = b"\r\ncontent-length:"
    at = head.lower().find(name)
    length = head[at + len(name) :].partition(b"\r\n")[0].strip() if at >= 0 else b""
    if not head.startswith(b"HTTP/1.1 ") or not length.isdigit():
        return "not an HTTP reply with a length"
    if len(body) < int(length):
        return None
    if not head.startswith(b"HTTP/1.1 200 "):
        return "status " + head[9:12].decode("latin-1")
    return "" if body == expected else "somebody else's reply"


class Load:
    """One order from its beginning to its end."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        say: Callable[[dict[str, Any]], None],
        port: int,
        clients: int,
        seconds: float,
    ) -> None:
        self._loop = loop
        self._say = say
        self._address = ("127.0.0.1", port)
        self._clients = clients
        self._seconds = seconds
        self._began = time.monotonic()
        self._live: set[Client] = set()
        self._asked = 0
        self._took = array("d")  # seconds of each right reply
        self._told = 0  # of them, how many the last report was about
        self._errors: Counter[str] = Counter()
        self._stopping = False
        self._is_over = False

    def begin(self) -> None:
        for step in range(RAMP):
            share = self._clients * (step + 1) // RAMP - self._clients * step // RAMP
            self._loop.call_later(0.1 * self._seconds * step / RAMP, self._arrive, share)
        self._loop.call_later(self._seconds, self._stop)
        self._loop.call_later(REPORT_EVERY, self._tick)

    def _arrive(self, clients: int) -> None:
        for _ in range(clients):
            self._start()

    def _start(self) -> None:
        if self._stopping:
            return
        number = self._asked = self._asked + 1
        path = b"/%d-%x" % (number, number * 2654435761 % 2**32)  # of differing lengths, no two alike
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        client = Client(sock, time.monotonic(), path + b"\n")
        self._live.add(client)
        try:
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((SOURCES[number % len(SOURCES)], 0))
            code = sock.connect_ex(self._address)
        except OSError as error:
            code = error.errno or errno.EIO
        if code not in (0, errno.EINPROGRESS):
            self._end(client, f"connect: {os.strerror(code)}")
            return
        request = b"GET %s HTTP/1.1\r\nHost: demo\r\nAccept: */*\r\n\r\n" % path
        try:
            sock.send(request)  # on loopback the handshake is usually over by now
        except BlockingIOError:
            self._loop.add_writer(sock, self._on_writable, client, request)
        except OSError as error:
            self._end(client, f"send: {error.strerror}")
        else:
            self._loop.add_reader(sock, self._on_readable, client)

    def _on_writable(self, client: Client, request: bytes) -> None:
        self._loop.remove_writer(client.sock)
        try:
            client.sock.send(request)
        except OSError as error:
            self._end(client, f"connect: {error.strerror}")
        else:
            self._loop.add_reader(client.sock, self._on_readable, client)

    def _on_readable(self, client: Client) -> None:
        try:
            data = client.sock.recv(_CHUNK)
        except OSError as error:
            self._end(client, f"receive: {error.strerror}")
            return
        if not data:
            self._end(client, "closed before its reply")
            return
        client.received += data
        verdict = judge(client.received, client.expected)
        if verdict is not None:
            self._end(client, verdict)

    def _end(self, client: Client, error: str) -> None:
        self._live.remove(client)
        self._loop.remove_reader(client.sock)
        self._loop.remove_writer(client.sock)
        client.sock.close()
        if error:
            self._errors[error] += 1
            self._loop.call_later(
                PAUSE, self._start
            )  # not at once: a port that refuses must not make us spin
        else:
            self._took.append(time.monotonic() - client.began)
            self._start()
        if self._stopping and not self._live:
            self._over()

    def _stop(self) -> None:
        self._stopping = True
        self._loop.call_later(PATIENCE, self._give_up)
        if not self._live:
            self._over()

    def _give_up(self) -> None:
        for client in list(self._live):
            self._end(client, f"no reply {PATIENCE:g}s after the end")

    def _tick(self) -> None:
        if not self._is_over:
            fresh, self._told = self._took[self._told :], len(self._took)
            self._say({"tick": self._report(fresh)})
            self._loop.call_later(REPORT_EVERY, self._tick)

    def _over(self) -> None:
        self._is_over = True
        self._say({"done": self._report(self._took)})

    def _report(self, took: array[float]) -> dict[str, Any]:
        ordered = sorted(took)
        return {
            "seconds": time.monotonic() - self._began,
            "connected": len(self._live),
            "replies": len(self._took),
            "errors": dict(self._errors),
            "p50": quantile(ordered, 0.5),
            "p99": quantile(ordered, 0.99),
        }


def quantile(ordered: list[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else 0.0


def main() -> None:
    loop = uvloop.new_event_loop()
    obey(loop, lambda order: Load(loop, say, **order).begin())
    say({"ready": True})
    loop.run_forever()


if __name__ == "__main__":
    main()
