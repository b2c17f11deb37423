"""1,000 subscribers and 50 blocked poppers in one process (the child of `test_fan_out.py`).

Every message is numbered in its channel: a subscriber's channel is right when it got 0, 1, 2 ... to the last,
in this order, once each. Orders come line by line: "subscribe", "block", "publish", "pop".
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import hiredis
import uvloop

from tests.system.process import raise_descriptor_limit, say, take_orders
from tests.system.redis.wire import command


@dataclass
class Plan:
    host: str
    port: int
    subscribers: int = 1000
    channels: int = 100
    poppers: int = 50
    messages: int = 20  # to each channel
    within: float = 40.0  # seconds for each order


class Client(asyncio.Protocol):
    """Sends, and keeps what comes."""

    def __init__(self) -> None:
        self.reader = hiredis.Reader()
        self.got: list[Any] = []
        self.wanted = 0
        self.complete = asyncio.Event()
        self.error = ""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def send(self, data: bytes, wanted: int) -> None:
        """`wanted`: replies and messages that will come from now on."""
        self.wanted += wanted
        self.complete.clear()
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)
        while (reply := self.reader.gets()) is not False:
            self.got.append(list(reply) if isinstance(reply, list) else reply)
        if len(self.got) >= self.wanted:
            self.complete.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = f"closed: {exc}"
        self.complete.set()

    def take(self, name: str) -> list[Any]:
        """What has come; an error if it is not as much as wanted."""
        got, self.got, wanted, self.wanted = self.got, [], self.wanted, 0
        if self.error or len(got) != wanted:
            raise AssertionError(f"{name} got {len(got)} of {wanted}: {got[:3]} {self.error}")
        return got


class Crowd:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.subscribers: list[Client] = []
        self.poppers: list[Client] = []
        self.publishers: list[Client] = []

    def channels(self, number: int) -> list[bytes]:
        """Those that subscriber `number` listens to."""
        chosen = {number, number * 7 + 1, number * 13 + 5}
        return sorted({b"channel:%02d" % (one % self.plan.channels) for one in chosen})

    def pattern(self, number: int) -> bytes | None:
        """One in ten listens to ten channels besides."""
        return b"channel:%d?" % (number // 10 % 10) if number % 10 == 0 else None

    async def do_subscribe(self) -> None:
        self.subscribers = await self.connect(self.plan.subscribers)
        for number, client in enumerate(self.subscribers):
            channels, pattern = self.channels(number), self.pattern(number)
            data = command("HELLO", 3) if number % 2 else b""
            data += command("SUBSCRIBE", *channels)
            if pattern:
                data += command("PSUBSCRIBE", pattern)
            client.send(data, (number % 2) + len(channels) + (pattern is not None))
        for number, client in enumerate(await self.all(self.subscribers)):
            acks = client.take(f"subscriber {number}")[number % 2 :]
            names = self.channels(number)
            wanted = [[b"subscribe", name, count + 1] for count, name in enumerate(names)]
            if pattern := self.pattern(number):
                wanted.append([b"psubscribe", pattern, len(names) + 1])
            assert acks == wanted, f"subscriber {number}: {acks}"

    async def do_block(self) -> None:
        """Each waits for a list of its own."""
        self.poppers = await self.connect(self.plan.poppers)
        for number, client in enumerate(self.poppers):
            client.send(command("BLPOP", f"list:{number}", f"other:{number}", 0), 1)

    async def do_publish(self) -> None:
        """Ten publishers, each to ten channels, all at once."""
        self.publishers = await self.connect(10)
        for number, client in enumerate(self.subscribers):
            heard = len(self.channels(number)) + (10 if self.pattern(number) else 0)
            client.send(b"", heard * self.plan.messages)
        for number, client in enumerate(self.publishers):
            own = [one for one in range(self.plan.channels) if one % 10 == number]
            data = b"".join(
                command("PUBLISH", b"channel:%02d" % one, serial)
                for serial in range(self.plan.messages)
                for one in own
            )
            client.send(data, self.plan.messages * len(own))
        for client in await self.all(self.publishers):
            assert all(isinstance(reply, int) and reply >= 1 for reply in client.take("a publisher"))
        for number, client in enumerate(await self.all(self.subscribers)):
            self.judge(number, client.take(f"subscriber {number}"))

    def judge(self, number: int, messages: Iterable[list[bytes]]) -> None:
        heard: defaultdict[tuple[bytes, ...], list[int]] = defaultdict(list)
        for message in messages:
            heard[tuple(message[:-1])].append(int(message[-1]))
        wanted = {(b"message", channel) for channel in self.channels(number)}
        if pattern := self.pattern(number):
            ten = [pattern.replace(b"?", b"%d" % last) for last in range(10)]
            wanted |= {(b"pmessage", pattern, channel) for channel in ten}
        assert set(heard) == wanted, f"subscriber {number} heard {sorted(heard)}"
        for channel, serials in heard.items():
            assert serials == list(range(self.plan.messages)), f"subscriber {number}, {channel}: {serials}"

    async def do_pop(self) -> None:
        """The last first: one that waits for a place upstream is not passed over for ever."""
        for number in reversed(range(self.plan.poppers)):
            self.publishers[0].send(command("RPUSH", f"list:{number}", f"for {number}"), 1)
        for number, client in enumerate(await self.all(self.poppers)):
            got = client.take(f"popper {number}")
            assert got == [[b"list:%d" % number, b"for %d" % number]], f"popper {number}: {got}"

    async def connect(self, number: int) -> list[Client]:
        loop = asyncio.get_running_loop()
        pairs = await asyncio.gather(
            *(loop.create_connection(Client, self.plan.host, self.plan.port) for _ in range(number))
        )
        return [client for _, client in pairs]

    async def all(self, clients: list[Client]) -> list[Client]:
        """When everything that is wanted has come, or the time is up."""
        waiting = [asyncio.ensure_future(client.complete.wait()) for client in clients if client.wanted]
        _, late = await asyncio.wait(waiting, timeout=self.plan.within)
        for one in late:
            one.cancel()
        return clients


async def work(plan: Plan) -> None:
    """The answer to each order: "" or what went wrong."""
    crowd = Crowd(plan)
    orders: asyncio.Queue[bytes] = asyncio.Queue()
    asyncio.get_running_loop().add_reader(0, lambda: orders.put_nowait(sys.stdin.buffer.readline()))
    say("ready")
    while order := await orders.get():
        try:
            await getattr(crowd, "do_" + order.decode().strip().strip('"'))()
            say("")
        except Exception as error:
            say(repr(error)[:2000])
    for client in crowd.subscribers + crowd.poppers + crowd.publishers:
        client.transport.abort()


def main() -> None:
    plan = Plan(**take_orders())
    raise_descriptor_limit()
    uvloop.run(work(plan))


if __name__ == "__main__":
    main()
