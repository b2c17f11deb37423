"""redis-cli and redis-benchmark (hiredis in C underneath), run their usual ways: the same as direct."""

from __future__ import annotations

import subprocess

import pytest

from tests.sizes import size
from tests.system.process import tool
from tests.system.proxy import Proxy
from tests.system.redis.proxied import Pair, telling
from tests.system.redis.wire import command

SESSION = """\
SET key "a value"
GET key
SELECT 3
GET key
SET key three
SELECT 0
GET key
INCR key
MULTI
SET key 1
INCR key
EXEC
MULTI
NOSUCH
EXEC
WATCH key
MULTI
GET key
EXEC
HSET hash f1 1 f2 2
HGETALL hash
ZADD zset 1.5 one
ZSCORE zset one
RPUSH list a b c
LRANGE list 0 -1
BLPOP list 1
BLPOP nothing 0.01
EVAL "return {1,{2,'three'},redis.error_reply('MINE four')}" 0
CLIENT SETNAME me
CLIENT GETNAME
CLIENT NO-EVICT ON
DEBUG SLEEP
ECHO "x y"
PING
RESET
PING token
"""
# DEBUG is refused by default; everything else is the server's own word.
REFUSED = "NOPERM muxproxy"


def cli(host: str, port: int, *arguments: str, stdin: bytes = b"", within: float = 60) -> str:
    done = subprocess.run(
        [tool("redis-cli"), "-h", host, "-p", str(port), *arguments],
        input=stdin,
        capture_output=True,
        timeout=within,
        check=False,
    )
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout.decode()


@pytest.mark.parametrize("options", [[], ["-3"], ["--csv"], ["--json", "-3"]], ids=" ".join)
def test_a_session_typed_into_redis_cli_reads_the_same(pair: Pair, options: list[str]) -> None:
    def run(host: str, port: int) -> list[str]:
        output = cli(host, port, *options, stdin=SESSION.encode())
        return [line for line in output.splitlines() if "DEBUG" not in line and REFUSED not in line]

    told = pair.assert_same(run)
    assert len(told) > 30


def test_redis_cli_repeats_selects_and_takes_a_value_from_its_input(pair: Pair) -> None:
    def run(host: str, port: int) -> list[str]:
        return [
            cli(host, port, "-r", "200", "INCR", "counter"),
            cli(host, port, "-n", "5", "-r", "3", "-i", "0.01", "LPUSH", "list", "x"),
            cli(host, port, "-n", "5", "-x", "SET", "blob", stdin=b"\x00\xff" * 50_000),
            cli(host, port, "-n", "5", "STRLEN", "blob"),
            cli(host, port, "EXISTS", "blob"),
            cli(host, port, "--scan", "--pattern", "c*"),
        ]

    pair.assert_same(run)


def test_redis_cli_pipe_loads_in_bulk_and_counts_every_reply(pair: Pair) -> None:
    load = b"".join(command("SET", f"key{number}", f"value{number}") for number in range(20_000))
    load += b"SET inline value\r\n" + command("INCR", "inline")

    def run(host: str, port: int) -> list[str]:
        # --pipe ends with an ECHO of 20 random bytes, whose reply must be the last.
        output = subprocess.run(
            [tool("redis-cli"), "-h", host, "-p", str(port), "--pipe"],
            input=load,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return [output.stdout.decode().splitlines()[-1], cli(host, port, "DBSIZE")]

    assert pair.assert_same(run) == ["errors: 1, replies: 20002", "20001\n"]


def test_redis_cli_subscribes_and_prints_what_is_published(pair: Pair) -> None:
    def run(host: str, port: int) -> list[str]:
        listener = subprocess.Popen(
            [tool("redis-cli"), "-h", host, "-p", str(port), "SUBSCRIBE", "news"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert listener.stdout is not None
            lines = []
            while not lines or not lines[-1].endswith("1\n"):
                lines.append(listener.stdout.readline())
            cli(host, port, "PUBLISH", "news", "hello")
            lines += [listener.stdout.readline() for _ in range(3)]
            return lines
        finally:
            listener.kill()
            listener.wait()
            assert listener.stdout is not None
            listener.stdout.close()

    pair.assert_same(run)


def test_redis_benchmark_runs_to_its_end_without_an_error(proxy: Proxy) -> None:
    requests = str(size(2_000, 10_000))
    with telling(proxy):
        for options in (["-P", "16"], ["-3", "-c", "200"]):
            done = subprocess.run(
                [
                    *(tool("redis-benchmark"), "-h", proxy.host, "-p", str(proxy.port)),
                    *("-n", requests, "-r", "1000", "-t", "set,get,incr,lpush,hset,mset", "--csv", *options),
                ],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, (done.stdout, done.stderr)
            assert b"rror" not in done.stdout + done.stderr
            assert len(done.stdout.splitlines()) == 7
