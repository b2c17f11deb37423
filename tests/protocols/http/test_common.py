"""The memo: bounded in entries and in bytes."""

from __future__ import annotations

from muxproxy.config.model import Http
from muxproxy.protocols.contract import FIRST, LAST, Frame
from muxproxy.protocols.http.common import (
    HEAD,
    KEEP,
    MEMO_ENTRIES,
    MEMO_HEAD,
    OLD,
    UPGRADE,
    MalformedError,
    Settings,
)


def test_the_memo_never_holds_more_than_its_bounds() -> None:
    settings = Settings(Http(), b"host")
    frames = (Frame(b"", FIRST | LAST),)
    settings.remember(b"x" * (MEMO_HEAD + 1), frames)
    assert settings.memo == {}
    for number in range(MEMO_ENTRIES):
        settings.remember(b"%d" % number, frames)
    assert len(settings.memo) == MEMO_ENTRIES
    settings.remember(b"one more", frames)
    assert settings.memo == {b"one more": frames}


def test_the_bits_of_a_note_are_bits() -> None:
    assert HEAD | OLD | KEEP | UPGRADE == HEAD + OLD + KEEP + UPGRADE == 15


def test_a_malformed_message_is_a_bad_request_unless_it_is_something_else() -> None:
    assert MalformedError("x").status == 400
    assert MalformedError("x", 431).status == 431
