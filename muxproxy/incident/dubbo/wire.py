"""Dubbo2 as the replay's provider and consumer speak it: the header, and one kind of call. Pure.

A call's body is what DubboCodec writes for `method(String token)`, its reply the same token: who gets
another's shows it. (protocols/dubbo is what is on trial: it has no part in this.)
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

HEADER = Struct(">HBBQI")  # magic, flags, status, id, length
MAGIC = 0xDABB
CALL, BEAT, REPLY, BEAT_REPLY = 0xC2, 0xE2, 0x02, 0x22  # Hessian2; two-way
OK = 20
_VALUE = b"\x91"  # RESPONSE_VALUE, a Hessian2 integer


class Frame(NamedTuple):
    flags: int
    status: int
    tag: int
    body: bytes


def encode(flags: int, tag: int, body: bytes, status: int = 0) -> bytes:
    return HEADER.pack(MAGIC, flags, status, tag, len(body)) + body


def string(text: bytes) -> bytes:
    """Hessian2, ASCII, up to 1023 characters."""
    size = len(text)
    return (bytes((size,)) if size < 32 else bytes((0x30 + (size >> 8), size & 255))) + text


def call(tag: int, service: bytes, token: bytes) -> bytes:
    """Dubbo's version, the service and its version, the method, its parameters' types; the arguments, and no
    attachments."""
    words = (b"2.0.2", service, b"0.0.0", b"echo", b"Ljava/lang/String;", token)
    return encode(CALL, tag, b"".join(map(string, words)) + b"HZ")


def reply(tag: int, token: bytes) -> bytes:
    return encode(REPLY, tag, _VALUE + string(token), OK)


def token_of_call(body: bytes) -> bytes:
    return _strings(body, 6)[5]


def token_of_reply(body: bytes) -> bytes:
    return _strings(body[1:], 1)[0]


def _strings(body: bytes, count: int) -> list[bytes]:
    found, at = [], 0
    for _ in range(count):
        size, at = body[at], at + 1
        if size >= 0x30:
            size, at = (size - 0x30) << 8 | body[at], at + 1
        found.append(body[at : at + size])
        at += size
    return found


class Frames:
    """Bytes -> whole frames."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Frame]:
        """Raises ValueError where it is not Dubbo."""
        data = self._rest + data
        frames, at = [], 0
        while len(data) - at >= HEADER.size:
            magic, flags, status, tag, length = HEADER.unpack_from(data, at)
            if magic != MAGIC:
                raise ValueError(f"no Dubbo frame: {data[at : at + 16]!r}")
            end = at + HEADER.size + length
            if end > len(data):
                break
            frames.append(Frame(flags, status, tag, data[at + HEADER.size : end]))
            at = end
        self._rest = data[at:]
        return frames
