"""redis-py, sync and asyncio, RESP2 and RESP3, with its own parser and with hiredis: the same as direct.

Every scenario runs against the server itself first; muxproxy may make no difference that the client sees.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import redis
from redis._parsers import _HiredisParser, _RESP2Parser, _RESP3Parser

from tests.system.redis import scenarios, scenarios_async
from tests.system.redis.proxied import Pair

ON_ALL_SERVERS = True

PARSERS = {
    "resp2-python": (2, _RESP2Parser),
    "resp2-hiredis": (2, _HiredisParser),
    "resp3-python": (3, _RESP3Parser),
    "resp3-hiredis": (3, _HiredisParser),
}


@pytest.mark.parametrize("scenario", scenarios.ALL, ids=lambda scenario: scenario.__name__)
@pytest.mark.parametrize("parser", PARSERS)
def test_a_program_that_uses_redis_py_sees_no_difference(
    pair: Pair, parser: str, scenario: Callable[[scenarios.Make], scenarios.Story]
) -> None:
    protocol, parser_class = PARSERS[parser]

    def run(host: str, port: int) -> scenarios.Story:
        with ExitStack() as stack:

            def make(**options: Any) -> redis.Redis:
                pool = redis.ConnectionPool(
                    host=host,
                    port=port,
                    protocol=protocol,
                    parser_class=parser_class,
                    socket_timeout=30,
                    **options,
                )
                stack.callback(pool.disconnect)
                return redis.Redis(connection_pool=pool)

            return scenario(make)

    pair.assert_same(run)


@pytest.mark.parametrize("scenario", scenarios_async.ALL, ids=lambda scenario: scenario.__name__)
@pytest.mark.parametrize("protocol", [2, 3], ids=["resp2", "resp3"])
def test_a_program_that_uses_redis_py_with_asyncio_sees_no_difference(
    pair: Pair, protocol: int, scenario: scenarios_async.Scenario
) -> None:
    pair.assert_same(lambda host, port: asyncio.run(scenarios_async.run(scenario, host, port, protocol)))
