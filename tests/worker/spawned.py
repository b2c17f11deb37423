"""A real worker process and its supervisor's end of the channel: plain blocking sockets, each with a
deadline."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from muxproxy.config.model import Backend, Clients, Queue, Upstream
from muxproxy.messages import Configure, Log, Message, MessageReader, encode

PATIENCE = 20.0  # seconds for what must happen


class Spawned:
    def __init__(
        self, control: socket.socket, process: subprocess.Popen[bytes], sockets: socket.socket
    ) -> None:
        control.settimeout(PATIENCE)
        self.control = control
        self._sockets = sockets
        self.process = process
        self.logged: list[Log] = []
        self._reader = MessageReader()
        self._heard: list[Message] = []

    def says(self, message: Message) -> None:
        self.control.sendall(encode(message))

    def hands_over(self, *descriptors: int) -> None:
        """Before the word that they belong to."""
        socket.send_fds(self._sockets, [b"\0"], descriptors)

    def hears(self) -> Message:
        """The next message that is not for the log."""
        while True:
            while self._heard:
                message = self._heard.pop(0)
                if not isinstance(message, Log):
                    return message
                self.logged.append(message)
            self._receive()

    def hears_all(self) -> list[Message]:
        """What has come, once its channel is readable."""
        self._receive()
        heard, self._heard = self._heard, []
        self.logged += [message for message in heard if isinstance(message, Log)]
        return [message for message in heard if not isinstance(message, Log)]

    def _receive(self) -> None:
        data = self.control.recv(65536)
        if not data:
            raise EOFError
        self._heard += self._reader.feed(data)

    def exits(self) -> int:
        return self.process.wait(PATIENCE)


@contextmanager
def spawned(*inherited: int) -> Iterator[Spawned]:
    ours, theirs = socket.socketpair()
    to, at = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, to, at:
        ends = (theirs.fileno(), at.fileno())
        command = ["--control-fd", str(ends[0]), "--sockets-fd", str(ends[1])]
        process = subprocess.Popen(
            [sys.executable, "-m", "muxproxy.worker", *command], pass_fds=(*ends, *inherited)
        )
        theirs.close()
        at.close()
        try:
            yield Spawned(ours, process, to)
        finally:
            process.kill()
            process.wait()


class Place:
    """A backend of one listening socket, and its origin, a socket of ours."""

    def __init__(self, name: str = "web", **upstream: Any) -> None:
        self.front = socket.create_server(("127.0.0.1", 0))
        self.origin = socket.create_server(("127.0.0.1", 0))
        self.origin.settimeout(PATIENCE)
        host, port = self.origin.getsockname()
        self.backend = Backend(
            name=name,
            protocol="http",
            clients=Clients(listen=("127.0.0.1:0",), max_connections=50, backlog=64),
            queue=Queue(),
            upstream=Upstream(servers=(f"{host}:{port}",), **upstream),
        )

    def close(self) -> None:
        self.front.close()
        self.origin.close()

    def client(self) -> socket.socket:
        return socket.create_connection(self.front.getsockname(), PATIENCE)

    def asks(self, path: str = "/") -> socket.socket:
        sock = self.client()
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: web\r\n\r\n".encode())
        return sock

    def serves(self, body: bytes = b"hello") -> socket.socket:
        """The origin takes a connection and answers what comes on it."""
        server, _ = self.origin.accept()
        server.settimeout(PATIENCE)
        self.answers(server, body)
        return server

    def answers(self, server: socket.socket, body: bytes = b"hello") -> None:
        assert server.recv(65536).startswith(b"GET /")
        server.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


@contextmanager
def places(*names: str, **upstream: Any) -> Iterator[list[Place]]:
    opened = [Place(name, **upstream) for name in names]
    try:
        yield opened
    finally:
        for place in opened:
            place.close()


def configuration(opened: list[Place]) -> Configure:
    return Configure(
        [place.backend for place in opened],
        {place.backend.name: [("127.0.0.1:0", place.front.fileno())] for place in opened},
    )


def descriptors(opened: list[Place]) -> list[int]:
    for place in opened:
        os.set_inheritable(place.front.fileno(), True)
    return [place.front.fileno() for place in opened]


def receives(sock: socket.socket, size: int | None = None) -> bytes:
    """Up to the end of the stream, or `size` bytes."""
    sock.settimeout(PATIENCE)
    data = b""
    while size is None or len(data) < size:
        chunk = sock.recv(65536)
        if not chunk:
            break
        data += chunk
    return data
