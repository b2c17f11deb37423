"""One redis-server per file of tests, and one muxproxy before it with the defaults, for who asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.proxy import Proxy
from tests.system.redis.proxied import proxied
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
