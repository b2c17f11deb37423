"""What operators have done through the admin socket, with traffic on; and what others cannot.

Backends of all four protocols: the fourth, raw TCP, carries HTTP clients to an HTTP server.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.system.dubbo.own import Shuffler
from tests.system.origins import Program, listening
from tests.system.process import Child, wait_for
from tests.system.proxy import AdminConnection
from tests.system.redis.server import RedisServer
from tests.system.test_reload import Files, free_port

CLIENTS = 4  # of each protocol
PAUSE = 2.0  # seconds
BOUND = 4
PROTOCOLS = {"web": "http", "cache": "redis", "orders": "dubbo", "raw": "tcp"}


def ask(admin: str, method: str, page: str, body: object = None) -> tuple[int, Any]:
    connection = AdminConnection(admin)
    connection.timeout = 30
    sent = None if body is None else json.dumps(body).encode()
    connection.request(method, page, sent, {"Content-Type": "application/json"} if sent else {})
    reply = connection.getresponse()
    told = json.loads(reply.read())
    connection.close()
    return reply.status, told


class Node:
    """Backends of all protocols, their servers, and clients that notice if something is wrong."""

    def __init__(self, stack: ExitStack) -> None:
        self.web = stack.enter_context(ExitStack())
        self.origin = self.web.enter_context(Program("slots", seconds=0.002))
        self.cache = stack.enter_context(RedisServer())
        self.orders = stack.enter_context(Shuffler())
        self.proxy = stack.enter_context(Files(self.origin.address, node={"admin_tcp": "127.0.0.1:0"}))
        servers = {
            "web": self.origin.address,
            "raw": self.origin.address,
            "cache": self.cache.address,
            "orders": self.orders.address,
        }
        self.places = {name: f"127.0.0.1:{free_port()}" for name in servers}
        for name, server in servers.items():
            self.proxy.write(
                name,
                PROTOCOLS[name],
                clients={"listen": [self.places[name]], "max_connections": 500, "backlog": 100},
                queue={"timeout": "20s"},
                upstream={"servers": [server], "max_connections": BOUND},
            )
        self.proxy.reload()

    def traffic(self) -> Child:
        asks = {"http": [self.places["web"], self.places["raw"]]}
        asks |= {"redis": [self.places["cache"]], "dubbo": [self.places["orders"]]}
        return Child("tests.system.traffic", asks | {"clients": CLIENTS})

    def post(self, name: str, command: str) -> dict[str, Any]:
        status, told = ask(str(self.proxy.admin), "POST", f"/backends/{name}/{command}")
        assert status == 200, told
        return dict(told)

    def backends(self) -> dict[str, Any]:
        return {name: each for name, each in self.proxy.status()["backends"].items() if name in PROTOCOLS}

    def sockets(self) -> int:
        return sum(each.get("upstream_sockets", 99) for each in self.backends().values())

    def replace_servers(self) -> None:
        """Others, on the same ports."""
        self.origin.results()
        port = self.origin.port
        self.web.close()
        self.orders.kill()
        self.cache.shut_down()
        self.origin = self.web.enter_context(Program("slots", listening(port), seconds=0.002))
        self.orders.start()
        self.cache.start()


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with ExitStack() as stack:
        yield Node(stack)


def goes_on(node: Node, traffic: Child) -> None:
    """Each protocol gets further from here."""

    def counts() -> dict[str, int]:
        traffic.tell("")
        return dict(traffic.answer(within=20)["right"])

    before = counts()
    wait_for(
        lambda: all(count > before.get(what, 0) + 20 for what, count in counts().items()),
        within=20,
        what="all of them get replies",
        every=0.05,
    )


def test_servers_are_replaced_behind_a_pause_and_nobody_notices(node: Node) -> None:
    with node.traffic() as traffic:
        goes_on(node, traffic)
        began = time.monotonic()
        for name in PROTOCOLS:
            assert node.post(name, "pause")["state"] == "paused"
        wait_for(lambda: node.sockets() == 0, within=20, what="what was in flight is finished", every=0.02)
        node.replace_servers()
        time.sleep(max(0.0, began + PAUSE - time.monotonic()))
        for name, backend in node.backends().items():
            assert backend["waiting"] >= 1, name
            assert backend["upstream_sockets"] == 0, name
        for name in PROTOCOLS:
            assert node.post(name, "resume")["state"] == "serving"
        goes_on(node, traffic)
        end = traffic.results()
    assert end["wrong"] == []
    assert end["slowest"] > PAUSE / 2


def test_connections_are_replaced_under_load_and_nobody_notices(node: Node) -> None:
    before = {name: each["connects"] for name, each in node.backends().items()}
    with node.traffic() as traffic:
        goes_on(node, traffic)
        for _ in range(5):
            for name in PROTOCOLS:
                node.post(name, "reconnect")
            goes_on(node, traffic)
        end = traffic.results()
    assert end["wrong"] == []
    for name, backend in node.backends().items():
        assert backend["connects"] >= before[name] + 5, name
        assert backend["upstream_sockets"] <= BOUND, name


def test_numbers_that_are_set_count_at_once_and_the_next_reload_ends_them(node: Node) -> None:
    admin = str(node.proxy.admin)
    with node.traffic() as traffic:
        goes_on(node, traffic)
        for name in PROTOCOLS:
            status, told = ask(admin, "PATCH", f"/backends/{name}", {"max_connections": 1, "max_waiting": 50})
            assert (status, told["upstream_max"], told["waiting_max"]) == (200, 1, 50)
            assert told["differs"]["upstream.max_connections"] == {"file": BOUND, "now": 1}
        wait_for(lambda: node.sockets() <= len(PROTOCOLS), within=20, what="one of each", every=0.02)
        status, told = ask(admin, "POST", "/reload", {})
        assert {each["key"] for each in told["changed"]} == {"upstream.max_connections", "queue.max_waiting"}
        assert all(each["differs"] == {} for each in node.backends().values())
        goes_on(node, traffic)
        assert traffic.results()["wrong"] == []


def test_a_drained_backend_takes_nobody_until_it_is_resumed(node: Node) -> None:
    client = AdminConnection("")
    host, _, port = node.places["web"].rpartition(":")
    client.sock = socket.create_connection((host, int(port)), 20)
    client.request("GET", "/?token=a", headers={"X-Token": "a"})
    reply = client.getresponse()
    assert reply.read() == b"a a\n"
    node.post("web", "drain")
    wait_for(lambda: node.backends()["web"]["state"] == "drained", within=20, what="it is drained")
    assert client.sock.recv(1) == b""
    client.close()
    with socket.socket() as other:
        assert other.connect_ex((host, int(port))) != 0
    node.proxy.reload()
    assert node.backends()["web"]["state"] == "drained"
    ready, told = ask(str(node.proxy.admin), "GET", "/readyz")
    assert (ready, told["cannot"]) == (503, {"web": "drained"})
    assert node.post("web", "resume")["listen"] == [node.places["web"]]
    wait_for(
        lambda: ask(str(node.proxy.admin), "GET", "/readyz?backend=web")[0] == 200,
        within=20,
        what="it is back",
    )
    with socket.create_connection((host, int(port)), 20) as other:
        other.sendall(b"GET /?token=b HTTP/1.1\r\nHost: localhost\r\nX-Token: b\r\nConnection: close\r\n\r\n")
        assert other.makefile("rb").read().endswith(b"b b\n")


def test_one_server_of_several_gets_nothing_new(node: Node) -> None:
    with Program("slots", seconds=0.001) as one, Program("slots", seconds=0.001) as two:
        place = f"127.0.0.1:{free_port()}"
        upstream = {"servers": [one.address, two.address], "max_connections": BOUND}
        node.proxy.write("pair", "http", clients={"listen": [place]}, upstream=upstream)
        node.proxy.reload()

        def servers() -> dict[str, int]:
            entry = node.proxy.status()["backends"]["pair"]
            return {each["address"]: each["connections"] for each in entry.get("servers", [])}

        asks = {"http": [place], "clients": CLIENTS}
        with Child("tests.system.traffic", asks) as traffic:
            wait_for(lambda: all(servers().values()), within=20, what="both are used", every=0.02)
            node.post("pair", f"drain?server={one.address}")
            wait_for(lambda: servers().keys() == {two.address}, within=20, what="it is left", every=0.02)
            status, told = ask(str(node.proxy.admin), "POST", f"/backends/pair/drain?server={two.address}")
            assert (status, "last server" in told["detail"]) == (409, True)
            node.post("pair", f"resume?server={one.address}")
            wait_for(
                lambda: len(servers()) == 2 and all(servers().values()),
                within=20,
                what="it is used again",
                every=0.02,
            )
            assert traffic.results()["wrong"] == []
        node.proxy.remove("pair")
        node.proxy.reload()


# -- who may not, and what does no harm --------------------------------------------------------------------

STRANGER = """
import socket, sys
answers = []
for request in (b"GET /status", b"POST /reload", b"POST /backends/web/drain"):
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(sys.argv[1])
            client.sendall(request + b" HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
            answers.append(client.recv(100))
        except PermissionError:
            answers.append(b"refused")
print(answers == [b"refused"] * 3)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_who_is_not_the_owner_nor_of_the_group_can_neither_read_nor_change_anything(node: Node) -> None:
    nobody = pwd.getpwnam("nobody")
    node.proxy.folder.chmod(0o755)  # it is the socket that refuses
    done = subprocess.run(
        ["/usr/bin/env", "python3", "-c", STRANGER, str(node.proxy.admin)],
        capture_output=True,
        text=True,
        check=False,
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        extra_groups=[],
        cwd="/",
        env={"PATH": "/usr/bin:/bin"},
    )
    assert done.stdout == "True\n", done.stderr


def readers(node: Node) -> tuple[str, int]:
    line = next(line for line in node.proxy.log().splitlines() if " muxproxy version=" in line)
    host, _, port = line.partition(" admin_tcp=")[2].partition(" ")[0].rpartition(":")
    return host, int(port)


def status_of(place: tuple[str, int], request: str) -> int:
    with socket.create_connection(place, 20) as client:
        client.sendall(f"{request} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        return int(client.makefile("rb").read().split()[1])


def test_the_tcp_address_refuses_every_change_and_shows_what_monitors_need(node: Node) -> None:
    place = readers(node)
    before = node.proxy.status()["reloads"]
    for page in ("/metrics", "/status", "/healthz", "/readyz"):
        assert status_of(place, f"GET {page}") == 200
        assert status_of(place, f"POST {page}") == 405
    for request in (
        "POST /reload",
        "PATCH /backends/web",
        *(f"POST /backends/web/{c}" for c in ("pause", "drain")),
    ):
        assert status_of(place, request) == 403
    assert node.proxy.status()["reloads"] == before
    assert {each["state"] for each in node.backends().values()} == {"serving"}


def test_malformed_huge_and_slow_requests_harm_nothing(node: Node) -> None:
    pid = node.proxy.process.pid
    before = len(os.listdir(f"/proc/{pid}/fd"))
    with node.traffic() as traffic, ExitStack() as stack:
        goes_on(node, traffic)
        for place in (str(node.proxy.admin), readers(node)):
            family = socket.AF_UNIX if isinstance(place, str) else socket.AF_INET

            def sends(data: bytes, place: Any = place, family: int = family) -> socket.socket:
                client = stack.enter_context(socket.socket(family))
                client.settimeout(20)
                client.connect(place)
                try:
                    client.sendall(data)
                except OSError:
                    pass  # it has hung up in the middle
                return client

            for _ in range(20):
                # And no more of it.
                sends(b"POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n{")
                sends(b"GET /status HT")
                sends(os.urandom(1000))
                sends(b"POST /reload HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 1_000_000)
                sends(
                    b"POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n"
                    + b"{" * 1_000_000
                )
            last = sends(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert last.makefile("rb").read().startswith(b"HTTP/1.1 200 ")
        goes_on(node, traffic)
        assert traffic.results()["wrong"] == []
        stack.close()
    assert {each["state"] for each in node.backends().values()} == {"serving"}
    wait_for(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= before, within=20, what="none is left", every=0.1)


def test_everything_that_was_changed_is_in_the_log_with_who_asked(node: Node) -> None:
    changes = [line for line in node.proxy.log().splitlines() if "admin change" in line]
    assert len(changes) >= 1
    assert all(f" uid={os.geteuid()} pid={os.getpid()}" in line for line in changes), changes
