"""The servers that `origins.Program` runs, each for one wish of the scenarios, on uvloop.

    slots      serves 8 requests at a time, 10 ms each, and lets the others wait: an origin with a known
    capacity script     does what the path says: hashes what it is sent, sends any number of bytes, waits,
    upgrades ...

They speak only as much HTTP as the scenarios need, and are no reference for anything.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import socket
import sys
from collections import deque
from typing import Any, ClassVar

import uvloop

from tests.system.process import go_first, raise_descriptor_limit, say, take_orders

TOKEN = re.compile(rb"[?&]token=([^& ]*)")
X_TOKEN = re.compile(rb"\r\nx-token: *([^\r]*)", re.IGNORECASE)
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
SIZE = re.compile(rb"[?&]bytes=(\d+)")
PATTERN = bytes(range(256)) * 1024  # 256 KiB: a stream of any length is this, again and again
counts: dict[str, Any] = {}
released = asyncio.Event()


def reply(body: bytes, head: bytes = b"", status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(body), head, body)


def echo(head: bytes) -> bytes:
    token, x_token = TOKEN.search(head), X_TOKEN.search(head)
    return b"%b %b\n" % (token[1] if token else b"", x_token[1] if x_token else b"")


class Slots(asyncio.Protocol):
    """At most `slots` requests at a time are served, each for `seconds`; the others wait in one line."""

    slots = 8
    seconds = 0.010
    busy = 0
    line: ClassVar[deque[tuple[Slots, bytes]]] = deque()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.buffer = b""
        counts["connections"] = counts.get("connections", 0) + 1

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:  # requests have no bodies here
            head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            if Slots.busy < Slots.slots:
                self.serve(head)
            else:
                Slots.line.append((self, head))

    def serve(self, head: bytes) -> None:
        Slots.busy += 1
        asyncio.get_running_loop().call_later(Slots.seconds, self.served, head)

    def served(self, head: bytes) -> None:
        Slots.busy -= 1
        counts["served"] = counts.get("served", 0) + 1
        size = SIZE.search(head)
        self.transport.write(reply(PATTERN[: int(size[1])] if size else echo(head)))
        if Slots.line:
            client, waiting = Slots.line.popleft()
            client.serve(waiting)


class Script:
    """One connection of the script server: requests one after another, each as its path says."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.head = b""

    async def run(self) -> None:
        counts["connections"] = counts.get("connections", 0) + 1
        try:
            while await self.one():
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            counts["broken"] = counts.get("broken", 0) + 1
        finally:
            self.writer.close()

    async def one(self) -> bool:
        """Serve one request; false when the connection ends with it."""
        try:
            self.head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return False  # the peer closed between two requests, as it may
        counts["requests"] = counts.get("requests", 0) + 1
        path = self.head.split(b" ", 2)[1].partition(b"?")[0]
        verb = getattr(self, "do_" + path.strip(b"/").decode().replace("-", "_"), self.do_mirror)
        goes_on: bool = await verb()
        await self.writer.drain()
        return goes_on and b"\r\nconnection: close" not in self.head.lower()

    def number(self, name: str, default: int = 0) -> int:
        found = re.search(rb"[?&]" + name.encode() + rb"=(\d+)", self.head)
        return int(found[1]) if found else default

    async def body(self) -> tuple[int, str]:
        """Read the request's body: how long it was, and its hash."""
        if b"\r\nexpect: 100-continue" in self.head.lower():
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        digest = hashlib.sha256()
        length = LENGTH.search(self.head)
        total = 0
        if length:
            total = await self.read_into(digest, int(length[1]))
        elif b"\r\ntransfer-encoding: chunked" in self.head.lower():
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                total += await self.read_into(digest, size)
                await self.reader.readexactly(2)
            while await self.reader.readuntil(b"\r\n") != b"\r\n":
                pass  # trailers
        return total, digest.hexdigest()

    async def read_into(self, digest: Any, size: int) -> int:
        left = size
        while left:
            data = await self.reader.read(min(left, 1 << 20))
            if not data:
                raise asyncio.IncompleteReadError(b"", left)
            digest.update(data)
            left -= len(data)
        return size

    async def do_mirror(self) -> bool:
        """Any other path: what was asked, as JSON, so that a client can check what came through."""
        total, digest = await self.body()
        line, *fields = self.head.decode("latin-1").rstrip().split("\r\n")
        method, target, version = line.split(" ")
        what = {
            "method": method,
            "target": target,
            "version": version,
            "fields": [field.split(": ", 1) for field in fields],
            "bytes": total,
            "sha256": digest,
        }
        body = json.dumps(what).encode()
        self.writer.write(reply(body, b"Content-Type: application/json\r\n"))
        if method == "HEAD":
            raise AssertionError("HEAD has a path of its own")
        return True

    async def do_echo(self) -> bool:
        self.writer.write(reply(echo(self.head)))
        return True

    async def do_head(self) -> bool:
        """For HEAD: the length of a body that is not sent."""
        self.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n")
        return True

    async def do_slow(self) -> bool:
        """The reply comes after `ms`."""
        await asyncio.sleep(self.number("ms") / 1000)
        self.writer.write(reply(echo(self.head)))
        return True

    async def do_hold(self) -> bool:
        """The reply comes when somebody has asked for /release."""
        await released.wait()
        self.writer.write(reply(echo(self.head)))
        return True

    async def do_release(self) -> bool:
        released.set()
        self.writer.write(reply(b"released"))
        return True

    async def do_stream(self) -> bool:
        """`bytes` of the pattern, with Content-Length."""
        left = self.number("bytes")
        self.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % left)
        while left:
            self.writer.write(PATTERN[:left])
            left -= min(left, len(PATTERN))
            await self.writer.drain()
        return True

    async def do_chunked(self) -> bool:
        """Three chunks and a trailer field."""
        self.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
        for part in (b"one ", b"two ", b"three\n"):
            self.writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            await asyncio.sleep(0.01)
        self.writer.write(b"0\r\nX-Sum: 42\r\n\r\n")
        return True

    async def do_until_close(self) -> bool:
        """A reply without a length: it ends with the connection."""
        self.writer.write(b"HTTP/1.1 200 OK\r\n\r\nup to the end\n")
        return False

    async def do_interim(self) -> bool:
        self.writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        self.writer.write(reply(echo(self.head)))
        return True

    async def do_wrong(self) -> bool:
        """A reply that belongs to somebody else."""
        self.writer.write(reply(echo(self.head).replace(b"0", b"1")))
        return True

    async def do_extra(self) -> bool:
        """The right reply, and bytes that nobody asked for."""
        self.writer.write(reply(echo(self.head)) + b"H")
        return True

    async def do_cut(self) -> bool:
        """Half of a reply."""
        self.writer.write(reply(echo(self.head))[:-1])
        return False

    async def do_drop(self) -> bool:
        """No reply at all."""
        return False

    async def do_refuse(self) -> bool:
        self.writer.write(reply(b"no\n", b"Connection: close\r\n", b"503 Service Unavailable"))
        return False

    async def do_upgrade(self) -> bool:
        """101, then every byte comes back until the peer has said all."""
        self.writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n")
        while data := await self.reader.read(65536):
            self.writer.write(data)
            await self.writer.drain()
        return False


async def serve(kind: str, sock: socket.socket, seconds: float = Slots.seconds) -> None:
    loop = asyncio.get_running_loop()
    if kind == "slots":
        Slots.seconds = seconds
        go_first()  # its capacity is known only if it never waits for the CPU behind its clients
        server = await loop.create_server(Slots, sock=sock, backlog=4096)
    else:
        server = await asyncio.start_server(
            lambda reader, writer: Script(reader, writer).run(), sock=sock, backlog=4096, limit=1 << 20
        )
    told_to_end = asyncio.Event()
    loop.add_reader(0, told_to_end.set)
    say("ready")
    await told_to_end.wait()
    server.close()


def main() -> None:
    orders = take_orders()
    raise_descriptor_limit()
    uvloop.run(serve(sock=socket.socket(fileno=orders.pop("fd")), **orders))
    say(counts)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
