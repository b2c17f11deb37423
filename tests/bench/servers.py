"""The origin and the contestants: how each is configured, started, found ready and ended.

A contestant is one entry of CONTESTANTS: a function from (directory, its port, the origin's port) to the
command to run. Every one is set up as its manual advises for few upstream connections that live long, with
limits and timeouts so generous that none of them is what is measured. The origin listens on a port of its own
per contestant, so that the kernel's list of sockets tells whose an upstream socket is.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

UPSTREAMS = 8  # the bound that muxproxy and HAProxy obey, and nginx's keepalive cache
BODY = "hello, world: a small static body\n"
START_TIMEOUT = 30.0  # seconds until the first 200
STOP_TIMEOUT = 10.0  # seconds between SIGTERM and SIGKILL
DIRECT = "direct"

Command = list[str]
Configure = Callable[[Path, int, int], Command]


class StartError(Exception):
    """A server did not come up; str() holds the end of its log."""


class Server:
    """One running server: its port, and the process that was started (others may descend from it)."""

    def __init__(self, name: str, port: int, command: Command, core: int, directory: Path) -> None:
        self.name = name
        self.port = port
        self.log = directory / "output.log"
        with self.log.open("wb") as log:
            # taskset replaces itself by the command: the pid stays the server's.
            self.process = subprocess.Popen(
                ["taskset", "-c", str(core), *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        answer = b""
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                answer = get(self.port)
            except OSError as error:
                answer = str(error).encode()
            if answer.startswith(b"HTTP/1.1 200"):
                return
            time.sleep(0.05)
        tail = self.log.read_text(errors="replace")[-2000:]
        raise StartError(
            f"{self.name} gave no 200 on port {self.port} (last: {answer[:200]!r}); its log ends:\n{tail}"
        )

    def stop(self) -> None:
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on. Held together while chosen, so that they differ."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def get(port: int, path: str = "/") -> bytes:
    """One request on one connection; the whole reply."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
        reply = b""
        while data := client.recv(65536):
            reply += data
        return reply


# ---- what they are told ------------------------------------------------------------------------------------


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


def nginx(directory: Path, port: int, origin_port: int) -> Command:
    """nginx bounds what it keeps, not what it opens: beyond 8 it connects anew and closes after use."""
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
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
        }}
    }}
""",
    )


def haproxy(directory: Path, port: int, origin_port: int) -> Command:
    config = directory / "haproxy.cfg"
    config.write_text(f"""
global
    nbthread 1
    maxconn 8000
defaults
    mode http
    option http-keep-alive
    http-reuse always
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout http-keep-alive 1h
    timeout queue 1m
frontend clients
    bind 127.0.0.1:{port} backlog 4096
    default_backend origin
backend origin
    server origin 127.0.0.1:{origin_port} maxconn {UPSTREAMS} pool-max-conn {UPSTREAMS} pool-purge-delay 1h
""")
    return ["haproxy", "-db", "-f", str(config)]


def muxproxy(directory: Path, port: int, origin_port: int) -> Command:
    (directory / "muxproxy.toml").write_text(f'admin = "{directory}/admin.sock"\n')
    backends = directory / "backends"
    backends.mkdir()
    (backends / "bench.toml").write_text(f"""
protocol = "http"

[clients]
listen = ["127.0.0.1:{port}"]
max_connections = 8000
idle_timeout = "1h"
backlog = 4096

[queue]
max_waiting = 8000
timeout = "1m"

[upstream]
servers = ["127.0.0.1:{origin_port}"]
max_connections = {UPSTREAMS}
idle_timeout = "1h"
""")
    return [sys.executable, "-m", "muxproxy", "run", "-c", str(directory)]


CONTESTANTS: dict[str, Configure] = {"muxproxy": muxproxy, "haproxy": haproxy, "nginx": nginx}


def other(command: str) -> Configure:
    """A contestant from the command line: its words {port} and {origin} are filled in."""

    def configure(_directory: Path, port: int, origin_port: int) -> Command:
        return shlex.split(command.format(port=port, origin=origin_port))

    return configure


# ---- what is there to run them -----------------------------------------------------------------------------


def missing_programs(names: list[str]) -> list[str]:
    return [name for name in names if shutil.which(name) is None]


def versions() -> dict[str, str]:
    """Program -> version, of what takes part."""
    commands = {"HAProxy": ["haproxy", "-v"], "nginx": ["nginx", "-v"], "wrk": ["wrk", "-v"]}
    found = {}
    for name, command in commands.items():
        if shutil.which(command[0]) is None:
            continue
        # wrk tells its version on stdout and exits with 1; nginx writes to stderr.
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found[name] = version_in(done.stdout + done.stderr)
    return found


def version_in(text: str) -> str:
    match = re.search(r"\d+\.\d+(\.\d+)?", text)
    return match.group() if match else "?"
