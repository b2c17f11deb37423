"""One request and its reply: the table of its states, and the only function that moves it (P3). Above it the
three between which it moves, as abstract roles: a client, an upstream connection, a line in which it waits.

    NEW ----------> WAITING -----> SENT ------> REPLYING ---> DONE
     |                |  ^----------|  retry (P9)    |          ^
     |                |             '--> ABANDONED <-'          |
     '----------------'-------------------'---------------------'

NEW: the request is coming in, or held behind an earlier one of its client (ordered/client.py), be it again.
WAITING: in a queue. SENT: on an upstream's ledger. REPLYING: bytes of its reply have come. ABANDONED: its
client is gone or answered, but a connection still owes its reply, which will be swallowed. It ends, and is
counted, once: entering ABANDONED or DONE with a Reason, never again.
"""

from __future__ import annotations

from typing import Final

from muxproxy.errors import BugError
from muxproxy.mux.deadlines import Timed
from muxproxy.mux.ports import ClientBrain, UpstreamBrain
from muxproxy.native import i64, mypyc_attr
from muxproxy.protocols.contract import FIRST, IDEMPOTENT, LAST, Frame, Reason

NEW: Final = 0
WAITING: Final = 1
SENT: Final = 2
REPLYING: Final = 3
ABANDONED: Final = 4
DONE: Final = 5
STATES: Final = ("new", "waiting", "sent", "replying", "abandoned", "done")

_PIN: Final = ("pinned", 0.0)
BEGUN: Final = 1  # what else it may be is a mark of contract.py
SMALL: Final = 2048  # bytes of a part of a body that is joined with the next
# A mark of ours, above all of contract.py: alone (PIN) only while its request is coming in.
STREAM: Final = 1 << 24

# State -> bits of the states it may move to. Bytes, which a compiler reads without making an object.
_MOVES: Final = bytes(
    (
        1 << WAITING | 1 << SENT | 1 << DONE,
        1 << SENT | 1 << NEW | 1 << DONE,
        1 << REPLYING | 1 << WAITING | 1 << NEW | 1 << ABANDONED | 1 << DONE,
        1 << ABANDONED | 1 << DONE,
        1 << DONE,
        0,
    )
)


class Line(Timed):
    """Where exchanges wait (admission/queue.py)."""

    __slots__ = ()

    def push_back(self, *exchanges: Exchange) -> None:
        """Where their age puts them."""
        raise NotImplementedError

    def remove(self, exchange: Exchange) -> None:
        raise NotImplementedError


class ClientRole(ClientBrain):
    """What upstream connections and pools may ask of a client (base/client.py)."""

    __slots__ = ("first", "last", "pinned", "slow", "upstream", "write_paused")

    first: Exchange | None  # the oldest exchange it is owed a reply for
    last: Exchange | None
    pinned: UpstreamRole | None  # a connection that is this client's alone
    upstream: UpstreamRole | None  # shared: where its last request went
    write_paused: bool  # its socket is full
    slow: bool  # it has held up a connection that others share

    # -- its replies

    def deliver(self, exchange: Exchange, frame: Frame, now: float) -> None:
        """A frame of the reply to `exchange`: written if it is its turn, else parked."""
        raise NotImplementedError

    def deliver_plain(self, exchange: Exchange, data: bytes, now: float) -> None:
        """As deliver(), of a frame that says FIRST and LAST and no more."""
        self.deliver(exchange, Frame(data, FIRST | LAST), now)

    def refuse(self, exchange: Exchange, reason: Reason, text: str, now: float) -> None:
        """End `exchange` with a refusal in the client's language (P8) or, mid-reply, an end that it can tell
        from the reply's (P2)."""
        raise NotImplementedError

    def unread(self) -> int:
        """Bytes of replies that are kept for it."""
        raise NotImplementedError

    def is_behind(self) -> bool:
        """What it has not taken is as much as we keep for it."""
        raise NotImplementedError

    def hold(self, upstream: UpstreamRole, size: int, now: float) -> None:
        """It takes no more, and `upstream`, which others share, has `size` bytes for it: that one waits."""
        raise NotImplementedError

    def uncork(self) -> None:
        """What was kept to be written together goes out now."""
        raise NotImplementedError

    def cut_in_the_way(self, now: float) -> None:
        """Others have waited for it long enough."""
        raise NotImplementedError

    # -- its request

    def on_sent(self, now: float) -> None:
        """A request that is still coming in has got its connection: from here on its body flows."""
        raise NotImplementedError

    def halt(self, is_full: bool = True) -> None:
        """Who takes its body can take no more of it, or can again."""
        raise NotImplementedError

    def proceed(self, now: float) -> None:
        """Something of its own that was in the way of more has gone."""

    def on_shorter_tunnels(self, now: float) -> None:
        """Its pool's timeout for what is opaque is shorter than it was."""

    # -- what it has alone

    def is_silent_by_design(self) -> bool:
        """It may have a connection alone and say nothing for as long as it likes."""
        return False

    def on_pin_lost(self, now: float) -> None:
        """The connection that it had alone is closed."""

    # -- its session, where a connection has become one client's

    def on_session(self, exchange: Exchange, now: float) -> None:
        """The exchange is opaque in both directions and lasts until a side closes."""
        raise NotImplementedError

    def end_session(self, exchange: Exchange, now: float) -> None:
        """The other side of an opaque exchange is gone."""
        raise NotImplementedError

    def pass_eof(self) -> None:
        raise NotImplementedError

    # -- its end

    def drain(self, now: float) -> None:
        """Leave as soon as nothing is owed."""
        raise NotImplementedError

    def cut_off(self, now: float) -> int:
        """The time to drain is up: refuse what can be refused. Returns the number of exchanges cut."""
        raise NotImplementedError


class UpstreamRole(UpstreamBrain):
    """What clients and pools may ask of an upstream connection (base/upstream.py)."""

    __slots__ = ("owner", "pin_reason", "read_paused", "state")

    state: int  # base/upstream.py has the table
    owner: ClientRole | None  # pinned: the one client that may send
    pin_reason: str
    read_paused: bool

    def is_shared(self) -> bool:
        """Would pausing it for one client hurt others?"""
        raise NotImplementedError

    def is_opaque(self) -> bool:
        """Bytes pass as they come: it has no requests and replies (any more)."""
        return False

    def is_tunnel(self) -> bool:
        """It has become opaque, and so nobody counts how it ends."""
        return False

    def load(self) -> int:
        """Exchanges in flight."""
        raise NotImplementedError

    def has_room(self, weight: int = 1) -> bool:
        """For an exchange that is so many requests."""
        raise NotImplementedError

    def send(self, exchange: Exchange, now: float) -> None:
        """(NEW | WAITING) => SENT. Only where has_room()."""
        raise NotImplementedError

    def send_more(self, exchange: Exchange, data: bytes, now: float) -> None:
        """A further part of a request whose beginning was sent."""
        raise NotImplementedError

    def abandon(self, exchange: Exchange, now: float) -> None:
        """(SENT | REPLYING) => (ABANDONED | DONE): nobody waits for this reply any more."""
        raise NotImplementedError

    def give_up(self, exchange: Exchange, now: float) -> None:
        """Its request will never be complete."""
        raise NotImplementedError

    def cut(self, exchange: Exchange, now: float) -> None:
        """The time to drain is up: its client is told so, and not that a server failed."""
        raise NotImplementedError

    def fail(self, why: str, reason: Reason, text: str, now: float) -> None:
        """Close, because of the server; what it owes ends with `reason`."""
        raise NotImplementedError

    def pause_reading(self) -> None:
        """Its client takes no more for now; the server is not to blame for what follows."""
        raise NotImplementedError

    def resume_reading(self, now: float) -> None:
        raise NotImplementedError

    def has_others(self, client: ClientRole) -> bool:
        """Somebody else waits for replies on it."""
        return False

    def unhold(self, client: ClientRole, now: float) -> None:
        """`client`, because of whom it was not read, is in its way no more."""
        raise NotImplementedError

    def on_owner_left(self, now: float) -> None:
        """Its session may have left any state behind: never to be another's (P2)."""
        raise NotImplementedError

    def on_client_eof(self, exchange: Exchange, now: float) -> bool:
        """Opaque sessions only: the client sent FIN. True: the other direction goes on."""
        raise NotImplementedError


@mypyc_attr(free_list_len=1)
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
        "queue_after",
        "queue_before",
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

    def __init__(self, client: ClientRole | None, frame: Frame) -> None:
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
        self.upstream: UpstreamRole | None = None
        # The one it waits in, a list through the exchanges; as are those sent, on an ORDERED ledger.
        self.queue: Line | None = None
        self.queue_before: Exchange | None = None
        self.queue_after: Exchange | None = None
        self.since = 0.0  # when it began to wait
        self.sent = 0.0  # shared sharings: since when its reply is due, or it is held
        self.begun = 0  # BEGUN: a frame of its final reply has gone to the client; UNTOLD as well: contract
        self.limit = (
            -1
        )  # number of the limit under which it holds a place or waits for one (tagged/limits.py)
        self.lost_at = 0  # connects that its pool had begun when it lost its connection; 0: it has not
        self.parked: list[Frame] | None = None  # reply frames that wait for the client's earlier replies
        self.before: Exchange | None = None  # the client's ledger, a list through the exchanges
        self.after: Exchange | None = None
        self.reason: Reason | None = None

    def move(self, state: i64) -> None:
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
