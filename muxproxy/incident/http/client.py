"""The incident's client: an asyncio program in which every coroutine has a pool of connections of its own.

`python -m muxproxy.incident.http.client` says `{"ready": true}`, takes one order, and tells how it goes
(incident/telling.py). The order:

    hosts          "HOST:PORT", each
    proxy          "HOST:PORT" that is asked instead of them (RFC 9112 section 3.2.2), or ""
    coroutines     so many
    rates          requests per second of all together at the beginning and at the end; as many as it can
    seconds        how long, and not before every coroutine has asked every host

A coroutine asks one host after the other, in random order, and keeps what it has opened, as clients with
keep-alive do. Its pool is what a library's is: by host, behind a proxy too.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from typing import Any

from muxproxy.incident.telling import Telling, take_order

TIMEOUT = 10.0  # seconds of a request
_CHUNK = 16 * 1024
_NAME = b"\r\ncontent-length:"


class Wrong(Exception):  # noqa: N818  # a verdict
    """`str()` is what is told of it."""


def request(host: str, path: str, is_proxied: bool) -> bytes:
    target = f"http://{host}{path}" if is_proxied else path
    return f"GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n".encode()


def judge(received: bytes, expected: bytes) -> bool:
    """Whether it is the whole reply, and the right one. Raises Wrong."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return False
    at = head.lower().find(_NAME)
    length = head[at + len(_NAME) :].partition(b"\r\n")[0].strip() if at >= 0 else b""
    if not head.startswith(b"HTTP/1.1 ") or not length.isdigit():
        raise Wrong("not an HTTP reply with a length")
    if len(body) < int(length):
        return False
    if not head.startswith(b"HTTP/1.1 200 "):
        raise Wrong(f"status {head[9:12].decode('latin-1')}")
    if body != expected:
        raise Wrong("somebody else's reply")
    return True


class Client:
    def __init__(self, loop: asyncio.AbstractEventLoop, order: dict[str, Any]) -> None:
        self._loop = loop
        self._hosts: list[str] = order["hosts"]
        self._proxy: str = order["proxy"]
        self._coroutines: int = order["coroutines"]
        self._rates: tuple[float, float] = order["rates"]
        self._seconds: float = order["seconds"]
        self._began = time.monotonic()
        self._open: set[socket.socket] = set()
        self._telling = Telling(loop, lambda: len(self._open))
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self) -> None:
        for number in range(self._coroutines):
            task = self._loop.create_task(self._coroutine(number))
            self._tasks.add(task)
            task.add_done_callback(self._on_done)
        self._telling.begin()

    def _on_done(self, task: asyncio.Task[None]) -> None:
        task.result()
        self._tasks.discard(task)
        if not self._tasks:
            self._telling.finish()

    def close(self) -> None:
        """After the end, in a process that lives on."""
        for sock in self._open:
            sock.close()

    async def _coroutine(self, number: int) -> None:
        chosen = random.Random(number)
        pool: dict[str, socket.socket] = {}  # its own: that is the incident
        turn = number / self._coroutines  # of all coroutines' turns, so that they come evenly
        due = self._began + turn * self._interval(0.0)
        order: list[str] = []
        asked = 0
        while due < self._began + self._seconds or asked < len(self._hosts):
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if not order:
                order = chosen.sample(self._hosts, len(self._hosts))
            asked += 1
            await self._ask(pool, order.pop(), f"/{number}/{asked}")
            due += self._interval(due - self._began)
            due = max(due, time.monotonic() - self._interval(0.0))  # late: as fast as it can, not all at once

    def _interval(self, at: float) -> float:
        """Seconds between two requests of a coroutine."""
        first, last = self._rates
        return self._coroutines / (first + (last - first) * min(1.0, at / self._seconds))

    async def _ask(self, pool: dict[str, socket.socket], host: str, path: str) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._exchange(pool, host, path)
        except Wrong as wrong:
            self._fail(pool, host, str(wrong))
        except TimeoutError:
            self._fail(pool, host, f"no reply in {TIMEOUT:g} s")
        except OSError as error:
            self._fail(pool, host, os.strerror(error.errno) if error.errno else str(error))
        else:
            self._telling.took.add(time.monotonic() - began)

    async def _exchange(self, pool: dict[str, socket.socket], host: str, path: str) -> None:
        sock = pool.get(host)
        if sock is None:
            sock = pool[host] = await self._dial(self._proxy or host)
        await self._loop.sock_sendall(sock, request(host, path, bool(self._proxy)))
        expected, received = f"{host.partition(':')[0]}{path}\n".encode(), b""
        while not judge(received, expected):
            data = await self._loop.sock_recv(sock, _CHUNK)
            if not data:
                raise Wrong("closed before its reply")
            received += data

    async def _dial(self, address: str) -> socket.socket:
        host, _, port = address.rpartition(":")
        self._telling.dialled += 1
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            await self._loop.sock_connect(sock, (host, int(port)))
        except BaseException:
            sock.close()
            raise
        self._open.add(sock)
        return sock

    def _fail(self, pool: dict[str, socket.socket], host: str, error: str) -> None:
        self._telling.errors[error] += 1
        sock = pool.pop(host, None)
        if sock is not None:
            self._open.discard(sock)
            sock.close()


def main() -> None:
    clients: list[Client] = []  # whose connections stay open to the end of this process

    def begin(loop: asyncio.AbstractEventLoop, order: dict[str, Any]) -> None:
        clients.append(Client(loop, order))
        clients[-1].begin()

    take_order(begin)


if __name__ == "__main__":
    main()
