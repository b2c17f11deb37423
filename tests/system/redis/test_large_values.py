"""64 MiB in one argument and in one reply: streamed, in bounded memory, and others are served meanwhile."""

from __future__ import annotations

import hashlib
import threading
from contextlib import ExitStack

import pytest

from tests.system.process import wait_for
from tests.system.proxy import memory
from tests.system.redis.proxied import proxied
from tests.system.redis.server import RedisServer
from tests.system.redis.wire import Wire, command

SIZE = 64 << 20
PATTERN = bytes(range(256)) * 4096  # 1 MiB
LEFT = "no connection is left to have alone"


def test_values_of_64_mib_pass_in_a_worker_that_does_not_grow_by_them(clean: RedisServer) -> None:
    value = PATTERN * (SIZE // len(PATTERN))
    wanted = hashlib.sha256(value).digest()
    with (
        proxied(clean, clients={"pipeline_buffer": "64KiB"}) as proxy,
        Wire(proxy.address, within=60) as wire,
        Wire(proxy.address) as other,
    ):
        (worker,) = proxy.workers()
        assert wire.ask("PING", "x") == b"$1\r\nx\r\n"
        before = memory(worker, "VmHWM")
        enough, served = threading.Event(), []

        def small_ones() -> None:
            while not enough.is_set():
                served.append(
                    other.ask("ECHO", len(served)) == b"$%d\r\n%d\r\n" % (len(str(len(served))), len(served))
                )

        thread = threading.Thread(target=small_ones)
        thread.start()
        try:
            for round_ in range(2):
                assert wire.ask("SET", f"large{round_}", value) == b"+OK\r\n"
                reply = wire.ask("GET", f"large{round_}")
                assert reply.startswith(b"$%d\r\n" % SIZE)
                assert hashlib.sha256(memoryview(reply)[-SIZE - 2 : -2]).digest() == wanted
            # In one transaction, with a reply of an array.
            wire.send(
                command("MULTI") + command("SET", "more", value) + command("STRLEN", "more") + command("EXEC")
            )
            assert wire.replies(4)[3] == b"*2\r\n+OK\r\n:%d\r\n" % SIZE
        finally:
            enough.set()
            thread.join()
        assert served
        assert all(served)
        grown = memory(worker, "VmHWM") - before
        print(f"the worker grew by {grown >> 10} KiB; {len(served)} small commands meanwhile")
        assert grown < 8 << 20
    clean.flush()


def test_a_client_that_does_not_read_its_large_reply_holds_up_nobody_for_ever(clean: RedisServer) -> None:
    """P5, with all the places there are: one connection."""
    with (
        proxied(
            clean,
            upstream={"max_connections": 1},
            queue={"timeout": "10s"},  # the half second that he holds it is longer on a busy machine
            clients={"stall_timeout": "1s", "hold_timeout": "500ms", "pipeline_buffer": "64KiB"},
        ) as proxy,
        Wire(proxy.address) as slow,
        Wire(proxy.address) as other,
    ):
        (worker,) = proxy.workers()
        assert clean.ask("SETRANGE", "large", SIZE - 1, "x") == b":%d\r\n" % SIZE
        before = memory(worker, "VmHWM")
        slow.send(command("GET", "large"))
        assert slow.sock.recv(1) == b"$"
        assert other.ask("ECHO", "x") == b"$1\r\nx\r\n"
        assert memory(worker, "VmHWM") - before < 8 << 20
    clean.flush()


@pytest.mark.parametrize("size", [100 << 10, 300 << 10, 3 << 20])
def test_a_large_value_needs_no_place_among_those_that_sessions_hold(clean: RedisServer, size: int) -> None:
    """With as many blocked workers as may be pinned by default, and small commands beside it all the time."""
    value = PATTERN[: 1 << 10] * (size >> 10)
    with (
        proxied(clean, upstream={"max_connections": 3}, queue={"timeout": "2s"}) as proxy,
        ExitStack() as stack,
    ):
        workers = [stack.enter_context(Wire(proxy.address)) for _ in range(2)]
        for worker in workers:
            worker.send(command("BLPOP", "nothing", 0))
        wait_for(lambda: proxy.backend()["pinned"] == {"blocking": 2}, within=10, what="all are pinned")
        wire, other, third = (stack.enter_context(Wire(proxy.address)) for _ in range(3))
        for n in range(5):
            data = command("SET", f"large{n}", value)
            cut = len(data) // 3 * 2
            wire.send(data[:cut])
            other.send(command("INCR", "n"))
            wire.send(data[cut:])
            assert wire.reply() == b"+OK\r\n"
            assert other.reply() == b":%d\r\n" % (n + 1)
        third.send(command("BLPOP", "nothing", 0))
        told = third.reply()
        assert b"raise [upstream] max_connections" in told
        wait_for(lambda: LEFT in proxy.log(), within=10, what="the log says so")
        assert proxy.log().count(LEFT) == 1
