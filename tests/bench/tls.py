"""HTTPS upstream: wrk -> muxproxy, HAProxy, nginx or nobody -> an nginx that speaks TLS.

Clients come in plain text, as an app behind a sidecar does; towards the origin every proxy checks its
certificate, keeps connections and resumes sessions. `direct` is wrk's own TLS, which checks nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

from tests.bench import http, servers
from tests.bench.builds import Build
from tests.bench.http import UPSTREAMS, HttpSuite, Load, origin, wrk_command
from tests.bench.servers import Command, Contestant, Server
from tests.certificates import client_context, made

LOADS = [
    Load("tls-64", "TLS upstream: keep-alive, 64", 64),
    Load("tls-close-64", "TLS upstream: one request each, 64", 64, closing=True),
]


def secure_origin(directory: Path, ports: list[int], status_port: int) -> Command:
    """The same origin, by TLS but for its status."""
    command = origin(directory, ports, status_port)
    config = directory / "nginx.conf"
    text, one = config.read_text(), made("server")
    for port in ports:
        text = text.replace(f"127.0.0.1:{port} backlog", f"127.0.0.1:{port} ssl backlog")
    certificate = f"    ssl_certificate {one.cert}; ssl_certificate_key {one.key};\n    server {{"
    config.write_text(text.replace("    server {", certificate, 1))
    return command


def haproxy(directory: Path, address: str, origin_port: int) -> Command:
    check = f"ssl verify required ca-file {made('server').ca} sni str(localhost) verifyhost localhost"
    return http.haproxy(directory, address, origin_port, check)


def nginx(directory: Path, address: str, origin_port: int) -> Command:
    check = f"""
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {made("server").ca};
            proxy_ssl_name localhost;
            proxy_ssl_server_name on;"""
    return http.nginx(directory, address, origin_port, "https", check)


class TlsSuite(HttpSuite):
    name = "tls"
    has_idle = False
    loads = LOADS

    def __init__(self, builds: Sequence[Build]) -> None:
        tls = {"ca_file": made("server").ca, "server_name": "localhost"}
        ours = servers.ours(builds, "http", max_connections=UPSTREAMS, tls=tls)
        self.contestants = ours | {"haproxy": Contestant(haproxy), "nginx": Contestant(nginx)}

    def start_origin(self) -> None:
        room = self.stage.room("origin")
        (status_port,) = servers.free_ports(1)
        self.status_address = f"127.0.0.1:{status_port}"
        ports = list(self.origin_ports.values())
        command = secure_origin(room, ports, status_port)
        address = f"127.0.0.1:{ports[0]}"
        self.stage.launch("origin", room, address, command, self.stage.load_core, shakes)

    def command(self, load: Load, name: str, server: Server | None, seconds: float) -> Command:
        command = wrk_command(load, self.address(name, server), seconds, self.stage.directory)
        if server is None:
            command[-1] = command[-1].replace("http:", "https:")
        return command


def shakes(address: str) -> str:
    """The origin's probe: empty once its certificate is the one that proxies are to check."""
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), 5) as plain,
        client_context().wrap_socket(plain, server_hostname="localhost") as sock,
    ):
        return "" if sock.version() else "no version"
