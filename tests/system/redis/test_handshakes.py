"""What the newest client libraries say first, while nobody can have a connection alone: they need none."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest
import redis
from redis._parsers import _HiredisParser, _RESP2Parser, _RESP3Parser

from tests.system.process import node_modules, tool, wait_for
from tests.system.proxy import Proxy
from tests.system.redis.proxied import proxied
from tests.system.redis.server import RedisServer
from tests.system.redis.wire import Wire, command

ON_ALL_SERVERS = True
CLIENTS = 30
IOREDIS = """
const Redis = require("ioredis");
const client = new Redis({ host: HOST, port: PORT, db: 2, connectionName: "me", maxRetriesPerRequest: 0 });
client.get("a").then((got) => { console.log(JSON.stringify(got)); client.disconnect(); });
"""
NODE_REDIS = """
const { createClient } = require("redis");
const client = createClient({ socket: { host: HOST, port: PORT }, database: 2, RESP: 3, name: "me" });
client.connect().then(() => client.get("a")).then((got) => {
  console.log(JSON.stringify(got));
  client.destroy();
});
"""


def is_blocked(server: RedisServer) -> bool:
    return any("b" in client["flags"] for client in server.clients())


@contextmanager
def all_pins_taken(server: RedisServer) -> Iterator[Proxy]:
    with (
        proxied(server, upstream={"max_connections": 2, "max_pinned": 1}, queue={"timeout": "2s"}) as proxy,
        Wire(proxy.address) as blocked,
    ):
        blocked.send(command("BLPOP", "nothing", 0))
        wait_for(lambda: is_blocked(server), within=10, what="the only pin is taken")
        yield proxy


@pytest.mark.parametrize("resp", [2, 3])
def test_redis_py_needs_no_place(clean: RedisServer, resp: int) -> None:
    """It says HELLO, CLIENT MAINT_NOTIFICATIONS, CLIENT SETINFO twice, SELECT."""
    with all_pins_taken(clean) as proxy, ExitStack() as stack:

        def get(number: int) -> object:
            client = redis.Redis(host=proxy.host, port=proxy.port, protocol=resp, db=number % 4)
            stack.callback(client.close)
            return client.get("a")

        with ThreadPoolExecutor(CLIENTS) as threads:
            assert list(threads.map(get, range(CLIENTS))) == [None] * CLIENTS
        assert is_blocked(clean)


def test_a_subcommand_that_the_server_does_not_know_gets_its_own_error(clean: RedisServer) -> None:
    with all_pins_taken(clean) as proxy, Wire(proxy.address) as one, Wire(proxy.address) as other:
        for words in (("CLIENT", "MAINT_NOTIFICATIONS", "ON"), ("CLIENT", "NoSuch"), ("client", "nosuch", 1)):
            expected = clean.ask(*words)
            assert expected.startswith(b"-ERR unknown subcommand")
            assert [wire.ask(*words) for wire in (one, other, one)] == [expected] * 3
            assert one.pipeline(("SET", "a", 1), words, ("GET", "a")) == [
                b"+OK\r\n",
                expected,
                b"$1\r\n1\r\n",
            ]


def node_gets(package: str, program: str, host: str, port: int) -> None:
    node, modules = tool("node"), node_modules(package)
    done = subprocess.run(
        [node, "-e", program.replace("HOST", json.dumps(host)).replace("PORT", str(port))],
        env=os.environ | {"NODE_PATH": modules},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == (b"null", b"")


def redis_py_gets(protocol: int, parser: type[object], host: str, port: int) -> None:
    pool = redis.ConnectionPool(host=host, port=port, db=2, protocol=protocol, parser_class=parser)
    assert redis.Redis(connection_pool=pool).get("a") is None
    pool.disconnect()


NODE = {"ioredis": ("ioredis@5.11.1", IOREDIS), "node-redis": ("redis@6.3.1", NODE_REDIS)}
LIBRARIES = {name: partial(node_gets, *program) for name, program in NODE.items()} | {
    "redis-py": partial(redis_py_gets, 2, _RESP2Parser),
    "redis-py, RESP3": partial(redis_py_gets, 3, _RESP3Parser),
    "redis-py, hiredis": partial(redis_py_gets, 3, _HiredisParser),
}


@pytest.mark.parametrize("library", NODE)
def test_the_libraries_of_node_need_no_place(clean: RedisServer, library: str) -> None:
    with all_pins_taken(clean) as proxy:
        LIBRARIES[library](proxy.host, proxy.port)
