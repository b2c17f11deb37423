"""Commands that block, and what they hold: a connection, while their client is there, and no longer."""

from __future__ import annotations

import signal

import pytest

from tests.system.process import wait_for
from tests.system.redis.proxied import proxied, proxy_to
from tests.system.redis.server import RedisServer
from tests.system.redis.wire import Wire, command

ON_ALL_SERVERS = True
STUCK = "#!lua name=stuck\nredis.register_function('stuck', function() while true do end end)"


def blocked(server: RedisServer) -> int:
    return sum("b" in client["flags"] for client in server.clients())


def test_a_client_that_leaves_while_it_blocks_frees_its_connection_at_once(clean: RedisServer) -> None:
    """One may block at a time here, and the next has been waiting."""
    with (
        proxied(clean, upstream={"max_connections": 2, "max_pinned": 1}) as proxy,
        Wire(proxy.address) as first,
        Wire(proxy.address) as second,
    ):
        first.send(command("BLPOP", "jobs", 0))
        wait_for(lambda: blocked(clean) == 1, within=10, what="the first blocks")
        second.send(command("BLPOP", "more", 0))
        wait_for(lambda: proxy.backend()["waiting"] == 1, within=10, what="the second waits")
        assert proxy.backend()["pinned"] == {"blocking": 1}
        first.close()
        wait_for(lambda: proxy.backend()["waiting"] == 0, within=10, what="the second has its place")
        assert clean.ask("RPUSH", "jobs", "lost to nobody") == b":1\r\n"
        assert clean.ask("RPUSH", "more", "for the second") == b":1\r\n"
        assert second.reply() == b"*2\r\n$4\r\nmore\r\n$14\r\nfor the second\r\n"
        assert clean.ask("LLEN", "jobs") == b":1\r\n"
        assert proxy.outcomes()["client_left"] == 1


def test_who_blocks_longer_than_reply_timeout_is_not_taken_for_stuck(clean: RedisServer) -> None:
    # Three seconds: nothing else here is so late on a busy machine.
    with (
        proxied(clean, upstream={"reply_timeout": "3s"}) as proxy,
        Wire(proxy.address) as pops,
        Wire(proxy.address) as reads,
    ):
        pops.send(command("BLPOP", "jobs", 3.5))
        reads.send(command("XREAD", "BLOCK", 3500, "STREAMS", "stream", "$"))
        for wire in (pops, reads):
            assert wire.reply() == b"*-1\r\n"
            assert wire.ask("PING", "x") == b"$1\r\nx\r\n"
        assert "reply_timeout" not in proxy.outcomes()


def test_blocking_commands_inside_of_a_transaction_do_not_block(clean: RedisServer) -> None:
    with proxied(clean) as proxy, Wire(proxy.address) as wire:
        for _ in range(2):
            replies = wire.pipeline(("MULTI",), ("BLPOP", "none", 0), ("RPUSH", "l", 1), ("EXEC",))
            assert replies[3] == b"*2\r\n*-1\r\n:1\r\n"
            assert wire.ask("DEL", "l") == b":1\r\n"
            assert wire.ask("MULTI") == b"+OK\r\n"
            assert wire.ask("BLPOP", "none", 0) == b"+QUEUED\r\n"
            assert wire.ask("EXEC") == b"*1\r\n*-1\r\n"


def test_wait_waits_for_what_was_written_on_a_shared_connection(namespace: None) -> None:
    """WAIT is about its own connection's writes, and gets another: a stopped replica must not count."""
    with RedisServer() as server, RedisServer("--replicaof", server.host, str(server.port)) as replica:
        wait_for(
            lambda: replica.info("replication").get("master_link_status") == "up",
            within=20,
            what="the replica is in step",
        )
        with proxy_to(server) as proxy, Wire(proxy.address) as wire, Wire(proxy.address) as other:
            assert wire.ask("SET", "a", 1) == b"+OK\r\n"
            assert wire.ask("WAIT", 1, 10_000) == b":1\r\n"
            replica.signal(signal.SIGSTOP)
            assert wire.ask("SET", "a", 2) == b"+OK\r\n"
            assert wire.ask("WAIT", 1, 200) == b":0\r\n"
            assert wire.pipeline(("SET", "a", 3), ("WAIT", 1, 200)) == [b"+OK\r\n", b":0\r\n"]
            assert other.ask("GET", "a") == b"$1\r\n3\r\n"
            replica.signal(signal.SIGCONT)
            assert wire.ask("WAIT", 1, 10_000) == b":1\r\n"
            assert replica.ask("GET", "a") == b"$1\r\n3\r\n"


def test_a_script_that_does_not_end_is_killed_though_all_share_its_connection(clean: RedisServer) -> None:
    with proxied(clean) as proxy, Wire(proxy.address) as ann, Wire(proxy.address) as bob:
        assert clean.ask("CONFIG", "SET", "busy-reply-threshold", 100) == b"+OK\r\n"
        assert ann.ask("PING") == b"+PONG\r\n"
        ann.send(command("EVAL", "while true do end", 0))
        wait_for(lambda: clean.ask("GET", "a").startswith(b"-BUSY"), within=10, what="the script is too long")
        bob.send(command("GET", "a"))  # behind it
        with Wire(proxy.address) as eve:
            assert eve.ask("SCRIPT", "KILL") == b"+OK\r\n"
        assert b"killed" in ann.reply()
        assert bob.reply() == b"$-1\r\n"


@pytest.mark.parametrize("kill", [("SCRIPT", "KILL"), ("FUNCTION", "KILL")], ids=" ".join)
def test_what_a_server_may_do_while_it_is_busy_needs_no_select(
    clean: RedisServer, kill: tuple[str, str]
) -> None:
    """Of a client in another db and RESP version than the connections; and what is in vain is told so in the
    server's own words."""
    with (
        proxied(clean) as proxy,
        Wire(proxy.address) as ann,
        Wire(proxy.address) as bob,
        Wire(proxy.address) as eve,
    ):
        assert clean.ask("CONFIG", "SET", "busy-reply-threshold", 100) == b"+OK\r\n"
        assert clean.ask("FUNCTION", "LOAD", "REPLACE", STUCK) == b"$5\r\nstuck\r\n"
        assert eve.ask("SELECT", 3) == b"+OK\r\n"
        assert bob.ask("HELLO", 3).startswith(b"%7")
        assert bob.ask("SELECT", 3) == b"+OK\r\n"
        assert ann.ask("PING") == b"+PONG\r\n"
        ann.send(
            command(*(("EVAL", "while true do end", 0) if kill[0] == "SCRIPT" else ("FCALL", "stuck", 0)))
        )
        wait_for(lambda: clean.ask("GET", "a").startswith(b"-BUSY"), within=10, what="the script is too long")
        assert eve.ask("GET", "a") == clean.ask("GET", "a")
        assert bob.ask("SET", "a", 1) == clean.ask("SET", "a", 1)
        assert bob.ask(*kill) == b"+OK\r\n"
        assert b"killed" in ann.reply()
        assert [wire.ask("GET", "a") for wire in (eve, bob)] == [b"$-1\r\n", b"_\r\n"]


def test_what_means_the_same_in_every_db_asks_for_no_select(clean: RedisServer) -> None:
    """Of clients in a db that no connection was ever in, and in both RESP versions; also while SELECT is
    refused."""

    def calls(name: str) -> int:
        stats = clean.info("commandstats").get(f"cmdstat_{name}", "calls=0")
        return int(stats.partition("calls=")[2].partition(",")[0])

    with (
        proxied(clean, upstream={"min_connections": 2}) as proxy,
        Wire(proxy.address) as ann,
        Wire(proxy.address) as eve,
        Wire(proxy.address) as bob,
    ):
        assert clean.ask("CONFIG", "SET", "busy-reply-threshold", 100) == b"+OK\r\n"
        assert clean.ask("FUNCTION", "LOAD", "REPLACE", STUCK) == b"$5\r\nstuck\r\n"
        wait_for(lambda: len(clean.clients()) == 2, within=10, what="one is left beside the script's")
        assert eve.ask("SELECT", 5) == b"+OK\r\n"
        assert bob.ask("HELLO", 3).startswith(b"%7")
        assert bob.ask("SELECT", 5) == b"+OK\r\n"
        assert ann.ask("GET", "a") == b"$-1\r\n"
        before = calls("select"), calls("hello")
        for words in (
            ("PING",),
            ("PING", "x"),
            ("ECHO", "x"),
            ("LASTSAVE",),
            ("PUBLISH", "c", "x"),
            ("TIME",),
        ):
            got = [wire.ask(*words) for wire in (ann, eve, bob)]
            assert words == ("TIME",) or got == [clean.ask(*words)] * 3
        assert (calls("select"), calls("hello")) == before
        ann.send(command("FCALL", "stuck", 0))
        wait_for(lambda: clean.ask("GET", "a").startswith(b"-BUSY"), within=10, what="the script is too long")
        assert eve.ask("PING") == clean.ask("PING")
        assert eve.ask("FUNCTION", "STATS").startswith(b"*4\r\n$14\r\nrunning_script\r\n*6\r\n")
        assert bob.ask("FUNCTION", "STATS").startswith(b"%2\r\n$14\r\nrunning_script\r\n%3\r\n")
        assert eve.ask("FUNCTION", "KILL") == b"+OK\r\n"
        assert b"killed" in ann.reply()


def test_a_pause_is_ended_though_what_it_holds_is_on_the_same_connection(clean: RedisServer) -> None:
    with proxied(clean) as proxy, Wire(proxy.address) as ann, Wire(proxy.address) as bob:
        assert ann.ask("CLIENT", "PAUSE", 60_000, "WRITE") == b"+OK\r\n"
        ann.send(command("SET", "a", 1))
        wait_for(lambda: proxy.backend()["in_flight"] == 1, within=10, what="the command is held")
        assert bob.ask("CLIENT", "UNPAUSE") == b"+OK\r\n"
        assert ann.reply() == b"+OK\r\n"
