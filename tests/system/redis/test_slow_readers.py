"""P5: as many clients as connections ask for 20 MB, never read, and come again when they are cut."""

from __future__ import annotations

import select
import socket
import threading
import time

import pytest

from tests.system.process import wait_for
from tests.system.redis.proxied import BOUND, proxied
from tests.system.redis.server import RedisServer
from tests.system.redis.wire import Wire, command

SIZE = 20_000_000
PINGS = 50  # of each of the others


class Hostile:
    """In a thread: so many at a time."""

    def __init__(self, address: tuple[str, int], number: int) -> None:
        self._address = address
        self._number = number
        self.cut = 0
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _comes(self) -> socket.socket:
        sock = socket.create_connection(self._address, 20)
        sock.sendall(command("GET", "large"))
        return sock

    def _run(self) -> None:
        poll = select.poll()
        socks = {}
        for _ in range(self._number):
            sock = self._comes()
            socks[sock.fileno()] = sock
            poll.register(sock, select.POLLRDHUP)
        while not self._enough.is_set():
            for fd, _ in poll.poll(50):
                poll.unregister(fd)
                socks.pop(fd).close()
                self.cut += 1
                sock = self._comes()
                socks[sock.fileno()] = sock
                poll.register(sock, select.POLLRDHUP)
        for sock in socks.values():
            sock.close()

    def __enter__(self) -> Hostile:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()


@pytest.mark.alone
@pytest.mark.parametrize(
    ("clients", "is_held"),
    [({"hold_timeout": "500ms", "pipeline_buffer": "64KiB"}, True), ({"stall_timeout": "1s"}, False)],
    ids=["kept by the connection", "kept here"],
)
def test_others_are_answered_promptly_beside_as_many_as_there_are_connections(
    clean: RedisServer, clients: dict[str, str], *, is_held: bool
) -> None:
    assert clean.ask("SETRANGE", "large", SIZE - 1, "x") == b":%d\r\n" % SIZE
    with (
        proxied(clean, upstream={"max_connections": BOUND}, clients=clients) as proxy,
        Hostile((proxy.host, proxy.port), BOUND) as hostile,
    ):
        wait_for(lambda: proxy.backend()["events"].get("set_apart", 0), within=20, what="it is known")
        times = []
        wires = [Wire(proxy.address) for _ in range(4)]
        for _ in range(PINGS):
            for wire in wires:
                began = time.monotonic()
                assert wire.ask("PING") == b"+PONG\r\n"
                times.append(time.monotonic() - began)
        wait_for(lambda: hostile.cut > BOUND, within=20, what="all were cut, and came again")
        for wire in wires:
            assert wire.ask("PING") == b"+PONG\r\n"
            wire.close()
        times.sort()
        median, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
        print(f"median {median:.4f} s, p99 {p99:.4f} s, most {times[-1]:.3f} s")
        print(f"{hostile.cut} were cut; {proxy.backend()['events']}; {proxy.outcomes()}")
        assert ("cut_in_the_way" in proxy.backend()["events"]) == is_held
    clean.flush()
