"""What may not be asked through a shared connection, and what an operator allows or denies."""

from __future__ import annotations

import pytest

from muxproxy.protocols.redis.commands.known import COMMANDS
from tests.system.process import wait_for
from tests.system.redis.proxied import proxied
from tests.system.redis.server import RedisServer
from tests.system.redis.wire import Wire, Word, command

REFUSED: tuple[tuple[Word, ...], ...] = (
    ("MONITOR",),
    ("SYNC",),
    ("PSYNC", "?", -1),
    ("REPLCONF", "ACK", 1),
    ("CLIENT", "TRACKING", "ON"),
    ("DEBUG", "SLEEP", 0),
    ("SHUTDOWN", "NOSAVE"),
)
# Flags, multi, sub, psub, name. In a transaction the flags are "x"; after one a Valkey still says multi=0.
UNTOUCHED = {("N", multi, "0", "0", "cache") for multi in ("-1", "0")}


def test_what_needs_a_connection_of_its_own_is_refused_and_the_client_goes_on(clean: RedisServer) -> None:
    with proxied(clean) as proxy, Wire(proxy.address) as wire:
        for words in REFUSED:
            told = wire.ask(*words)
            assert told.startswith(b"-NOPERM muxproxy: "), told
            assert str(words[0]).encode() in told.upper()
        replies = wire.pipeline(("SET", "a", 1), ("monitor",), ("GET", "a"))
        assert (replies[0], replies[2]) == (b"+OK\r\n", b"$1\r\n1\r\n")
        assert proxy.outcomes() == {"ok": 2, "denied": len(REFUSED) + 1}


def test_an_operator_allows_and_denies_by_command_and_subcommand(clean: RedisServer) -> None:
    lists = {"allow": ["debug"], "deny": ["flushall", "CONFIG|SET", "my.module"]}
    with proxied(clean, redis=lists) as proxy, Wire(proxy.address) as wire:
        assert wire.ask("DEBUG", "SLEEP", 0) == b"+OK\r\n"
        for words in (("FLUSHALL",), ("config", "set", "maxmemory", "0"), ("MY.MODULE", "x")):
            assert wire.ask(*words).startswith(b"-NOPERM muxproxy: "), words
        assert wire.ask("FLUSHDB") == b"+OK\r\n"
        assert wire.ask("CONFIG", "GET", "maxmemory") == b"*2\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n"


def test_the_servers_list_of_clients_says_whose_the_connections_are(clean: RedisServer) -> None:
    with proxied(clean) as proxy, Wire(proxy.address) as wire:
        assert wire.ask("CLIENT", "SETNAME", "mine") == b"+OK\r\n"
        assert wire.ask("SET", "a", 1) == b"+OK\r\n"
        assert {client["name"] for client in clean.clients()} == {"cache"}
        assert wire.ask("CLIENT", "GETNAME") == b"$4\r\nmine\r\n"


@pytest.mark.parametrize("protocol", [2, 3])
def test_muted_replies_never_come_and_those_after_them_do(clean: RedisServer, protocol: int) -> None:
    with proxied(clean) as proxy, Wire(proxy.address) as wire:
        wire.ask("HELLO", protocol)
        replies: tuple[tuple[Word, ...], ...] = (
            ("CLIENT", "REPLY", "OFF"),
            ("SET", "a", "x" * 100_000),
            ("GET", "a"),
            ("SELECT", 2),
            ("NOSUCHCOMMAND",),
            ("MONITOR",),
            ("CLIENT", "REPLY", "ON"),
            ("CLIENT", "REPLY", "SKIP"),
            ("SET", "b", 1),
            ("GET", "b"),
        )
        for words in replies[:-1]:
            wire.send(command(*words))
        assert wire.ask(*replies[-1]) == b"+OK\r\n"  # of REPLY ON
        assert wire.reply() == b"$1\r\n1\r\n"
        assert clean.ask("DBSIZE") == b":1\r\n"


@pytest.mark.parametrize("words", [("ON",), ("OFF",), ("x", "y")])
def test_no_command_leaves_anything_behind_on_a_shared_connection(
    clean: RedisServer, words: tuple[Word, ...]
) -> None:
    """Alone, and in a transaction in one write: afterwards other clients are served (P2), and the server has
    the connections as they were. PFSELFTEST: it takes a second."""
    names = [name for _, some in COMMANDS for name in some.split() if name != "pfselftest"]
    with proxied(clean, upstream={"max_connections": 2}) as proxy, Wire(proxy.address) as other:
        for name in names:
            one = command(*name.upper().split("|"), *words)
            for data in (one, command("MULTI") + one + command("EXEC")):
                with Wire(proxy.address) as wire:
                    wire.send(data + command("QUIT"))
                    wire.rest()
                assert other.ask("PING") == b"+PONG\r\n", data
            wait_for(lambda: states(clean) <= UNTOUCHED, within=10, what=name)


def states(server: RedisServer) -> set[tuple[str, ...]]:
    keys = ("flags", "multi", "sub", "psub", "name")
    return {tuple(client[key] for key in keys) for client in server.clients()}
