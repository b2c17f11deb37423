"""One listener for every server that an app talks to: real clients by http_proxy, real origins behind.

Bounds are read from the kernel: so many sockets to each origin, and so many in all.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import aiohttp
import httpx
import pytest
import requests

from tests.certificates import made, server_context
from tests.sizes import size
from tests.system.hosts import Hosts
from tests.system.origins import port_below_the_kernels
from tests.system.process import needs, tool
from tests.system.proxy import Proxy
from tests.system.sockdiag import Sampler

EACH, BOUND = 4, 10
HERE = ["127.0.0.0/8"]  # all of these tests are on loopback


def forward(hosts: Hosts, *, allow: list[str] | None = None, timeout: str = "60s", **keys: Any) -> Proxy:
    bounds = {"max_connections": BOUND, "max_connections_each": EACH}
    allow = [*HERE, f"127.0.0.0/8:{hosts.port}"] if allow is None else allow
    upstream = {"to": "host", "allow": allow, **bounds, **keys}
    return Proxy(upstream=upstream, queue={"timeout": timeout, "max_waiting": 8000})


@pytest.fixture(scope="module")
def hosts(namespace: None) -> Iterator[Hosts]:
    with Hosts(6) as hosts:
        yield hosts


@pytest.fixture(scope="module")
def proxy(hosts: Hosts) -> Iterator[Proxy]:
    with forward(hosts) as proxy, Sampler(f"*:{hosts.port}", ignore_sources=("127.0.0.99",)) as sampler:
        yield proxy
        tally = sampler.result()
        assert tally.each <= EACH, tally
        assert tally.held <= BOUND, tally


def told(proxy: Proxy) -> dict[str, str]:
    return {**os.environ, "http_proxy": f"http://{proxy.address}", "no_proxy": ""}


def curl(proxy: Proxy, *options: str) -> str:
    command = [tool("curl"), "-sS", "--max-time", "20", *options]
    done = subprocess.run(command, env=told(proxy), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


@needs("curl")
def test_curl_by_http_proxy_and_by_host_alone(hosts: Hosts, proxy: Proxy) -> None:
    for number in range(len(hosts.hosts)):
        assert curl(proxy, hosts.url(number, "/echo?token=a")) == hosts.echoed(number, "a")
    where = f"Host: {hosts.hosts[2]}:{hosts.port}"
    assert curl(proxy, "--noproxy", "*", "-H", where, proxy.url("/echo?token=b")) == hosts.echoed(2, "b")
    # The target wins over Host: RFC 9112 section 3.2.2.
    odd = curl(proxy, "-H", f"Host: {hosts.hosts[1]}", hosts.url(3, "/echo?token=c"))
    assert odd == hosts.echoed(3, "c")


@needs("curl")
def test_what_is_said_to_a_proxy_ends_here_and_via_says_that_it_was_one(hosts: Hosts, proxy: Proxy) -> None:
    told = curl(proxy, "-i", "--proxy-user", "ann:hush", hosts.url(0, "/fields"))
    head, _, body = told.replace("\r", "").partition("\n\n")
    line, via, *ended = body.strip("\n").split("|")
    assert (line, ended) == ("GET /fields HTTP/1.1", ["", ""])
    assert via.startswith("1.1 muxproxy-")
    assert f"Via: {via}" in head.splitlines()
    asterisk = curl(proxy, "-X", "OPTIONS", "--request-target", hosts.url(0, ""), hosts.url(0, "/"))
    assert "<center>nginx" in asterisk, "which does not know the target * and says so itself"


@needs("curl")
def test_curl_by_a_tunnel(hosts: Hosts, proxy: Proxy) -> None:
    for number in (0, 1):
        assert curl(proxy, "-p", hosts.url(number, "/echo?token=t")) == hosts.echoed(number, "t")
    with Hosts(1) as others:
        elsewhere = [
            tool("curl"),
            "-sS",
            "-p",
            "-o",
            "/dev/null",
            "-w",
            "%{http_connect}",
            others.url(0, "/echo"),
        ]
        done = subprocess.run(
            elsewhere, env=told(proxy), capture_output=True, text=True, timeout=30, check=False
        )
    assert done.stdout == "403", "a port that allow does not name"


def test_requests_httpx_and_aiohttp(hosts: Hosts, proxy: Proxy) -> None:
    place = f"http://{proxy.address}"
    with requests.Session() as session:
        session.proxies = {"http": place}
        for number in (0, 1, 2, 0, 1, 2):
            assert session.get(hosts.url(number, "/echo?token=r"), timeout=20).text == hosts.echoed(
                number, "r"
            )

    async def many() -> None:
        async with httpx.AsyncClient(proxy=place, timeout=20) as one, aiohttp.ClientSession() as other:

            async def by_httpx(number: int) -> str:
                return (await one.get(hosts.url(number, f"/echo?token=x{number}"))).text

            async def by_aiohttp(number: int) -> str:
                async with other.get(hosts.url(number, f"/echo?token=x{number}"), proxy=place) as reply:
                    return await reply.text()

            numbers = [number % len(hosts.hosts) for number in range(60)]
            right = [hosts.echoed(number, f"x{number}") for number in numbers]
            assert await asyncio.gather(*map(by_httpx, numbers)) == right
            assert await asyncio.gather(*map(by_aiohttp, numbers)) == right

    asyncio.run(many())


@needs("node")
def test_node(hosts: Hosts, proxy: Proxy) -> None:
    script = """
        const http = require("http"), [place, ...urls] = process.argv.slice(1);
        const [host, port] = place.split(":");
        const agent = new http.Agent({keepAlive: true, maxSockets: 20});
        const get = url => new Promise((done, fail) => http.get(
            {host, port, agent, path: url, headers: {Host: new URL(url).host}},
            reply => { let body = ""; reply.on("data", part => body += part).on("end", () => done(body)); },
        ).on("error", fail));
        Promise.all(urls.map(get)).then(all => { process.stdout.write(all.join("")); agent.destroy(); });
    """
    numbers = [number % len(hosts.hosts) for number in range(60)]
    urls = [hosts.url(number, f"/echo?token=n{index}") for index, number in enumerate(numbers)]
    done = subprocess.run(
        [tool("node"), "-e", script, proxy.address, *urls],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "".join(hosts.echoed(number, f"n{index}") for index, number in enumerate(numbers))


# "Must be shown" 5: none of these leads where nobody allowed it.


def asks(proxy: Proxy, target: str, host: str, more: str = "") -> int:
    """The status of what is said to this on a connection of its own."""
    with socket.create_connection((proxy.host, proxy.port), 20) as sock:
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode())
        head = sock.recv(65536)
    assert head.startswith(b"HTTP/1.1 "), head
    return int(head[9:12])


def test_what_is_denied_cannot_be_had_by_a_name_an_odd_spelling_a_user_or_another_host(hosts: Hosts) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as secret,
        forward(hosts, allow=[], timeout="500ms") as strict,
    ):
        port = secret.getsockname()[1]
        spellings = [
            "127.0.0.1",
            "2130706433",
            "0x7f000001",
            "0177.1",
            "127.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ]
        spellings += ["[64:ff9b::7f00:1]", "0.0.0.0", "169.254.169.254", "localhost", "LOCALHOST."]
        for host in spellings:
            place = f"{host}:{port}"
            assert asks(strict, f"http://{place}/", "a") == 403, place
            assert asks(strict, "/", place) == 403, place
        for bad in ("a@127.0.0.1", "a:b@127.0.0.1", "127.0.0.1%2f", "a%00.b", "127.0.0.1\\@a"):
            assert asks(strict, f"http://{bad}:{port}/", "a") == 400, bad
        assert asks(strict, "http://nowhere.invalid/", "a") == 502, "no such name"
        secret.setblocking(False)
        with pytest.raises(BlockingIOError):
            secret.accept()
        assert strict.outcomes().keys() == {"denied", "bad_request", "no_server"}


def test_what_comes_round_ends_and_a_listener_that_is_known_is_never_asked(
    hosts: Hosts, proxy: Proxy
) -> None:
    assert asks(proxy, "/", proxy.address) == 508, "the kernel chose its port: it is in no file"
    port = port_below_the_kernels()

    def round_to(where: str, **clients: Any) -> Proxy:
        http = {"routes": [{"host": "round.test", "servers": [where]}]}
        tables = {"clients": clients} if clients else {}
        return Proxy(upstream={"to": "host", "allow": [*HERE, "round.test"]}, http=http, **tables)

    with round_to(f"127.0.0.2:{port}") as one, round_to(one.address, listen=[f"127.0.0.2:{port}"]) as two:
        assert asks(one, "http://round.test/", "a") == 508
        assert (one.outcomes(), two.outcomes()) == ({"loop": 1, "ok": 1}, {"ok": 1})
        assert asks(two, "/", two.address) == 403
        assert two.outcomes() == {"ok": 1, "denied": 1}


class Secret(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"{self.headers['Host']} {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def by_tls(kind: str) -> Iterator[str]:
    """Its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.2", 0), Secret) as server:
        server.socket = server_context(kind).wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"127.0.0.2:{server.server_port}"
        server.shutdown()
        thread.join()


@needs("curl")
def test_what_is_asked_for_plainly_may_be_fetched_by_tls_and_the_name_that_was_asked_for_is_checked() -> None:
    with by_tls("server") as good, by_tls("misnamed") as bad:
        routes = [{"host": "origin.internal", "servers": [good], "tls": True}]
        routes += [{"host": "localhost", "servers": [bad], "tls": True}]
        upstream = {"to": "host", "tls": {"ca_file": made("server").ca}}
        with Proxy(upstream=upstream, http={"routes": routes}, queue={"timeout": "500ms"}) as proxy:
            for _ in range(2):
                assert curl(proxy, "http://origin.internal/x") == "origin.internal /x"
            assert asks(proxy, "https://origin.internal/", "a") == 200
            assert "Hostname mismatch" in curl(proxy, "http://localhost/")


# The first incident's shape.


def test_many_clients_of_many_origins_have_every_reply_right_within_both_bounds() -> None:
    count, clients, asked = size(12, 40), size(100, 2000), size(6, 20)
    each, bound = size(4, 8), size(20, 200)
    keys = {"max_connections_each": each, "max_connections": bound, "connect_timeout": "10s"}
    with (
        Hosts(count) as hosts,
        forward(hosts, **keys) as proxy,
        Sampler(f"*:{hosts.port}") as sampler,
    ):
        right = asyncio.run(_crowd(proxy, hosts, clients, asked))
        tally = sampler.result()
        assert right == clients * asked
        assert proxy.outcomes() == {"ok": right}
    assert 1 <= tally.each <= each, tally
    assert tally.held <= bound, tally


async def _crowd(proxy: Proxy, hosts: Hosts, clients: int, asked: int) -> int:
    """Each asks one origin after the other on one connection. How many replies are right."""

    async def client(number: int) -> int:
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        right = 0
        for turn in range(asked):
            where = (number * 7 + turn * 13) % len(hosts.hosts)
            url, token = hosts.url(where, ""), f"{number}-{turn}" + "x" * (turn % 5)
            writer.write(f"GET {url}/echo?token={token} HTTP/1.1\r\nHost: {url[7:]}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            right += head.startswith(b"HTTP/1.1 200 ") and body.decode() == hosts.echoed(where, token)
        writer.close()
        return right

    return sum(await asyncio.gather(*(client(number) for number in range(clients))))
