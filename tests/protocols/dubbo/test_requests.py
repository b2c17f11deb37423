"""Client bytes -> calls and heartbeats. The bytes of real consumers are recorded from the programs named."""

from __future__ import annotations

import pytest

from muxproxy.config.model import Limit
from muxproxy.protocols.contract import ANSWER, ASIDE, FIRST, LAST, ONEWAY
from muxproxy.protocols.dubbo.common import LIMIT_SHIFT, MAX_EVENT, MAX_NAMES
from tests.protocols.dubbo import feeding as wire
from tests.protocols.dubbo.feeding import feed, frame, in_every_cut, invocation, protocol

CALL = frame(wire.CALL, 7, invocation("com.acme.Orders", "create"))


def test_a_call_passes_as_it_is_with_its_id_and_serialization() -> None:
    (only,) = protocol().requests().feed(CALL)
    assert (only.data, only.marks, only.note, only.tag) == (CALL, FIRST | LAST, 2, 7)


def test_calls_are_told_apart_however_they_come() -> None:
    one_way = frame(wire.ONE_WAY_CALL, 8, b"body")
    empty = frame(wire.CALL, 9)
    seen = in_every_cut(CALL + one_way + empty, protocol())
    assert [message.data for message in seen.messages] == [CALL, one_way, empty]
    assert [message.tag for message in seen.messages] == [7, 8, 9]
    assert [message.marks for message in seen.messages] == [FIRST, FIRST | ONEWAY, FIRST]
    assert all(message.whole for message in seen.messages)


def test_a_body_streams_in_the_parts_it_comes_in() -> None:
    framer = protocol().requests()
    data = frame(wire.CALL, 1, bytes(100_000))
    (first,) = framer.feed(data[:20])
    assert (first.data, first.marks) == (data[:20], FIRST)
    (part,) = framer.feed(data[20:70_000])
    assert (part.data, part.marks) == (data[20:70_000], 0)
    (last, behind) = framer.feed(data[70_000:] + CALL)
    assert (last.data, last.marks) == (data[70_000:], LAST)
    assert behind.data == CALL


def test_ids_are_eight_bytes_of_any_value() -> None:
    for tag in (0, 1, 2**31, 2**63, 2**64 - 1):
        (only,) = protocol().requests().feed(frame(wire.CALL, tag))
        assert only.tag == tag


@pytest.mark.parametrize("serialization", [2, 6, 23, 30])
def test_a_two_way_heartbeat_is_answered_in_its_own_words(serialization: int) -> None:
    body = {2: b"N", 6: b"null\n", 23: b"\x00\x00\x00\x01\xaf", 30: b""}[serialization]
    beat = frame(0xE0 | serialization, 0, body)
    seen = in_every_cut(CALL + beat + CALL, protocol())
    assert seen.asides == [(frame(0x20 | serialization, 0, body, status=20), 0, None)]
    assert len(seen.messages) == 2


def test_a_one_way_heartbeat_and_an_answer_to_none_of_ours_get_nothing() -> None:
    dubbo = protocol()
    (beat,) = dubbo.requests().feed(frame(wire.ONE_WAY_BEAT, 1, wire.NULL))
    assert (beat.data, beat.marks) == (b"", FIRST | LAST | ANSWER | ASIDE)
    assert dubbo.requests().feed(frame(wire.BEAT_REPLY, 1, wire.NULL, status=20)) == []
    assert dubbo.requests().feed(frame(wire.REPLY, 1, b"\x92", status=20)) == []
    assert dubbo.counters["events_from_clients"] == 1
    assert dubbo.counters["replies_from_clients"] == 1
    assert dubbo.counters["heartbeats_answered"] == 0


def test_a_reply_that_nobody_asked_a_client_for_is_skipped_to_its_end() -> None:
    seen = in_every_cut(frame(wire.REPLY, 5, bytes(300), status=20) + CALL, protocol())
    assert [message.data for message in seen.messages] == [CALL]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"ls\n", "no Dubbo2 frame, but text, as of telnet or HTTP, at byte 0 of 3"),
        (b"\xda\xbc" + bytes(14), "no Dubbo2 frame, but no magic number, at byte 0 of 16"),
        (b"\xdb", "no Dubbo2 frame, but no magic number, at byte 0 of 1"),
        (
            CALL + b"GET / HTTP/1.1",
            f"no Dubbo2 frame, but text, as of telnet or HTTP, at byte {len(CALL)} of",
        ),
        (frame(wire.CALL, 1)[:12] + b"\xff\xff\xff\xff", "a frame of 4294967295 bytes is impossible"),
        (frame(wire.CALL, 1)[:12] + b"\x00\x80\x00\x01", "a frame of 8388609 bytes is more than max_frame"),
        (frame(wire.BEAT, 1)[:12] + b"\x00\x00\x04\x01", "an event of 1025 bytes"),
    ],
)
def test_what_cannot_be_framed_is_the_end(data: bytes, why: str) -> None:
    framer = protocol().requests()
    seen = feed(framer, [data, CALL, CALL])
    assert seen.fault.startswith(why)
    assert not framer.midway
    assert in_every_cut(data, protocol()).fault != ""


def test_midway_tells_that_a_call_has_begun() -> None:
    framer = protocol().requests()
    assert not framer.midway
    framer.feed(CALL[:10])
    assert framer.midway
    framer.feed(CALL[10:])
    assert not framer.midway
    assert framer.held == 0


LIMITS = (
    Limit("com.acme.Orders", 10, "create"),
    Limit("com.acme.Orders", 5),
    Limit("com.acme.Stock", 3, "take"),
)


@pytest.mark.parametrize(
    ("service", "method", "limit"),
    [
        ("com.acme.Orders", "create", 0),
        ("com.acme.Orders", "list", 1),
        ("com.acme.Stock", "take", 2),
        ("com.acme.Stock", "put", -1),
        ("com.acme.Other", "create", -1),
    ],
)
def test_a_call_counts_against_the_limit_that_names_it_best(service: str, method: str, limit: int) -> None:
    dubbo = protocol(*LIMITS)
    data = frame(wire.CALL, 3, invocation(service, method) + bytes(200))
    seen = in_every_cut(data + data, dubbo)
    for message in seen.messages:
        assert message.data == data
        assert dubbo.limit_of(message.note) == limit
        assert message.note & 31 == 2
    assert dubbo.counters["unread_names"] == 0


def test_a_call_whose_names_cannot_be_read_goes_on_without_a_limit_and_is_counted() -> None:
    dubbo = protocol(*LIMITS)
    kryo = frame(0xC8, 1, b"\x05\x85com")
    cut_short = frame(wire.CALL, 2, b"\x05ab")
    seen = feed(dubbo.requests(), [kryo, cut_short])
    assert [(m.data, m.note) for m in seen.messages] == [(kryo, 8), (cut_short, 2)]
    assert dubbo.counters["unread_names"] == 2


def test_no_more_than_max_names_is_kept_for_a_limit() -> None:
    framer = protocol(*LIMITS).requests()
    data = frame(wire.CALL, 1, b"S\xff\xff" + bytes(60_000))
    assert framer.feed(data[:MAX_NAMES]) == []
    assert framer.midway
    (first,) = framer.feed(data[MAX_NAMES : MAX_NAMES + 1])
    assert first.data == data[: MAX_NAMES + 1]
    assert first.note >> LIMIT_SHIFT == 0


def test_an_event_is_kept_until_it_is_whole() -> None:
    body = bytes(MAX_EVENT)
    seen = in_every_cut(frame(wire.BEAT, 1, body), protocol())
    assert seen.asides == [(frame(wire.BEAT_REPLY, 1, body, status=20), 0, None)]
