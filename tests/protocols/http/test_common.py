"""The memo: bounded in entries and in bytes."""

from __future__ import annotations

from muxproxy.config.model import Http
from muxproxy.protocols.contract import ANSWER, BROKEN, FIRST, LAST, Frame
from muxproxy.protocols.http import HttpProtocol
from muxproxy.protocols.http.common import (
    HEAD,
    KEEP,
    MEMO_ENTRIES,
    MEMO_HEAD,
    MEMO_MISSES,
    MEMO_REST,
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


def _feed_request(speaker: HttpProtocol, number: int) -> tuple[bytes, int, object]:
    head = b"GET /%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % number
    (frame,) = speaker.requests().feed(head)
    return frame.data, frame.marks, frame.note


def test_the_memo_of_requests_rests_while_heads_do_not_repeat() -> None:
    speaker = HttpProtocol(Http())
    settings = speaker.settings
    for number in range(MEMO_MISSES):
        _feed_request(speaker, number)
    assert settings.request_rest == MEMO_REST
    known = dict(settings.memo)
    assert _feed_request(speaker, -1) == _feed_request(HttpProtocol(Http()), -1)
    assert (settings.memo, settings.request_rest) == (known, MEMO_REST - 1)


def test_one_hit_is_enough_to_keep_the_memo_of_requests_awake() -> None:
    speaker = HttpProtocol(Http())
    for number in range(2 * MEMO_MISSES):
        _feed_request(speaker, number // 2)
    assert speaker.settings.request_rest == 0


def test_the_request_that_was_found_last_is_what_it_was_until_another_configuration() -> None:
    speaker = HttpProtocol(Http())
    fresh = [_feed_request(HttpProtocol(Http()), number) for number in (1, 2)]
    for _ in range(3):
        assert [_feed_request(speaker, number) for number in (1, 1, 1, 2)] == [*fresh[:1] * 3, fresh[1]]
    assert speaker.settings.seen
    assert speaker.requests().feed(b"") == ()
    speaker.settings.configure(Http(max_head=20), b"host")
    assert _feed_request(speaker, 1)[1] & ANSWER  # refused, though it was known


def test_the_bits_of_a_note_are_bits() -> None:
    assert HEAD | OLD | KEEP | UPGRADE == HEAD + OLD + KEEP + UPGRADE == 15


def test_a_malformed_message_is_a_bad_request_unless_it_is_something_else() -> None:
    assert MalformedError("x").status == 400
    assert MalformedError("x", 431).status == 431


def _reply(number: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nX-Id: %d\r\nContent-Length: 2\r\n\r\nhi" % number


def _feed_reply(speaker: HttpProtocol, note: int, data: bytes) -> tuple[bytes, int, object]:
    framer = speaker.replies()
    framer.expect(note)
    (frame,) = framer.feed(data)
    return frame.data, frame.marks, frame.note


def test_a_head_seen_before_becomes_what_it_became_for_each_kind_of_client() -> None:
    speaker = HttpProtocol(Http())
    notes = (KEEP, 0, KEEP | OLD, OLD)
    fresh = [_feed_reply(HttpProtocol(Http()), note, _reply(1)) for note in notes]
    for _ in range(3):
        assert [_feed_reply(speaker, note, _reply(1)) for note in notes] == fresh
    speaker.drain()
    assert _feed_reply(speaker, KEEP, _reply(1)) == fresh[1]  # draining, nobody is kept


def test_a_head_seen_before_has_its_own_body_and_only_the_length_it_said() -> None:
    speaker = HttpProtocol(Http())
    _feed_reply(speaker, KEEP, _reply(1))
    data, _, _ = _feed_reply(speaker, KEEP, _reply(1)[:-2] + b"ho")
    assert data.endswith(b"\r\n\r\nho")
    framer = speaker.replies()
    framer.expect(KEEP)
    frames = [*framer.feed(_reply(1)[:-1]), *framer.feed(b"i")]
    assert b"".join(frame.data for frame in frames) == _feed_reply(speaker, KEEP, _reply(1))[0]
    framer.expect(KEEP)
    assert [frame.marks & BROKEN for frame in framer.feed(_reply(1) + b"!")] == [0, BROKEN]


def test_the_head_that_a_connection_saw_last_becomes_what_it_would_on_a_fresh_one() -> None:
    speaker = HttpProtocol(Http())
    framer = speaker.replies()
    hint = _reply(1).replace(b"X-Id: 1\r\n", b"Keep-Alive: timeout=5\r\n")
    replies = (_reply(1), _reply(1)[:-2] + b"ho", _reply(2), hint, _reply(1).replace(b"keep-alive", b"close"))
    notes = (KEEP, 0, KEEP | OLD, HEAD)
    order = [(note, data) for note in notes for data in replies for _ in range(3)]
    order += [(note, data) for data in replies for _ in range(3) for note in notes]
    for is_draining in (False, True):
        for note, data in order:
            data = data[:-2] if note == HEAD else data
            fresh = HttpProtocol(Http())
            if is_draining:
                fresh.drain()
            framer.expect(note)
            (frame,) = framer.feed(data)
            assert (frame.data, frame.marks, frame.note) == _feed_reply(fresh, note, data)
        assert framer.idle_hint == 5
        speaker.drain()
    speaker.settings.configure(Http(max_head=20), b"host")
    framer.expect(KEEP)
    assert [frame.marks for frame in framer.feed(_reply(1))] == [BROKEN]  # though it was remembered


def test_the_memo_of_replies_is_bounded_and_rests_while_heads_do_not_repeat() -> None:
    speaker = HttpProtocol(Http())
    settings = speaker.settings
    for number in range(MEMO_MISSES):
        _feed_reply(speaker, KEEP, _reply(number))
        assert len(settings.reply_memo[KEEP]) <= MEMO_ENTRIES
    assert settings.reply_rest == MEMO_REST
    known = dict(settings.reply_memo[KEEP])
    _feed_reply(speaker, KEEP, _reply(-1))
    assert settings.reply_memo[KEEP] == known
    assert settings.reply_rest == MEMO_REST - 1


def test_one_hit_is_enough_to_keep_the_memo_of_replies_awake() -> None:
    speaker = HttpProtocol(Http())
    for number in range(2 * MEMO_MISSES):
        _feed_reply(speaker, KEEP, _reply(number // 2))
    assert speaker.settings.reply_rest == 0
