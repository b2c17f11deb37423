"""Dubbo2 on the wire: what one end writes the other reads, however it is cut."""

from __future__ import annotations

import pytest

from muxproxy.incident.dubbo.wire import (
    BEAT,
    CALL,
    OK,
    REPLY,
    Frame,
    Frames,
    call,
    encode,
    reply,
    string,
    token_of_call,
    token_of_reply,
)


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("token", [b"", b"1-2", b"x" * 31, b"x" * 32, b"x" * 1023])
def test_a_call_and_its_reply_come_through_in_pieces(size: int, token: bytes) -> None:
    data = call(7, b"com.acme.Service3", token) + encode(BEAT, 8, b"N") + reply(9, token)
    frames = Frames()
    found = [frame for at in range(0, len(data), size) for frame in frames.feed(data[at : at + size])]
    asked, beat, answered = found
    assert (asked.flags, asked.tag, token_of_call(asked.body)) == (CALL, 7, token)
    assert beat == Frame(BEAT, 0, 8, b"N")
    assert (answered.flags, answered.status, answered.tag) == (REPLY, OK, 9)
    assert token_of_reply(answered.body) == token


def test_a_call_is_what_dubbos_own_codec_writes() -> None:
    body = call(1, b"a.B", b"t")[16:]
    assert body == b"\x052.0.2\x03a.B\x050.0.0\x04echo\x12Ljava/lang/String;\x01tHZ"
    assert string(b"x" * 300)[:2] == b"\x31\x2c"


def test_what_is_no_dubbo_is_refused() -> None:
    with pytest.raises(ValueError, match="no Dubbo frame"):
        Frames().feed(b"GET / HTTP/1.1\r\n\r\n")
