"""Who may connect to a listener that other machines can reach: another machine is another network namespace
on the other end of a cable. Needs root, as making one does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.system.dubbo.own import Shuffler
from tests.system.process import wait_for
from tests.system.proxy import Proxy

RST = b"\1\0\0\0\0\0\0\0"  # when it is closed
HERE, THERE, LATER = "198.18.0.1", "198.18.0.2", "198.18.0.9"
# What it gets: connects and says nothing, so that what is said to it is not lost to an RST.
CONNECT = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10) as sock:
        sock.settimeout(float(sys.argv[3]))
        print(sock.recv(65536))
except TimeoutError:
    print("silence")
except ConnectionResetError:
    print("reset")
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a network namespace")


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


@pytest.fixture(scope="module")
def neighbour(namespace: None) -> Iterator[str]:
    """The name of another machine's network."""
    name = f"muxproxy-{os.getpid()}"
    run("ip", "netns", "add", name)
    try:
        run("ip", "link", "add", "cable", "type", "veth", "peer", "name", "theirs", "netns", name)
        for command in (
            f"ip addr add {HERE}/24 dev cable",
            "ip link set cable up",
            f"ip -n {name} addr add {THERE}/24 dev theirs",
            f"ip -n {name} link set theirs up",
        ):
            run(*command.split())
        yield name
    finally:
        run("ip", "netns", "delete", name)


def from_there(neighbour: str, port: int, patience: float = 10.0) -> str:
    ask = (sys.executable, "-c", CONNECT, HERE, str(port), str(patience))
    return run("ip", "netns", "exec", neighbour, *ask).strip()


def is_let_in(proxy: Proxy, source: str, to: str) -> bool:
    """It becomes a client."""
    before = proxy.outcomes().get("denied", 0)
    with socket.create_connection((to, proxy.port), timeout=10, source_address=(source, 0)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)  # a FIN of tcp's may wait with its session
        wait_for(
            lambda: proxy.backend()["clients"] == 1 or proxy.outcomes().get("denied", 0) > before,
            within=10,
            what="it is let in or not",
        )
        is_in = bool(proxy.backend()["clients"] == 1)
    wait_for(lambda: proxy.backend()["clients"] == 0, within=10, what="it has left")
    return is_in


@pytest.mark.parametrize(
    ("protocol", "gets"),
    [("http", "HTTP/1.1 403 Forbidden"), ("redis", "-NOPERM muxproxy: "), ("dubbo", "b''"), ("tcp", "reset")],
)
def test_only_this_machine_is_served_unless_more_is_said(neighbour: str, protocol: str, gets: str) -> None:
    clients = {"listen": ["0.0.0.0:0"]}
    with Proxy("127.0.0.1:9", protocol=protocol, clients=clients) as proxy:
        assert gets in from_there(neighbour, proxy.port)
        assert proxy.outcomes()["denied"] == 1
        assert is_let_in(proxy, "127.0.0.1", "127.0.0.1")
        assert is_let_in(proxy, HERE, HERE)
        assert is_let_in(proxy, "127.0.0.5", "127.0.0.1")
        assert proxy.outcomes()["denied"] == 1


def test_addresses_may_come_and_go(neighbour: str) -> None:
    with Proxy("127.0.0.1:9", protocol="tcp", clients={"listen": ["0.0.0.0:0"]}) as proxy:
        run("ip", "addr", "add", f"{LATER}/32", "dev", "cable")
        assert is_let_in(proxy, LATER, HERE)
        run("ip", "addr", "del", f"{LATER}/32", "dev", "cable")
        run("ip", "-n", neighbour, "addr", "add", f"{LATER}/24", "dev", "theirs")
        code = CONNECT.replace("timeout=10", f'timeout=10, source_address=("{LATER}", 0)')
        ask = (sys.executable, "-c", code, HERE, str(proxy.port), "10")
        assert run("ip", "netns", "exec", neighbour, *ask).strip() == "reset"
        wait_for(lambda: f"{LATER} may not connect" in proxy.log(), within=20, what="the log says who came")


def test_a_network_that_is_named_is_served_too(neighbour: str) -> None:
    clients = {"listen": ["0.0.0.0:0"], "from": ["this machine", "198.18.0.0/30"]}
    with (
        Shuffler() as provider,
        Proxy(provider.address, protocol="dubbo", clients=clients) as proxy,
    ):
        assert from_there(neighbour, proxy.port, patience=0.3) == "silence"
        assert is_let_in(proxy, HERE, HERE)
        assert "denied" not in proxy.outcomes()
