"""Many destinations, most of them used once: each has its own reply, all of them one bound, and they go.

At a full run (tests/sizes.py) a thousand, and what a request to one of them takes beside one alone.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.sizes import is_full, size
from tests.system.process import needs, wait_for
from tests.system.proxy import memory
from tests.system.transparent.scene import held, led, run

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="the kernel's rules are root's"),
    needs("nft"),
    needs("ip"),
]
MANY = size(60, 1000)
ROUNDS = 20


def host(number: int) -> str:
    return f"10.78.{number // 250}.{number % 250 + 1}"


class Server(asyncio.Protocol):
    """At every address: says which it is."""

    open: ClassVar[set[Any]] = set()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.open.add(transport)
        self.name = transport.get_extra_info("sockname")[0].encode()

    def data_received(self, data: bytes) -> None:
        for _ in range(data.count(b"\r\n\r\n")):
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(self.name), self.name)
            )


@pytest.fixture(scope="module", autouse=True)
def places(namespace: None) -> Iterator[None]:
    run("ip", "addr", "add", "10.78.0.1/16", "dev", "lo")
    return


async def asks(numbers: list[int], rounds: int) -> list[float]:
    """A connection to each, and a request on each in turn. Returns how long each took."""
    ends = [await asyncio.open_connection(host(number), 80) for number in numbers]
    took = []
    for _ in range(rounds):
        for number, (reader, writer) in zip(numbers, ends, strict=True):
            began = time.perf_counter()
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
            body = await reader.readexactly(int(head.split(b"Content-Length: ")[1].split()[0]))
            took.append(time.perf_counter() - began)
            assert body == host(number).encode()
    for _, writer in ends:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for _, writer in ends))
    return took


async def scene(numbers: list[int], rounds: int) -> list[float]:
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("0.0.0.0", 80), backlog=1024)
    async with await loop.create_server(Server, sock=listener):
        took = await asks(numbers, rounds)
    for transport in Server.open:
        transport.abort()
    await asyncio.sleep(0)  # for the transports to close their sockets
    return took


def test_each_of_many_has_its_own_reply_and_is_forgotten_when_it_is_idle(tmp_path: Path) -> None:
    bounds = {"max_connections": MANY // 3, "idle_timeout": "1s"}
    with led(tmp_path, "http", ["10.78.0.0/16:80"], upstream=bounds) as proxy:
        (worker,) = proxy.workers()
        left = []
        for turn in (1, 2):
            asyncio.run(scene(list(range(MANY)), 1))
            assert sum(held(proxy, *(f"{host(number)}:80" for number in range(MANY))).values()) <= MANY // 3
            assert len(proxy.backend()["destinations"]) <= 21, "twenty by name, and the others"
            what = "they are forgotten"
            wait_for(lambda: proxy.backend()["destinations_known"] == 0, within=30, what=what, every=0.2)
            backend = proxy.backend()
            assert backend["destinations_forgotten"] == turn * MANY
            assert backend["outcomes"]["replied"]["ok"] == turn * MANY
            left.append(memory(worker))
        print(f"the second {MANY} destinations have left {(left[1] - left[0]) // 1024} KiB")
        assert left[1] - left[0] < 2 * 1024 * 1024, "it goes back"


@pytest.mark.alone
@pytest.mark.skipif(not is_full(), reason="it judges time: at a full run")
def test_a_request_to_one_of_many_takes_no_longer_than_to_one_alone(tmp_path: Path) -> None:
    with led(tmp_path, "http", ["10.78.0.0/16:80"], upstream={"max_connections": MANY}) as proxy:
        asyncio.run(scene(list(range(MANY)), 1))
        one = asyncio.run(scene([0] * MANY, ROUNDS))
        many = asyncio.run(scene(list(range(MANY)), ROUNDS))
        assert proxy.backend()["destinations_known"] == MANY
    p99 = [statistics.quantiles(each[MANY:], n=100)[98] for each in (one, many)]
    print(f"p99 one {p99[0] * 1e6:.0f} us, {MANY} destinations {p99[1] * 1e6:.0f} us")
    assert p99[1] <= 1.1 * p99[0] + 100e-6
