"""Sends one thing again and again, as fast as it is taken: `python -m tests.flood.flooder`, its own program.

Its orders: {"side": "client" | "server", "protocol", "kind", "port", "seconds"}, a line for each; each flood
is answered with what was sent. As a server it floods whoever connects, and asks through muxproxy by itself.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from contextlib import closing

from tests.flood.kinds import CLIENTS, SERVERS, Kind
from tests.system.process import say, take_orders

HOST = "127.0.0.2"
PATIENCE = 10.0  # seconds
BLOCK = 1 << 20  # bytes that are handed to the kernel at once


class Flood:
    """One connection that floods. Bytes sent so far: `sent`."""

    def __init__(self, sock: socket.socket, kind: Kind) -> None:
        self.sock = sock
        self.kind = kind
        self.sent = 0
        self.ended = False
        self._rest = memoryview(kind.begin)
        self._block = memoryview(kind.unit * (BLOCK // len(kind.unit) + 1))
        sock.setblocking(False)
        if kind.piece:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def turn(self) -> None:
        try:
            if not self._rest:
                self._rest = self._block
            size = self.sock.send(self._rest[: self.kind.piece or len(self._rest)])
            self.sent += size
            self._rest = self._rest[size:]
        except BlockingIOError:
            pass
        except OSError:
            self.ended = True

    def take(self) -> None:
        try:
            self.ended = self.ended or self.sock.recv(BLOCK) == b""
        except BlockingIOError:
            pass
        except OSError:
            self.ended = True


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def as_client(kind: Kind, port: int, until: float) -> int:
    """One connection at a time; a new one when it is cut."""
    sent = 0
    while time.monotonic() < until:
        with closing(connect(port)) as sock:
            flood = Flood(sock, kind)
            while not flood.ended and time.monotonic() < until:
                reads = [sock] if kind.reads else []
                readable, writable, _ = select.select(reads, [sock], [], 0.05)
                if readable:
                    flood.take()
                if writable:
                    flood.turn()
            sent += flood.sent
        if flood.ended:
            time.sleep(0.005)
    return sent


def as_server(kind: Kind, port: int, listener: socket.socket, until: float) -> int:
    """Whoever connects is flooded from its first request on; Redis' greeting is answered before. The time
    begins with the first: muxproxy may leave a server alone for a while after what it was last time."""
    sent = 0
    seconds = until - time.monotonic()
    until += PATIENCE
    waiting: dict[socket.socket, bytes] = {}
    floods: dict[socket.socket, Flood] = {}
    client: socket.socket | None = None
    while time.monotonic() < until:
        if client is None:
            client = connect(port)
            client.sendall(kind.ask)
            client.setblocking(False)
        readable, writable, _ = select.select([listener, client, *waiting, *floods], [*floods], [], 0.05)
        for sock in readable:
            if sock is listener:
                waiting[listener.accept()[0]] = b""
            elif sock is client:
                try:  # an answer without a flood is a refusal: the server was left alone for a while
                    is_over = client.recv(BLOCK) == b"" or not floods
                except OSError:
                    is_over = True
                if is_over:
                    client.close()
                    client = None
                    time.sleep(0.005)
            elif sock in floods:
                floods[sock].take()
            elif not answers_greeting(sock, waiting):
                if not floods and not sent:
                    until = time.monotonic() + seconds
                floods[sock] = Flood(sock, kind)
                del waiting[sock]
        for sock in writable:
            floods[sock].turn()
        for sock in [sock for sock, flood in floods.items() if flood.ended]:
            sent += floods.pop(sock).sent
            sock.close()
    for sock in [*waiting, *floods, *([client] if client else [])]:
        sock.close()
    return sent + sum(flood.sent for flood in floods.values())


def answers_greeting(sock: socket.socket, waiting: dict[socket.socket, bytes]) -> bool:
    """True: that was all that has come so far."""
    try:
        data = sock.recv(65536)
    except OSError:
        data = b""
    if b"SETNAME" in data:
        sock.sendall(b"+OK\r\n")
        return True
    if not data:
        sock.close()
        del waiting[sock]
    return not data


def main() -> None:
    take_orders()
    listeners = {protocol: socket.create_server((HOST, 0)) for protocol in SERVERS}
    say({protocol: sock.getsockname()[1] for protocol, sock in listeners.items()})
    for line in sys.stdin.buffer:
        order = json.loads(line)
        until = time.monotonic() + order["seconds"]
        protocol, port = order["protocol"], order["port"]
        if order["side"] == "client":
            sent = as_client(CLIENTS[protocol][order["kind"]], port, until)
        else:
            sent = as_server(SERVERS[protocol][order["kind"]], port, listeners[protocol], until)
        say({"sent": sent})
    say({})


if __name__ == "__main__":
    main()
