"""64 MiB in one argument and in one reply: streamed, in bounded memory, and others are served meanwhile."""

from __future__ import annotations

import hashlib
import threading

from tests.system.proxy import memory
from tests.system.redis.proxied import proxied
from tests.system.redis.server import RedisServer
from tests.system.redis.wire import Wire, command

SIZE = 64 << 20
PATTERN = bytes(range(256)) * 4096  # 1 MiB


def test_values_of_64_mib_pass_in_a_worker_that_does_not_grow_by_them(clean: RedisServer) -> None:
    value = PATTERN * (SIZE // len(PATTERN))
    wanted = hashlib.sha256(value).digest()
    with (
        proxied(clean) as proxy,
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
            clients={"stall_timeout": "1s", "hold_timeout": "500ms"},
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
