"""Bad input gets Redis's own words, and a closed connection: byte by byte what the server itself answers."""

from __future__ import annotations

import pytest

from tests.system.proxy import Proxy
from tests.system.redis.proxied import Pair, telling
from tests.system.redis.wire import Wire, command

ON_ALL_SERVERS = True

CASES = {
    "a count that is no number": b"*x\r\n",
    "a count that is empty": b"*\r\n",
    "a count too large": b"*99999999999\r\n",
    "a count of 2^31": b"*2147483648\r\n",
    "a count with a sign": b"*+1\r\n$4\r\nPING\r\n",
    "a count that never ends": b"*" + b"1" * 70_000,
    "no dollar": b"*1\r\n:1\r\n",
    "no dollar, not printable": b"*1\r\n\x01PING\r\n",
    "a length that is no number": b"*1\r\n$x\r\n",
    "a length that is negative": b"*1\r\n$-1\r\n",
    "a length that is empty": b"*1\r\n$\r\n",
    "a length too large": b"*1\r\n$536870913\r\n",
    "a length that never ends": b"*1\r\n$" + b"1" * 70_000,
    "an inline command that never ends": b"x" * 70_000,
    "quotes that do not match": b'SET a "b\r\n',
    "single quotes that do not match": b"GET 'a\r\n",
    "good ones before a bad one": command("PING") + command("SET", "a", 1) + b"*1\r\n:1\r\n",
    "a good one behind a bad one": b"*1\r\n:1\r\n" + command("PING"),
    "http post": b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
}


def conversation(address: str, data: bytes) -> bytes:
    """All that is answered, to the end."""
    with Wire(address) as wire:
        wire.send(data)
        return wire.rest()


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_resp_is_answered_as_redis_answers_it(pair: Pair, case: str) -> None:
    direct = conversation(pair.direct.address, CASES[case])
    with telling(pair.proxy):
        assert conversation(pair.proxy.address, CASES[case]) == direct


def test_quotes_with_something_behind_are_an_error_as_in_redis(pair: Pair, make: str) -> None:
    """To a Valkey 9 "b"c is one word, bc."""
    data = b'SET a "b"c\r\n'
    refused = b"-ERR Protocol error: unbalanced quotes in request\r\n"
    assert conversation(pair.direct.address, data + command("QUIT")) == (
        b"+OK\r\n+OK\r\n" if make == "valkey" else refused
    )
    with telling(pair.proxy):
        assert conversation(pair.proxy.address, data) == refused


ODD = {
    "empty lines": b"\r\n\r\nPING\r\n",
    "empty arrays": b"*0\r\n*-1\r\n*-5\r\n" + command("PING"),
    "no carriage return": b"PING\n",
    "quotes": b"SET \"a\\x41\\n\" 'it\\'s'\r\n" + command("GET", "aA\n"),
    "spaces": b"  ECHO   word  \r\n",
    "an empty argument": command("ECHO", b""),
    "RESP in an argument": command("ECHO", b"\r\n$5\r\n*1\r\n"),
    "leading zeros": b"*2\r\n$4\r\nECHO\r\n$003\r\nabc\r\n",
    "a large argument": command(b"ECHO", b"x" * 200_000),
    "many arguments": command(*["EXISTS"] + ["a"] * 50_000),
}


@pytest.mark.parametrize("case", ODD)
def test_what_is_odd_and_yet_right_is_answered_alike(pair: Pair, case: str) -> None:
    data = ODD[case] + command("QUIT")
    direct = conversation(pair.direct.address, data)
    with telling(pair.proxy):
        assert conversation(pair.proxy.address, data) == direct


def test_a_client_that_leaves_in_the_middle_of_a_command_disturbs_nobody(proxy: Proxy) -> None:
    with Wire(proxy.address) as other:
        for data in (b"*3\r\n$3\r\nSET", command("SET", "cut", b"x" * 300_000)[:-10]):
            with Wire(proxy.address) as wire:
                wire.send(data)
                assert other.ask("PING") == b"+PONG\r\n"
            assert other.ask("ECHO", "still here") == b"$10\r\nstill here\r\n"
        assert other.ask("EXISTS", "cut") == b":0\r\n"
