"""Clients of three protocols at once that must notice nothing: a program, run as a Child.

Orders: {"http": [address ...], "redis": [...], "dubbo": [...], "clients": each}. Of the clients of an address
half keep their connection for some requests, the others open one for each. Every reply must be the one to its
request. Told to stop, it says how many went right, and what did not.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from tests.system.dubbo.frames import REPLY, Frames, call
from tests.system.process import say, take_orders

KEPT = 30  # requests on a connection that is kept
STAY = 4.0  # seconds for which it is kept: within drain_timeout, on a busy machine too
PATIENCE = 15.0  # seconds for one reply
PAUSE = 0.002  # seconds between two requests of a client: the load is to be steady, not all that can be

Ask = Callable[[asyncio.StreamReader, asyncio.StreamWriter, str], Awaitable[None]]


class WrongError(Exception):
    pass


async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> None:
    writer.write(f"GET /{token} HTTP/1.1\r\nHost: web\r\nX-Token: {token}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(f.partition(b":")[2]) for f in head.split(b"\r\n") if f.lower().startswith(b"content-length")
    )
    body = await reader.readexactly(length)
    if not head.startswith(b"HTTP/1.1 200 "):
        raise WrongError((head + body)[:600].decode(errors="replace"))  # a refusal says why in its body
    if token.encode() not in body:
        raise WrongError(f"asked for {token}, got {body[:80]!r}")


async def redis(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> None:
    words = ("SET", f"key:{token}", token), ("GET", f"key:{token}"), ("DEL", f"key:{token}")
    for command in words:
        writer.write(
            b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in command)
        )
    got: list[bytes] = []
    while len(got) < 4:
        got.append(await reader.readuntil(b"\r\n"))
        if got[-1].startswith(b"-"):  # a refusal is one line, where a value is two
            break
    if got != [b"+OK\r\n", b"$%d\r\n" % len(token), token.encode() + b"\r\n", b":1\r\n"]:
        raise WrongError(f"asked for {token}, got {got!r}")


async def dubbo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> None:
    writer.write(call(7, "echo", token.encode()))
    frames, seen = Frames(), []
    while not seen:
        data = await reader.read(65536)
        if not data:
            raise WrongError("closed")
        seen = [frame for frame in frames.feed(data) if frame[0] == REPLY]  # READONLY is for who can read it
    _, status, tag, body = seen[0]
    if (status, tag) != (20, 7) or token.encode() not in body:
        raise WrongError(f"status {status}, tag {tag}: {body[:80]!r}")


ASK: dict[str, Ask] = {"http": http, "redis": redis, "dubbo": dubbo}


class Traffic:
    def __init__(self, orders: dict[str, Any]) -> None:
        self.right: Counter[str] = Counter()
        self.wrong: list[tuple[float, str, str]] = []  # when, protocol, what
        self.slowest = 0.0
        self.stopping = asyncio.Event()
        self.orders = orders

    async def run(self) -> None:
        asyncio.get_running_loop().add_reader(0, self._on_order)
        async with asyncio.TaskGroup() as group:
            for protocol, ask in ASK.items():
                for address in self.orders.get(protocol, ()):
                    for number in range(self.orders["clients"]):
                        kept = KEPT if number % 2 else 1
                        group.create_task(self._client(protocol, address, ask, number, kept))
            say("ready")

    def _on_order(self) -> None:
        if sys.stdin.buffer.readline():
            say({"right": self.right, "wrong": self.wrong[:20]})
            return
        asyncio.get_running_loop().remove_reader(0)
        self.stopping.set()

    async def _client(self, protocol: str, address: str, ask: Ask, number: int, kept: int) -> None:
        host, _, port = address.rpartition(":")
        serial = 0
        while not self.stopping.is_set():
            began = came = time.monotonic()
            try:
                async with asyncio.timeout(PATIENCE):
                    reader, writer = await asyncio.open_connection(host, int(port))
                for _ in range(kept):
                    if reader.at_eof() or time.monotonic() > came + STAY:  # as a pool looks
                        break
                    serial += 1
                    began = time.monotonic()
                    async with asyncio.timeout(PATIENCE):
                        await ask(reader, writer, f"{protocol}-{port}-{number}-{serial}")
                    self.right[protocol] += 1
                    self.slowest = max(self.slowest, time.monotonic() - began)
                    if self.stopping.is_set():
                        break
                    await asyncio.sleep(PAUSE)
                writer.close()
            except (OSError, WrongError, asyncio.IncompleteReadError, TimeoutError) as error:
                self.wrong.append(
                    (time.time(), protocol, f"{address} after {time.monotonic() - began:.3f} s: {error!r}")
                )
                await asyncio.sleep(0.01)


async def main() -> None:
    traffic = Traffic(take_orders())
    await traffic.run()
    say({"right": traffic.right, "wrong": traffic.wrong[:20], "slowest": traffic.slowest})


if __name__ == "__main__":
    asyncio.run(main())
