"""hiredis' parser as oracle: where replies end, and what is in the commands that go on to a server.

Where it and we differ, the table at the end says how and why.
"""

from __future__ import annotations

from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.protocols.contract import BROKEN, LAST, PUSH
from muxproxy.protocols.redis.framing.replies import ReplyFramer
from muxproxy.protocols.redis.resp.grammar import arguments, commands
from tests.protocols.redis import strategies as some
from tests.protocols.redis.framing.feeding import GET, requests, settings

REPLY, PUSHED, FAULT = "reply", "push", "fault"
NOT_YET = object()


def of_hiredis(data: bytes) -> list[tuple[int, str]]:
    """After which byte it saw what."""
    reader = hiredis.Reader(notEnoughData=NOT_YET)
    seen: list[tuple[int, str]] = []
    for at in range(len(data)):
        reader.feed(data[at : at + 1])
        try:
            value: Any = reader.gets()
        except hiredis.ProtocolError:
            seen.append((at, FAULT))
            break
        if value is not NOT_YET:
            seen.append((at, PUSHED if isinstance(value, hiredis.PushNotification) else REPLY))
    return seen


def of_ours(data: bytes) -> list[tuple[int, str]]:
    framer = ReplyFramer(settings())
    for _ in data:
        framer.expect(GET)
    seen: list[tuple[int, str]] = []
    for at in range(len(data)):
        for frame in framer.feed(data[at : at + 1]):
            if frame.marks & (LAST | BROKEN):
                kind = FAULT if frame.marks & BROKEN else PUSHED if frame.marks & PUSH else REPLY
                seen.append((at, kind))
    return seen


@given(
    st.lists(st.one_of(some.COMMON, some.COMMON, some.COMMON_PUSHES, some.WRONG_LENGTHS), max_size=8).map(
        b"".join
    )
)
def test_replies_end_where_hiredis_says(data: bytes) -> None:
    assert of_ours(data) == of_hiredis(data)


# Names for which the client is cut off have a test of their own.
PACKABLE = st.lists(some.WORDS, min_size=1, max_size=5).filter(
    lambda w: w[0].lower() not in (b"post", b"host:")
)


@given(st.lists(PACKABLE, max_size=8), st.data())
def test_commands_that_hiredis_packs_are_commands_with_the_same_words(
    those: list[list[bytes]], data: st.DataObject
) -> None:
    packed = [hiredis.pack_command(tuple(words)) for words in those]
    chunks = data.draw(some.pieces(st.just(b"".join(packed))))
    seen = requests(chunks, groups=False)
    assert seen.data == packed
    assert [arguments(one) for one in seen.data] == those


@given(some.pieces(st.tuples(some.REQUESTS, some.GARBAGE).map(b"".join)))
def test_whatever_comes_what_goes_on_is_whole_commands_to_hiredis_too(chunks: list[bytes]) -> None:
    """P2: a server must see as many commands as we count replies."""
    for message in requests(chunks).messages:
        reader = hiredis.Reader()
        reader.feed(message.data)
        for one in commands(message.data):
            assert reader.gets() == arguments(one)
        assert not reader.has_data()


@pytest.mark.parametrize(
    ("data", "ours", "its", "reason"),
    [
        (b"+a\nb\r\n", [(5, REPLY)], [(5, FAULT)], "a line ends at CRLF; what is in it the client judges"),
        (b":x\r\n", [(3, REPLY)], [(3, FAULT)], "as above"),
        (b",x\r\n", [(3, REPLY)], [(3, FAULT)], "as above"),
        (b"#x\r\n", [(3, REPLY)], [(3, FAULT)], "as above"),
        (b"_x\r\n", [(3, REPLY)], [(3, FAULT)], "as above"),
        (b"(x\r\n", [(3, REPLY)], [(3, FAULT)], "as above"),
        (b"=1\r\na\r\n", [(6, REPLY)], [(6, FAULT)], "its kind is in the bytes that the client judges"),
        (b"$1\r\nabc", [(5, FAULT)], [(6, REPLY)], "it skips two bytes, others look for CRLF: P2"),
        (b"%-1\r\n", [(4, FAULT)], [(4, REPLY)], "only bulk strings and arrays of RESP2 can be null"),
        (b"~-1\r\n", [(4, FAULT)], [(4, REPLY)], "as above"),
        (b"=-1\r\n", [(4, FAULT)], [(4, REPLY)], "as above"),
        (b"*4294967296\r\n", [], [(12, FAULT)], "RESP has no limit; nothing is allocated by a count here"),
        (b"!1\r\na\r\n", [(6, REPLY)], [(0, FAULT)], "RESP3's bulk errors: it does not know them"),
        (
            b"|1\r\n+a\r\n:1\r\n:2\r\n",
            [(15, REPLY)],
            [(11, REPLY), (15, REPLY)],
            "to it an attribute is a reply",
        ),
        (
            b"*1\r\n|1\r\n+a\r\n:1\r\n:2\r\n",
            [(19, REPLY)],
            [(15, REPLY), (19, REPLY)],
            "or an item: off by one",
        ),
        (
            b"$?\r\n;1\r\na\r\n;0\r\n",
            [(14, REPLY)],
            [(3, FAULT)],
            "RESP3's streamed types: it does not know them",
        ),
        (b"*?\r\n.\r\n", [(6, REPLY)], [(3, FAULT)], "as above"),
        (b">0\r\n", [(3, PUSHED)], [(3, PUSHED)], "no difference; hiredis-py of old versions crashed on it"),
    ],
)
def test_where_hiredis_and_we_differ(
    data: bytes, ours: list[tuple[int, str]], its: list[tuple[int, str]], reason: str
) -> None:
    assert (of_ours(data), of_hiredis(data)) == (ours, its), reason
