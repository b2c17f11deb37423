"""The second incident's two sides, in processes of their own: a Redis that answers slowly, and an app whose
pool keeps few connections and opens one for every request beyond them.

Orders of the one: `serve` (HOST:PORT) and `delay`; ready when it listens. Of the other: `connect`
(HOST:PORT), `idle`, `callers` and `until`, what it must have got before it ends; its results are how often
it got what.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from typing import Any

from tests.system.process import say, take_orders

AGAIN = 0.02  # seconds before a caller that failed tries again
GET = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"


async def stdin_ends() -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()


async def serve(address: str, delay: float) -> dict[str, int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await asyncio.sleep(delay)
                writer.write(b"+OK\r\n" * data.count(b"*"))  # one for each command
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    host, _, port = address.rpartition(":")
    server = await asyncio.start_server(answer, host, int(port), backlog=1024)
    say("ready")
    await stdin_ends()
    server.close()
    return {}


async def churn(address: str, idle: int, callers: int, until: str) -> dict[str, int]:
    told: Counter[str] = Counter()
    has_got = asyncio.Event()
    host, _, port = address.rpartition(":")

    async def call() -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(GET)
                told["right" if await reader.readline() == b"+OK\r\n" else "wrong"] += 1
                writer.close()
                await writer.wait_closed()
            except OSError as error:
                told[error.strerror or str(error)] += 1
                await asyncio.sleep(AGAIN)
            if told[until]:
                has_got.set()

    kept = [await asyncio.open_connection(host, int(port)) for _ in range(idle)]
    calling = [asyncio.ensure_future(call()) for _ in range(callers)]
    say("ready")
    await stdin_ends()
    await has_got.wait()
    for each in calling:
        each.cancel()
    for _, writer in kept:
        writer.close()
    return dict(told)


def main(orders: dict[str, Any]) -> None:
    if "serve" in orders:
        say(asyncio.run(serve(orders["serve"], orders["delay"])))
    else:
        say(asyncio.run(churn(orders["connect"], orders["idle"], orders["callers"], orders["until"])))


if __name__ == "__main__":
    main(take_orders())
