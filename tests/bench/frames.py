"""What caller.py and provider.py say to each other: Dubbo frames, or plain bytes of an agreed length.

A wire is four functions, so that both programs are the same for both protocols. No proxy looks into a body:
it is eight bytes that are the call's own, and filler.
"""

from __future__ import annotations

import struct

OWN = struct.Struct(">Q")
HEADER = struct.Struct(">HBBQI")  # magic, flags, status, request id, length of the body
MAGIC = 0xDABB
REQUEST = 0x80 | 0x40 | 2  # a request, two-way, Hessian2
RESPONSE = 2
OK = 20


class Dubbo:
    """Frames of `size` bytes, the header's 16 among them."""

    tagged = True

    def __init__(self, size: int) -> None:
        self.size = size
        self.filler = b"x" * (size - HEADER.size - OWN.size)

    def request(self, number: int) -> bytes:
        body = HEADER.pack(MAGIC, REQUEST, 0, number, self.size - HEADER.size)
        return b"".join((body, OWN.pack(number), self.filler))

    @staticmethod
    def extent(data: bytes, at: int) -> int:
        """Length of the frame that begins there; 0 where that cannot be known yet."""
        if len(data) - at < HEADER.size:
            return 0
        magic, _, _, _, length = HEADER.unpack_from(data, at)
        if magic != MAGIC:
            raise ValueError(f"not a Dubbo frame: {data[at : at + 16].hex()}")
        return HEADER.size + length

    @staticmethod
    def reply(data: bytes, at: int, end: int) -> tuple[bytes, memoryview]:
        """The provider's: the same body with the same id, not copied before it is written."""
        _, _, _, number, length = HEADER.unpack_from(data, at)
        head = HEADER.pack(MAGIC, RESPONSE, OK, number, length)
        return head, memoryview(data)[at + HEADER.size : end]

    @staticmethod
    def identify(data: bytes, at: int) -> tuple[int, bool]:
        """(the reply's id, whether it is a good one: status 20 and the body of that very call)."""
        _, flags, status, number, length = HEADER.unpack_from(data, at)
        good = flags == RESPONSE and status == OK and length >= OWN.size
        return number, good and OWN.unpack_from(data, at + HEADER.size)[0] == number


class Plain:
    """`size` bytes there and the same bytes back."""

    tagged = False

    def __init__(self, size: int) -> None:
        self.size = size
        self.filler = b"x" * (size - OWN.size)

    def request(self, number: int) -> bytes:
        return OWN.pack(number) + self.filler

    def extent(self, data: bytes, at: int) -> int:
        return self.size

    @staticmethod
    def identify(data: bytes, at: int) -> tuple[int, bool]:
        return OWN.unpack_from(data, at)[0], True


class Collector:
    """Chunks -> whole messages. A chunk that ends inside one is kept, and joined once the rest is there."""

    def __init__(self, wire: Dubbo | Plain) -> None:
        self.wire = wire
        self.parts: list[bytes] = []
        self.held = 0
        self.wanted = 0  # bytes before it is worth looking again

    def take(self, data: bytes) -> tuple[bytes, list[tuple[int, int]]]:
        """(the bytes, where in them the whole messages are)."""
        if self.parts:
            self.parts.append(data)
            self.held += len(data)
            if self.held < self.wanted:
                return b"", []
            data = b"".join(self.parts)
        spans = []
        at = 0
        while at < len(data):
            length = self.wire.extent(data, at)
            if not length or at + length > len(data):
                break
            spans.append((at, at + length))
            at += length
        self._keep(data[at:] if at else data)
        return data, spans

    def _keep(self, rest: bytes) -> None:
        self.parts = [rest] if rest else []
        self.held = len(rest)
        self.wanted = max(self.wire.extent(rest, 0), self.held + 1)
