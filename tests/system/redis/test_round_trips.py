"""What client libraries say first costs no round trip more than direct, and no connection alone."""

from __future__ import annotations

import pytest

from tests.system.redis.proxied import proxied
from tests.system.redis.server import RedisServer
from tests.system.redis.test_handshakes import LIBRARIES


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_handshake_costs_no_round_trip_more_than_direct(clean: RedisServer, library: str) -> None:
    """Beyond the first of its kind: each command that the server sees is one of the client's, or its wait for
    one of ours."""

    def cost(host: str, port: int) -> int:
        def done() -> int:
            told = clean.info("commandstats").items()
            return sum(
                int(stats.split("calls=")[1].split(",")[0]) for name, stats in told if name[8:] != "info"
            )

        before = done()
        LIBRARIES[library](host, port)
        return done() - before

    direct = cost(clean.host, clean.port)
    with proxied(clean) as proxy:
        cost(proxy.host, proxy.port)
        assert 0 < cost(proxy.host, proxy.port) < direct
        assert proxy.backend()["pinned"] == {}
