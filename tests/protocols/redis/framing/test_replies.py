"""Replies: where each ends, whose it is, what is collected and what passes in parts."""

from __future__ import annotations

from typing import Any

import pytest

from muxproxy.protocols.contract import BROKEN, FIRST, LAST, PUSH
from muxproxy.protocols.redis.framing.note import Carrier, Note, Whole
from muxproxy.protocols.redis.framing.replies import (
    CUT,
    MAX_WHOLE,
    REPLY_HOLD,
    TOO_LARGE,
    UNASKED,
    ReplyFramer,
)
from tests.protocols.redis.framing.feeding import GET, SET, Seen, bytewise, replies, settings

BEHIND = b"$6\r\nbehind\r\n"
WHOLE = FIRST | LAST

REPLIES = [
    b"+OK\r\n",
    b"+\r\n",
    b"-ERR no\r\n",
    b":12\r\n",
    b":-1\r\n",
    b"$0\r\n\r\n",
    b"$5\r\nhello\r\n",
    b"$6\r\n$3\r\n+\n\r\n",
    b"$-1\r\n",
    b"$2000\r\n" + b"\r\n" * 1000 + b"\r\n",
    b"*0\r\n",
    b"*-1\r\n",
    b"*2\r\n$1\r\na\r\n$-1\r\n",
    b"*3\r\n:1\r\n*2\r\n+a\r\n*0\r\n$3\r\n\r\n\r\r\n",
    b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
    b"_\r\n",
    b"#t\r\n",
    b",3.25\r\n",
    b",inf\r\n",
    b"(3492890328409238509324850943850943825024385\r\n",
    b"!5\r\nERR x\r\n",
    b"=7\r\ntxt:abc\r\n",
    b"%2\r\n+a\r\n:1\r\n+b\r\n~1\r\n:2\r\n",
    b"~2\r\n#f\r\n_\r\n",
    b"|1\r\n+ttl\r\n:3600\r\n$1\r\na\r\n",
    b"|1\r\n+a\r\n%1\r\n+b\r\n:1\r\n*2\r\n|1\r\n+c\r\n+d\r\n:1\r\n:2\r\n",
    b"$?\r\n;4\r\nHell\r\n;5\r\no wor\r\n;0\r\n",
    b"*?\r\n:1\r\n*2\r\n:2\r\n:3\r\n*0\r\n.\r\n",
    b"%?\r\n+a\r\n*?\r\n.\r\n+b\r\n$?\r\n;1\r\nx\r\n;0\r\n.\r\n",
    b"*2\r\n~?\r\n|1\r\n+a\r\n+b\r\n:1\r\n.\r\n:2\r\n",
]


def every_way(data: bytes, *notes: Any, **options: Any) -> list[Seen]:
    """Whole, byte by byte, in two at every place, and with a reply behind it, which is left out again."""
    ways = [[data], bytewise(data), *([data[:cut], data[cut:]] for cut in range(1, min(len(data), 80)))]
    all_seen = [replies(way, *notes, **options) for way in ways]
    seen = replies([data + BEHIND], *notes, GET, **options)
    assert seen.messages.pop().data == BEHIND
    return [*all_seen, seen]


@pytest.mark.parametrize("data", REPLIES)
def test_a_reply_is_one_frame_of_its_own_bytes(data: bytes) -> None:
    for seen in every_way(data, GET):
        assert (seen.data, seen.fault) == ([data], None)
        assert (seen.messages[0].marks, seen.messages[0].frames) == (WHOLE, 1)


@pytest.mark.parametrize("data", REPLIES)
def test_a_prelude_gets_the_same_whole(data: bytes) -> None:
    for seen in every_way(data, None):
        assert (seen.data, seen.fault) == ([data], None)


def test_many_replies_in_one_chunk_come_out_as_they_went_in() -> None:
    everything = REPLIES * 30
    assert replies([b"".join(everything)], *[GET] * len(everything)).data == everything
    small = [b"+OK\r\n", b"$3\r\nabc\r\n", b":7\r\n", b"*2\r\n$1\r\na\r\n:1\r\n"] * 2000
    assert replies([b"".join(small)], *[GET] * len(small)).data == small
    mixed = [GET, None, Note(SET, 2), GET] * 100
    assert (
        replies([b"$1\r\na\r\n" * 500], *mixed).data
        == [b"$1\r\na\r\n", b"$1\r\na\r\n", b"$1\r\na\r\n" * 2, b"$1\r\na\r\n"] * 100
    )


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"x\r\n", "a byte that begins no reply"),
        (b"\r\n", "a byte that begins no reply"),
        (b".\r\n", "a byte that begins no reply"),
        (b";1\r\na\r\n", "a byte that begins no reply"),
        (b"$x\r\n", "a bulk's length is none (1 bytes)"),
        (b"$05\r\nhello\r\n", "a bulk's length is none (2 bytes)"),
        (b"$-2\r\n", "a bulk's length is none (2 bytes)"),
        (b"=-1\r\n", "a bulk's length is none (2 bytes)"),
        (b"*-2\r\n", "a number of items is none (2 bytes)"),
        (b"%-1\r\n", "a number of items is none (2 bytes)"),
        (b"*+1\r\n", "a number of items is none (2 bytes)"),
        (b"*99999999999999999999\r\n", "a number of items is none (20 bytes)"),
        (b"*" + b"9" * 100 + b"\r\n", "a number of items is none (more than 31 bytes)"),
        (b"$1\r\nab\r\n", "a bulk does not end with CRLF"),
        (b"$1\r\na\rb", "a bulk does not end with CRLF"),
        (b"*1\r\n.\r\n", "a byte that begins no reply"),
        (b"*?\r\n*1\r\n.\r\n", "a byte that begins no reply"),
        (b"$?\r\n$1\r\na\r\n", "a streamed string goes on with no piece of itself"),
        (b"*?\r\n" * 33, "streamed types nested deeper than 32"),
    ],
)
def test_what_is_no_reply_is_broken_and_the_last_thing(data: bytes, why: str) -> None:
    for chunks in ([data], bytewise(data), [BEHIND[:0] + data + BEHIND]):
        seen = replies(chunks, GET, GET)
        assert (seen.messages, seen.answered) == ([], False)
        assert seen.fault == why.encode()
    seen = replies([BEHIND + data], GET, GET)
    assert (seen.data, seen.fault) == ([BEHIND], why.encode())


@pytest.mark.parametrize("data", REPLIES)
def test_a_reply_that_nobody_asked_for_is_broken(data: bytes) -> None:
    assert replies([data]).fault == UNASKED.encode()
    assert replies([BEHIND + data], GET).fault == UNASKED.encode()
    assert replies([BEHIND, data], GET).data == [BEHIND]


def test_a_large_reply_passes_in_parts_and_small_ones_around_it_whole() -> None:
    large = b"*2\r\n:1\r\n$1048576\r\n" + bytes(range(256)) * 4096 + b"\r\n"
    data = b"+OK\r\n" + large + b"+OK\r\n"
    for size in (1000, 65536, 256 * 1024, len(data)):
        seen = replies([data[at : at + size] for at in range(0, len(data), size)], GET, GET, GET)
        assert seen.data == [b"+OK\r\n", large, b"+OK\r\n"]
        assert seen.messages[1].frames == 1 if size == len(data) else seen.messages[1].frames > 3


def test_no_more_than_64_kib_of_a_reply_are_held() -> None:
    framer = ReplyFramer(settings())
    framer.expect(GET)
    assert len(framer.feed(b"$900000\r\n" + b"x" * (REPLY_HOLD - 9))) == 0
    (first,) = framer.feed(b"x")
    assert (len(first.data), first.marks) == (REPLY_HOLD + 1, FIRST)
    chunk = b"x" * 1000
    (part,) = framer.feed(chunk)
    assert part.data is chunk  # nothing is copied any more
    assert part.marks == 0


def test_a_line_of_any_length_passes() -> None:
    for data in (b"+" + b"x" * 200_000 + b"\r\n", b"-" + b"\rx" * 100_000 + b"\r\n"):
        for size in (1, 3, 1000, 300_000):
            assert replies([data[at : at + size] for at in range(0, len(data), size)], GET).data == [data]


# -- notes ---------------------------------------------------------------------------------------------------


def test_several_replies_are_one_exchange() -> None:
    data = b"+OK\r\n+QUEUED\r\n*1\r\n$1\r\na\r\n"
    for seen in every_way(data, Note(SET, 3)):
        assert seen.data == [data]
        assert seen.messages[0].frames == 3
        assert seen.messages[0].marks == WHOLE


def test_a_muted_reply_leaves_no_bytes() -> None:
    data = b"*2\r\n$1\r\na\r\n$1\r\nb\r\n+OK\r\n"
    for seen in every_way(data, Note(SET, 2, mute=True)):
        assert (seen.data, seen.messages[0].marks) == ([b""], WHOLE)
    framer = ReplyFramer(settings())
    framer.expect(Note(GET, mute=True))
    assert len(framer.feed(b"$1000000\r\n".ljust(100_000, b"x"))) == 0
    assert len(framer.feed(b"x" * 900_010)) == 0
    (frame,) = framer.feed(b"\r\n")
    assert (frame.data, frame.marks) == (b"", WHOLE)


class Replaced(Whole):
    """Notes what it was asked, and answers with it."""

    __slots__ = ("asked",)

    def __init__(self, replies: int) -> None:
        super().__init__(SET, replies)
        self.asked: list[tuple[int, bytes, Any]] = []

    def on_reply(self, number: int, reply: bytes, connection: Any) -> bytes:
        self.asked.append((number, reply, connection))
        return b"" if number + 1 < self.replies else b"<" + reply + b">"


def test_a_whole_note_sees_each_reply_and_says_what_the_client_gets() -> None:
    data = b"+PONG\r\n*1\r\n:1\r\n"
    for chunks in ([data], bytewise(data)):
        note = Replaced(2)
        framer = ReplyFramer(settings())
        framer.connection = connection = Carrier()
        framer.expect(note)
        seen = Seen()
        for chunk in chunks:
            seen.add(framer.feed(chunk))
        assert note.asked == [(0, b"+PONG\r\n", connection), (1, b"*1\r\n:1\r\n", connection)]
        assert (seen.data, seen.messages[0].marks) == ([b"<*1\r\n:1\r\n>"], WHOLE)


def chunks_of(size: int) -> list[bytes]:
    data = b"$%d\r\n%b\r\n" % (size, b"x" * size)
    return [data[at : at + 65536] for at in range(0, len(data), 65536)]


def test_what_must_be_whole_is_bounded() -> None:
    fits = MAX_WHOLE - len(b"$1048576\r\n\r\n")
    why = b"a reply of more than 1048576 bytes to what we ask ourselves"
    for note in (None, Replaced(1), Replaced(2)):
        assert replies(chunks_of(fits), note, GET).fault is None
        assert replies(chunks_of(fits + 1), note, GET).fault == why


def test_but_the_last_of_several_replies_is_the_clients_own_and_passes_as_it_is() -> None:
    note = Replaced(2)
    large = chunks_of(MAX_WHOLE)
    seen = replies([b":1\r\n", *large, BEHIND], note, GET)
    assert seen.data == [b"".join(large), BEHIND]
    assert [number for number, *_ in note.asked] == [0]


# -- pushes --------------------------------------------------------------------------------------------------

PUSHED = b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\n\r\n\r\n"


def test_a_push_is_nobodys_reply() -> None:
    for chunks in ([PUSHED + BEHIND + PUSHED], bytewise(PUSHED + BEHIND + PUSHED), [PUSHED, BEHIND, PUSHED]):
        seen = replies(chunks, GET)
        assert seen.data == [BEHIND]
        assert [(push.data, push.marks) for push in seen.pushes] == [(PUSHED, PUSH | WHOLE)] * 2
    assert replies([PUSHED]).fault is None


def test_a_push_may_come_between_the_replies_of_an_exchange() -> None:
    seen = replies([b"+OK\r\n" + PUSHED + b"+QUEUED\r\n", PUSHED, b"*0\r\n" + BEHIND], Note(SET, 3), GET)
    assert seen.data == [b"+OK\r\n+QUEUED\r\n*0\r\n", BEHIND]
    assert len(seen.pushes) == 2


def test_of_a_push_that_is_too_large_only_the_head_is_kept() -> None:
    large = b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$200000\r\n" + b"x" * 200_000 + b"\r\n"
    for size in (1, 1000, 65536, len(large)):
        chunks = [large[at : at + size] for at in range(0, len(large), size)]
        seen = replies([*chunks, PUSHED + BEHIND], GET, subscriber_buffer=100_000)
        large_push, push = seen.pushes
        assert (large_push.data, large_push.note) == (large[:REPLY_HOLD], TOO_LARGE)
        assert (push.data, push.note) == (PUSHED, None)
        assert seen.data == [BEHIND]
        (push,) = replies(chunks, subscriber_buffer=len(large)).pushes
        assert (push.data, push.note) == (large, None)


def test_a_connection_that_listens_gets_arrays_and_errors_as_pushes() -> None:
    data = b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n-NOPERM no\r\n" + PUSHED
    for chunks in ([data], bytewise(data)):
        seen = replies(chunks, listens=True)
        assert b"".join(push.data for push in seen.pushes) == data
        assert len(seen.pushes) == 3


def test_it_listens_once_what_was_expected_has_come() -> None:
    array = b"*1\r\n$1\r\na\r\n"
    seen = replies([array + array + b"-ERR x\r\n" + array], GET, Note(SET, 2), listens=True)
    assert seen.data == [array, array + b"-ERR x\r\n"]
    assert [push.data for push in seen.pushes] == [array]


def test_other_replies_are_still_somebodys_and_reset_ends_it() -> None:
    framer = ReplyFramer(settings())
    framer.listen()
    framer.expect(None)
    framer.expect(GET)
    seen = Seen()
    for chunk in bytewise(b"*0\r\n+RESET\r\n*1\r\n:1\r\n"):
        seen.add(framer.feed(chunk))
    assert [push.data for push in seen.pushes] == [b"*0\r\n"]
    assert seen.data == [b"+RESET\r\n", b"*1\r\n:1\r\n"]
    framer.listen()
    framer.expect(GET)
    seen.add(framer.feed(b"*0\r\n$2\r\nhi\r\n"))
    assert [push.data for push in seen.pushes] == [b"*0\r\n"] * 2
    assert seen.data[-1] == b"$2\r\nhi\r\n"
    seen.add(framer.feed(b"+OK\r\n"))
    assert seen.fault == UNASKED.encode()


# -- ends ----------------------------------------------------------------------------------------------------


def test_a_server_that_owes_nothing_may_close() -> None:
    assert replies([BEHIND], GET, eof=True).fault is None
    assert replies([PUSHED], eof=True).fault is None
    assert replies([BEHIND, b"*0\r\n"], GET, listens=True, eof=True).fault is None
    assert replies([], listens=True, eof=True).fault is None


@pytest.mark.parametrize("data", [b"", b"$5\r\nhel", b"$5\r\nhello\r", b"*1\r\n", BEHIND, PUSHED[:-1]])
def test_one_that_owes_a_reply_has_cut_it(data: bytes) -> None:
    for note in (GET, None, Note(SET, 2), Replaced(1)):
        assert replies([data], *[note] * (2 if data == BEHIND else 1), eof=True).fault == CUT.encode()
    assert replies([BEHIND, BEHIND[:-1]], Note(SET, 2), eof=True).fault == CUT.encode()
    assert replies([PUSHED[:-1]], eof=True).fault == CUT.encode()


def test_nothing_comes_after_the_end() -> None:
    framer = ReplyFramer(settings())
    (frame,) = framer.feed(BEHIND)
    assert (frame.data, frame.marks, frame.note) == (b"", BROKEN, UNASKED)
    framer.expect(GET)
    assert len(framer.feed(BEHIND)) == len(framer.eof()) == 0
