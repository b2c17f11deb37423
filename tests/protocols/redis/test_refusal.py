"""Refusals: their code, whether the command may have run, and how many replies they stand for."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import END_CLIENT, FIRST, LAST, Reason
from muxproxy.protocols.redis.commands.command import MULTI, Command
from muxproxy.protocols.redis.framing.note import Note
from muxproxy.protocols.redis.refusal import OVERLOAD, WRITTEN
from muxproxy.protocols.redis.session.notes import SkipFirst
from tests.protocols.redis.talk import Talk, protocol

SET, GET = Command("set"), Command("get", is_readonly=True)
CASES = [
    (Reason.QUEUE_FULL, SET, b"-OVERLOADED muxproxy: why\r\n"),
    (Reason.CLIENTS_FULL, None, b"-OVERLOADED muxproxy: why\r\n"),
    (Reason.DRAINING, SET, b"-ERR muxproxy: why\r\n"),
    (Reason.QUEUE_TIMEOUT, SET, b"-OVERLOADED muxproxy: why\r\n"),
    (Reason.NO_SERVER, SET, b"-OVERLOADED muxproxy: why\r\n"),
    (Reason.BAD_REQUEST, None, b"-ERR muxproxy: why\r\n"),
    (Reason.REQUEST_TIMEOUT, None, b"-ERR muxproxy: why\r\n"),
    (Reason.STATE_REFUSED, SET, b"-ERR muxproxy: why\r\n"),
    (Reason.REPLY_TIMEOUT, SET, b"-ERR muxproxy: why; the command may have run\r\n"),
    (Reason.SERVER_CLOSED, Note(SET, mute=False), b"-ERR muxproxy: why; the command may have run\r\n"),
    (
        Reason.SERVER_CLOSED,
        GET,
        b"-ERR muxproxy: why; the command changes nothing, whether it has run or not\r\n",
    ),
    (Reason.SERVER_BROKE, SET, b"-ERR muxproxy: why; the command may have run\r\n"),
    (Reason.INTERNAL, SET, b"-ERR muxproxy: why; the command may have run\r\n"),
]


@pytest.mark.parametrize(("reason", "note", "data"), CASES)
def test_each_reason_has_its_words(reason: Reason, note: Command | None, data: bytes) -> None:
    frame = protocol().refusal(reason, "why", note=note, closing=False)
    assert (frame.data, frame.marks) == (data, FIRST | LAST)


def test_a_refusal_that_ends_the_connection_says_so() -> None:
    assert protocol().refusal(Reason.BAD_REQUEST, "why").marks == FIRST | LAST | END_CLIENT


@pytest.mark.parametrize(
    ("why", "is_end"),
    [
        ("AUTH was answered with WRONGPASS invalid", True),  # its password was changed
        ("HELLO was answered with ERR unknown command 'HELLO'", True),  # another server is there now
        ("SELECT was answered with BUSY Redis is busy", False),
    ],
)
def test_who_is_no_more_what_it_was_is_closed_to_begin_anew(why: str, is_end: bool) -> None:
    frame = protocol().refusal(Reason.STATE_REFUSED, f"a:1: {why}", note=SET, closing=False)
    assert bool(frame.marks & END_CLIENT) is is_end


def test_no_reason_is_both_unsent_and_perhaps_run() -> None:
    assert not OVERLOAD & WRITTEN


def test_a_client_that_wants_no_replies_gets_no_refusal() -> None:
    assert protocol().refusal(Reason.QUEUE_FULL, "why", note=Note(SET, mute=True)).data == b""


def test_a_whole_transaction_gets_as_many_replies_as_it_has_commands_the_error_where_execs_is() -> None:
    redis = protocol()
    multi = Command("multi", MULTI)
    reply = redis.refusal(Reason.QUEUE_FULL, "why", note=Note(multi, 4)).data
    assert reply == b"+OK\r\n+QUEUED\r\n+QUEUED\r\n-OVERLOADED muxproxy: why\r\n"
    assert redis.refusal(Reason.QUEUE_FULL, "why", note=Note(multi, 2)).data.count(b"\r\n") == 2
    skipped = redis.refusal(Reason.QUEUE_FULL, "why", note=SkipFirst(multi, 4, owed=3)).data
    assert skipped == b"+QUEUED\r\n+QUEUED\r\n-OVERLOADED muxproxy: why\r\n"
    one = redis.refusal(Reason.QUEUE_FULL, "why", note=SkipFirst(SET, 2, owed=1)).data
    assert one == b"-OVERLOADED muxproxy: why\r\n"


def test_of_a_transaction_of_which_only_execs_reply_is_left_to_say_that_is_said() -> None:
    multi = Command("multi", MULTI)
    reply = protocol().refusal(Reason.QUEUE_FULL, "why", note=SkipFirst(multi, 2, owed=1)).data
    assert reply == b"-OVERLOADED muxproxy: why\r\n"


def test_a_subscriber_whose_request_is_refused_is_none() -> None:
    ann = Talk()
    ann.says("SUBSCRIBE a b")
    frame = ann.protocol.refusal(Reason.QUEUE_TIMEOUT, "why", note=ann.frame.note)
    assert frame.data == b"-OVERLOADED muxproxy: why\r\n"
    assert not ann.session.listening
    assert ann.says("GET a") == "shared"
