"""`memory`: what clients make a worker hold has a bound in all, and goes back when they are gone (P7, P10).

`python -m tests.system.redis.test_memory` does it at the size at which it was found, and prints.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from collections.abc import Callable

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


def main(size: int = 100) -> None:
    with RedisServer() as server:
        for attack in ATTACKS:
            for bound in (1024 * MIB, 128 * MIB):
                grown, kept, shed = perform(server, attack, size, bound)
                print(
                    f"{attack.__name__}, memory {bound // MIB} MiB: grown {grown / MIB:.1f} MiB, "
                    f"kept {kept / MIB:.1f} MiB, ended {shed}",
                    flush=True,
                )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
