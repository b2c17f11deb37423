"""The seam: everything the heart knows about a protocol, and everything a protocol may say to the heart.

A protocol turns bytes into frames and remembers what a session or a connection must remember. It never sees a
socket, a queue or a clock. The heart (`mux/`) never sees a method, a command or a header.

A frame is a span of bytes with marks, not a parsed object: a proxy needs extents. `data` is what goes on to
the other side, the original `bytes` wherever the protocol obliges us to change nothing (P6).

The verbs are a closed list, and each is here because a protocol needs it:

    requests() replies()   a framer per client and one per upstream connection
    session()              what a client's connection remembers; None where requests carry everything (HTTP)
    connection()           what an upstream connection remembers, with its prelude; None likewise
    feed()                 what many clients listen to over one upstream connection (Redis: channels)
    refusal()              "no", in the client's own language (P8)
    probe()                bytes that ask an idle server whether it lives
    retag() and its like   TAGGED only: the same frame under another id
    configure()            the backend's configuration has changed: what that makes of all of the above
    drain()                from now on tell clients that their connections end (HTTP: `Connection: close`);
                           not in DESIGN section 3's list: without it a keep-alive client keeps a drain
                           waiting
    goodbye()              TAGGED only: bytes that tell a client to ask elsewhere from now on

The roles below are base classes, which know none of their subclasses: what a compiler can look up by its
place. Whoever plays one sets all its attributes itself, in `__init__`; those of `Protocol` have values here.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, Final

from muxproxy.config.model import Backend
from muxproxy.native import i64, mypyc_attr


class Sharing(enum.IntEnum):
    """How requests may share an upstream connection (DESIGN section 3)."""

    EXCLUSIVE = 0  # one exchange at a time; framers stop at the end of each request until fed again
    ORDERED = 1  # many in flight, replies in order
    TAGGED = 2  # many in flight, replies by id; ids are rewritten
    DEDICATED = 3  # the client's whole session owns the connection


# Marks of a frame: bits of an int, because one `&` is the cheapest question Python can ask.
FIRST: Final = 1  # begins a request or a reply
LAST: Final = 2  # ends it
# request: do not forward; `data` is the reply (a refusal, or what the session knows by itself). `note`: its
# Reason; without one a framer's is BAD_REQUEST and a session's LOCAL
ANSWER: Final = 4
BROKEN: Final = 8  # the peer broke the protocol and cannot be answered; `note` is a one-line reason (str)
IDEMPOTENT: Final = 16  # request: may be sent twice (P9)
ONEWAY: Final = 32  # request: no reply will come
EAGER: Final = 64  # request: forward now, though more of it is to come (HTTP: Expect: 100-continue; raw TCP)
PIN: Final = 128  # request: needs a connection that is the client's alone, and counts against max_pinned
UNPIN: Final = 256  # request: after its reply the client's pinned connection goes back to the others
INTERIM: Final = (
    512  # reply: whole, but not the final one (1xx; of a frame of several requests, some of the replies)
)
SWITCH: Final = 1024  # reply: from here both directions are opaque and end with the connection (101)
END_CLIENT: Final = 2048  # the client's connection ends after this reply
END_UPSTREAM: Final = 4096  # reply: the upstream connection cannot be used again; `note` is why (str)
# reply: out of band, whole, and no request's (RESP3 push types, messages of channels). TAGGED: `data` is our
# own answer to it, which may be b""; with END_UPSTREAM the server is about to stop and wants no more
# requests, with INTERIM it takes that back
PUSH: Final = 8192
LISTEN: Final = 16384  # request: about what the client listens to: for a Feed, not for a server
# TAGGED request, with ANSWER, whole: beside all exchanges (a heartbeat). Its client gets `data`, which may be
# b"", at once or behind the reply that is half out, and apart from what follows: the decoders of some
# consumers lose what comes in one read behind a heartbeat.
ASIDE: Final = 32768
# ORDERED request: written while nothing is in flight on its connection, and first in its write. Some servers
# do not answer it otherwise.
QUIET: Final = 65536
# reply, FIRST: only the end of its client's connection will tell where it ends, and only an RST that it was
# cut
UNTOLD: Final = 1 << 17
# ORDERED request: means the same in every state that Connection.is_alike says, so it waits for no prelude
ANYWHERE: Final = 1 << 18
# EXCLUSIVE request, with PIN, whole: opens a tunnel. Nothing of it is written; as soon as it has a connection
# of its own its reply framer is fed b"", which gives the reply, a SWITCH
TUNNEL: Final = 1 << 19


# P10: the work of one feed. Beyond either a framer stops, keeps the rest, and says so with `more`. Measured:
# a frame costs 3 to 40 us until it is answered or on its way, a line of it (a length, a chunk's size) 1 or 2.
FRAMES: Final = 128
LINES: Final = 2048


# Made and dropped by the request: one is kept at hand, and its notes hold no frames, so it is in no cycle.
@mypyc_attr(free_list_len=1, acyclic=True)
class Frame:
    """A span of bytes and what it means. Immutable by convention: framers may hand out the same object
    again."""

    __slots__ = ("data", "marks", "note", "tag", "weight")

    def __init__(self, data: bytes, marks: int, note: Any = None, tag: int = 0, weight: int = 1) -> None:
        self.data = data
        self.marks = marks
        self.note = note  # the protocol's own word from a request to its reply framer, refusal or session
        self.tag = tag  # TAGGED: the request id
        # Requests that it is, max_in_flight at most: pipelined ones that need no look each may be one frame.
        self.weight = weight

    def __repr__(self) -> str:
        return f"Frame({self.data!r}, {self.marks:#x}, {self.note!r}, {self.tag})"


class Reason(enum.Enum):
    """Why an exchange ended: the closed list that logs, metrics and refusals share. The value is (outcome,
    name)."""

    OK = ("replied", "ok")
    LOCAL = ("replied", "local")  # answered by the session, without a server
    BAD_REQUEST = ("refused", "bad_request")  # the client broke the protocol, or asked for what we do not do
    DENIED = ("refused", "denied")  # the operator does not allow it
    LOOP = ("refused", "loop")  # it has come round to where it has been
    QUEUE_FULL = ("refused", "queue_full")  # max_waiting reached
    CLIENTS_FULL = ("refused", "clients_full")  # [clients] max_connections reached
    DRAINING = ("refused", "draining")
    UNREAD = ("refused", "unread")  # asked for more with pipeline_buffer of replies unread
    MEMORY = ("refused", "memory")  # a worker holds as much as it may, and most of it for this client
    SESSION_FULL = ("refused", "session_full")  # more than is remembered of one client
    LIMIT_FULL = ("refused", "limit_full")  # max_waiting wait for places under limits
    QUEUE_TIMEOUT = ("expired", "queue_timeout")  # waited [queue] timeout, servers are alive but busy
    LIMIT_TIMEOUT = ("expired", "limit_timeout")  # waited the limit's own timeout for a place under it
    NO_SERVER = ("expired", "no_server")  # waited [queue] timeout, no server could be reached
    STATE_REFUSED = ("refused", "state_refused")  # the server refused the connection state it needs
    REPLY_TIMEOUT = ("expired", "reply_timeout")  # the server said nothing for reply_timeout
    REQUEST_TIMEOUT = ("expired", "request_timeout")  # the client's own request trickled
    SERVER_CLOSED = ("lost", "server_closed")  # the connection ended before the reply did
    SERVER_BROKE = ("lost", "server_broke")  # the server broke the protocol
    INTERNAL = ("lost", "internal")  # our bug; the connections involved were closed (P2)
    TUNNEL_TIMEOUT = (
        "expired",
        "tunnel_timeout",
    )  # an upgraded connection on which nothing passed for so long
    SESSION_TIMEOUT = ("expired", "session_timeout")  # DEDICATED: [tcp] session_timeout
    CLIENT_LEFT = ("abandoned", "client_left")
    CLIENT_STALLED = ("abandoned", "client_stalled")  # took its reply too slowly
    CLIENT_BROKE = ("abandoned", "client_broke")  # broke the protocol in the middle of a request
    IDLE_TIMEOUT = ("abandoned", "idle_timeout")  # DEDICATED: neither side took or said anything for so long

    @property
    def outcome(self) -> str:
        return self.value[0]

    @property
    def label(self) -> str:
        return self.value[1]


@mypyc_attr(allow_interpreted_subclasses=True)
class RequestFramer:
    """Client bytes to request frames. Never raises on input: what is wrong becomes an ANSWER or BROKEN
    frame."""

    __slots__ = ("held", "midway", "more")

    held: int  # bytes kept back for a later feed
    midway: bool  # a request has begun and its FIRST frame is not out yet (a head is trickling in)
    more: int  # bytes beside `held` that wait only for the next turn of the loop (P10): feed(b"") goes on

    def feed(self, data: bytes) -> Sequence[Frame]:
        """Frames that `data` completes, in order. `b""` goes on with what is held.

        EXCLUSIVE: stops after a LAST frame and holds what follows until fed again after `resume()`.
        DEDICATED: the first call, with b"" when the client has connected, opens the session. Once that has a
        connection its bytes pass as they come, either way, and no framer is asked.
        """
        raise NotImplementedError

    def one(self, data: bytes) -> Frame | None:
        """The frame, if `data` is one request, whole, and nothing is held: as feed(data) would give. None:
        nothing has happened, ask that."""
        return None

    def resume(self) -> None:
        """EXCLUSIVE: the last request has been answered; the next may be framed (call `feed(b"")` if
        `held`)."""
        raise NotImplementedError

    def opaque(self) -> None:
        """A SWITCH was answered: all bytes from here on are parts of the same exchange."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class ReplyFramer:
    """Server bytes to reply frames. Never raises on input: what is wrong becomes a BROKEN frame, the last
    one."""

    __slots__ = ("early", "idle_hint", "more", "push_cost", "whose")

    idle_hint: float | None  # seconds after which the server said it will close an idle connection
    early: bool  # EXCLUSIVE, set by the heart: the request is still coming in, so a reply now ends the client
    more: int  # as in RequestFramer; EXCLUSIVE: never between two replies
    push_cost: int  # what a PUSH counts, in lines, set by the heart: one that many listen to is more work
    whose: int  # TAGGED: the id of the reply that extent() has found

    def expect(self, note: Any) -> None:
        """A request with this note was sent; its reply is the next one not yet expected."""
        raise NotImplementedError

    def feed(self, data: bytes) -> Sequence[Frame]:
        """Frames that `data` completes. Bytes that no request asked for give a BROKEN frame."""
        raise NotImplementedError

    def whole(self, data: bytes) -> list[bytes]:
        """ORDERED: replies that are whole, from the beginning of `data` on, of which feed() would give frames
        that say FIRST and LAST and no more. With that they are framed; what stands behind is for feed()."""
        return []

    def extent(self, data: bytes, at: i64) -> i64:
        """TAGGED: where the reply ends that begins at `at` and is all there, with no more to it than that it
        is the one with the id `whose`: no frame is made of it. 0: it is something else, or there is more
        before it, and feed() or, behind some that were found so, rest() says what."""
        return 0

    def rest(self, data: bytes, at: i64, spent: i64) -> Sequence[Frame]:
        """TAGGED: as feed(), of what is behind `at`; of FRAMES extent() found so many in this turn."""
        raise NotImplementedError

    def eof(self) -> Sequence[Frame]:
        """The server has closed: the LAST frame of a reply that ends so, a BROKEN one if it was cut, else
        none."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Session:
    """What one client's connection remembers (Redis: db, user, RESP version, MULTI ...).

    The attributes are about the frame that on_request was asked about last."""

    __slots__ = ("listening", "needs", "patience", "pin_reason")

    needs: (
        Any  # the connection state it needs; compared by identity with Connection.state. LISTEN: of its feed
    )
    pin_reason: str  # PIN: why, one or two words for operators
    patience: float  # PIN: seconds beyond reply_timeout that its reply may take, for it blocks by design
    listening: bool  # it is fed by a Feed: silence is no reason to close it

    @property
    def size(self) -> int:
        """Bytes that it remembers, or about so many."""
        raise NotImplementedError

    def on_request(self, frame: Frame) -> Frame:
        """The frame to go on with: itself (forward), or one marked ANSWER, PIN, UNPIN or LISTEN. FIRST frames
        only.

        ANSWER with UNPIN: its pinned connection goes back besides."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Connection:
    """What one upstream connection remembers, and how it is brought into a state.

    Nothing is written behind a prelude until its replies are in and good, nor behind a request that leaves
    `state` None until its reply is in: a request never runs in a state that was only asked for (P2)."""

    __slots__ = ("dirty", "state")

    state: Any  # None: depends on the reply to what was written last
    dirty: bool  # a session may have left something behind: reset() before it is another's

    def greeting(self) -> tuple[bytes, int]:
        """As `prelude`, for a connection that has just opened. (b"", 0): it is ready as it is."""
        raise NotImplementedError

    def prelude(self, needs: Any) -> tuple[bytes, int]:
        """Bytes that bring the connection into state `needs`, and the number of replies to swallow. Sets
        `state`. Asked again when they are in; (b"", 0): the request may be written now."""
        raise NotImplementedError

    def is_alike(self, needs: Any) -> bool:
        """A request marked ANYWHERE that needs `needs` means the same in the state there is."""
        raise NotImplementedError

    def must_be_quiet(self, needs: Any) -> bool:
        """`prelude` is not asked while anything is in flight: what it would say is a QUIET question."""
        raise NotImplementedError

    def reset(self) -> tuple[bytes, int]:
        """As `prelude`, back to a new connection's state, whatever a session left. (b"", 0): cannot be done,
        close it."""
        raise NotImplementedError

    def fence(self) -> tuple[bytes, int]:
        """As `prelude`: a question whose only right answer proves that replies are still in step."""
        raise NotImplementedError

    def listen(self) -> None:
        """It is a Feed's: once all that its framer expects now has come, what comes is PUSH, until the reply
        to a reset."""
        raise NotImplementedError

    def on_prelude_reply(self, frame: Frame) -> str | None:
        """None if the reply is as hoped, else why not, and `state` is what it is now. One call for each reply
        to swallow, in order, with the whole reply."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Feed:
    """What many clients listen to over one upstream connection, which is theirs alone (Redis: channels).

    A listener is a Session. Nothing here knows whether there is a connection: what is to be written is
    returned, and on a new connection `restore` says all of it again."""

    __slots__ = ()

    @property
    def more(self) -> bool:
        """Work of many names is not done yet: go_on() in the next turn (P10)."""
        raise NotImplementedError

    def go_on(self) -> bytes:
        """A turn's share of it. Bytes for the server."""
        raise NotImplementedError

    def on_request(self, listener: Any, frame: Frame) -> bytes:
        """A frame marked LISTEN. Bytes for the server, b"" for none; the reply comes with `take`, perhaps at
        once."""
        raise NotImplementedError

    def on_push(self, frame: Frame) -> tuple[bytes, Sequence[Any]]:
        """A frame marked PUSH: the bytes that listeners get, and which; b"": these miss something and must be
        cut. What answers requests is kept for `take`."""
        raise NotImplementedError

    def flush(self) -> bytes:
        """Bytes for the server that came of on_push."""
        raise NotImplementedError

    def take(self) -> Sequence[tuple[Any, bytes]]:
        """(listener, whole reply to its request) of every request that was answered since the last call."""
        raise NotImplementedError

    def cancel(self, listener: Any) -> bytes:
        """Its request was refused: what it listened to before, it still does. Bytes for the server."""
        raise NotImplementedError

    def leave(self, listener: Any) -> bytes:
        """It is gone, with its request if it has one. Bytes for the server."""
        raise NotImplementedError

    def probe(self) -> bytes:
        """A question that is answered by a PUSH: does the server of a silent connection live?"""
        raise NotImplementedError

    def restore(self) -> bytes:
        """Everything that is listened to or asked for, for a new connection. What was owed on the old one is
        void."""
        raise NotImplementedError

    def is_empty(self) -> bool:
        """Nobody listens or asks: the connection may be given back."""
        raise NotImplementedError

    def statistics(self) -> dict[str, int]:
        """What is listened to, and by how many: gauges by name, for operators."""
        raise NotImplementedError


# Places of a limit that was removed, beyond what can be written: those that have its number go on.
NO_LIMIT: Final = 10_000_000


class Limit:
    """So many of some requests at a time, by TAGGED servers' own word (Dubbo: actives); the others wait."""

    __slots__ = ("name", "places", "timeout")

    def __init__(self, name: str, places: int, timeout: float) -> None:
        self.name = name
        self.places = places
        self.timeout = timeout  # seconds that one may wait


@mypyc_attr(allow_interpreted_subclasses=True)
class Protocol:
    """One protocol as one backend is configured to speak it. What has a value or a body here is what a
    protocol says that has no such thing; the others are each protocol's own to say."""

    name: str
    sharing: Sharing
    half_close: bool = False  # an end of input passes on as an end of output, and the other direction goes on
    may_close_unsaid: bool = False  # EXCLUSIVE: some servers close after a reply without having said so
    # (requests, seconds) to gather behind others in flight; 0: this turn
    batch: tuple[int, float] = (0, 0.0)
    fence: int = 0  # a Connection.fence() after so many requests; 0: never
    subscriber_buffer: int = 0  # bytes that a listener may be behind

    def configure(self, backend: Backend) -> str:
        """From now on it is as `backend` says, for who is there as config/ways.py says. Returns why
        connections from before may take nothing new; "": they may."""
        return ""

    def requests(self) -> RequestFramer:
        raise NotImplementedError

    def replies(self) -> ReplyFramer:
        raise NotImplementedError

    def session(self, requests: RequestFramer) -> Session | None:
        """Of the client whose bytes `requests` frames. None: every request carries all it needs."""
        return None

    def connection(self, replies: ReplyFramer) -> Connection | None:
        """Of the upstream connection whose bytes `replies` frames. None: it is in no state."""
        return None

    def feed(self) -> Feed | None:
        return None  # nobody listens

    def refusal(
        self,
        reason: Reason,
        text: str,
        *,
        note: Any = None,
        tag: int = 0,
        retry_after: int = 0,
        closing: bool = True,
        weight: int = 1,
    ) -> Frame:
        """The whole reply that says no, FIRST and LAST. `text`: one line. `note`, `tag`: of the request,
        None before there was one. `retry_after`: seconds, 0 for none. `closing`: the heart will end the
        client's connection after it; a protocol whose request asked for that itself marks END_CLIENT on its
        own. `weight`: requests of the frame that have no reply yet. DEDICATED, BROKEN: no words are left but
        an RST."""
        raise NotImplementedError

    def is_reserved(self, data: bytes) -> bool:
        """DEDICATED: may a session that begins with `data` have one of the reserved places? It is a word that
        a server may answer by closing."""
        return False

    def probe(self) -> bytes | None:
        return None  # there is no question that every server answers; a connect is the probe

    def remembered(self) -> int:
        """Bytes that are kept of what has worked, beyond any connection."""
        return 0

    def remarks(self) -> Sequence[str]:
        """What operators should know of how the configuration works, one line each: for log and status."""
        return ()

    def drain(self) -> None:
        return None  # no word for it: a client learns that its connection ends when it does


@mypyc_attr(allow_interpreted_subclasses=True)
class TaggedProtocol(Protocol):
    """What only TAGGED protocols have beside: their connections live long, and servers know callers."""

    probe_interval: float  # a connection silent for so many seconds gets probe(); 0: never
    probe_keep: float  # one that owes replies hears of us every so many seconds: it closes silent connections
    probe_key: str  # what operators set probe_interval with
    probe_misses: int  # so many in a row unanswered: the server has failed
    request_buffer: int  # so much of a request is held until it is whole, if [clients] request_buffer is less
    stop_timeout: float  # a server that said it is about to stop gets requests again after so long
    limits: Sequence[Limit]
    counters: dict[str, int]  # what only this protocol counts, by name, for operators

    def retag(self, data: bytes, tag: int) -> bytes:
        """`data`: the first frame of a message, or all of it."""
        raise NotImplementedError

    def retag_into(self, parts: list[bytes | memoryview], data: bytes, tag: int) -> None:
        """The same, at the end of what is to be joined: so nothing is copied twice."""
        parts.append(self.retag(data, tag))

    def retag_span(self, data: bytes, at: i64, end: i64, tag: int) -> bytes:
        """Of a message in the middle of others."""
        return self.retag(data[at:end], tag)

    def retag_span_into(
        self, parts: list[bytes | memoryview], data: bytes, at: i64, end: i64, tag: int
    ) -> None:
        self.retag_into(parts, data[at:end], tag)

    def goodbye(self) -> bytes:
        raise NotImplementedError

    def limit_of(self, note: Any) -> int:
        """Which of `limits` a request with this note counts against, -1 for none."""
        raise NotImplementedError
