"""Apps whose connections the kernel leads to muxproxy: HTTP and anything else over TCP, with no setting."""

from __future__ import annotations

import http.server
import os
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from muxproxy.config.destination import Destination
from tests.system.process import needs, wait_for
from tests.system.proxy import Proxy
from tests.system.transparent.scene import add_places, held, led, muxproxy, place, run

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="the kernel's rules are root's"),
    needs("nft"),
    needs("ip"),
]
SERVERS = 4
HANGS = SERVERS + 1


@pytest.fixture(scope="module", autouse=True)
def places(namespace: None) -> None:
    add_places(HANGS)


class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"{self.server.server_address[0]} {self.headers['Host']} {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None: ...


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(65536):
            self.request.sendall(data)


class Server(socketserver.ThreadingTCPServer):
    def __init__(self, host: str, port: int, handler: type[socketserver.BaseRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), handler, bind_and_activate=False)


@contextmanager
def servers(handler: type[socketserver.BaseRequestHandler], port: int, *more: str) -> Iterator[list[str]]:
    hosts = [*map(place, range(1, SERVERS + 1)), *more]
    with ExitStack() as stack:
        for host in hosts:
            server = Server(host, port, handler)
            server.allow_reuse_address = server.daemon_threads = True
            server.request_queue_size = 128
            server.server_bind()
            server.server_activate()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield [str(Destination(host, port)) for host in hosts]


def curls(peer: str, number: int) -> str:
    urls = [f"http://{peer}/{number}-{each}" for each in range(5)]
    return run("curl", "-sS", "--fail", "-w", "\n", *urls).stdout


@needs("curl")
def test_curl_reaches_each_server_that_it_names_over_a_few_connections(tmp_path: Path) -> None:
    bounds = {"max_connections": 6, "max_connections_each": 2}
    with servers(Origin, 80) as peers, led(tmp_path, "http", ["10.77.0.0/24:80"], upstream=bounds) as proxy:
        checked = muxproxy("check", "-c", str(proxy.folder))
        assert "0 warnings" in checked.stderr, checked.stdout
        with ThreadPoolExecutor(8) as crowd:
            jobs = {(peer, n): crowd.submit(curls, peer, n) for n in range(3) for peer in peers}
            while not all(job.done() for job in jobs.values()):
                now = held(proxy, *peers)
                assert max(now.values()) <= 2, now
                assert sum(now.values()) <= 6, now
                time.sleep(0.01)
        for (peer, number), job in jobs.items():
            host = peer.removesuffix(":80")
            assert job.result() == "".join(f"{host} {host} /{number}-{each}\n" for each in range(5))
        backend = proxy.backend()
        assert set(backend["destinations"]) == set(peers)
        assert backend["outcomes"]["replied"]["ok"] == 3 * 5 * SERVERS
        assert backend["connects"] < 3 * 5 * SERVERS / 2

        removed = muxproxy("redirect", "-c", str(proxy.folder), "--remove")
        assert removed.exit_code == 0
        checked = muxproxy("check", "-c", str(proxy.folder))
        assert "the kernel's rules are not in place: muxproxy redirect --write" in checked.stdout


@needs("curl")
def test_a_server_that_hangs_costs_the_others_nothing(tmp_path: Path) -> None:
    bounds = {"max_connections": 8, "max_connections_each": 2, "reply_timeout": "20s"}
    silent = socket.create_server((place(HANGS), 80))
    with silent, servers(Origin, 80) as peers:
        queue = {"max_waiting": 32, "timeout": "10s"}
        with led(tmp_path, "http", ["10.77.0.0/24:80"], upstream=bounds, queue=queue) as proxy:
            stuck = [socket.create_connection((place(HANGS), 80)) for _ in range(40)]
            for each in stuck:
                each.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            told = proxy.backend
            while told()["waiting"] + told()["outcomes"]["refused"].get("queue_full", 0) < 38:
                time.sleep(0.02)
            began = time.monotonic()
            for number in range(3):
                for peer in peers:
                    assert curls(peer, number).count("\n") == 5
            assert time.monotonic() - began < 10.0, "the queue's timeout"
            assert held(proxy, f"{place(HANGS)}:80") == {f"{place(HANGS)}:80": 2}
            backend = proxy.backend()
            assert 14 <= backend["waiting"] <= 16, "half of the queue, and two have been sent from it"
            assert backend["outcomes"]["expired"] == {}
            for each in stuck:
                each.close()


def asked(proxy: Proxy) -> bytes:
    """Of the listener itself. An RST may be here before connect() has looked."""
    with socket.create_connection((proxy.host, proxy.port), timeout=10) as loop:
        loop.sendall(b"x")
        return loop.recv(1)


TPROXY = """
table inet played {
    chain out {
        type route hook output priority mangle
        meta skuid 0 tcp dport 5432 meta mark set 1
    }
    chain pre {
        type filter hook prerouting priority mangle
        meta mark 1 meta nfproto ipv4 meta l4proto tcp tproxy ip to 127.0.0.1:15001 accept
        meta mark 1 meta nfproto ipv6 meta l4proto tcp tproxy ip6 to [::1]:15001 accept
    }
}
"""


def echoes(peer: str) -> None:
    host, _, port = peer.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=10) as session:
        session.sendall(peer.encode())
        assert session.recv(100) == peer.encode()


def test_any_protocol_over_tcp_and_who_comes_directly_is_sent_away(tmp_path: Path) -> None:
    """IPv4 and IPv6, by a redirect and by TPROXY."""
    run("ip", "addr", "add", "fd77::1/128", "dev", "lo", "nodad")
    clients = {"listen": ["127.0.0.1:15001", "[::1]:15001"], "transparent": True}
    with servers(Echo, 5432, "fd77::1") as peers, led(tmp_path, "tcp", ["5432"], clients=clients) as proxy:
        for peer in peers:
            echoes(peer)
        wait_for(lambda: proxy.outcomes() == {"ok": len(peers)}, within=10, what="all are counted")
        assert set(proxy.backend()["destinations"]) == set(peers)
        muxproxy("redirect", "-c", str(proxy.folder), "--remove")
        for family, everywhere in (("-4", "0.0.0.0/0"), ("-6", "::/0")):
            run("ip", family, "rule", "add", "fwmark", "1", "lookup", "100")
            run("ip", family, "route", "add", "local", everywhere, "dev", "lo", "table", "100")
        run("nft", "-f", "-", input=TPROXY)
        for peer in peers:
            echoes(peer)
        wait_for(lambda: proxy.outcomes() == {"ok": 2 * len(peers)}, within=10, what="all are counted")
        run("nft", "delete", "table", "inet", "played")
        with pytest.raises(ConnectionError):
            asked(proxy)
        assert proxy.outcomes()["denied"] == 1
