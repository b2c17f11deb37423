"""What both directions have in common; each direction's own tests cut every message in every way."""

from __future__ import annotations

from tests.protocols.dubbo import feeding as wire
from tests.protocols.dubbo.feeding import feed, frame, protocol


def test_many_messages_in_one_read_come_out_one_by_one() -> None:
    data = b"".join(frame(wire.REPLY, tag, b"x" * tag, status=20) for tag in range(100))
    seen = feed(protocol().replies(), [data])
    assert [message.tag for message in seen.messages] == list(range(100))
    assert b"".join(message.data for message in seen.messages) == data


def test_max_frame_is_of_the_body_and_may_be_reached() -> None:
    dubbo = protocol(max_frame=100)
    for framer, flags in ((dubbo.requests(), wire.CALL), (dubbo.replies(), wire.REPLY)):
        assert feed(framer, [frame(flags, 1, bytes(100))]).messages[0].data[16:] == bytes(100)
    fault = feed(dubbo.requests(), [frame(wire.CALL, 1, bytes(101))]).fault
    assert fault == "a frame of 101 bytes is more than max_frame"


def test_whatever_comes_behind_a_fault_is_thrown_away() -> None:
    framer = protocol().requests()
    assert feed(framer, [b"no"]).fault
    assert feed(framer, [frame(wire.CALL, 1)] * 3).messages == []
    assert not framer.midway
