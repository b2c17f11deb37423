"""muxproxy before a redis-server: eight sockets and no more, and a story told direct and through it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
    with proxy_to(server, **tables) as proxy, Sampler(server.address) as sampler:
        yield proxy
        tally = sampler.result()
        bound = tables.get("upstream", {}).get("max_connections", BOUND)
        assert 1 <= tally.held <= bound, tally


@dataclass
class Pair:
    """Two servers alike, one of them behind muxproxy. Two, so that the sockets of the direct runs are not
    counted."""

    direct: RedisServer
    behind: RedisServer
    proxy: Proxy

    def assert_same(self, scenario: Callable[[str, int], T]) -> T:
        """The scenario ends alike direct and through muxproxy."""
        self.direct.flush()
        self.behind.flush()
        direct = scenario(self.direct.host, self.direct.port)
        assert direct, "a scenario that tells nothing compares nothing"
        with telling(self.proxy):
            through = scenario(self.proxy.host, self.proxy.port)
            assert through == direct, f"through muxproxy:\n{through}\ndirect:\n{direct}"
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
