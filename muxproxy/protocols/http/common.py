"""What the files of this folder share: the bits of a request's note, body lengths, one backend's settings.

A note is what must be known of a request once it is sent, to frame its reply or to refuse it: a small int
that the heart carries from `Frame.note` to `ReplyFramer.expect()` and `refusal()` without looking at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from muxproxy.config.model import Http
from muxproxy.errors import PeerError
from muxproxy.protocols.contract import Frame

# Bits of a note.
HEAD: Final = 1  # the reply has no body, whatever its fields say
OLD: Final = 2  # an HTTP/1.0 client: no chunks, no 1xx
KEEP: Final = 4  # the client wants its connection kept alive
UPGRADE: Final = 8  # it asked for an upgrade: 101 may come
NOTES: Final = 16
OPENS: Final = 16  # a tunnel: its reply is ours, and no head, so none is remembered

# Lengths of a body that are no number.
CHUNKED: Final = -1
UNTIL_CLOSE: Final = -2

# Finished frames of whole requests without a body, so that the same one is not parsed twice: apps repeat
# themselves. Bounded: MEMO_ENTRIES x MEMO_HEAD is about a megabyte for each backend; cleared when full, which
# costs less than keeping an order would.
#
# What is remembered must be a function of its key alone (P2: else one client gets what was another's), so a
# key is the whole request, or the whole head of a reply with its empty line. tests/protocols/test_memos.py
# holds it to that: with and without, the same frames. They earn it: a request costs 0.2 instead of 1.7 to
# 4 us, a reply 1.2 instead of 1.8 (two fields) or 3.8 (nginx's nine), of some 18 that an exchange takes.
MEMO_HEAD: Final = 2048  # bytes; longer heads carry tokens and cookies, which do not repeat
MEMO_ENTRIES: Final = 512
# Of replies the heads alone are remembered: a server's differ in little but Date, and that changes once a
# second. Heads that never repeat (an id in each) make looking them up a waste: after so many misses in a
# row a memo rests for so many messages.
MEMO_MISSES: Final = 512
MEMO_REST: Final = 16 * 1024


class KnownReply:
    """What a head that is remembered becomes, with a body that is all there behind it."""

    __slots__ = ("head", "keep_alive", "length", "marks", "why")

    def __init__(
        self, head: bytes, length: int, marks: int, why: str | None, keep_alive: float | None
    ) -> None:
        self.head = head  # as it goes on
        self.length = length  # Content-Length
        self.marks = marks
        self.why = why  # note of END_UPSTREAM
        self.keep_alive = keep_alive  # seconds that this very head says in Keep-Alive


class MalformedError(PeerError):
    """A message breaks the grammar or the rules. `status`: a client's; what servers break is a 502."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


class Settings:
    """Of one backend, seen by all its framers."""

    __slots__ = (
        "configured",
        "default_host",
        "draining",
        "max_head",
        "max_target",
        "memo",
        "remembers",
        "reply_memo",
        "reply_misses",
        "reply_rest",
        "request_misses",
        "request_rest",
        "seen",
        "seen_frames",
    )

    def __init__(self, options: Http, default_host: bytes) -> None:
        self.configured = 0  # times: what was remembered before the last one is void
        self.draining = False
        self.remembers = True  # False: both memos stay empty, and nothing else changes
        self.memo: dict[bytes, Sequence[Frame]] = {}
        self.request_misses = 0
        self.request_rest = 0
        # The one that was found last: the next is often the same, and compared it is cheaper.
        self.seen = b""  # nothing has been
        self.seen_frames: Sequence[Frame] = ()
        # By the note of the request, which decides what a head becomes: head as it came -> what it becomes.
        self.reply_memo: tuple[dict[bytes, KnownReply], ...] = tuple({} for _ in range(NOTES))
        self.reply_misses = 0
        self.reply_rest = 0
        self.configure(options, default_host)

    def configure(self, options: Http, default_host: bytes) -> None:
        self.max_head = options.max_head
        self.max_target = options.max_target
        self.default_host = default_host  # of an HTTP/1.0 request that names none
        # What is remembered was a function of its key and of these.
        self.configured += 1
        self.memo.clear()
        self.see(b"", ())
        for memo in self.reply_memo:
            memo.clear()

    def remember(self, chunk: bytes, frames: Sequence[Frame]) -> None:
        """`frames` are what `chunk`, a whole request without a body, becomes."""
        if len(chunk) > MEMO_HEAD or not self.remembers:
            return
        memo = self.memo
        if len(memo) >= MEMO_ENTRIES:
            memo.clear()
        memo[chunk] = frames
        self.request_misses += 1
        if self.request_misses >= MEMO_MISSES:
            self.request_misses, self.request_rest = 0, MEMO_REST

    def see(self, chunk: bytes, frames: Sequence[Frame]) -> None:
        """`chunk` was found in the memo."""
        self.request_misses = 0
        self.seen, self.seen_frames = chunk, frames

    def remember_reply(self, note: int, head: bytes, known: KnownReply) -> None:
        """`head`: as it came, with its empty line. `known`: what comes of it, whatever came before it."""
        if not self.remembers:
            return
        memo = self.reply_memo[note]
        if len(memo) >= MEMO_ENTRIES:
            memo.clear()
        memo[head] = known
        self.reply_misses += 1
        if self.reply_misses >= MEMO_MISSES:
            self.reply_misses, self.reply_rest = 0, MEMO_REST


class Reply:
    """What a head says: `head` as it goes on, its marks, its body's length, the marks and note of its end."""

    __slots__ = ("end", "head", "hint", "length", "marks", "why")

    def __init__(
        self,
        head: bytes,
        marks: int,
        length: int,
        end: int = 0,
        why: str | None = None,
        hint: float | None = None,
    ) -> None:
        self.head = head
        self.marks = marks
        self.length = length
        self.end = end
        self.why = why
        self.hint = hint  # seconds after which the server closes an idle connection
