"""The provider: calls get their tokens, heartbeats an answer, and what is no Dubbo the end."""

from __future__ import annotations

import asyncio

from muxproxy.incident.dubbo.provider import Provider
from muxproxy.incident.dubbo.wire import BEAT, BEAT_REPLY, OK, call, encode, reply


class Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def abort(self) -> None:
        self.written.append(b"aborted")


def said(data: bytes) -> list[bytes]:
    wire, provider = Wire(), Provider()
    provider.connection_made(wire)
    provider.data_received(data)
    return wire.written


def test_each_call_gets_its_token_in_one_write() -> None:
    asked = call(1, b"a.B", b"one") + encode(BEAT, 2, b"N") + call(3, b"a.B", b"two") + call(4, b"", b"")[:20]
    assert said(asked) == [reply(1, b"one") + encode(BEAT_REPLY, 2, b"N", OK) + reply(3, b"two")]
    assert said(encode(BEAT_REPLY, 2, b"N", OK)) == []


def test_what_is_no_call_ends_the_connection() -> None:
    assert said(b"GET / HTTP/1.1\r\n\r\n") == [b"aborted"]
    assert said(encode(0xC2, 1, b"\x05")) == [b"aborted"]
