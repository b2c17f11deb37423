"""One redis-server per file of tests, one muxproxy before it, one server beside it: for who asks for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.proxy import Proxy
from tests.system.redis.proxied import Pair, proxied
from tests.system.redis.server import RedisServer


@pytest.fixture(scope="module")
def server(namespace: None) -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def clean(server: RedisServer) -> RedisServer:
    """The same server without keys and scripts."""
    server.flush()
    return server


@pytest.fixture(scope="module")
def proxy(server: RedisServer) -> Iterator[Proxy]:
    """Never more than eight sockets to the server, whatever the file's tests do."""
    with proxied(server) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def pair(server: RedisServer, proxy: Proxy) -> Iterator[Pair]:
    with RedisServer() as other:
        yield Pair(other, server, proxy)
