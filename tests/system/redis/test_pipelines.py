"""Clients that write all of a pipeline before they read any of it, as redis-py and hiredis do: by TCP and by
unix socket, as many commands as they like (P5, P7).

`python -m tests.system.redis.test_pipelines` is the same at full size: 500,000 commands in one pipeline.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.system.proxy import Proxy
from tests.system.redis.proxied import proxied
from tests.system.redis.server import RedisServer

VALUE = b"v" * 200
commands = 30_000


@pytest.fixture(scope="module")
def both(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    path = tmp_path_factory.mktemp("sock") / "cache"
    with proxied(server, clients={"listen": ["127.0.0.1:0", f"unix:{path}"]}) as proxy:
        yield proxy


def connect(proxy: Proxy, kind: str) -> redis.Redis:
    if kind == "tcp":
        return redis.Redis(proxy.host, proxy.port, socket_timeout=60)
    listen = proxy.status()["backends"][proxy.name]["listen"]
    path = next(address for address in listen if address.startswith("unix:"))
    return redis.Redis(unix_socket_path=path.removeprefix("unix:"), socket_timeout=60)


def one_pipeline(client: redis.Redis, commands: int) -> float:
    """In seconds."""
    client.set("key", VALUE)
    with client.pipeline(transaction=False) as pipeline:
        for _ in range(commands):
            pipeline.get("key")
        before = time.monotonic()
        assert pipeline.execute() == [VALUE] * commands
        return time.monotonic() - before


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_pipeline_that_is_written_before_any_of_it_is_read(both: Proxy, kind: str) -> None:
    with connect(both, kind) as client:
        one_pipeline(client, commands)
    outcomes = both.outcomes()
    assert not {reason for reason in outcomes if outcomes[reason]} - {"ok", "local", "client_left"}


def test_beyond_pipeline_buffer_it_is_told_so_and_its_connection_lives(
    server: RedisServer, tmp_path: Path
) -> None:
    """By unix socket, whose kernel takes less of it than is beyond the bound: 15,000 commands, 300 kB, with
    refusals of 1.5 MB, which are less than a quarter of the bound."""
    bound, commands = 8 << 20, 55_000
    clients = {"listen": ["127.0.0.1:0", f"unix:{tmp_path}/cache"], "pipeline_buffer": f"{bound}B"}
    with proxied(server, clients=clients) as proxy, connect(proxy, "unix") as client:
        client.set("key", VALUE)
        with client.pipeline(transaction=False) as pipeline:
            for _ in range(commands):
                pipeline.get("key")
            replies = pipeline.execute(raise_on_error=False)
        told = [str(reply) for reply in replies if isinstance(reply, redis.ResponseError)]
        assert 0 < len(told) < commands
        assert all(text.startswith("OVERLOADED muxproxy: cache: ") for text in told)
        assert all(text.endswith(f"bytes of replies are unread, pipeline_buffer is {bound}") for text in told)
        assert replies.count(VALUE) + len(told) == commands
        assert client.get("key") == VALUE
        assert proxy.outcomes()["unread"] == len(told)


def main(commands: int = 500_000) -> None:
    with RedisServer() as server:
        path = "/tmp/muxproxy-pipelines.sock"
        with proxied(server, clients={"listen": ["127.0.0.1:0", f"unix:{path}"]}) as proxy:
            for kind in ("tcp", "unix"):
                with connect(proxy, kind) as client:
                    seconds = one_pipeline(client, commands)
                    print(f"{kind}: {commands} GETs in {seconds:.1f} s; {proxy.outcomes()}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
