"""Dubbo2 on the wire, as the own programs of these tests write and read it: headers, and one kind of call.

A call's body is what DubboCodec writes for `method(String token)`, its reply the same token: who gets
another's shows it.
"""

from __future__ import annotations

from struct import Struct

HEADER = Struct(">HBBQI")  # magic, flags, status, id, length
SIZE = HEADER.size
MAGIC = 0xDABB
CALL, ONE_WAY, BEAT, REPLY, BEAT_REPLY, EVENT = 0xC2, 0x82, 0xE2, 0x02, 0x22, 0xA2
SERVICE = "com.acme.Orders"
OK = 20


def frame(flags: int, tag: int, body: bytes, status: int = 0) -> bytes:
    return HEADER.pack(MAGIC, flags, status, tag, len(body)) + body


def string(text: bytes) -> bytes:
    """Hessian2, ASCII, up to 1023."""
    size = len(text)
    return (bytes((size,)) if size < 32 else bytes((0x30 + (size >> 8), size & 255))) + text


def call(tag: int, method: str, token: bytes, service: str = SERVICE) -> bytes:
    names = (b"2.0.2", service.encode(), b"1.0.0", method.encode(), b"Ljava/lang/String;")
    return frame(CALL, tag, b"".join(map(string, names)) + string(token) + b"HZ")


def reply(tag: int, token: bytes) -> bytes:
    return frame(REPLY, tag, b"\x91" + string(token), OK)


def strings(body: bytes, count: int) -> list[bytes]:
    found, at = [], 0
    for _ in range(count):
        size, at = body[at], at + 1
        if size >= 0x30:
            size, at = (size - 0x30) << 8 | body[at], at + 1
        found.append(body[at : at + size])
        at += size
    return found


class Frames:
    """Bytes -> (flags, status, id, body) of each whole frame."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[int, int, int, bytes]]:
        data = self._rest + data if self._rest else data
        frames, at, size = [], 0, len(data)
        while size - at >= SIZE:
            magic, flags, status, tag, length = HEADER.unpack_from(data, at)
            assert magic == MAGIC, data[at : at + 40]
            if at + SIZE + length > size:
                break
            at += SIZE
            frames.append((flags, status, tag, data[at : at + length]))
            at += length
        self._rest = data[at:]
        return frames
