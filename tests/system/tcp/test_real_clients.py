"""Clients of protocols that muxproxy does not speak, through `tcp` as direct: redis-cli, memcached, psql."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.system.process import needs, tool, wait_for
from tests.system.proxy import Proxy
from tests.system.sockdiag import Sampler
from tests.system.tcp.daemons import Daemon, Memcached, Postgres, Redis

BOUND = 16


@contextmanager
def proxied(server: Daemon, **upstream: Any) -> Iterator[Proxy]:
    """In front of it; its sockets never exceed the bound."""
    with (
        Proxy(
            server.address,
            protocol="tcp",
            upstream={"max_connections": BOUND} | upstream,
            queue={"timeout": "30s"},
        ) as proxy,
        Sampler(server.address) as sampler,
    ):
        yield proxy
        tally = sampler.result()
        assert 1 <= tally.held <= BOUND, tally


def says(*command: str | int, given: str | bytes = b"") -> bytes:
    """All that it printed; it must end well."""
    data = given.encode() if isinstance(given, str) else given
    words = [tool(str(command[0])), *map(str, command[1:])]
    done = subprocess.run(words, input=data, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


@needs("redis-cli")
@needs("redis-server")
def test_redis_cli_says_the_same_as_direct() -> None:
    script = """
        FLUSHALL\nSET a 1\nINCR a\nGET a\nMULTI\nSET b x\nLPUSH l 1 2 3\nEXEC\nLRANGE l 0 -1\nBLPOP none 0.05
        WATCH a\nSELECT 1\nDBSIZE\nEVAL "return {KEYS[1],ARGV[1]}" 1 k v\nNOSUCH\nSUBSCRIBE\nPING\n
    """
    with Redis() as redis, proxied(redis, min_connections=2) as proxy:
        direct = says("redis-cli", "-h", redis.host, "-p", redis.port, given=script)
        assert says("redis-cli", "-h", proxy.host, "-p", proxy.port, given=script) == direct
        assert b"unknown command" in direct
        commands = b"".join(b"SET key:%d %d\r\n" % (number, number) for number in range(20_000))
        told = says("redis-cli", "-h", proxy.host, "-p", proxy.port, "--pipe", given=commands)
        assert b"errors: 0, replies: 20000" in told
        assert says("redis-cli", "-h", redis.host, "-p", redis.port, "DBSIZE").strip() == b"20003"
        assert set(proxy.outcomes()) == {"ok"}


@needs("redis-cli")
@needs("redis-server")
def test_fifty_redis_clients_that_connect_for_each_command_queue_for_sixteen_places() -> None:
    with Redis() as redis, proxied(redis, min_connections=4) as proxy:
        load = ["-c", 50, "-n", 3_000, "-k", 0, "-t", "set", "-q"]
        told = says("redis-benchmark", "-h", proxy.host, "-p", proxy.port, *load)
        assert b"requests per second" in told
        wait_for(lambda: proxy.backend()["clients"] == 0, within=10, what="the last session's end")
        assert set(proxy.outcomes()) == {"ok"}
        assert proxy.outcomes()["ok"] >= 3_000


@needs("memccapable")
@needs("memcached")
def test_memcached_passes_its_own_conformance_test() -> None:
    with Memcached() as memcached, proxied(memcached) as proxy:
        direct = says("memccapable", "-h", memcached.host, "-p", memcached.port)
        assert says("memccapable", "-h", proxy.host, "-p", proxy.port) == direct
        assert b"All tests passed" in direct


@needs("memccp")
@needs("memcached")
def test_files_go_into_memcached_and_come_out_as_they_were(tmp_path: Path) -> None:
    with Memcached() as memcached, proxied(memcached) as proxy:
        servers = f"--servers={proxy.address}"
        for size in (0, 1, 1_000, 900_000):
            path = tmp_path / f"file-{size}"
            path.write_text("0123456789" * (size // 10) + "x" * (size % 10))
            says("memccp", servers, path)
            assert says("memccat", servers, path.name).decode().removesuffix("\n") == path.read_text()
        says("memcslap", servers, "--concurrency=40", "--execute-number=50", "--test=set")


def psql(where: Daemon | Proxy, sql: str, given: bytes = b"") -> bytes:
    address = ["-h", where.host, "-p", where.port, "-U", "postgres", "-d", "postgres"]
    return says("psql", "-X", "-v", "ON_ERROR_STOP=1", "-At", *address, "-c", sql, given=given)


@needs("psql")
def test_psql_copies_megabytes_in_and_out() -> None:
    with Postgres() as postgres, proxied(postgres, min_connections=2) as proxy:
        rows = b"".join(b"%d\t%s\n" % (number, b"row " * 20) for number in range(40_000))
        psql(proxy, "CREATE TABLE t (n int, words text)")
        assert psql(proxy, "COPY t FROM STDIN", given=rows) == b"COPY 40000\n"
        assert psql(proxy, "COPY (SELECT * FROM t ORDER BY n) TO STDOUT") == rows
        counted = "SELECT count(*), sum(n), md5(string_agg(words, ',' ORDER BY n)) FROM t"
        assert psql(proxy, counted) == psql(postgres, counted)
        assert set(proxy.outcomes()) == {"ok"}


@needs("psql")
def test_forty_clients_of_postgresql_that_connect_for_each_transaction_queue_for_sixteen_places() -> None:
    """Direct, PostgreSQL would refuse some: it takes fewer than forty."""
    with Postgres() as postgres, proxied(postgres) as proxy:
        bench = ["-h", proxy.host, "-p", proxy.port, "-U", "postgres", "postgres"]
        says("pgbench", "-i", "-q", *bench)
        # A thread each: with one for all, the seventeenth connect would stop the sixteen that it waits for.
        told = says("pgbench", "-n", "-S", "-C", "-c", 40, "-j", 40, "-t", 10, *bench)
        assert b"number of transactions actually processed: 400/400" in told
        assert b"number of failed transactions: 0" in told
