"""Consumers of our own, many connections in one process: every call's end is judged.

All connections count their ids from 0 in the same steps, so that they collide on purpose; a token says whose
a reply is. How a call can end: `right`; `refused N` with the status; `wrong`, another's token or an id that
nobody asked with; `closed`, its connection ended first; `late`, no end within `patience`.
Orders: host, port, connections, calls (each), flight (at once, each), method, services (each connection has
one of them), patience, tag, waits (connects, and does not call before the next line says so).
Results: ends by name, examples of wrong ones, seconds of the slowest.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from typing import Any

import uvloop

from tests.system.dubbo.frames import OK, Frames, call
from tests.system.process import raise_descriptor_limit, say, take_orders


class Caller(asyncio.Protocol):
    """One connection. When it is closed it comes back with what it has still to call."""

    def __init__(self, load: CallLoad, number: int) -> None:
        self.load = load
        self.number = number
        self.calls = load.calls
        self.service = load.services[number % len(load.services)]
        self.next_id = 0
        self.flight: dict[int, tuple[bytes, float]] = {}
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.frames = Frames()
        self.refill()

    def refill(self) -> None:
        out = []
        load = self.load
        if load.waits:
            return
        while self.calls and len(self.flight) < load.flight:
            tag = self.next_id
            self.next_id += 1
            self.calls -= 1
            token = b"%s-%d-%d" % (load.tag, self.number, tag)
            self.flight[tag] = (token, time.monotonic())
            out.append(call(tag, load.method, token, self.service))
        if out:
            self.transport.write(b"".join(out))
        elif not self.flight:
            self.load.finished(self)

    def data_received(self, data: bytes) -> None:
        load = self.load
        for flags, status, tag, body in self.frames.feed(data):
            token, began = self.flight.pop(tag, (None, 0.0))
            if token is None or flags & 0xE0:
                load.wrong(f"connection {self.number}: id {tag}, flags {flags:#x}, {body[:60]!r}")
                continue
            load.slowest = max(load.slowest, time.monotonic() - began)
            if status != OK:
                load.ends[f"refused {status}"] += 1
                load.texts[body[2:].decode("latin-1")] += 1
            elif body[2:] == token or (load.method == "big" and is_big(body, token)):
                load.ends["right"] += 1
            else:
                load.wrong(f"connection {self.number}: asked {token!r}, got {body[:60]!r}")
        self.refill()

    def connection_lost(self, error: Exception | None) -> None:
        self.load.ends["closed"] += len(self.flight)
        self.flight = {}
        self.load.lost(self)

    def look(self, now: float) -> None:
        late = [tag for tag, (_, began) in self.flight.items() if began + self.load.patience < now]
        for tag in late:
            del self.flight[tag]
            self.load.ends["late"] += 1
        if late:
            self.refill()


def is_big(body: bytes, token: bytes) -> bool:
    """shuffler.py's large reply: the token again and again."""
    return len(body) > 1000 and body[1:] == token * ((len(body) - 1) // len(token))


class CallLoad:
    def __init__(self, orders: dict[str, Any]) -> None:
        self.address = (orders["host"], orders["port"])
        self.calls = orders["calls"]
        self.flight = orders.get("flight", 1)
        self.method = orders.get("method", "echo")
        self.services = orders.get("services", ["com.acme.Orders"])
        self.patience = orders.get("patience", 30.0)
        self.tag = orders.get("tag", "t").encode()
        self.waits = orders.get("waits", False)
        self.ends: Counter[str] = Counter()
        self.texts: Counter[str] = Counter()
        self.examples: list[str] = []
        self.slowest = 0.0
        self.loop = asyncio.get_running_loop()
        self.callers = [Caller(self, number) for number in range(orders["connections"])]
        self.busy = set(self.callers)
        self.done = self.loop.create_future()
        self.tasks: set[asyncio.Task[Any]] = set()

    def connect(self, caller: Caller) -> None:
        task = self.loop.create_task(self._connect(caller))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _connect(self, caller: Caller) -> None:
        try:
            await self.loop.create_connection(lambda: caller, *self.address)
        except OSError as error:
            self.ends["unconnected"] += 1
            self.examples.append(str(error))
            self.finished(caller)

    def go(self) -> None:
        """All call that have connected; who connects later calls at once."""
        sys.stdin.buffer.readline()
        self.loop.remove_reader(0)
        self.waits = False
        for caller in list(self.busy):
            if caller.transport is not None:
                caller.refill()

    def wrong(self, what: str) -> None:
        self.ends["wrong"] += 1
        if len(self.examples) < 10:
            self.examples.append(what)

    def lost(self, caller: Caller) -> None:
        if caller in self.busy and not self.done.done():
            self.ends["connections lost"] += 1
            self.connect(caller)

    def finished(self, caller: Caller) -> None:
        self.busy.discard(caller)
        if not self.busy and not self.done.done():
            self.done.set_result(None)

    def look(self) -> None:
        now = time.monotonic()
        for caller in list(self.busy):
            caller.look(now)
        if not self.done.done():
            self.loop.call_later(0.5, self.look)


async def main() -> None:
    raise_descriptor_limit()
    orders = take_orders()
    load = CallLoad(orders)
    say("ready")
    for caller in load.callers:
        load.connect(caller)
    if load.waits:
        load.loop.add_reader(0, load.go)
    load.look()
    await load.done
    say(
        {
            "ends": load.ends,
            "texts": dict(load.texts.most_common(20)),
            "examples": load.examples,
            "slowest": load.slowest,
        }
    )


if __name__ == "__main__":
    uvloop.run(main())
