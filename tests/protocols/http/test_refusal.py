"""Refusals: the status of each reason, and a reply that the client at hand can read."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import END_CLIENT, FIRST, LAST, Reason
from muxproxy.protocols.http.common import HEAD, KEEP, OLD
from muxproxy.protocols.http.refusal import PHRASES, STATUS, refusal
from tests.protocols.http.feeding import protocol, replies


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.QUEUE_FULL, 503),
        (Reason.CLIENTS_FULL, 503),
        (Reason.DRAINING, 503),
        (Reason.QUEUE_TIMEOUT, 503),
        (Reason.NO_SERVER, 502),
        (Reason.SERVER_CLOSED, 502),
        (Reason.SERVER_BROKE, 502),
        (Reason.INTERNAL, 502),
        (Reason.REPLY_TIMEOUT, 504),
        (Reason.REQUEST_TIMEOUT, 408),
        (Reason.BAD_REQUEST, 400),
    ],
)
def test_each_reason_has_its_status(reason: Reason, status: int) -> None:
    frame = protocol().refusal(reason, "why", retry_after=7)
    assert frame.data.startswith(b"HTTP/1.1 %d " % status)
    assert (b"\r\nRetry-After: 7\r\n" in frame.data) == (status == 503)
    assert frame.marks == FIRST | LAST | END_CLIENT


def test_every_status_has_its_phrase() -> None:
    assert set(STATUS.values()) <= set(PHRASES)


@pytest.mark.parametrize(
    ("note", "closing", "line", "ends"),
    [
        (KEEP, False, None, False),
        (KEEP, True, b"Connection: close", True),
        (KEEP | OLD, False, b"Connection: keep-alive", False),
        (KEEP | OLD, True, b"Connection: close", True),
        (0, False, b"Connection: close", True),
        (OLD, False, b"Connection: close", True),
    ],
)
def test_the_client_is_told_whether_its_connection_ends(
    note: int, closing: bool, line: bytes | None, ends: bool
) -> None:
    frame = refusal(503, "queue is full", note=note, closing=closing)
    lines = frame.data.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert [line for line in lines if line.startswith(b"Connection")] == ([line] if line else [])
    assert bool(frame.marks & END_CLIENT) == ends


def test_a_refusal_is_a_reply_as_we_would_accept_it() -> None:
    for note in (KEEP, KEEP | OLD, KEEP | HEAD, 0):
        frame = refusal(503, "full", note=note, retry_after=1, closing=False)
        (message,) = replies([frame.data], note).messages
        assert message.data == frame.data


def test_the_body_is_one_line_whatever_the_text() -> None:
    frame = refusal(502, "a\r\nb: é\n\tc", note=KEEP, closing=False)
    assert frame.data.endswith("\r\n\r\nmuxproxy: a b: é c\n".encode())
    head = refusal(502, "a\r\nb: é\n\tc", note=KEEP | HEAD, closing=False)
    assert frame.data == head.data + "muxproxy: a b: é c\n".encode()


def test_no_request_yet_means_no_note() -> None:
    frame = protocol().refusal(Reason.REQUEST_TIMEOUT, "slow", note=None)
    assert frame.data.endswith(b"muxproxy: slow\n")
