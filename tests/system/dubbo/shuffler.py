"""A provider of our own: answers each call with its token, in random order, and tells what it saw.

What a call's method says is done: `echo` at once but shuffled, `slow` after `slow` seconds, `mute` never,
`big` with `big` bytes, `callback` with a call to the consumer first, `readonly` with the event that says so.
Orders: fd, seed, slow, holds (`slow` waits for "release" instead), big, silent (no heartbeat is answered),
heartbeat (seconds between its own). While it runs: "stats" says what it saw so far, and so does "release". It
counts how many calls of a method it had at once.
"""

from __future__ import annotations

import asyncio
import random
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import uvloop

from tests.system.dubbo.frames import BEAT, BEAT_REPLY, CALL, EVENT, OK, Frames, frame, reply, strings
from tests.system.process import raise_descriptor_limit, say, take_orders

SHUFFLE = 0.001  # seconds that replies are gathered before they are shuffled


class Seen:
    """What all connections saw."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        self.now: dict[str, int] = {}
        self.peak: dict[str, int] = {}
        self.connections = self.open = 0
        self.others: dict[str, int] = {}  # frames that are no calls, by flags

    def begin(self, method: str) -> None:
        self.calls[method] = self.calls.get(method, 0) + 1
        now = self.now[method] = self.now.get(method, 0) + 1
        self.peak[method] = max(self.peak.get(method, 0), now)

    def end(self, method: str) -> None:
        self.now[method] -= 1


class Hold:
    """The calls that wait for "release"."""

    def __init__(self, holds: bool) -> None:
        self.holds = holds
        self.calls: list[Callable[[], None]] = []

    def release(self) -> None:
        self.holds = False
        for answer in self.calls:
            answer()


class Provider(asyncio.Protocol):
    def __init__(self, orders: dict[str, Any], seen: Seen, shuffled: random.Random, hold: Hold) -> None:
        self.orders = orders
        self.seen = seen
        self.hold = hold
        self.random = shuffled
        self.loop = asyncio.get_running_loop()
        self.frames = Frames()
        self.ready: list[tuple[str, int, bytes]] = []
        self.owed: dict[str, int] = {}

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.seen.connections += 1
        self.seen.open += 1
        self.beat()

    def beat(self) -> None:
        every = self.orders.get("heartbeat", 0)
        if every and not self.transport.is_closing():
            self.transport.write(frame(BEAT, 3, b"N"))
            self.loop.call_later(every, self.beat)

    def data_received(self, data: bytes) -> None:
        for flags, _, tag, body in self.frames.feed(data):
            if flags & 0xA0 == 0x80:
                self.on_call(flags, tag, body)
            else:
                key = f"{flags:02x}"
                self.seen.others[key] = self.seen.others.get(key, 0) + 1
                if flags == BEAT and not self.orders.get("silent"):
                    self.transport.write(frame(BEAT_REPLY, tag, body, OK))

    def on_call(self, flags: int, tag: int, body: bytes) -> None:
        found = strings(body, 6)
        method, token = found[3].decode(), found[5]
        self.seen.begin(method)
        self.owed[method] = self.owed.get(method, 0) + 1
        if method == "mute":
            return
        if method == "callback":
            self.transport.write(frame(CALL, tag, body))
        elif method == "readonly":
            self.transport.write(frame(EVENT, 9, b"\x01R"))
        if method == "slow" and self.hold.holds:
            self.hold.calls.append(partial(self.answer, method, tag, token))
            return
        if method in ("slow", "readonly"):
            self.loop.call_later(self.orders.get("slow", 0.05), self.answer, method, tag, token)
            return
        self.ready.append((method, tag, token))
        if len(self.ready) == 1:
            self.loop.call_later(SHUFFLE, self.answer_all)

    def answer_all(self) -> None:
        ready, self.ready = self.ready, []
        self.random.shuffle(ready)
        keep = self.random.randrange(len(ready)) // 2  # some of them later than those that come after
        self.ready = ready[:keep]
        if keep:
            self.loop.call_later(SHUFFLE, self.answer_all)
        out = []
        for method, tag, token in ready[keep:]:
            self.finish(method)
            if method == "big":
                out.append(frame(0x02, tag, b"\x91" + token * (self.orders["big"] // len(token)), OK))
            else:
                out.append(reply(tag, token))
        self.transport.write(b"".join(out))

    def answer(self, method: str, tag: int, token: bytes) -> None:
        if not self.transport.is_closing():
            self.finish(method)
            self.transport.write(reply(tag, token))

    def finish(self, method: str) -> None:
        self.owed[method] -= 1
        self.seen.end(method)

    def connection_lost(self, error: Exception | None) -> None:
        self.seen.open -= 1
        for method, number in self.owed.items():
            self.seen.now[method] -= number
        self.owed = {}
        self.ready = []


async def main() -> None:
    raise_descriptor_limit()
    orders = take_orders()
    seen, shuffled = Seen(), random.Random(orders.get("seed", 1))
    hold = Hold(orders.get("holds", False))
    loop = asyncio.get_running_loop()
    await loop.create_server(
        lambda: Provider(orders, seen, shuffled, hold),
        sock=socket.socket(fileno=orders["fd"]),
        backlog=4096,
    )
    ended = loop.create_future()

    def on_order() -> None:
        if order := sys.stdin.buffer.readline():
            if b"release" in order:
                hold.release()
            say(vars(seen))
        elif not ended.done():
            ended.set_result(None)

    loop.add_reader(0, on_order)
    say("ready")
    await ended
    say(vars(seen))


if __name__ == "__main__":
    uvloop.run(main())
