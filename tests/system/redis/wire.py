"""One raw connection that speaks RESP: what it is sent and what comes back, byte by byte.

Client libraries hide what these tests compare: an error's exact text, how a nil is spelled, whether a push
came before a reply. The reader below finds extents only, and is slow and plain on purpose: it shares nothing
with the framers that it judges.
"""

from __future__ import annotations

import select
import socket
import time

Word = str | bytes | int | float

_AGGREGATES = {ord("*"): 1, ord("~"): 1, ord(">"): 1, ord("%"): 2, ord("|"): 2}
_BLOBS = b"$=!"


def command(*words: Word) -> bytes:
    """A command as an array of bulk strings."""
    encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)


def extent(data: bytes | bytearray, at: int = 0) -> int:
    """Where the reply that begins at `at` ends; -1 if it is not whole yet."""
    end = data.find(b"\r\n", at)
    if end < 0:
        return -1
    kind, line, end = data[at], data[at + 1 : end], end + 2
    if kind in _BLOBS and line != b"-1":
        end += int(line) + 2
        return end if end <= len(data) else -1
    if kind in _AGGREGATES and line != b"-1":
        # An attribute (|) stands before the reply that it is about.
        for _ in range(int(line) * _AGGREGATES[kind] + (kind == ord("|"))):
            end = extent(data, end)
            if end < 0:
                return -1
    return end


class Wire:
    """`address`: host:port, or the path of a unix socket."""

    def __init__(self, address: str, *, within: float = 20.0) -> None:
        self.within = within
        self.buffer = bytearray()
        if "/" in address:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(within)
            try:
                self.sock.connect(address)
            except OSError:
                self.sock.close()
                raise
        else:
            host, _, port = address.rpartition(":")
            self.sock = socket.create_connection((host, int(port)), within)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def ask(self, *words: Word) -> bytes:
        """A command and its whole reply."""
        self.send(command(*words))
        return self.reply()

    def reply(self) -> bytes:
        """The next reply or push, whole. EOFError: the other side has closed."""
        while True:
            end = extent(self.buffer) if self.buffer else -1
            if end >= 0:
                reply = bytes(self.buffer[:end])
                del self.buffer[:end]
                return reply
            self._receive()

    def replies(self, number: int) -> list[bytes]:
        return [self.reply() for _ in range(number)]

    def pipeline(self, *commands: tuple[Word, ...]) -> list[bytes]:
        """All commands in one write, and as many replies."""
        self.send(b"".join(command(*words) for words in commands))
        return self.replies(len(commands))

    def _receive(self) -> None:
        self.sock.settimeout(self.within)
        data = self.sock.recv(1 << 16)
        if not data:
            raise EOFError(f"closed by the other side, after {bytes(self.buffer[-200:])!r}")
        self.buffer += data

    def rest(self) -> bytes:
        """All that comes until the other side closes, which it must."""
        try:
            while True:
                self._receive()
        except (EOFError, ConnectionResetError):
            rest, self.buffer = bytes(self.buffer), bytearray()
            return rest

    def silent(self, seconds: float) -> bool:
        """Nothing came for so long. Only for what must not come, after what would have come before it."""
        if self.buffer:
            return False
        deadline = time.monotonic() + seconds
        return not select.select([self.sock], [], [], max(0.0, deadline - time.monotonic()))[0]

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
