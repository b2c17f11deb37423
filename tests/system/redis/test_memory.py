"""`memory`: what clients make a worker hold has a bound in all, and goes back when they are gone (P7, P10).

`python -m tests.system.redis.test_memory` does more of it, at the size at which it was found, and prints.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.system.process import wait_for
from tests.system.proxy import Proxy, memory
from tests.system.redis.proxied import proxy_to
from tests.system.redis.server import RedisServer

MIB = 1 << 20
Attack = Callable[[Proxy, contextlib.ExitStack, int], None]


def connect(proxy: Proxy, stack: contextlib.ExitStack) -> socket.socket:
    client = stack.enter_context(socket.create_connection((proxy.host, proxy.port), 10))
    client.settimeout(2)
    return client


def send(client: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):  # cut, or not read any more
        client.sendall(data)


def command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def subscribes_that_come_in(proxy: Proxy, stack: contextlib.ExitStack, size: int) -> None:
    whole = command(b"SUBSCRIBE", *(b"channel-%06d" % n for n in range(60_000)))
    for _ in range(3 * size):
        send(connect(proxy, stack), whole[: MIB * 9 // 10])


def channels(proxy: Proxy, stack: contextlib.ExitStack, size: int) -> None:
    for number in range(max(5, size // 20)):
        client = connect(proxy, stack)
        for at in range(0, 20_000, 1000):
            send(client, command(b"SUBSCRIBE", *(b"c%d-%d" % (number, n) for n in range(at, at + 1000))))


def replies_that_are_not_read(proxy: Proxy, stack: contextlib.ExitStack, size: int) -> None:
    setter = connect(proxy, stack)
    send(setter, command(b"SET", b"large", bytes(MIB)))
    assert setter.recv(100) == b"+OK\r\n"
    for _ in range(size // 2):
        send(connect(proxy, stack), command(b"GET", b"large") * 10)


ATTACKS: list[Attack] = [subscribes_that_come_in, channels, replies_that_are_not_read]


def perform(server: RedisServer, attack: Attack, size: int, bound: int) -> tuple[int, int, int]:
    """Bytes that the worker grew by, at most; so many of that it kept; clients that were ended for it."""
    with proxy_to(server, clients={"stall_timeout": "60s"}, node={"memory": f"{bound}B"}) as proxy:
        (worker,) = proxy.workers()
        before = most = memory(worker)
        with contextlib.ExitStack() as stack:
            attack(proxy, stack, size)
            until = time.monotonic() + 20
            process: dict[str, int] = {}
            while time.monotonic() < until and not process.get("memory_shed"):
                most = max(most, memory(worker))
                time.sleep(0.05)
                process = proxy.status()["workers"][0].get("process", process)
            most = max(most, memory(worker))
        wait_for(lambda: not proxy.backend()["clients"], within=120, what="all have gone")
        time.sleep(0.5)  # a look at what is held
        after = memory(worker)
        assert process["memory_held"] <= process["memory_max"] == bound
        return most - before, after - before, process["memory_shed"]


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_a_worker_holds_is_bounded_in_all(server: RedisServer, attack: Attack) -> None:
    grown, kept, shed = perform(server, attack, 20, 8 * MIB)
    print(f"grown {grown / MIB:.1f} MiB, kept {kept / MIB:.1f} MiB, ended {shed}")
    assert shed
    assert grown < 8 * MIB + 60 * MIB  # what comes between two looks, and what a process keeps of its own


# -- at full size, by hand ---------------------------------------------------------------------------


def listen_to_a_hundred_thousand(proxy: Proxy, stack: contextlib.ExitStack) -> None:
    for number in range(5):
        client = connect(proxy, stack)
        for at in range(0, 100_000, 1000):
            names = [b"channel-%d-%d" % (number, n) for n in range(at, at + 1000)]
            send(client, command(b"SUBSCRIBE", *names))
            with contextlib.suppress(OSError):
                client.setblocking(False)
                while client.recv(1 << 20):
                    pass
            client.settimeout(2)


def subscribe_by_halves(proxy: Proxy, stack: contextlib.ExitStack) -> None:
    subscribes_that_come_in(proxy, stack, 100)


def say_long_names(proxy: Proxy, stack: contextlib.ExitStack) -> None:
    for _ in range(1000):
        send(connect(proxy, stack), command(b"CLIENT", b"SETNAME", b"n" * 65_000))


def log_in_by_long_passwords(proxy: Proxy, stack: contextlib.ExitStack) -> None:
    for number in range(2000):
        client = connect(proxy, stack)
        send(client, command(b"AUTH", b"eve", b"%05d" % number + b"p" * 60_000) + command(b"PING"))
        with contextlib.suppress(OSError):
            client.recv(1000)


def log_in_by_shorter_passwords(proxy: Proxy, stack: contextlib.ExitStack) -> None:
    for number in range(2000):
        client = connect(proxy, stack)
        send(client, command(b"AUTH", b"eve", b"%05d" % number + b"p" * 15_000) + command(b"PING"))
        with contextlib.suppress(OSError):
            client.recv(1000)


def ask_much_in_little(proxy: Proxy, stack: contextlib.ExitStack) -> None:
    for _ in range(20):  # places to have alone are taken, and these are what waits
        send(connect(proxy, stack), command(b"BLPOP", b"nothing", b"0"))
    for _ in range(1000):
        send(connect(proxy, stack), command(b"BLPOP", b"nothing", b"0") + command(b"GET", b"k") * 5_000)


def send_bodies_in_small_chunks(proxy: Proxy, stack: contextlib.ExitStack) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    for _ in range(300):
        send(connect(proxy, stack), head + b"2\r\nab\r\n" * 9000)


def send_bodies_in_small_segments(proxy: Proxy, stack: contextlib.ExitStack) -> None:
    clients = [connect(proxy, stack) for _ in range(100)]
    for client in clients:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        send(client, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n")
    for _ in range(5000):
        for client in clients:
            send(client, b"ab")


FULL: list[tuple[Callable[[Proxy, contextlib.ExitStack], None], str]] = [
    (listen_to_a_hundred_thousand, "redis"),
    (subscribe_by_halves, "redis"),
    (say_long_names, "redis"),
    (log_in_by_long_passwords, "passthrough"),
    (log_in_by_shorter_passwords, "passthrough"),
    (ask_much_in_little, "redis"),
    (send_bodies_in_small_chunks, "http"),
    (send_bodies_in_small_segments, "http"),
]


def proxy_of(kind: str, server: RedisServer) -> Proxy:
    clients = {"stall_timeout": "60s", "head_timeout": "60s", "hold_timeout": "60s"}
    if kind == "http":
        return Proxy("127.0.0.1:9", clients=clients)
    auth = "passthrough" if kind == "passthrough" else "configured"
    return proxy_to(server, clients=clients, redis={"auth": auth}, queue={"timeout": "10s"})


def at_rest(proxy: Proxy, worker: int) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Its size and its numbers when nothing of them has changed for a second."""
    until, before = time.monotonic() + 50, (0, 0)
    while True:
        time.sleep(1)
        numbers = proxy.backend()
        process = proxy.status()["workers"][0].get("process", {})
        now = (numbers["bytes"]["from_clients"], process.get("memory_held", 0))
        if now == before or time.monotonic() > until:
            return memory(worker), numbers, process
        before = now


def main(only: str = "") -> None:
    with RedisServer() as server:
        server.ask("ACL", "SETUSER", "eve", "on", "nopass", "~*", "&*", "+@all")
        for attack, kind in FULL:
            if only not in attack.__name__:
                continue
            with proxy_of(kind, server) as proxy:
                (worker,) = proxy.workers()
                time.sleep(0.5)
                before = memory(worker)
                with contextlib.ExitStack() as stack:
                    began = time.monotonic()
                    attack(proxy, stack)
                    took = time.monotonic() - began
                    during, numbers, process = at_rest(proxy, worker)
                wait_for(lambda: not proxy.backend()["clients"], within=120, what="all have gone")
                time.sleep(2)
                after, most = memory(worker), memory(worker, "VmHWM")
                refused = {k: v for k, v in proxy.outcomes().items() if v}
            sizes = ", ".join(
                f"{name} {size / MIB:.1f}"
                for name, size in (("before", before), ("most", most), ("then", during), ("after", after))
            )
            print(
                f"{attack.__name__} ({took:.0f} s): MiB {sizes}; "
                f"counted {process.get('memory_held', 0) / MIB:.1f}, ended {process.get('memory_shed')}, "
                f"{numbers['listening']} {refused}",
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
