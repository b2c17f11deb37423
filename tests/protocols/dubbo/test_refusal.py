"""Refusals, read as consumers read them: status, id, and a string in the form that the header names."""

from __future__ import annotations

import json

import pytest

from muxproxy.protocols.contract import FIRST, LAST, Reason
from muxproxy.protocols.dubbo.names import read_string
from muxproxy.protocols.dubbo.refusal import MAX_TEXT, refusal
from tests.protocols.dubbo.feeding import protocol

REFUSED = [reason for reason in Reason if reason.outcome in ("refused", "expired", "lost")]


def read(data: bytes) -> tuple[int, int, int, str]:
    assert data[:2] == b"\xda\xbb"
    assert int.from_bytes(data[12:16], "big") == len(data) - 16
    text = read_string(data, 16, len(data), data[2])
    assert text is not None
    return data[2], data[3], int.from_bytes(data[4:12], "big"), text.decode()


@pytest.mark.parametrize(("asked", "answered"), [(2, 2), (6, 6), (16, 16), (23, 23), (3, 2), (8, 2), (22, 2)])
def test_the_message_is_in_the_requests_form_or_else_in_hessian2(asked: int, answered: int) -> None:
    frame = refusal(Reason.QUEUE_FULL, "too many", asked, 2**64 - 1)
    assert read(frame.data) == (answered, 100, 2**64 - 1, "muxproxy: too many")
    assert frame.marks == FIRST | LAST
    assert frame.tag == 2**64 - 1


@pytest.mark.parametrize("reason", REFUSED)
def test_overload_is_100_a_late_reply_31_and_a_lost_provider_80(reason: Reason) -> None:
    status = read(protocol().refusal(reason, "x", note=2, tag=5).data)[1]
    expected = {
        "bad_request": 40,
        "queue_full": 100,
        "clients_full": 100,
        "draining": 100,
        "queue_timeout": 100,
        "limit_full": 100,
        "limit_timeout": 100,
        "unread": 100,
        "memory": 100,
        "no_server": 80,
        "reply_timeout": 31,
        "request_timeout": 31,
        "server_closed": 80,
        "server_broke": 80,
        "internal": 80,
    }
    assert status == expected.get(reason.label, 80)  # what Dubbo has no refusals for


@pytest.mark.parametrize("serialization", [2, 6, 16, 23])
def test_a_text_is_one_bounded_line_of_ascii(serialization: int) -> None:
    text = 'a "b"\n\t\\ é 🙂' + "x" * 5000
    got = read(refusal(Reason.INTERNAL, text, serialization, 0).data)[3]
    assert got == ('muxproxy: a "b" \\ ? ?' + "x" * 5000)[:MAX_TEXT]


@pytest.mark.parametrize("size", [0, 10, 21, 22, 30, 245, 246, 989, 990])
def test_every_length_is_written_as_it_is_read(size: int) -> None:
    for serialization in (2, 6, 16, 23):
        got = read(refusal(Reason.INTERNAL, "x" * size, serialization, 0).data)[3]
        assert got == "muxproxy: " + "x" * size


def test_fastjson_is_one_line_of_json() -> None:
    data = refusal(Reason.QUEUE_FULL, 'say "no"', 6, 1).data
    assert data.endswith(b"\n")
    assert json.loads(data[16:]) == 'muxproxy: say "no"'


def test_who_made_no_call_is_told_nothing() -> None:
    """`accepts` of Dubbo closes without a word: there is no id to answer to."""
    assert protocol().refusal(Reason.CLIENTS_FULL, "full").data == b""
