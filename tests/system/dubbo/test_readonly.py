"""A provider says READONLY, as Java's do when they stop: it gets nothing more until it was gone."""

from __future__ import annotations

import socket
import time

from tests.system.dubbo.frames import OK, Frames, call
from tests.system.dubbo.own import Shuffler, pair
from tests.system.process import wait_for
from tests.system.proxy import Proxy


class Asker:
    """One call after the other, on one connection."""

    def __init__(self, proxy: Proxy) -> None:
        self.sock = socket.create_connection(("127.0.0.1", proxy.port), timeout=20)
        self.frames = Frames()
        self.tag = 0

    def ask(self, method: str = "echo") -> None:
        """It is answered."""
        self.tag += 1
        self.sock.sendall(call(self.tag, method, b"x"))
        frames: list[tuple[int, int, int, bytes]] = []
        while not frames:
            frames = self.frames.feed(self.sock.recv(65536))
        assert [(status, tag) for _, status, tag, _ in frames] == [(OK, self.tag)]


def state(proxy: Proxy, provider: Shuffler) -> str:
    servers = proxy.backend()["servers"]
    return str(next(server["state"] for server in servers if server["address"] == provider.address))


def calls(provider: Shuffler) -> int:
    return sum(provider.stats()["calls"].values())


def test_a_provider_that_stops_gets_no_call_until_it_was_gone_and_is_back() -> None:
    one, two = pair(slow=0.01)
    with one, two, Proxy(one.address, two.address, protocol="dubbo") as proxy:
        asker = Asker(proxy)
        while not calls(one) or not calls(two):
            asker.ask()
        asker.ask("readonly")
        wait_for(
            lambda: "stopping" in (state(proxy, one), state(proxy, two)), within=20, what="one is to stop"
        )
        stopping, other = (one, two) if state(proxy, one) == "stopping" else (two, one)
        before = calls(stopping)
        until = time.monotonic() + 1.0  # it was dialled again within 50 ms
        while time.monotonic() < until:
            asker.ask()
        assert calls(stopping) == before
        assert stopping.stats()["open"] == 0
        stopping.kill()
        wait_for(lambda: state(proxy, stopping) == "backing_off", within=20, what="it is gone")
        for _ in range(20):
            asker.ask()
        stopping.start()
        wait_for(lambda: asker.ask() or calls(stopping), within=20, what="it is used again")
        assert set(proxy.outcomes()) == {"ok"}
        assert calls(other) > 20
        asker.sock.close()
