"""The demo's origin: a tiny HTTP/1.1 server that answers with the path it was asked for, and counts sockets.

`python -m muxproxy.cli.demo.origin` says `{"port": N}` and then, ten times a second, how many connections it
has accepted and not yet closed: what a server sees of its clients. The order `{"mark": true}` is answered at
once with the same numbers as `{"marked": ...}`, and peak and total start anew.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvloop

from muxproxy.stage.pipes import obey, say

REPORT_EVERY = 0.1  # seconds
MAX_HEAD = 16 * 1024  # bytes of a request; more is no demo
BACKLOG = 4096  # all clients may come at once; the kernel caps it at net.core.somaxconn

_NO_BODIES = b"this origin takes no request bodies\n"


class Sockets:
    """Connections as the origin sees them: accepted, until they are closed."""

    def __init__(self) -> None:
        self.open = 0
        self.high = 0  # the most since the last report
        self.peak = 0  # the most since the last mark
        self.opened = 0

    def on_opened(self) -> None:
        self.opened += 1
        self.open += 1
        self.high = max(self.high, self.open)

    def on_closed(self) -> None:
        self.open -= 1

    def mark(self) -> None:
        """Connections that are open now belong to what comes, too."""
        self.opened = self.peak = self.open

    def report(self) -> dict[str, int]:
        high, self.high = self.high, self.open
        self.peak = max(self.peak, high)
        return {"open": self.open, "high": high, "peak": self.peak, "opened": self.opened}


class Connection(asyncio.Protocol):
    __slots__ = ("_rest", "_served", "_sockets", "_transport")

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        self._transport: asyncio.WriteTransport
        self._rest = b""
        self._served = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a socket's can be written to
        self._sockets.on_opened()

    def connection_lost(self, exc: Exception | None) -> None:
        self._sockets.on_closed()

    def data_received(self, data: bytes) -> None:
        *heads, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for head in heads:
            self._served += 1
            answer, is_last = reply(head, self._served)
            self._transport.write(answer)
            if is_last:
                self._transport.close()
                return
        if len(self._rest) > MAX_HEAD:
            self._transport.abort()


def reply(head: bytes, served: int) -> tuple[bytes, bool]:
    """The reply to a request, and whether the connection ends with it. `served`: requests on it so far."""
    method, _, rest = head.partition(b" ")
    path = rest.partition(b" ")[0]
    fields = head.lower()
    if b"\r\ncontent-length:" in fields or b"\r\ntransfer-encoding:" in fields:
        size = b"%d" % len(_NO_BODIES)
        start = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: "
        return start + size + b"\r\n\r\n" + _NO_BODIES, True
    is_last = b"\r\nconnection: close" in fields
    body = path + b"\n"
    answer = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Requests-On-This-Connection: %d\r\n%s"
        b"Content-Length: %d\r\n\r\n"
    ) % (served, b"Connection: close\r\n" if is_last else b"", len(body))
    return (answer if method == b"HEAD" else answer + body), is_last


def main() -> None:
    loop = uvloop.new_event_loop()
    sockets = Sockets()

    def on_order(order: dict[str, Any]) -> None:
        if order.get("mark"):
            say({"marked": sockets.report()})
            sockets.mark()

    def tell() -> None:
        say({"sockets": sockets.report()})
        loop.call_later(REPORT_EVERY, tell)

    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    loop.run_until_complete(loop.create_server(lambda: Connection(sockets), sock=listener, backlog=BACKLOG))
    say({"port": listener.getsockname()[1]})
    tell()
    obey(loop, on_order)
    loop.run_forever()


if __name__ == "__main__":
    main()
