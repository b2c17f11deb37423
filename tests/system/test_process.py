"""The house as a process: upgrades, ends in order and out of order, and the descriptor limit."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator

import pytest

from tests.system.load import RIGHT, Plan, run
from tests.system.origins import Nginx, Program
from tests.system.process import end, wait_for
from tests.system.proxy import Proxy
from tests.system.sockdiag import Sampler, SockDiag

BOUND = 8
HOLD = b"GET /hold?token=s HTTP/1.1\r\nHost: a\r\nX-Token: s\r\n\r\n"  # no reply before release()
LONG = {"drain_timeout": "60s"}  # what ends within PATIENCE has not waited for it
PATIENCE = 30.0


@pytest.fixture
def origin() -> Iterator[Program]:
    with Program("script") as origin:
        yield origin


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection((proxy.host, proxy.port), timeout=20)


def until_closed(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


def read_head(sock: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        assert byte, data
        data += byte
    return data


def release(origin: Program) -> None:
    with socket.create_connection((origin.host, origin.port), timeout=20) as sock:
        sock.sendall(b"GET /release HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert until_closed(sock).endswith(b"released")


def busy(proxy: Proxy, count: int) -> None:
    wait_for(lambda: proxy.backend()["in_flight"] == count, within=10, what=f"{count} requests under way")


# Upgrade

UPGRADE = (
    b"GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def test_upgraded_connections_echo_both_ways_inside_their_own_bound(origin: Program) -> None:
    with (
        Proxy(
            origin.address,
            upstream={"max_connections": 4},
            http={"max_upgraded": 2},
            queue={"timeout": "4s"},  # the third waits so long; nobody else does on the busiest machine
        ) as proxy,
        Sampler(origin.address) as sampler,
        connect(proxy) as first,
        connect(proxy) as second,
        connect(proxy) as third,
    ):
        for sock in (first, second):
            sock.sendall(UPGRADE)
            head = read_head(sock).lower()
            assert head.startswith(b"http/1.1 101 ")
            assert b"\r\nupgrade: echo\r\n" in head
        third.sendall(UPGRADE)
        assert read_head(third).startswith(b"HTTP/1.1 503 "), "max_upgraded is reached"
        # What is sent comes back, whatever it is, and is not taken for HTTP.
        for number, sock in enumerate((first, second)):
            for data in (b"\x81\x05hello", b"GET / HTTP/1.1\r\n\r\n", bytes([number]) * 300_000):
                sock.sendall(data)
                received = b""
                while len(received) < len(data):
                    received += sock.recv(65536)
                assert received == data
        # Others are served on what is left of the bound.
        assert proxy.backend()["upstream"]["pinned"] == 2
        results = run(Plan(proxy.host, proxy.port, parallel=20, requests=200), within=30)
        assert results.outcomes == {RIGHT: 200}, results.examples
        # A half-close passes through: the echo server answers it by closing.
        first.shutdown(socket.SHUT_WR)
        assert until_closed(first) == b""
        wait_for(lambda: proxy.backend()["upstream"]["pinned"] == 1, within=5, what="a place is free again")
        assert 3 <= sampler.result().held <= 4


# Ends


def test_sigterm_lets_a_slow_reply_finish_and_then_exits_with_0(origin: Program) -> None:
    with Proxy(origin.address, node=LONG) as proxy, connect(proxy) as sock:
        sock.sendall(HOLD)
        busy(proxy, 1)
        proxy.process.send_signal(signal.SIGTERM)
        wait_for(lambda: refuses(proxy), within=PATIENCE, what="new clients are refused")
        assert proxy.process.poll() is None
        release(origin)
        reply = until_closed(sock)
        assert reply.startswith(b"HTTP/1.1 200 ")
        assert reply.endswith(b"s s\n")
        assert proxy.process.wait(PATIENCE) == 0


def refuses(proxy: Proxy) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((proxy.host, proxy.port), 1):
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_at_once(origin: Program, number: signal.Signals) -> None:
    with Proxy(origin.address, node=LONG) as proxy, connect(proxy) as sock:
        sock.sendall(HOLD)
        busy(proxy, 1)
        (worker,) = proxy.workers()
        proxy.process.send_signal(number)
        wait_for(lambda: refuses(proxy), within=PATIENCE, what="new clients are refused")
        proxy.process.send_signal(number)
        assert proxy.process.wait(PATIENCE) == 128 + number
        assert gone(worker)


def test_a_drain_that_takes_too_long_is_cut_off_and_still_exits_with_0(origin: Program) -> None:
    with Proxy(origin.address, node={"drain_timeout": "500ms"}) as proxy, connect(proxy) as sock:
        sock.sendall(HOLD)
        busy(proxy, 1)
        proxy.stop(within=PATIENCE)
        # An explicit end: never a silent close (P3).
        assert until_closed(sock).startswith(b"HTTP/1.1 50")


def test_an_idle_keep_alive_client_does_not_hold_up_a_drain(origin: Program) -> None:
    with Proxy(origin.address, node=LONG) as proxy, connect(proxy) as sock:
        sock.sendall(b"GET /echo?token=i HTTP/1.1\r\nHost: a\r\nX-Token: i\r\n\r\n")
        assert read_head(sock).startswith(b"HTTP/1.1 200 ")
        proxy.stop(within=PATIENCE)
        assert until_closed(sock) == b"i i\n"


def test_a_supervisor_that_is_killed_takes_its_workers_with_it(origin: Program) -> None:
    with SockDiag() as kernel, Proxy(origin.address) as proxy, connect(proxy) as sock:
        sock.sendall(HOLD)
        busy(proxy, 1)
        (worker,) = proxy.workers()
        assert end(proxy.process, signal.SIGKILL) == -signal.SIGKILL
        wait_for(lambda: gone(worker), within=PATIENCE, what="no orphan")
        held = [entry for entry in kernel.sockets(origin.address) if entry.inode]
        assert held == [], "no upstream socket is left"
        assert refuses(proxy), "no orphan keeps the port"


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] in "ZX"
    return True


# Descriptors


def test_at_the_descriptor_limit_accepting_pauses_and_resumes_and_nobody_is_dropped() -> None:
    limit = 300
    with (
        Nginx() as nginx,
        Proxy(
            nginx.address,
            descriptors=limit,
            upstream={"max_connections": BOUND},
            clients={"backlog": 64},
            queue={"max_waiting": 1000, "timeout": "20s"},
        ) as proxy,
        Sampler(nginx.address) as sampler,
    ):
        (worker,) = proxy.workers()
        with contextlib.ExitStack() as stack:
            # Idle clients that fill it up, and 40 more: those wait in the backlog.
            count = proxy.backend()["clients_max"] + 40
            idle = [stack.enter_context(connect(proxy)) for _ in range(count)]
            wait_for(lambda: accepting_paused(proxy) >= 1, within=10, what="accepting has paused")
            assert descriptors(worker) <= limit
            # Each of them is served, the last to come as well, as soon as others leave.
            for sock in idle:
                sock.sendall(
                    b"GET /echo?token=d HTTP/1.1\r\nHost: a\r\nX-Token: d\r\nConnection: close\r\n\r\n"
                )
            for sock in idle:
                assert until_closed(sock).startswith(b"HTTP/1.1 200 ")
        # Afterwards all is as before: as many short-lived clients at a time are all served.
        results = run(Plan(proxy.host, proxy.port, parallel=count, requests=5_000), within=60)
        print(results.summary(), "paused", accepting_paused(proxy), "times")
        assert results.outcomes == {RIGHT: 5_000}, results.examples
        assert descriptors(worker) <= limit
        assert 1 <= sampler.result().held <= BOUND


def accepting_paused(proxy: Proxy) -> int:
    return int(proxy.status()["workers"][0]["process"]["accepting_paused"])


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_a_configuration_that_does_not_fit_the_descriptor_limit_is_refused_with_the_sum() -> None:
    with Proxy(
        "127.0.0.1:9", descriptors=300, clients={"max_connections": 5000, "backlog": 64}, wait=False
    ) as proxy:
        assert proxy.process.wait(PATIENCE) == 1
        log = proxy.log()
    assert "of 300" in log
    assert "5000 clients" in log
    assert "LimitNOFILE" in log


def test_a_port_that_is_taken_is_an_error_that_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with Proxy("127.0.0.1:9", clients={"listen": [address]}, wait=False) as proxy:
            assert proxy.process.wait(PATIENCE) == 3
            assert address in proxy.log()
