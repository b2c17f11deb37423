"""Server bytes to reply frames, as strict as requests are: a reply that is not plainly right becomes a 502.

Like requests.py: a short cut (shortcut.py) for what servers send nearly always, `parse_reply` for all the
rest, both agreeing.

What changes on the way (P6: nothing else does):
- Connection and the other hop-by-hop fields go (RFC 9110 section 7.6.1); what we tell the client about its
  own connection, `close` or for HTTP/1.0 `keep-alive`, stands where the server's Connection stood, else last.
  101 keeps its Upgrade, and so does 426, which must tell what to upgrade to (RFC 9110 section 15.5.22).
- The version becomes ours, HTTP/1.1 (RFC 9112 section 2.3); a newer minor version is read as 1.1 (RFC 9110
  section 2.5).
- What RFC 9112 lets a recipient overlook is put right: folds, white space before colons and between the words
  of a status line, an empty line before it, a length said twice.
- 204 and 304 have no body, and fields that speak of one go, but for 304's Content-Length: clients would wait
  for it.
- A body that ends with the server's connection is chunked for an HTTP/1.1 client, whose connection then lives
  on; chunks are taken off for an HTTP/1.0 client, whose connection then ends the body.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from muxproxy.protocols import contract
from muxproxy.protocols.contract import (
    BROKEN,
    END_CLIENT,
    END_UPSTREAM,
    FIRST,
    FRAMES,
    INTERIM,
    LAST,
    SWITCH,
    UNTOLD,
    Frame,
)
from muxproxy.protocols.http.chunked import Chunked
from muxproxy.protocols.http.common import (
    CHUNKED,
    HEAD,
    KEEP,
    MEMO_HEAD,
    OLD,
    UNTIL_CLOSE,
    UPGRADE,
    KnownReply,
    MalformedError,
    Reply,
    Settings,
)
from muxproxy.protocols.http.fields import (
    HOP_BY_HOP,
    Field,
    body_length,
    connection_options,
    merge_lengths,
    parse_fields,
    rewritten,
    values_of,
)
from muxproxy.protocols.http.grammar import (
    LAX_STATUS_LINE,
    STATUS_LINE,
    STRAY,
)
from muxproxy.protocols.http.shortcut import reply as short_cut

# Why an upstream connection is not used again: the notes of END_UPSTREAM, which are counted by these names.
SAID_CLOSE: Final = "server said close"
SERVER_OLD: Final = "server speaks HTTP/1.0 without keep-alive"
READ_UNTIL_CLOSE: Final = "read until close"
BODY_NOT_ALLOWED: Final = "204 or 304 that speaks of a body"
UPGRADED: Final = "upgraded"

UNASKED: Final = "bytes that no request asked for"
CUT: Final = "the server closed its connection in the middle of a reply"

_HINT: Final = re.compile(rb"(?:.*[ \t,])?timeout=([0-9]{1,6})(?![0-9])")

# What we say of the client's connection, by its note; only where the body's end can be told without closing
# it.
_CONNECTION: Final = {
    KEEP: b"",
    KEEP | OLD: b"Connection: keep-alive",
    0: b"Connection: close",
    OLD: b"Connection: close",
}
_CONNECTION_LINE: Final = {note: line and line + b"\r\n" for note, line in _CONNECTION.items()}


def parse_reply(head: bytes, note: int) -> Reply:
    """The thorough way. `head` ends with its empty line. Raises MalformedError."""
    line, _, block = head[:-4].partition(b"\r\n")
    start, minor, status = _status_line(line)
    fields = merge_lengths(parse_fields(block, lax=True))
    options = connection_options(fields)
    dropped = HOP_BY_HOP | options
    if status < 200:
        return _interim(start, status, fields, options, note)

    length = body_length(fields, minor)
    why = None
    if status in (204, 304):  # RFC 9112 section 6.3, first rule
        # RFC 9110 section 8.6, RFC 9112 section 6.1: 204 has neither; 304 may have a length, and need not
        # have a coding. Who speaks of a body may send one, and it would be taken for the next reply (P2).
        if length == CHUNKED or (length and status == 204):
            why = BODY_NOT_ALLOWED
        dropped |= {b"transfer-encoding", b"trailer"}
        if status == 204:
            dropped |= {b"content-length"}
        length = 0
    elif note & HEAD:
        if note & OLD:
            dropped |= {b"transfer-encoding"}  # RFC 9112 section 6.1: not to a client of HTTP/1.0
        length = 0
    elif length is None:
        length = UNTIL_CLOSE

    if why is not None:
        pass
    elif length == UNTIL_CLOSE:
        why = READ_UNTIL_CLOSE
    elif b"close" in options:
        why = SAID_CLOSE
    elif minor == 0 and b"keep-alive" not in options:
        why = SERVER_OLD
    if length < 0:
        if note & OLD:
            note &= ~KEEP
            dropped |= {b"transfer-encoding", b"trailer"}
        elif length == UNTIL_CLOSE:
            fields.append((b"Transfer-Encoding: chunked", b"transfer-encoding", b"chunked"))

    connection = _CONNECTION[note & (KEEP | OLD)]
    if status == 426 and b"upgrade" in options:
        dropped -= {b"upgrade"}
        connection = b"Connection: Upgrade" + (connection and b", " + connection[12:])
    end = (0 if note & KEEP else END_CLIENT) | (END_UPSTREAM if why else 0)
    return Reply(rewritten(start, fields, dropped, connection), FIRST, length, end, why, _hint(fields))


def _status_line(line: bytes) -> tuple[bytes, int, int]:
    """As it goes on, minor version, status. RFC 9112 section 4."""
    match = STATUS_LINE.fullmatch(line)
    if match is not None:
        return b"HTTP/1.1" + line[8:], int(match.group(1)), int(match.group(2))
    match = LAX_STATUS_LINE.fullmatch(line)
    if match is None:
        raise MalformedError("its first line is not a status line")
    minor, status, reason = match.groups()
    return b"HTTP/1.1 %b %b" % (status, reason or b""), int(minor), int(status)


def _interim(start: bytes, status: int, fields: list[Field], options: frozenset[bytes], note: int) -> Reply:
    """1xx. RFC 9110 section 15.2: passed on, but not to HTTP/1.0; 101 only if it was asked for."""
    dropped = HOP_BY_HOP | options | {b"content-length", b"transfer-encoding"}  # no body: RFC 9110 8.6
    if status != 101:
        return Reply(b"" if note & OLD else rewritten(start, fields, dropped, b""), INTERIM, 0)
    if not note & UPGRADE:
        raise MalformedError("101 without an upgrade asked for")
    if not values_of(fields, b"upgrade"):
        raise MalformedError("101 without Upgrade")
    dropped -= {b"upgrade"}
    return Reply(rewritten(start, fields, dropped, b"Connection: Upgrade"), FIRST | SWITCH, 0)


def _hint(fields: list[Field]) -> float | None:
    for value in values_of(fields, b"keep-alive"):
        match = _HINT.match(value)
        if match is not None:
            return float(match.group(1))
    return None


_CR: Final = 13  # it may begin an empty line before a head
_IDLE: Final = 0
_HEAD: Final = 1
_BODY: Final = 2
_CHUNKS: Final = 3
_TO_END: Final = 4
_OPAQUE: Final = 5
_DEAD: Final = 6


class ReplyFramer(contract.ReplyFramer):
    """For one upstream connection."""

    __slots__ = (
        "_chunks",
        "_end_marks",
        "_head",
        "_known",
        "_left",
        "_lined",
        "_note",
        "_rest",
        "_seen",
        "_seen_note",
        "_seen_under",
        "_settings",
        "_skipped",
        "_state",
        "_why",
    )

    def __init__(self, settings: Settings) -> None:
        self.idle_hint = None  # seconds: the server's last `Keep-Alive: timeout=`
        self.early = False  # the client is still sending: its connection ends with this reply
        self._settings = settings
        self._state = _IDLE
        self._note = 0
        self._head: bytearray | None = None  # a head that has come in part
        self._lined = False  # its first line is all there, and right
        self._skipped = False  # an empty line before this reply: some servers end a body with one
        self._left = 0  # of a body with a length
        self._chunks: Chunked | None = None  # of one without
        self._rest = b""  # `more` bytes at its end are for the next turn (P10); only in the midst of a reply
        self.more = 0
        self.push_cost = 0
        # The head that was last found in the memo: the next is mostly the same, and compared it is cheaper.
        self._seen = b""
        self._seen_note = 0  # for which note
        self._seen_under = 0  # and configuration
        self._known: KnownReply | None = None
        self._end_marks = 0  # of the LAST frame, with its note
        self._why: str | None = None

    def expect(self, note: Any) -> None:
        self._note = note
        if self._state == _IDLE:
            self._state = _HEAD
            self._skipped = False

    def feed(self, data: bytes) -> Sequence[Frame]:
        note = self._note
        if self._state != _HEAD or self._head is not None or note & (HEAD | UPGRADE) or self.more:
            return self._go_on(data)
        settings = self._settings
        if settings.draining or self.early:
            note &= ~KEEP
        known = self._known
        if (
            known is not None
            and note == self._seen_note
            and settings.configured == self._seen_under
            and len(data) == len(self._seen) + known.length
            and data.startswith(self._seen)
        ):
            return self._same(data, known)
        seen = b""  # the whole head; b"": it is not one to remember
        if settings.reply_rest:
            settings.reply_rest -= 1
        elif (end := data.find(b"\r\n\r\n", 0, MEMO_HEAD)) >= 0:
            seen = data[: end + 4]
            known = settings.reply_memo[note].get(seen)
            if known is not None and len(seen) + known.length == len(data):
                self._seen, self._seen_note, self._known = seen, note, known
                self._seen_under = settings.configured
                return self._same(data, known)
        end, status, length, cut_from, cut_to, closes, hint = short_cut(data)
        if (
            end < 0
            or end > settings.max_head
            or status == 204
            or status == 304
            or (length == CHUNKED and note & OLD)
        ):
            return self._go_on(data)
        line = _CONNECTION_LINE[note]
        keep_alive = None
        if cut_to:
            data = data[:cut_from] + line + data[cut_to:]
            end += len(line) - cut_to + cut_from
            if hint >= 0:
                self.idle_hint = keep_alive = float(hint)
        elif line:
            data = data[: end - 2] + line + data[end - 2 :]
            end += len(line)
        marks = 0 if note & KEEP else END_CLIENT
        why = None
        if closes:
            marks |= END_UPSTREAM
            why = SAID_CLOSE
        if length >= 0 and end + length == len(data):
            self._state = _IDLE
            if seen:
                settings.remember_reply(note, seen, KnownReply(data[:end], length, marks, why, keep_alive))
            return (Frame(data, marks | FIRST | LAST, why),)
        self._end_marks = marks
        self._why = why
        frames: list[Frame] = []
        try:
            rest = self._begin(data, end, length, frames)
        except MalformedError as fault:
            return self._broken(frames, fault)
        return self._go_on(rest, frames) if rest else frames

    def _same(self, data: bytes, known: KnownReply) -> Sequence[Frame]:
        """A whole reply with the head that was seen last."""
        if known.keep_alive is not None:
            self.idle_hint = known.keep_alive
        self._settings.reply_misses = 0
        self._state = _IDLE
        return (Frame(known.head + data[len(self._seen) :], known.marks | FIRST | LAST, known.why),)

    def eof(self) -> Sequence[Frame]:
        state = self._state
        marks = LAST | END_UPSTREAM | self._end_marks
        if state == _TO_END:
            self._state = _DEAD
            return (Frame(b"" if self._note & OLD else b"0\r\n\r\n", marks, self._why),)
        if state == _OPAQUE:
            self._state = _DEAD
            return (Frame(b"", marks | END_CLIENT, UPGRADED),)
        if state in (_BODY, _CHUNKS) or self._head is not None:
            self._state = _DEAD
            return (Frame(b"", BROKEN, CUT),)
        return ()

    def _go_on(self, data: bytes, frames: list[Frame] | None = None) -> Sequence[Frame]:
        """Whatever is not a fresh head in one piece."""
        if frames is None:
            frames = []
        pos = 0
        if self.more:
            pos = len(self._rest) - self.more
            data, pos = (self._rest[pos:] + data, 0) if data else (self._rest, pos)
            self._rest, self.more = b"", 0
        try:
            while data:
                state = self._state
                if state == _HEAD:
                    data = self._on_heads(data, pos, frames)
                    pos = 0
                elif state == _BODY:
                    data = self._on_body(data, frames)
                elif state == _CHUNKS:
                    data = self._on_chunks(data, pos, frames)
                    pos = 0
                elif state == _TO_END:
                    frames.append(Frame(self._to_end(data), 0))
                    break
                elif state == _OPAQUE:
                    frames.append(Frame(data, 0))
                    break
                elif state == _IDLE:
                    self._state = _DEAD
                    frames.append(Frame(b"", BROKEN, UNASKED))
                else:
                    break
        except MalformedError as fault:
            return self._broken(frames, fault)
        return frames

    def _broken(self, frames: list[Frame], fault: MalformedError) -> Sequence[Frame]:
        self._state = _DEAD
        self._head = self._chunks = None
        self._rest, self.more = b"", 0
        frames.append(Frame(b"", BROKEN, f"the server's reply is malformed: {fault}"))
        return frames

    # -- the head -------------------------------------------------------------------------------------------

    def _on_heads(self, data: bytes, pos: int, frames: list[Frame]) -> bytes:
        """Heads from `pos` on, up to the first that is not an interim reply's. Returns what is behind it."""
        note = self._note & ~KEEP if self._settings.draining or self.early else self._note
        for _ in range(FRAMES):
            end = 0
            if self._head is None and data[pos] != _CR:
                end = data.find(b"\r\n\r\n", pos, pos + self._settings.max_head) + 4
            if end < 4:
                end = self._head_end(data[pos:] if pos else data)
                if end == 0:
                    return b""
                data, pos = bytes(self._head or b""), 0
                self._head = None
            reply = parse_reply(data[pos:end], note)
            if reply.hint is not None:
                self.idle_hint = reply.hint
            if reply.marks & INTERIM:
                frames.append(Frame(reply.head, INTERIM))
                pos = end
                if pos == len(data):
                    return b""
                continue
            if reply.marks & SWITCH:
                self._state = _OPAQUE
                self._end_marks = 0
                frames.append(Frame(reply.head, reply.marks))
                return data[end:]
            self._end_marks = reply.end
            self._why = reply.why
            return self._begin(reply.head + data[end:], len(reply.head), reply.length, frames)
        self._rest, self.more = data, len(data) - pos
        return b""

    def _head_end(self, data: bytes) -> int:
        """Where the head that begins with what is kept, and `data`, ends; 0 if it is not all there."""
        if self._head is None:
            self._head = bytearray()
            self._lined = False
        head = self._head
        searched = len(head)
        head += data
        if not self._skipped and head.startswith(b"\r\n"):
            self._skipped = True
            del head[:2]
            searched = 0
        end = head.find(b"\r\n\r\n", max(0, searched - 3)) + 4
        if (end if end > 3 else len(head)) > self._settings.max_head:
            raise MalformedError(f"a head of more than {self._settings.max_head} bytes")
        if end > 3:
            return end
        if not head.startswith(b"HTTP/1."[: len(head)]) and (self._skipped or head != b"\r"):
            raise MalformedError("it is not HTTP/1.1")
        if not self._lined and (line := head.find(b"\r\n", max(0, searched - 1))) >= 0:
            self._lined = True
            _status_line(bytes(head[:line]))  # refused as soon as it is all there
        if STRAY.search(head, max(0, searched - 1)) is not None:
            raise MalformedError("a control character, a bare LF or a bare CR in a head")
        return 0

    # -- the body -------------------------------------------------------------------------------------------

    def _begin(self, data: bytes, pos: int, length: int, frames: list[Frame]) -> bytes:
        """The FIRST frame: a head as it goes on, and from `pos` what has come behind it. Returns the rest."""
        if length == CHUNKED:
            self._chunks = Chunked(self._settings.max_head, strip=bool(self._note & OLD), lax=True)
            self._state = _CHUNKS
            return self._scan(data, pos, FIRST | UNTOLD if self._note & OLD else FIRST, frames)
        if length == UNTIL_CLOSE:
            self._state = _TO_END
            marks = FIRST | UNTOLD if self._note & OLD else FIRST
            frames.append(Frame(data[:pos] + self._to_end(data[pos:]), marks))
            return b""
        end = pos + length
        if end > len(data):
            self._left = end - len(data)
            self._state = _BODY
            frames.append(Frame(data, FIRST))
            return b""
        return self._end(data, end, FIRST, frames)

    def _on_body(self, data: bytes, frames: list[Frame]) -> bytes:
        left = self._left - len(data)
        if left > 0:
            self._left = left
            frames.append(Frame(data, 0))
            return b""
        return self._end(data, self._left, 0, frames)

    def _on_chunks(self, data: bytes, pos: int, frames: list[Frame]) -> bytes:
        assert self._chunks is not None
        if self._chunks.kept:
            data, pos = self._chunks.kept + data[pos:], 0
        return self._scan(data, pos, 0, frames)

    def _scan(self, data: bytes, pos: int, marks: int, frames: list[Frame]) -> bytes:
        """The chunks at data[pos:]; what stands before it is the head, if marks say FIRST."""
        chunks = self._chunks
        assert chunks is not None
        end = chunks.scan(data, pos)
        begin = 0 if marks & FIRST else pos
        out = data if end - begin == len(data) else data[begin:end]
        if chunks.spans is not None:
            out = b"".join([data[begin:pos], *chunks.spans])
            chunks.spans.clear()
        if not chunks.done:
            if out:
                frames.append(Frame(out, marks))
            if chunks.is_over:
                self._rest, self.more = data, len(data) - end
            return b""
        self._chunks = None
        rest = data[end:]
        self._state = _IDLE
        frames.append(Frame(out, marks | LAST | self._end_marks, self._why))
        return rest

    def _to_end(self, data: bytes) -> bytes:
        """A part of a body that ends with the server's connection, as this client gets it."""
        if self._note & OLD or not data:
            return data
        return b"%x\r\n%b\r\n" % (len(data), data)

    def _end(self, data: bytes, end: int, marks: int, frames: list[Frame]) -> bytes:
        self._state = _IDLE
        rest = data[end:]
        frames.append(Frame(data[:end] if rest else data, marks | LAST | self._end_marks, self._why))
        return rest
