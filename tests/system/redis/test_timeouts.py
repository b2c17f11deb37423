"""A server that is too slow, or does not answer at all: an error at once, a late reply for nobody."""

from __future__ import annotations

import signal
from contextlib import ExitStack

from tests.system.process import wait_for
from tests.system.redis.proxied import proxied
from tests.system.redis.server import RedisServer
from tests.system.redis.wire import Wire, command


def test_a_late_reply_is_discarded_and_the_connection_lives_on(clean: RedisServer) -> None:
    """P2: whoever asks next on that connection gets the reply to what it asked."""
    with (
        proxied(clean, upstream={"max_connections": 1, "reply_timeout": "4s"}) as proxy,
        Wire(proxy.address) as wire,
        Wire(proxy.address) as other,
    ):
        assert wire.ask("SET", "a", "late") == b"+OK\r\n"
        (connection,) = [client["id"] for client in clean.clients()]
        clean.signal(signal.SIGSTOP)
        wire.send(command("GET", "a") + command("INCR", "n"))
        told = wire.replies(2)
        assert told[0].startswith(b"-ERR muxproxy: ")
        assert b"changes nothing" in told[0]
        assert b"may have run" in told[1]
        other.send(command("ECHO", "mine"))  # behind the two on the same connection
        clean.signal(signal.SIGCONT)  # before twice reply_timeout, when the connection is taken for stuck
        assert other.reply() == b"$4\r\nmine\r\n"
        assert wire.ask("ECHO", "also mine") == b"$9\r\nalso mine\r\n"
        assert wire.ask("GET", "n") == b"$1\r\n1\r\n"  # it has run
        assert [client["id"] for client in clean.clients()] == [connection]
        assert proxy.outcomes()["reply_timeout"] == 2


def test_a_stuck_connection_is_closed_and_each_in_flight_is_told_whether_it_may_have_run(
    namespace: None,
) -> None:
    with (
        RedisServer() as server,
        proxied(server, upstream={"max_connections": 1, "reply_timeout": "3s"}) as proxy,
        ExitStack() as stack,
    ):
        wires = [stack.enter_context(Wire(proxy.address)) for _ in range(4)]
        for wire in wires:
            assert wire.ask("PING", "x") == b"$1\r\nx\r\n"
            assert wire.ask("DBSIZE") == b":0\r\n"
        server.signal(signal.SIGSTOP)
        for wire, words in zip(
            wires, (("GET", "a"), ("SET", "a", 1), ("DEL", "b"), ("MGET", "a", "b")), strict=True
        ):
            wire.send(command(*words))
        told = [wire.reply() for wire in wires]
        assert [b"may have run" in reply for reply in told] == [False, True, True, False], told
        assert [b"changes nothing" in reply for reply in told] == [True, False, False, True], told
        wait_for(
            lambda: proxy.backend()["closed"].get("reply timeout", 0) >= 1,
            within=10,
            what="the stuck connection is closed",
        )
        server.signal(signal.SIGCONT)
        for wire in wires:
            wait_for(
                lambda: wire.ask("ECHO", "x") == b"$1\r\nx\r\n",  # noqa: B023  (asked in this turn)
                within=10,
                what="service again",
            )
        assert "server" in proxy.log()


def test_a_server_that_dies_costs_explicit_errors_and_what_was_not_written_waits(namespace: None) -> None:
    with (
        RedisServer() as server,
        proxied(server, queue={"timeout": "10s"}) as proxy,
        Wire(proxy.address) as wire,
    ):
        assert wire.ask("SET", "a", 1) == b"+OK\r\n"
        server.signal(signal.SIGSTOP)
        wire.send(command("SET", "a", 2))
        wait_for(lambda: proxy.backend()["in_flight"] == 1, within=10, what="it is written")
        server.kill()
        told = wire.reply()
        assert told.startswith(b"-ERR muxproxy: ")
        assert b"may have run" in told
        wire.send(command("SET", "b", 1))  # nobody is there: it waits
        server.start()
        assert wire.reply() == b"+OK\r\n"


def test_overload_is_refused_at_once_and_the_client_goes_on(clean: RedisServer) -> None:
    """P8: a RESP error with a prefix of its own, in the place of the reply."""
    with (
        proxied(
            clean,
            upstream={"min_connections": 1, "max_connections": 1, "max_pinned": 1},
            queue={"max_waiting": 0},
        ) as proxy,
        Wire(proxy.address) as first,
        Wire(proxy.address) as second,
    ):
        wait_for(lambda: proxy.backend()["upstream"]["idle"] == 1, within=10, what="it is connected")
        assert first.ask("MULTI") == b"+OK\r\n"  # the only connection is pinned
        told = second.ask("GET", "a")
        assert b" muxproxy: " in told
        assert told.startswith(b"-")
        assert proxy.outcomes()["queue_full"] == 1
        assert first.ask("EXEC") == b"*0\r\n"
        assert second.ask("GET", "a") == b"$-1\r\n"
