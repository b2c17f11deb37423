"""Clients that take their time: hundreds that read a byte a second, hundreds that send one.

In a process of their own (`python -m tests.system.slow`), on epoll. Each says in one letter what it does:

    r  asks for a reply of some size and reads one byte of it a second
    h  sends the head of a request, one byte a second
    b  sends a whole head and then its body, one byte a second
"""

from __future__ import annotations

import select
import socket
import sys
import time
from typing import Any

from tests.system.process import Child, raise_descriptor_limit, say, take_orders

TURN = 1.0  # seconds between two bytes
RECEIVE_BUFFER = 4096  # the kernel makes it a little more; the rest of a reply stays with the server


class SlowClients:
    """In the test: starts them, and tells at the end what they did."""

    def __init__(self, host: str, port: int, size: int, **counts: int) -> None:
        orders = {"host": host, "port": port, "size": size, "counts": counts}
        self._child = Child("tests.system.slow", orders)
        try:
            self._child.tell("go")
            assert self._child.answer(within=30) == "all connected"
        except BaseException:
            self._child.close()
            raise

    def results(self) -> dict[str, Any]:
        return dict(self._child.results())

    def __enter__(self) -> SlowClients:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.close()


class Slow:
    def __init__(self, kind: str, number: int, orders: dict[str, Any]) -> None:
        self.kind = kind
        self.bytes = 0  # moved at one a second
        self.ended = False
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self.sock.bind((f"127.0.1.{101 + number % 8}", 0))
        self.sock.connect((orders["host"], orders["port"]))
        head = {
            "r": f"GET /stream?bytes={orders['size']} HTTP/1.1\r\nHost: slow\r\n\r\n",
            "h": f"GET /echo?token=h HTTP/1.1\r\nHost: slow\r\nX-Slow: {'h' * 2000}\r\n\r\n",
            "b": "POST /upload HTTP/1.1\r\nHost: slow\r\nContent-Length: 2000\r\n\r\n",
        }[kind].encode()
        self.rest = head + b"b" * 2000
        if kind != "h":
            self.sock.sendall(head)
            self.rest = self.rest[len(head) :]
        self.sock.setblocking(False)

    def turn(self) -> None:
        """One byte."""
        if self.ended:
            return
        try:
            if self.kind == "r":
                self.ended = self.sock.recv(1) == b""
            else:
                self.sock.send(self.rest[self.bytes : self.bytes + 1])
            self.bytes += 1
        except BlockingIOError:
            pass
        except OSError:
            self.ended = True


def main() -> None:
    orders = take_orders()
    raise_descriptor_limit()
    say("ready")
    sys.stdin.buffer.readline()
    clients = [
        Slow(kind, number, orders) for kind, count in orders["counts"].items() for number in range(count)
    ]
    say("all connected")
    # Spread over the second, as hundreds of independent clients are.
    due = time.monotonic()
    at = 0
    while not select.select([0], [], [], max(0.0, due - time.monotonic()))[0]:
        clients[at].turn()
        at = (at + 1) % len(clients)
        due += TURN / len(clients)
    say(
        {
            "ended": sum(client.ended for client in clients),
            "bytes": {
                kind: sum(client.bytes for client in clients if client.kind == kind)
                for kind in orders["counts"]
            },
        }
    )


if __name__ == "__main__":
    main()
