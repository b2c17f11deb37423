"""One request and its reply: the table of its states, and the only function that moves it (P3).

    NEW ----------> WAITING -----> SENT ------> REPLYING ---> DONE
     |                |  ^----------|  retry (P9)    |          ^
     |                |             '--> ABANDONED <-'          |
     '----------------'-------------------'---------------------'

NEW: the request is coming in, or held behind an earlier one of its client (ordered.py), be it again.
WAITING: in a queue. SENT: on an upstream's ledger. REPLYING: bytes of its reply have come. ABANDONED: its
client is gone or answered, but a connection still owes its reply, which will be swallowed. It ends, and is
counted, once: entering ABANDONED or DONE with a Reason, never again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from muxproxy.errors import BugError
from muxproxy.protocols.contract import IDEMPOTENT, LAST, Frame, Reason

if TYPE_CHECKING:
    from muxproxy.mux.admission.queue import Queue
    from muxproxy.mux.base.client import Client
    from muxproxy.mux.base.upstream import Upstream

NEW, WAITING, SENT, REPLYING, ABANDONED, DONE = range(6)
STATES = ("new", "waiting", "sent", "replying", "abandoned", "done")

_PIN = ("pinned", 0.0)
BEGUN = 1  # what else it may be is a mark of contract.py
SMALL = 2048  # bytes of a part of a body that is joined with the next
STREAM = 1 << 24  # a mark of ours, above all of contract.py: alone (PIN) only while its request is coming in

# state -> bits of the states it may move to
_MOVES = (
    1 << WAITING | 1 << SENT | 1 << DONE,
    1 << SENT | 1 << NEW | 1 << DONE,
    1 << REPLYING | 1 << WAITING | 1 << NEW | 1 << ABANDONED | 1 << DONE,
    1 << ABANDONED | 1 << DONE,
    1 << DONE,
    0,
)


class Exchange:
    """`data`: the request's bytes so far unsent, kept whole until a reply byte is seen, for P9."""

    __slots__ = (
        "after",
        "before",
        "begun",
        "client",
        "data",
        "limit",
        "lost_at",
        "marks",
        "more",
        "needs",
        "note",
        "parked",
        "pin",
        "queue",
        "reason",
        "sent",
        "since",
        "size",
        "state",
        "tag",
        "upstream",
        "weight",
        "whole",
        "wire_tag",
    )

    def __init__(self, client: Client | None, frame: Frame) -> None:
        self.client = client  # None: nobody will read the reply (a prelude's, a probe's, an abandoned one)
        self.state = NEW
        self.marks = frame.marks
        self.note = frame.note
        self.weight = frame.weight  # requests that it is
        self.tag = frame.tag  # the client's own id of it
        self.wire_tag = 0  # TAGGED: ours, on the upstream connection
        self.data = frame.data  # the request's first frame
        self.more: list[bytes] | None = None  # body that came before there was a connection to send it on
        self.size = 0  # bytes of `more`
        self.whole = frame.marks & LAST != 0  # the request is in to its end
        self.needs: object = None  # the connection state it needs (contract.Session)
        self.pin = _PIN  # PIN: why, and seconds beyond reply_timeout that its reply may take
        self.upstream: Upstream | None = None
        self.queue: Queue | None = None  # the one it waits in
        self.since = 0.0  # when it began to wait
        self.sent = 0.0  # shared sharings: since when its reply is due, or it is held
        self.begun = 0  # BEGUN: a frame of its final reply has gone to the client; UNTOLD as well: contract
        self.limit = -1  # the number of its limit, if it holds a place under one or waits for it (limits.py)
        self.lost_at = 0  # connects that its pool had begun when it lost its connection; 0: it has not
        self.parked: list[Frame] | None = None  # reply frames that wait for the client's earlier replies
        self.before: Exchange | None = None  # the client's ledger, a list through the exchanges
        self.after: Exchange | None = None
        self.reason: Reason | None = None

    def move(self, state: int) -> None:
        """NEW => (WAITING | SENT | DONE) and so on: the table above, or BugError."""
        if not _MOVES[self.state] >> state & 1:
            raise BugError(f"exchange {STATES[self.state]} cannot become {STATES[state]}")
        self.state = state

    def keep(self, data: bytes) -> None:
        """More of its body. Small parts are joined: in pieces of two bytes it would cost 25 times as much."""
        more = self.more
        self.size += len(data)
        if more is None:
            self.more = [data]
        elif len(data) < SMALL and len(more[-1]) < SMALL:
            more[-1] += data
        else:
            more.append(data)

    def is_replayable(self) -> bool:
        """P9, second half: idempotent, all of it still here, and not lost before: no request runs more than
        twice (RFC 9110 section 9.2.2)."""
        return self.marks & IDEMPOTENT != 0 and self.whole and self.data != b"" and not self.lost_at

    def is_session(self) -> bool:
        """Opaque in both directions: it has no end but that of a connection, so none that could be missed."""
        return self.upstream is not None and self.upstream.is_opaque()

    def __repr__(self) -> str:
        return f"<Exchange {STATES[self.state]} {len(self.data)} bytes>"
