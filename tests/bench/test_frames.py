"""Frames of the echo suites: what is asked, what is answered, whatever the chunks."""

from __future__ import annotations

import pytest

from tests.bench.frames import Collector, Dubbo, Plain

WIRES = [Dubbo(200), Plain(200)]


@pytest.mark.parametrize("wire", WIRES)
def test_a_request_has_the_length_that_was_asked_for_and_its_reply_the_same(wire):
    request = wire.request(7)
    reply = b"".join(wire.reply(request, 0, 200)) if wire.tagged else request
    assert len(request) == len(reply) == wire.extent(reply, 0) == 200
    assert wire.identify(reply, 0) == (7, True)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("size", [1, 7, 199, 200, 201, 5000])
def test_any_chunking_gives_the_same_messages(wire, size):
    stream = b"".join(wire.request(number) for number in range(9))
    collector = Collector(wire)
    found = []
    for at in range(0, len(stream), size):
        data, spans = collector.take(stream[at : at + size])
        found += [data[begin:end] for begin, end in spans]
    assert found == [wire.request(number) for number in range(9)]


def test_a_reply_with_anothers_body_or_another_status_is_not_good():
    wire = Dubbo(200)
    reply = bytearray(b"".join(wire.reply(wire.request(7), 0, 200)))
    reply[3] = 31  # server side timeout
    assert wire.identify(bytes(reply), 0) == (7, False)
    reply[3], reply[23] = 20, 8
    assert wire.identify(bytes(reply), 0) == (7, False)


def test_what_is_no_dubbo_frame_is_an_error():
    with pytest.raises(ValueError, match="not a Dubbo frame"):
        Collector(Dubbo(200)).take(b"x" * 16)
