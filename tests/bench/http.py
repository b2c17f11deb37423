"""HTTP: wrk -> muxproxy, HAProxy, nginx or nobody -> nginx with a small reply from memory.

Five loads: keep-alive and closing, the same head each time and distinct ones. Besides, what an idle client
costs in memory, on a fresh process, so that no earlier load has grown it.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import measure, report, servers
from tests.bench.builds import Build
from tests.bench.measure import Figures
from tests.bench.servers import Command, Contestant, Server
from tests.bench.suite import Suite

UPSTREAMS = 8  # the bound that muxproxy and HAProxy obey, and nginx's keepalive cache
BODY = "hello, world: a small static body\n"
TIMEOUT = "20s"  # wrk counts a reply that takes longer as an error
SETTLE = 1.0  # seconds between the last idle client's reply and the look at the memory
SILENT = 25.0  # seconds until the second look: a proxy may take back what a client does not use
OFTEN = 3  # requests of a client that keeps its connection to use it


@dataclass(frozen=True)
class Load(measure.Load):
    closing: bool = False  # one request per connection
    distinct: bool = False  # every request has a path and an id of its own


LOADS = [
    Load("keep-64", "keep-alive, 64", 64),
    Load("keep-1000", "keep-alive, 1,000", 1000),
    Load("close-64", "one request each, 64", 64, closing=True),
    Load("distinct-64", "keep-alive, 64, distinct heads", 64, distinct=True),
    Load(
        "distinct-close-64",
        "one request each, 64, distinct heads",
        64,
        closing=True,
        distinct=True,
    ),
]


# ---- wrk ---------------------------------------------------------------------------------------------------

# What wrk prints is for people; its own hook gives the same figures for machines.
LUA_DONE = """
function done(summary, latency, requests)
   local e = summary.errors
   io.write(string.format(
      '{"done": %d, "microseconds": %d, "p50": %d, "p99": %d, "errors": %d}\\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
      e.connect + e.read + e.write + e.status + e.timeout))
end
"""

# Built before the start: a request costs Lua a table look-up. More heads than a proxy would care to remember.
LUA_DISTINCT = """
local heads, n, size = {{}}, 0, 20000
function init(args)
   math.randomseed(os.time())
   for i = 1, size do
      heads[i] = wrk.format("GET", string.format("/api/v1/items/%d?page=%d", math.random(10^9), i), {{
         ["Host"] = "bench.example.com", ["User-Agent"] = "bench/1.0",
         ["Accept"] = "application/json", ["Accept-Encoding"] = "gzip, deflate",
         ["X-Request-Id"] = string.format("%016x", math.random(2^52)){more}
      }})
   end
end
function request()
   n = n % size + 1
   return heads[n]
end
"""


def lua_script(load: Load) -> str:
    if not load.distinct:
        return LUA_DONE
    more = ', ["Connection"] = "close"' if load.closing else ""
    return LUA_DONE + LUA_DISTINCT.format(more=more)


def wrk_command(load: Load, address: str, seconds: float, directory: Path) -> Command:
    script = directory / f"{load.name}.lua"
    script.write_text(lua_script(load))
    command = ["wrk", "-t1", f"-c{load.connections}", f"-d{seconds:g}s", "--timeout", TIMEOUT, "--latency"]
    if load.closing and not load.distinct:
        command += ["-H", "Connection: close"]
    return [*command, "-s", str(script), f"http://{address}/"]


# ---- the origin and the contestants ------------------------------------------------------------------------


def nginx_command(directory: Path, http: str) -> Command:
    """nginx in the foreground with one worker; `http` is what stands inside its http block."""
    user = "user root;" if os.geteuid() == 0 else ""  # else nginx complains that it cannot change user
    paths = "\n".join(
        f"    {kind}_temp_path {directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = directory / "nginx.conf"
    config.write_text(f"""
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {directory}/nginx.pid;
events {{ worker_connections 16000; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
{paths}
{http}
}}
""")
    return ["nginx", "-p", str(directory), "-e", str(directory / "error.log"), "-c", str(config)]


def origin(directory: Path, ports: list[int], status_port: int) -> Command:
    """A small reply from memory, with the request's id: distinct requests get distinct replies."""
    listen = "\n".join(f"        listen 127.0.0.1:{port} backlog=4096;" for port in ports)
    return nginx_command(
        directory,
        f"""
    server {{
{listen}
        default_type text/plain;
        add_header X-Request-Id $http_x_request_id;
        location / {{ return 200 "{BODY.strip()}\\n"; }}
    }}
    server {{
        listen 127.0.0.1:{status_port};
        location / {{ stub_status; }}
    }}
""",
    )


def nginx(
    directory: Path, address: str, origin_port: int, scheme: str = "http", towards: str = ""
) -> Command:
    """nginx bounds what it keeps, not what it opens: beyond 8 it connects anew and closes after use.
    `towards`: what is said of the origin besides."""
    return nginx_command(
        directory,
        f"""
    upstream origin {{
        server 127.0.0.1:{origin_port};
        keepalive {UPSTREAMS};
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
    }}
    server {{
        listen {address} backlog=4096;
        location / {{
            proxy_pass {scheme}://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            {towards}
        }}
    }}
""",
    )


def haproxy(directory: Path, address: str, origin_port: int, towards: str = "") -> Command:
    """`towards`: as above."""
    bound = f"maxconn {UPSTREAMS} pool-max-conn {UPSTREAMS} pool-purge-delay 1h"
    return servers.haproxy_command(
        directory,
        f"""
    mode http
    option http-keep-alive
    http-reuse always
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout http-keep-alive 1h
    timeout queue 1m
frontend clients
    bind {address} backlog 4096
    default_backend origin
backend origin
    server origin 127.0.0.1:{origin_port} {towards} {bound}
""",
    )


def get(address: str) -> bytes:
    return servers.ask(address, b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")


def parse_accepted(text: str) -> int:
    """Connections accepted so far, from nginx's stub_status."""
    match = re.search(r"requests\s+(\d+) \d+ \d+", text)
    if match is None:
        raise ValueError(f"not a stub_status: {text[:80]!r}")
    return int(match.group(1))


# ---- the suite ---------------------------------------------------------------------------------------------


class HttpSuite(Suite):
    name = "http"
    unit = "request"
    reference = "haproxy"
    has_idle = True
    programs = ("haproxy", "nginx", "wrk")
    versions = (("HAProxy", "haproxy -v"), ("nginx", "nginx -v"), ("wrk", "wrk -v"))
    loads = LOADS
    columns = (
        report.rate("requests/s"),
        report.cpu("CPU µs/request"),
        report.ratio("CPU vs HAProxy", "haproxy", lambda one: one.cpu_us, proxies_only=True),
        *report.LATENCY,
        report.ERRORS,
        report.SOCKETS,
        report.OPENED,
        report.BUSY,
    )

    def __init__(self, builds: Sequence[Build]) -> None:
        ours = servers.ours(builds, "http", max_connections=UPSTREAMS)
        self.contestants = ours | {"haproxy": Contestant(haproxy), "nginx": Contestant(nginx)}

    def start_origin(self) -> None:
        room = self.stage.room("origin")
        (status_port,) = servers.free_ports(1)
        self.status_address = f"127.0.0.1:{status_port}"
        ports = list(self.origin_ports.values())
        command = origin(room, ports, status_port)
        address = f"127.0.0.1:{ports[0]}"
        self.stage.launch("origin", room, address, command, self.stage.load_core, self.probe)

    def probe(self, address: str) -> str:
        answer = get(address)
        return "" if answer.startswith(b"HTTP/1.1 200") else repr(answer[:200])

    def command(self, load: Load, name: str, server: Server | None, seconds: float) -> Command:
        return wrk_command(load, self.address(name, server), seconds, self.stage.directory)

    def run(self, load: measure.Load, name: str, server: Server | None, seconds: float) -> Figures:
        assert isinstance(load, Load)
        command = self.command(load, name, server, seconds)
        accepted = self._accepted()
        cpu = measure.Cpu(server.pid if server else None)
        figures = measure.run_reporting(
            command, cpu, measure.Cpu(None), f"127.0.0.1:{self.origin_ports[name]}"
        )
        figures.opened = self._accepted() - accepted - 1  # 1 is our own second look
        return figures

    def idle(self, name: str, clients: int) -> list[report.Memory]:
        """Of clients that have asked once; on another fresh process, of some that have asked more often, soon
        after and when they have been silent for a while."""
        return [
            *self._idle(name, clients, 1, (SETTLE,)),
            *self._idle(name, clients, OFTEN, (SETTLE, SILENT)),
        ]

    def _idle(self, name: str, clients: int, asked: int, looks: Sequence[float]) -> list[report.Memory]:
        server = self.start(name)
        assert server is not None, "there is no memory of a proxy in `direct`"
        crowd = IdleClients()
        try:
            before = measure.pss_kib(server.pid)
            crowd.connect(server.address, clients)
            for _ in range(asked - 1):
                crowd.ask()
            since = time.monotonic()
            found = []
            for silent in looks:
                time.sleep(max(0.0, since + silent - time.monotonic()))
                after = measure.pss_kib(server.pid)
                found.append(report.Memory(clients, before, after, asked, silent))
            return found
        finally:
            crowd.close()
            server.stop()

    def _accepted(self) -> int:
        return parse_accepted(get(self.status_address).decode())


class IdleClients:
    """Keep-alive clients that have made a request or some each and say nothing more."""

    def __init__(self) -> None:
        self.open: list[socket.socket] = []

    def connect(self, address: str, count: int) -> None:
        for _ in range(count):
            client = servers.connect(address, timeout=10)
            self.open.append(client)
            self._ask(client)

    def ask(self) -> None:
        for client in self.open:
            self._ask(client)

    @staticmethod
    def _ask(client: socket.socket) -> None:
        client.sendall(
            b"GET / HTTP/1.1\r\nHost: bench.example.com\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\r\n"
        )
        reply = client.recv(65536)
        if not reply.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"an idle client got {reply[:200]!r}")

    def close(self) -> None:
        for client in self.open:
            client.close()
        self.open.clear()
