"""One redis-server per file of tests, one muxproxy before it, one server beside it: for who asks for them.

Files whose tests depend on what the server is say `ON_ALL_SERVERS = True` and run once per make (server.py);
the others run with Debian's Redis, at a full run (tests/sizes.py) with all of them, too.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sizes import is_full
from tests.system.proxy import Proxy
from tests.system.redis.proxied import Pair, proxied
from tests.system.redis.server import MAKES, RedisServer, all_of


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if is_full() or getattr(metafunc.module, "ON_ALL_SERVERS", False):
        metafunc.parametrize("make", MAKES, indirect=True, scope="module")


@pytest.fixture(scope="module", autouse=True)
def make(request: pytest.FixtureRequest) -> Iterator[str]:
    """Of every server in this file's tests."""
    name: str = getattr(request, "param", "redis-7")
    with all_of(name):
        yield name


@pytest.fixture(scope="module")
def server(namespace: None, make: str) -> Iterator[RedisServer]:
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
