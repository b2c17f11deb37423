"""The servers behind muxproxy in the system tests: a real nginx, a backlog that nobody empties, own programs.

All listen on 127.0.0.2: no client's own port (those are on 127.0.0.1 and 127.0.1.x) can stand in the way of a
server that comes back to its port after it was killed. The kernel chooses the port, and the server gets the
socket.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.system.process import Child, end, tool, wait_for

HOST = "127.0.0.2"
FILLER = "127.0.0.99"  # source of the connections that only fill a backlog: not the proxy's, so not counted

_NGINX = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log stderr error;
worker_processes 1;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type text/plain;
    client_max_body_size 0;
    server {{
        listen {host}:{port} {listen} backlog=4096;
        {server}
        location /echo {{ return 200 "$arg_token $http_x_token\\n"; }}
        location /host {{ return 200 "$http_host $server_protocol $request_method $http_connection\\n"; }}
        location / {{ root {folder}/files; }}
    }}
}}
"""


def listening(port: int = 0, backlog: int = 4096, host: str = HOST) -> socket.socket:
    """A listening socket on the port, or on one that the kernel chooses."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    sock.listen(backlog)
    return sock


def answers(host: str, port: int, status: int) -> bool:
    """Does nginx, when it is asked for /echo in plain text?"""
    with contextlib.suppress(OSError), socket.create_connection((host, port), 1) as sock:
        sock.settimeout(1)
        sock.sendall(b"GET /echo HTTP/1.0\r\n\r\n")
        return sock.recv(4096).startswith(b"HTTP/1.1 %d" % status)
    return False


def port_below_the_kernels() -> int:
    """For a server that binds by itself, and comes back to its port after it was killed: nobody holds it
    meanwhile, so it is one that the kernel gives to nobody (net.ipv4.ip_local_port_range).
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.sample(range(1024, lowest), k=min(100, max(0, lowest - 1024))):
        with contextlib.suppress(OSError), listening(port):
            return port
    with listening() as sock:  # all ports are the kernel's to give
        return int(sock.getsockname()[1])


class Nginx:
    """A real nginx: one worker, its own keep-alive defaults (75 s, 1,000 requests per connection).
    `listen`, `server`: what its configuration says there besides."""

    def __init__(self, listener: socket.socket | None = None, listen: str = "", server: str = "") -> None:
        self._words = {"listen": listen, "server": server}
        self._binary = tool("nginx")
        self.folder = Path(tempfile.mkdtemp(prefix="muxproxy-nginx-"))
        self.files = self.folder / "files"
        self.files.mkdir()
        self.host = HOST
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.start(listener)
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def start(self, listener: socket.socket | None = None) -> None:
        """Start, or start again on the same port. nginx takes over the listening socket that NGINX names."""
        listener = listener or listening(self.port)
        with listener:
            self.port = listener.getsockname()[1]
            # nginx's workers would be another user, who cannot read a folder that is root's alone.
            user = "user root;" if os.geteuid() == 0 else ""
            config = self.folder / "nginx.conf"
            place = {"folder": self.folder, "host": self.host, "port": self.port, "user": user}
            config.write_text(_NGINX.format(**place, **self._words))
            with (self.folder / "errors").open("ab") as errors:
                self._process = subprocess.Popen(
                    [self._binary, "-p", str(self.folder), "-c", str(config), "-e", "stderr"],
                    env=os.environ | {"NGINX": f"{listener.fileno()};"},
                    pass_fds=[listener.fileno()],
                    stderr=errors,
                    process_group=0,  # so that kill() ends master and workers in one blow
                )
            wait_for(self._answers, within=10, what=f"nginx at {self.address} answers")

    def _answers(self) -> bool:
        return answers(self.host, self.port, 400 if self._words["listen"] else 200)

    def kill(self) -> None:
        """Dead at once, workers and all: their sockets are reset and the port refuses."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """It stands still: connects go on succeeding, nothing is answered, until resume()."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGCONT)

    def reload(self) -> None:
        """Its old worker closes what is idle and ends after what it still owes; a new one takes over."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def errors(self) -> str:
        return (self.folder / "errors").read_text()

    def close(self) -> None:
        if self._process is not None:
            self.resume()
            end(self._process, signal.SIGTERM)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Nginx:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FullBacklog:
    """A port where connects hang: its backlog is full, and the kernel drops every SYN."""

    def __init__(self, port: int = 0) -> None:
        self._listener: socket.socket | None = listening(port, backlog=0)
        self.host = HOST
        self.port = self._listener.getsockname()[1]
        self._fillers: list[socket.socket] = []
        for _ in range(2):  # the first fits, the second finds it full and hangs
            sock = socket.socket()
            sock.setblocking(False)
            sock.bind((FILLER, 0))
            sock.connect_ex((self.host, self.port))
            self._fillers.append(sock)
            select.select([self._listener], [], [], 10)  # the first stands in the backlog

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def hand_over(self) -> socket.socket:
        """The cause's end: the same listening socket, its backlog free again, for a server to take over."""
        assert self._listener is not None
        listener, self._listener = self._listener, None
        for sock in self._fillers:
            sock.close()
        listener.listen(4096)
        return listener

    def close(self) -> None:
        for sock in self._fillers:
            sock.close()
        if self._listener is not None:
            self._listener.close()

    def __enter__(self) -> FullBacklog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def accepting_and_closing(host: str, port: int) -> Iterator[list[socket.socket]]:
    """What stands in a server's place for a while: it accepts, and closes without a word. Yields what it has
    accepted so far."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(4096)
    accepted: list[socket.socket] = []

    def accept() -> None:
        with contextlib.suppress(OSError):  # the end: nobody listens any more
            while True:
                sock, _ = listener.accept()
                sock.close()
                accepted.append(sock)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield accepted
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


class Program:
    """One of the servers in `servers.py`, in a process of its own."""

    def __init__(self, kind: str, listener: socket.socket | None = None, **orders: Any) -> None:
        with listener or listening() as sock:
            self.host, self.port = sock.getsockname()
            self._child = Child(
                "tests.system.servers", {"kind": kind, "fd": sock.fileno()} | orders, [sock.fileno()]
            )

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        return self._child.pid

    def results(self) -> dict[str, Any]:
        """What it counted; it ends."""
        return dict(self._child.results())

    def close(self) -> None:
        self._child.close()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
