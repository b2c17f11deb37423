"""The pool of the second incident: 500 workers that open, use and close. Direct it leaves thousands of
TIME_WAITs towards Redis; through muxproxy none."""

from __future__ import annotations

import asyncio

import redis.asyncio as aioredis

from tests.sizes import size
from tests.system.redis.proxied import proxied
from tests.system.redis.server import RedisServer
from tests.system.sockdiag import SockDiag

WORKERS = 500
ROUNDS = size(2, 6)


async def open_use_close(host: str, port: int) -> list[str]:
    """What went wrong."""
    wrong: list[str] = []

    async def worker(number: int) -> None:
        for turn in range(ROUNDS):
            try:
                async with aioredis.Redis(
                    host=host,
                    port=port,
                    db=number % 4,
                    single_connection_client=True,
                    socket_timeout=20,
                ) as client:
                    await client.set(f"worker:{number}", turn)
                    if (got := await client.get(f"worker:{number}")) != b"%d" % turn:
                        wrong.append(f"worker {number} read {got!r}")
            except Exception as error:
                wrong.append(repr(error))

    await asyncio.gather(*(worker(number) for number in range(WORKERS)))
    return wrong


def time_waits(server: RedisServer) -> int:
    with SockDiag() as kernel:
        return len(kernel.sockets(server.address, states=("TIME_WAIT",)))


def test_500_workers_that_open_use_and_close_leave_no_time_wait_towards_redis(clean: RedisServer) -> None:
    server = clean
    with proxied(server, clients={"backlog": 1024}) as proxy:
        assert asyncio.run(open_use_close(proxy.host, proxy.port)) == []
        assert time_waits(server) == 0
        connects = proxy.backend()["connects"]
        assert connects <= 8, "the pool does not churn"
    # Direct, as it was before: so the count above can see what it looks for.
    assert asyncio.run(open_use_close(server.host, server.port)) == []
    assert time_waits(server) > WORKERS
