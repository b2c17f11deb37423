"""muxproxy before a redis-server: eight sockets and no more, and a story told direct and through it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from tests.system.proxy import Proxy
from tests.system.redis.server import RedisServer
from tests.system.sockdiag import Sampler

BOUND = 8
T = TypeVar("T")


def proxy_to(server: RedisServer, **tables: Any) -> Proxy:
    tables["upstream"] = {"max_connections": BOUND} | tables.get("upstream", {})
    return Proxy(server.address, protocol="redis", **tables)


@contextlib.contextmanager
def proxied(server: RedisServer, **tables: Any) -> Iterator[Proxy]:
    """A proxy whose sockets the kernel's list never shows to be more than its bound (P1)."""
    with proxy_to(server, **tables) as proxy, Sampler(server.port) as sampler:
        yield proxy
        tally = sampler.result()
        bound = tables.get("upstream", {}).get("max_connections", BOUND)
        assert 1 <= tally.held <= bound, tally


def assert_same(server: RedisServer, proxy: Proxy, scenario: Callable[[str, int], T]) -> T:
    """The scenario ends alike direct and through muxproxy."""
    server.flush()
    direct = scenario(server.host, server.port)
    assert direct, "a scenario that tells nothing compares nothing"
    server.flush()
    with telling(proxy):
        assert scenario(proxy.host, proxy.port) == direct
    return direct


@contextlib.contextmanager
def telling(proxy: Proxy) -> Iterator[None]:
    """For a proxy that several tests share: the one that fails shows its log."""
    before = len(proxy.log())
    try:
        yield
    except BaseException:
        print(f"muxproxy's log:\n{proxy.log()[before:][-5000:]}")
        raise
