"""Provider bytes -> replies, and what providers say by themselves."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import BROKEN, END_UPSTREAM, FIRST, INTERIM, LAST
from muxproxy.protocols.dubbo.replies import NO_CALLBACKS, READ_ONLY
from tests.protocols.dubbo import feeding as wire
from tests.protocols.dubbo.feeding import feed, frame, in_every_cut, protocol

GOOD = frame(wire.REPLY, 7, b"\x91\x05hello", status=20)


def test_a_reply_passes_as_it_is_with_its_id() -> None:
    framer = protocol().replies()
    framer.expect(2)
    (only,) = framer.feed(GOOD)
    assert (only.data, only.marks, only.tag) == (GOOD, FIRST | LAST, 7)


def test_any_status_and_a_two_way_flag_are_a_reply_all_the_same() -> None:
    odd = frame(0x42, 8, b"\x04oops", status=70)
    seen = in_every_cut(GOOD + odd + GOOD, protocol(), replies=True)
    assert [message.data for message in seen.messages] == [GOOD, odd, GOOD]
    assert [message.tag for message in seen.messages] == [7, 8, 7]


@pytest.mark.parametrize(
    "reply",
    [
        frame(0x22, 0, b"N", status=20),  # Java, js-remoting
        frame(0x22, 3, b"N", status=0),  # dubbo-py: no status
        frame(0x62, 0, b"N", status=20),  # a two-way flag on a reply
        frame(0x22, 0, b"", status=20),
        frame(0x22, 7, b"\x01H", status=20),  # an id that a call has, too
        frame(0x26, 0, b"null\n", status=20),
    ],
)
def test_heartbeat_replies_of_all_shapes_are_nobodys(reply: bytes) -> None:
    seen = in_every_cut(reply + GOOD + reply, protocol(), replies=True)
    assert [message.data for message in seen.messages] == [GOOD]
    assert seen.asides == []


def test_a_providers_heartbeat_is_answered_with_its_id() -> None:
    dubbo = protocol()
    seen = feed(dubbo.replies(), [frame(wire.BEAT, 5, wire.NULL) + GOOD + frame(0xA2, 6, wire.NULL)])
    assert seen.asides == [(frame(wire.BEAT_REPLY, 5, wire.NULL, status=20), 0, None)]
    assert [message.data for message in seen.messages] == [GOOD]
    assert dubbo.counters["heartbeats_answered"] == 1


@pytest.mark.parametrize(
    ("flags", "body"),
    [
        (0xA2, b"\x01R"),
        (0xE2, b"\x01R"),
        (0xA6, b'"R"\n'),
        (0xA6, b'"R"\r\n'),
        (0xB0, b'"R"\n'),
        (0xB7, b"\x00\x00\x00\x02\x4aR"),
        (0xA7, bytes.fromhex("aced000574000152")),  # nativejava
        (0xA3, bytes.fromhex("aced0005770101740001") + b"R"),  # java: not null, and the string
        (0xA4, bytes.fromhex("aced0005770101740001") + b"R"),  # compactedjava
        (0xA8, b"\x03\x01\x82R"),  # kryo
        (0xBB, b"\xa1R"),  # msgpack
    ],
)
def test_readonly_asks_for_no_more(flags: int, body: bytes) -> None:
    dubbo = protocol()
    seen = feed(dubbo.replies(), [frame(flags, 1, body) + GOOD])
    assert seen.asides == [(b"", END_UPSTREAM, READ_ONLY)]
    assert [message.data for message in seen.messages] == [GOOD]
    assert dubbo.counters["read_only"] == 1


@pytest.mark.parametrize("body", [b"\x01W", bytes.fromhex("aced000574000157")])
def test_and_takes_that_back(body: bytes) -> None:
    flags = 0xA2 if len(body) == 2 else 0xA7
    assert feed(protocol().replies(), [frame(flags, 1, body) + GOOD]).asides == [(b"", INTERIM, None)]


def test_the_issues_own_frame() -> None:
    said = bytes.fromhex("dabba700000000000000000100000008aced000574000152")
    assert in_every_cut(said, protocol(), replies=True).asides == [(b"", END_UPSTREAM, READ_ONLY)]


@pytest.mark.parametrize(
    ("flags", "body"),
    [
        (0xA2, b"\x01X"),
        (0xA2, b"N"),
        (0xA2, b""),
        (0xA2, b"NR"),
        (0xA3, bytes.fromhex("aced0005770100")),  # null, in java
        (0xA7, bytes.fromhex("aced000570")),  # in nativejava
        (0xA8, b"\x00"),  # in kryo
        (0xA8, b""),
    ],
)
def test_another_one_way_event_says_nothing_to_us(flags: int, body: bytes) -> None:
    assert feed(protocol().replies(), [frame(flags, 1, body) + GOOD]).asides == []


def test_a_callback_is_refused_where_it_came_from_and_counted() -> None:
    dubbo = protocol()
    call = frame(wire.CALL, 99, bytes(5000))
    seen = feed(dubbo.replies(), [GOOD + call[:1000], call[1000:] + GOOD])
    ((refusal, marks, _),) = seen.asides
    text = b"muxproxy: " + NO_CALLBACKS.encode()
    assert refusal == frame(wire.REPLY, 99, bytes((0x30, len(text))) + text, status=60)
    assert marks == 0
    assert [message.data for message in seen.messages] == [GOOD, GOOD]
    assert dubbo.counters["callbacks_refused"] == 1


def test_a_one_way_callback_is_counted_and_gets_nothing() -> None:
    dubbo = protocol()
    seen = in_every_cut(frame(wire.ONE_WAY_CALL, 1, b"abc") + GOOD, dubbo, replies=True)
    assert seen.asides == []
    assert [message.data for message in seen.messages] == [GOOD]
    assert dubbo.counters["callbacks_refused"] > 0


@pytest.mark.parametrize(
    "data",
    [
        b"Unsupported command: da.\r\ndubbo>",
        GOOD + b"\r\ndubbo>",
        GOOD[:12] + b"\x80\x00\x00\x00",
        frame(wire.BEAT_REPLY, 1)[:12] + b"\x00\x80\x00\x01",
        frame(wire.CALL, 1)[:12] + b"\x00\x80\x00\x01",
    ],
)
def test_telnet_text_and_impossible_lengths_break_the_connection(data: bytes) -> None:
    framer = protocol().replies()
    seen = feed(framer, [data, GOOD])
    assert seen.fault
    assert in_every_cut(data, protocol(), replies=True).fault


def test_a_reply_above_max_frame_is_an_error_for_its_caller_and_passes_nobody_else_by() -> None:
    dubbo = protocol(max_frame=100)
    data = GOOD + frame(wire.REPLY, 8, bytes(101), status=20) + GOOD
    seen = in_every_cut(data, dubbo, replies=True)
    assert [message.data for message in seen.messages[::2]] == [GOOD, GOOD]
    error = seen.messages[1]
    assert (error.tag, error.whole, error.data[3]) == (8, True, 90)
    assert error.data.endswith(b"muxproxy: a reply of 101 bytes is more than max_frame, 100")
    assert dubbo.counters["replies_too_long"] > 0


def test_an_end_in_the_middle_of_a_frame_is_broken_and_between_two_is_not() -> None:
    for some in (5, 16, 20):
        framer = protocol().replies()
        framer.feed(GOOD[:some])
        assert [one.marks for one in framer.eof()] == [BROKEN]
        framer.feed(GOOD[some:])
        assert framer.eof() == ()


def test_dubbo_has_no_hints_and_no_feed() -> None:
    framer = protocol().replies()
    framer.listen()
    assert framer.idle_hint is None
    assert not framer.early
