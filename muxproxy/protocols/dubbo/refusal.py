"""Refusals: Dubbo responses with the caller's own id and a message that its exception shows (P8).

A consumer reads what is not status 20 as one string, in the serialization that the response's own header
names (DubboCodec.decodeBody). So a message goes in the request's serialization where we can write that, and
otherwise in Hessian2, with Hessian2's id: every Java consumer has it, it is Dubbo2's default.
"""

from __future__ import annotations

import json
from typing import Final

from muxproxy.protocols.contract import FIRST, LAST, Frame, Reason
from muxproxy.protocols.dubbo.common import (
    FASTJSON,
    FASTJSON2,
    GSON,
    HEADER,
    HESSIAN2,
    MAGIC,
    SERIALIZATION,
)

SERVER_TIMEOUT: Final = 31
BAD_REQUEST: Final = 40
SERVICE_NOT_FOUND: Final = 60
SERVER_ERROR: Final = 80
CLIENT_ERROR: Final = 90
EXHAUSTED: Final = 100  # SERVER_THREADPOOL_EXHAUSTED_ERROR

STATUS: Final = {
    Reason.BAD_REQUEST: BAD_REQUEST,
    Reason.REPLY_TIMEOUT: SERVER_TIMEOUT,
    Reason.REQUEST_TIMEOUT: SERVER_TIMEOUT,
    Reason.QUEUE_FULL: EXHAUSTED,
    Reason.QUEUE_TIMEOUT: EXHAUSTED,
    Reason.CLIENTS_FULL: EXHAUSTED,
    Reason.LIMIT_FULL: EXHAUSTED,
    Reason.LIMIT_TIMEOUT: EXHAUSTED,
    Reason.DRAINING: EXHAUSTED,
    Reason.UNREAD: EXHAUSTED,
    Reason.MEMORY: EXHAUSTED,
}  # all others: SERVER_ERROR, the provider is lost

MAX_TEXT: Final = 1000  # characters: what fits into the short form of every serialization


def message(text: str, serialization: int) -> tuple[bytes, int]:
    """A string as a body, and the serialization that it is in."""
    text = "muxproxy: " + " ".join(text.split())
    plain = text.encode("ascii", "replace")[:MAX_TEXT]
    if serialization in (FASTJSON, GSON):
        return json.dumps(plain.decode()).encode() + b"\n", serialization
    size = len(plain)
    if serialization == FASTJSON2:  # JSONB: 0x79 ASCII, and its length as an int of two bytes
        body = bytes((0x79, 0x38 + (size >> 8), size & 0xFF)) + plain
        return len(body).to_bytes(4, "big") + body, serialization
    return bytes((0x30 + (size >> 8), size & 0xFF)) + plain, HESSIAN2


def response(status: int, text: str, tag: int, serialization: int) -> bytes:
    body, form = message(text, serialization)
    return HEADER.pack(MAGIC, form, status, tag, len(body)) + body


def refusal(reason: Reason, text: str, note: int, tag: int) -> Frame:
    data = response(STATUS.get(reason, SERVER_ERROR), text, tag, note & SERIALIZATION)
    return Frame(data, FIRST | LAST, None, tag)
