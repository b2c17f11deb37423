"""What programs do with redis-py's asyncio client; `scenarios.py` says the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import redis.asyncio as aioredis
from redis.exceptions import ResponseError, WatchError

Make = Callable[..., Any]  # redis-py's own annotations mix sync and async results
Story = list[Any]
Scenario = Callable[[Make], Awaitable[Story]]


async def run(scenario: Scenario, host: str, port: int, protocol: int) -> Story:
    async with AsyncExitStack() as stack:

        def make(**options: Any) -> Any:
            client = aioredis.Redis(host=host, port=port, protocol=protocol, socket_timeout=30, **options)
            stack.push_async_callback(client.aclose)
            return client

        return await scenario(make)


async def many_at_once(make: Make) -> Story:
    """A pool of 50 connections for 200 coroutines."""
    client = make(max_connections=300)

    async def one(number: int) -> list[Any]:
        await client.set(f"key{number}", number)
        pipe = client.pipeline(transaction=number % 2 == 0)
        pipe.incr(f"key{number}").get(f"key{number}").hset(f"hash{number}", "field", number)
        return [await client.get(f"key{number}"), await pipe.execute(), await client.hgetall(f"hash{number}")]

    return list(await asyncio.gather(*(one(number) for number in range(200))))


async def transactions(make: Make) -> Story:
    client, other = make(), make()
    told: Story = []
    await client.set("balance", 10)
    for disturb in (False, True):
        async with client.pipeline() as pipe:
            await pipe.watch("balance")
            balance = int(await pipe.get("balance"))
            if disturb:
                await other.set("balance", 1000)
            pipe.multi()
            try:
                told.append(await pipe.set("balance", balance + 1).get("balance").execute())
            except WatchError as error:
                told.append(str(error))
    try:
        async with client.pipeline() as pipe:
            await pipe.set("a", 1).execute_command("GET").execute()
    except ResponseError as error:
        told.append(str(error))
    told.append(await client.get("a"))
    return told


async def locks_and_lua(make: Make) -> Story:
    client = make()

    async def count() -> None:
        for _ in range(5):
            async with client.lock("lock", timeout=20, sleep=0.005):
                await client.set("counted", int(await client.get("counted") or 0) + 1)

    await asyncio.gather(*(count() for _ in range(5)))
    script = client.register_script("return {KEYS[1], redis.call('INCR', KEYS[1])}")
    return [await client.get("counted"), await script(keys=["n"]), await script(keys=["n"])]


async def blocking_queue(make: Make) -> Story:
    client = make()

    async def work() -> list[bytes]:
        taken = []
        while (job := await client.blpop(["jobs", "ends"], timeout=20))[0] == b"jobs":
            taken.append(job[1])
        return taken

    workers = asyncio.gather(*(work() for _ in range(3)))
    for number in range(60):
        await client.rpush("jobs", number)
    await client.rpush("ends", 1, 2, 3)
    taken = await workers
    return [
        sorted(job for jobs in taken for job in jobs),
        await client.brpop("never", timeout=0.05),
        await client.xread({"stream": "$"}, block=20),
    ]


async def pub_sub(make: Make) -> Story:
    client = make()
    async with client.pubsub() as feed:
        await feed.subscribe("news", "sport")
        await feed.psubscribe("s*")
        told: Story = [await message(feed) for _ in range(3)]
        await client.publish("news", "one")
        await client.publish("sport", "two")
        told += [await message(feed) for _ in range(3)]
        # One by one: without names the server takes the order of its hash table, which no two servers share.
        await feed.unsubscribe("news")
        await feed.unsubscribe("sport")
        told += [await message(feed) for _ in range(2)]
        await client.publish("sport", "three")
        told.append(await message(feed))
        await feed.punsubscribe()
        told.append(await message(feed))
    return told


async def message(feed: Any) -> Any:
    async with asyncio.timeout(10):
        while (found := await feed.get_message(timeout=1.0)) is None:
            pass
    return {key: value for key, value in found.items() if value is not None}


async def databases(make: Make) -> Story:
    clients = [make(db=db) for db in range(4)]
    for client in clients:
        await client.set("key", client.connection_pool.connection_kwargs["db"])
    return list(await asyncio.gather(*(client.get("key") for client in clients)))


ALL: tuple[Scenario, ...] = (
    many_at_once,
    transactions,
    locks_and_lua,
    blocking_queue,
    pub_sub,
    databases,
)
