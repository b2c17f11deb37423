"""Servers that end connections: a reload costs no GET an error, a GET that kills its connection runs twice
and no more (P9), and one that accepts and closes is left alone."""

from __future__ import annotations

import http.client
import socketserver
import threading
import time
from collections import Counter
from typing import ClassVar

from tests.system.load import RIGHT, Load, Plan
from tests.system.origins import HOST, Nginx
from tests.system.process import wait_for
from tests.system.proxy import Proxy

RELOADS = 20


def test_reloads_of_nginx_cost_no_get_an_error() -> None:
    with Nginx() as nginx, Proxy(nginx.address, upstream={"max_connections": 8}) as proxy:
        with Load(Plan(proxy.host, proxy.port, parallel=12, keep_alive=True)) as load:
            wait_for(lambda: proxy.outcomes().get("ok", 0) > 500, within=20, what="load")
            for _ in range(RELOADS):
                nginx.reload()
                time.sleep(0.15)  # the pace of the fault, not a wait for anything
            results = load.stop()
        backend = proxy.backend()
    print(results.summary(), backend["retried"], backend["closed"])
    assert backend["closed"]["server closed"] >= RELOADS
    assert set(results.outcomes) == {RIGHT}, results.examples


class ClosesOnReading(socketserver.StreamRequestHandler):
    """Answers every request but those for /poison: reading one of these ends the connection."""

    ran: ClassVar[Counter[str]] = Counter()

    def handle(self) -> None:
        while head := self.read_head():
            path = head.split(" ")[1]
            self.ran[path] += 1
            if path == "/poison":
                return
            WARM.wait(20)
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def read_head(self) -> str:
        lines = iter(lambda: self.rfile.readline().decode().rstrip(), "")
        return "\n".join(lines)


WARM = threading.Barrier(32)  # so many connections at a time have served a request: so many are warm


def test_a_get_on_whose_reading_the_server_closes_runs_twice_with_32_warm_connections() -> None:
    with socketserver.ThreadingTCPServer((HOST, 0), ClosesOnReading) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = "{}:{}".format(*server.server_address)
        with Proxy(address, upstream={"max_connections": 32}) as proxy:
            callers = [threading.Thread(target=get, args=(proxy, f"/{n}", 200)) for n in range(32)]
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join(20)
            wait_for(lambda: proxy.backend()["upstream"]["idle"] == 32, within=20, what="warm connections")
            get(proxy, "/poison", 502)
            assert ClosesOnReading.ran["/poison"] == 2
            assert proxy.backend()["retried"] == 1
        server.shutdown()


def get(proxy: Proxy, path: str, status: int) -> None:
    client = http.client.HTTPConnection(proxy.host, proxy.port, timeout=20)
    client.request("GET", path)
    assert client.getresponse().status == status
    client.close()


class AcceptsAndCloses(socketserver.BaseRequestHandler):
    """A balancer with nothing behind it."""

    took: ClassVar[int] = 0

    def handle(self) -> None:
        AcceptsAndCloses.took += 1


def test_a_server_that_accepts_and_closes_is_left_alone_and_the_healthy_one_serves() -> None:
    with (
        Nginx() as nginx,
        socketserver.ThreadingTCPServer((HOST, 0), AcceptsAndCloses) as server,
    ):
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        bad = "{}:{}".format(*server.server_address)
        with Proxy(bad, nginx.address, upstream={"max_connections": 8}) as proxy:
            with Load(Plan(proxy.host, proxy.port, parallel=16, keep_alive=True)) as load:
                wait_for(lambda: proxy.outcomes().get("ok", 0) > 500, within=20, what="load")
                wait_for(lambda: AcceptsAndCloses.took > 10, within=20, what="other tries")
                results = load.stop()
            print(results.summary(), AcceptsAndCloses.took)
            lost = len(results.records) - results.outcomes[RIGHT]
            assert lost <= 8, results.examples  # those of the first connects, which nobody could know of
            seconds = results.seconds
            assert AcceptsAndCloses.took <= 8 + 8 * seconds  # 400 a second without a pause
            assert proxy.log().count("server closes what it accepts") == 1
        server.shutdown()
