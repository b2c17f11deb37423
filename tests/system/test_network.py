"""A network that drops every packet for a while: two seconds after it is back, so is service.

In all protocols, with default settings. `python -m tests.system.test_network 56` does it for so many seconds.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.system.conftest import bring_loopback_up, enter_new_namespace
from tests.system.dubbo.frames import call
from tests.system.process import end, needs, tool, wait_for
from tests.system.proxy import Proxy

FAR = "10.99.2.1"
DOWN = 7.5  # seconds: after as many more, TCP's own next try would come
BACK_WITHIN = 2.0
CALLERS, BOUND = 8, 4
# What a caller says, and how an answer begins, by protocol.
WORDS = {
    "http": (b"GET / HTTP/1.1\r\nHost: far\r\n\r\n", b"HTTP/1.1 200"),
    "redis": (b"*2\r\n$3\r\nGET\r\n$1\r\nx\r\n", b"$-1\r\n"),
    "dubbo": (call(7, "echo", b"x"), b"\xda\xbb\x02\x14"),
    "tcp": (b"word\n", b"word\n"),
}


class Network:
    """This namespace - a router - another one. What the router does not pass on is gone without a word."""

    def __init__(self) -> None:
        self.router, self.far = (f"muxproxy-{name}-{os.getpid()}" for name in ("router", "far"))
        near = f"mux{os.getpid()}"
        run("ip", "netns", "add", self.router)
        run("ip", "netns", "add", self.far)
        run("ip", "link", "add", near, "type", "veth", "peer", "name", "near", "netns", self.router)
        run(
            "ip",
            "-n",
            self.router,
            "link",
            "add",
            "far",
            "type",
            "veth",
            "peer",
            "name",
            "eth",
            "netns",
            self.far,
        )
        run("ip", "addr", "add", "10.99.1.1/24", "dev", near)
        run("ip", "-n", self.router, "addr", "add", "10.99.1.2/24", "dev", "near")
        run("ip", "-n", self.router, "addr", "add", "10.99.2.2/24", "dev", "far")
        run("ip", "-n", self.far, "addr", "add", f"{FAR}/24", "dev", "eth")
        run("ip", "link", "set", near, "up")
        for where, device in (
            (self.router, "near"),
            (self.router, "far"),
            (self.far, "eth"),
            (self.far, "lo"),
        ):
            run("ip", "-n", where, "link", "set", device, "up")
        run("ip", "route", "add", "10.99.2.0/24", "via", "10.99.1.2")
        run("ip", "-n", self.far, "route", "add", "default", "via", "10.99.2.2")
        self.passes(True)

    def passes(self, everything: bool) -> None:
        where = "/proc/sys/net/ipv4/ip_forward"
        run("ip", "netns", "exec", self.router, "sh", "-c", f"echo {int(everything)} > {where}")

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["ip", "netns", "exec", self.far, *command], stdout=subprocess.DEVNULL)

    def close(self) -> None:
        for name in (self.router, self.far):
            subprocess.run(["ip", "netns", "del", name], check=False)


def run(*command: str) -> None:
    subprocess.run(command, check=True)


class Asked(NamedTuple):
    began: float
    ended: float


class Callers:
    """Threads that ask, one request after the other, and connect again when they got no answer."""

    def __init__(self, proxy: Proxy, protocol: str) -> None:
        self.right: list[Asked] = []
        self._host, self._port = proxy.host, proxy.port
        self._said, self._begins = WORDS[protocol]
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(OSError), socket.create_connection((self._host, self._port), 10) as sock:
                # a session that is lost without a word is its client's to give up; others are told
                sock.settimeout(3.0 if self._said.startswith(b"word") else 60.0)
                for _ in range(50):
                    began = time.monotonic()
                    sock.sendall(self._said)
                    answer = sock.recv(65536)
                    if self._stopped.is_set() or not answer.startswith(self._begins):
                        break
                    self.right.append(Asked(began, time.monotonic()))
            self._stopped.wait(0.01)

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(20)

    def back_after(self, moment: float) -> float:
        """Seconds to the first answer to what was asked after that moment."""
        return (
            min((asked.ended for asked in self.right if asked.began > moment), default=float("inf")) - moment
        )


@contextlib.contextmanager
def far_away() -> Iterator[tuple[Network, dict[str, Proxy]]]:
    with contextlib.ExitStack() as stack:
        network = Network()
        stack.callback(network.close)
        for command in (
            (sys.executable, "-m", "tests.system.answers", FAR, "8000"),
            (tool("redis-server"), "--bind", FAR, "--port", "6379", "--save", "", "--protected-mode", "no"),
        ):
            stack.callback(end, network.start(*command), 9)
        for port in (8000, 6379):
            wait_for(lambda port=port: accepts(port), within=20, what=f"{FAR}:{port}")
        proxies = {
            protocol: stack.enter_context(
                Proxy(
                    f"{FAR}:{6379 if protocol == 'redis' else 8000}",
                    protocol=protocol,
                    upstream={"max_connections": BOUND},
                )
            )
            for protocol in WORDS
        }
        yield network, proxies


def accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((FAR, port), 1):
        return True
    return False


def outage(seconds: float) -> dict[str, float]:
    """How long after the network service was back, by protocol."""
    with far_away() as (network, proxies):
        callers = {protocol: Callers(proxy, protocol) for protocol, proxy in proxies.items()}
        for protocol, each in callers.items():
            wait_for(lambda each=each: len(each.right) > 100, within=20, what=protocol)
        network.passes(False)
        down = time.monotonic()
        time.sleep(seconds)  # the outage itself
        network.passes(True)
        up = time.monotonic()
        for protocol, each in callers.items():
            wait_for(lambda each=each: each.back_after(up) < 60, within=60, what=protocol)
        for protocol, each in callers.items():
            each.stop()
            assert not [a for a in each.right if a.began > down + 0.1 and a.ended < up], (
                f"{protocol}: no outage"
            )
            print(protocol, f"back after {each.back_after(up):.3f} s;", proxies[protocol].outcomes())
        return {protocol: each.back_after(up) for protocol, each in callers.items()}


@needs("redis-server")
@pytest.mark.alone
@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces are root's to make")
def test_service_is_back_two_seconds_after_the_network() -> None:
    back = outage(DOWN)
    assert max(back.values()) <= BACK_WITHIN, back


if __name__ == "__main__":
    assert enter_new_namespace()
    bring_loopback_up()
    print(outage(float(sys.argv[1])))
