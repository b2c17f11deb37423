"""An exchange moves as its table says and no other way; what P9 asks of it before it may be sent twice."""

from __future__ import annotations

import itertools

import pytest

from muxproxy.errors import BugError
from muxproxy.mux.exchange import (
    ABANDONED,
    DONE,
    NEW,
    REPLYING,
    SENT,
    STATES,
    STREAM,
    WAITING,
    Exchange,
)
from muxproxy.protocols import contract
from muxproxy.protocols.contract import FIRST, IDEMPOTENT, LAST, Frame

ALLOWED = {
    (NEW, WAITING),
    (NEW, SENT),
    (NEW, DONE),
    (WAITING, SENT),
    (WAITING, NEW),
    (WAITING, DONE),
    (SENT, REPLYING),
    (SENT, WAITING),
    (SENT, NEW),
    (SENT, ABANDONED),
    (SENT, DONE),
    (REPLYING, ABANDONED),
    (REPLYING, DONE),
    (ABANDONED, DONE),
}


def exchange(marks: int = 0, data: bytes = b"x") -> Exchange:
    return Exchange(None, Frame(data, FIRST | marks))


@pytest.mark.parametrize(("old", "new"), list(itertools.product(range(len(STATES)), repeat=2)))
def test_it_moves_as_the_table_says_and_no_other_way(old: int, new: int) -> None:
    it = exchange()
    it.state = old
    if (old, new) in ALLOWED:
        it.move(new)
        assert it.state == new
    else:
        with pytest.raises(BugError, match=f"exchange {STATES[old]} cannot become {STATES[new]}"):
            it.move(new)
        assert it.state == old


def test_only_a_whole_idempotent_request_that_is_still_here_may_be_sent_again() -> None:
    assert exchange(LAST | IDEMPOTENT).is_replayable()
    assert not exchange(LAST).is_replayable()
    assert not exchange(IDEMPOTENT).is_replayable()
    assert not exchange(LAST | IDEMPOTENT, b"").is_replayable()


def test_and_once() -> None:
    again = exchange(LAST | IDEMPOTENT)
    again.lost_at = 1
    assert not again.is_replayable()


def test_a_body_in_tiny_pieces_is_kept_in_few() -> None:
    exchange = Exchange(None, Frame(b"head", FIRST))
    body = bytes(range(256)) * 100
    for at in range(0, len(body), 2):
        exchange.keep(body[at : at + 2])
    exchange.keep(body)
    assert exchange.more is not None
    assert b"".join(exchange.more) == body + body
    assert exchange.size == 2 * len(body)
    assert len(exchange.more) < 20


def test_a_mark_of_ours_is_none_of_a_protocols() -> None:
    marks = [value for name, value in vars(contract).items() if name.isupper() and isinstance(value, int)]
    assert contract.UNTOLD in marks
    assert max(marks) < STREAM
