"""What stands still on one connection stops nobody on another: paused writes, a script without an end."""

from __future__ import annotations

import time
from contextlib import ExitStack

from tests.system.process import wait_for
from tests.system.redis.proxied import proxied
from tests.system.redis.server import RedisServer
from tests.system.redis.wire import Wire, command

ENDLESS = "while true do end"


def test_reads_are_answered_while_a_paused_write_holds_a_connection(clean: RedisServer) -> None:
    with proxied(clean) as proxy, ExitStack() as stack:
        admin, writer, *readers = (stack.enter_context(Wire(proxy.address)) for _ in range(10))
        assert admin.ask("SET", "a", 1) == b"+OK\r\n"
        assert admin.ask("CLIENT", "PAUSE", 60_000, "WRITE") == b"+OK\r\n"
        writer.send(command("SET", "a", 2))
        wait_for(lambda: proxy.backend()["upstream"]["suspect"] == 1, within=10, what="it is silent")
        began = time.monotonic()
        for reader in readers * 20:
            assert reader.ask("GET", "a") == b"$1\r\n1\r\n"
        assert time.monotonic() - began < 10  # of the sixty that the pause lasts
        assert admin.ask("CLIENT", "UNPAUSE") == b"+OK\r\n"
        assert writer.reply() == b"+OK\r\n"
        assert readers[0].ask("GET", "a") == b"$1\r\n2\r\n"
        assert set(proxy.outcomes()) <= {"ok", "local"}


def test_behind_a_script_without_an_end_the_servers_own_word_is_heard(clean: RedisServer) -> None:
    with proxied(clean) as proxy, Wire(proxy.address) as slow, Wire(proxy.address) as other:
        assert other.ask("CONFIG", "SET", "busy-reply-threshold", 100) == b"+OK\r\n"
        slow.send(command("EVAL", ENDLESS, 0))
        wait_for(lambda: proxy.backend()["upstream"]["suspect"] == 1, within=10, what="it is silent")
        assert other.ask("GET", "a").startswith(b"-BUSY ")
        assert other.ask("SCRIPT", "KILL") == b"+OK\r\n"
        assert b"killed" in slow.reply()
        assert other.ask("CONFIG", "SET", "busy-reply-threshold", 5000) == b"+OK\r\n"
