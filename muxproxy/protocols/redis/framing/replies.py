"""Server bytes to reply frames: extents only, of RESP2 and RESP3 alike.

Like requests.py: a short way over words for whole small replies to plain commands, which is nearly all there
is, and a thorough one (extent.py) for all the rest; both agree.

The queue of notes says what each reply is for: a Command: it passes. None: a prelude's, wanted whole. A Note:
several replies are one exchange, or nobody sees them, or each is looked at and replaced (Whole). A push type
is nobody's reply; once the connection listens, arrays and errors are not either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from muxproxy.native import i64
from muxproxy.protocols import contract
from muxproxy.protocols.contract import BROKEN, END_UPSTREAM, FIRST, INTERIM, LAST, LINES, PUSH, Frame
from muxproxy.protocols.redis.commands.command import Command
from muxproxy.protocols.redis.framing.keeping import FRAME
from muxproxy.protocols.redis.framing.note import Carrier, Note, Run, Whole
from muxproxy.protocols.redis.framing.settings import Settings
from muxproxy.protocols.redis.resp.extent import INCOMPLETE, UNFINISHED, ReplyExtent
from muxproxy.protocols.redis.resp.grammar import CRLF, LENGTHS, SIZES, SMALL, MalformedError, number
from muxproxy.protocols.redis.resp.scan import COMPILED, reply_end

# Bytes of a reply that are held until it is whole; a larger one is passed on in parts.
REPLY_HOLD: Final = 64 * 1024
# Bytes of a reply that must be whole: to what we ask for ourselves (AUTH, HELLO, COMMAND INFO of one name).
MAX_WHOLE: Final = 1024 * 1024
# A chunk is split into words, so many at a time, if it has no more than so many bytes for each reply that is
# owed; looking for CRLF in larger values costs more than skipping them: 0.7 ns a byte.
SPLIT: Final = 4096
WORDS: Final = 128
# Notes of replies that have come are let go when there are so many.
DONE: Final = 256

WHOLE: Final = FIRST | LAST
TOO_LARGE: Final = "too large"  # note of a push of which only the beginning is there
UNASKED: Final = "bytes that no request asked for"
CUT: Final = "the server closed its connection in the middle of a reply"

_PUSH_TYPE, _ARRAY, _ERROR = b">*-"
_RESET: Final = b"+RESET\r\n"

# Replies that come so often that their frames are made already, by their words.
_MADE: Final = {
    word: Frame(word + CRLF, WHOLE)
    for word in [
        *b"+OK +QUEUED +PONG $-1 *-1 *0 _ #t #f".split(),
        *(b":%d" % number for number in range(-2, 100)),
    ]
}
_ONE_LINE: Final = b"+-:_,#("
_STRIDES: Final = frozenset((b"+", b"-", b":", b"_", b",", b"#", b"(", b"$"))
_NULLS: Final = (b"$-1", b"*-1")
# How many items follow these words: of arrays, sets and maps that are not too long for the short way.
_ITEMS: Final = {b"%c%d" % (kind, count): count << (kind == 37) for kind in b"*~%" for count in range(SMALL)}

# How the bytes of the reply that is coming in are treated.
_HOLD: Final = 0  # until it is whole or there are REPLY_HOLD of them
_STREAM: Final = 1  # no longer: FIRST has gone out
_COLLECT: Final = 2  # until it is whole
_HEAD: Final = 3  # the same, but if there are too many only the first of them
_DROP: Final = 4


class _Listen:
    """In the queue of notes: from here on the connection listens."""


_LISTEN: Final = _Listen()


class ReplyFramer(contract.ReplyFramer):
    """For one upstream connection."""

    __slots__ = (
        "_at",
        "_dead",
        "_expected",
        "_extent",
        "_kept",
        "_limit",
        "_listening",
        "_note",
        "_number",
        "_plain",
        "_pushes",
        "_rest",
        "_settings",
        "_started",
        "_way",
        "connection",
    )

    def __init__(self, settings: Settings) -> None:
        self.more = 0
        self.push_cost = FRAME
        self.idle_hint = None  # Redis does not say
        self.early = False
        self.connection = Carrier()  # for Whole.on_reply; set by protocol.connection()
        self._settings = settings
        # Notes in order; those before _at have been answered. A list: what a compiler reads without a call.
        self._expected: list[Any] = []
        self._at = 0
        self._plain = True  # between two replies to plain commands
        self._dead = False
        self._listening = False
        self._extent = ReplyExtent()
        # Of the exchange and the reply of it that is coming in:
        self._note: Any = None
        self._number = -1  # which of its replies is next; -1: no exchange has begun
        self._started = False  # the reply has
        self._pushes = False  # it is a push
        self._way = _HOLD
        self._limit = 0  # bytes that may be kept
        self._kept = bytearray()  # and are
        self._rest: tuple[bytes, int] | None = None  # for the next turn (P10): this, from there on

    def expect(self, note: Any) -> None:
        if self._at >= DONE:
            del self._expected[: self._at]
            self._at = 0
        self._expected.append(note)

    def listen(self) -> None:
        if self._at < len(self._expected) or self._number >= 0:
            self._expected.append(_LISTEN)
        else:
            self._listening = True
            self._plain = False

    def whole(self, data: bytes) -> list[bytes]:
        replies: list[bytes] = []
        if not COMPILED or not self._plain:
            return replies
        expected = self._expected
        last: i64 = len(data)
        owed: i64 = len(expected)
        at: i64 = self._at
        pos: i64 = 0
        while pos < last and at < owed and type(expected[at]) is Command:
            end: i64 = reply_end(data, pos)
            if end < 0:
                break
            replies.append(data[pos:end] if end - pos != last else data)
            at += 1
            pos = end
        self._at = at
        return replies

    def feed(self, data: bytes) -> Sequence[Frame]:
        frames: list[Frame] = []
        if not self._plain:
            pos = 0
            if self._rest is not None:
                rest, pos = self._rest
                data, pos = (rest[pos:] + data, 0) if data else (rest, pos)
                self._rest, self.more = None, 0
            self._walk(data, frames, pos)
            return frames
        expected = self._expected
        at = self._at
        if at < len(expected) and type(expected[at]) is Run:
            self._run(data, frames)
        elif COMPILED or len(data) > (len(expected) - at) * WORDS:
            if COMPILED:
                pos = 0
                for reply in self.whole(data):
                    frames.append(Frame(reply, WHOLE))
                    pos += len(reply)
            else:
                pos = self._stride(data, frames)
            if pos < len(data):
                if COMPILED and self._at < len(expected) and type(expected[self._at]) is Run:
                    self._run(data[pos:], frames)
                else:
                    self._walk(data, frames, pos)
        else:
            self._words(data, frames)
        return frames

    def _stride(self, data: bytes, frames: list[Frame]) -> int:
        """One reply after the other, of bulks and lines, until one is not whole or not for a plain command.
        Returns where that one begins."""
        expected = self._expected
        at = self._at
        find = data.find
        last = len(data)
        pos = 0
        while pos < last and at < len(expected) and type(expected[at]) is Command:
            end = find(CRLF, pos)
            if end < 0:
                break
            line = data[pos:end]
            size = SIZES.get(line)
            if size is None:
                if line[:1] not in _STRIDES:
                    break
                if line[0] == 36 and line != b"$-1":
                    size = number(line[1:])
                    if size is None or size < 0:
                        break
            end += 2
            if size is not None:
                end += size + 2
                if data[end - 2 : end] != CRLF:
                    break
            frames.append(Frame(data if end - pos == last else data[pos:end], WHOLE))
            at += 1
            pos = end
        self._at = at
        return pos

    def _words(self, data: bytes, frames: list[Frame]) -> None:
        """Many small replies: as words."""
        append = frames.append
        expected = self._expected
        at = self._at
        owed = len(expected)
        sizes = SIZES.get
        made = _MADE.get
        while True:
            before = len(frames)
            words = data.split(CRLF, SPLIT)
            is_split = len(words) <= SPLIT
            tail = words.pop()  # has no line end yet, or has not been split
            whole = iter(words)
            taken: list[bytes] = []
            for word in whole:
                if at >= owed or type(expected[at]) is not Command:
                    taken = [word]
                    break
                size = sizes(word)
                if size is not None:
                    value = next(whole, None)
                    if value is None or len(value) != size:
                        taken = [word] if value is None else [word, value]
                        break
                    append(Frame(b"%b\r\n%b\r\n" % (word, value), WHOLE))
                else:
                    frame = made(word)
                    if frame is not None:
                        append(frame)
                    elif word and word[0] in _ONE_LINE:
                        append(Frame(word + CRLF, WHOLE))
                    else:
                        taken = [word]
                        if not _take_items(taken, whole):
                            break
                        taken.append(b"")
                        append(Frame(CRLF.join(taken), WHOLE))
                        taken = []
                at += 1
            self._at = at
            if not taken and not tail:
                return
            data = CRLF.join([*taken, *whole, tail])
            if at < owed and type(expected[at]) is Run:
                self._run(data, frames)
                return
            if is_split or len(frames) == before:
                self._walk(data, frames)
                return

    def _run(self, data: bytes, frames: list[Frame]) -> None:
        """Replies to runs of commands and what stands between them; not by turns with _words, which would
        split and join the rest of the chunk each time."""
        expected = self._expected
        find = data.find
        last = len(data)
        pos = 0
        while pos < last and self._at < len(expected):
            note: Any = expected[self._at]
            start = pos
            if type(note) is Run:
                left = note.replies - note.done
            elif type(note) is Command:
                left = 1
            else:
                break
            while left:
                end = find(CRLF, pos)
                if end < 0:  # asked first: data[pos:-1] would be a line of its own, `$3` of `$3\r`
                    break
                line = data[pos:end]
                size = SIZES.get(line)
                if size is not None:
                    after = end + size + 4
                    if data[after - 2 : after] != CRLF:
                        break
                elif not line or (line[0] not in _ONE_LINE and line not in _NULLS):
                    break
                else:
                    after = end + 2
                pos = after
                left -= 1
            if type(note) is not Run:
                if left:
                    break
                self._at += 1
                frames.append(Frame(data[start:pos], WHOLE))
                continue
            if pos > start:
                marks = 0 if note.done else FIRST
                done, note.done = note.done, note.replies - left
                part = data if pos - start == last else data[start:pos]
                if left:
                    frames.append(Frame(part, marks | INTERIM, None, 0, note.done - done))
                else:
                    self._at += 1
                    frames.append(Frame(part, marks | LAST))
            if left:
                break
        if pos < last:
            self._walk(data, frames, pos)

    def eof(self) -> Sequence[Frame]:
        if self._dead:
            return ()
        owed = self._started or self._number >= 0
        owed = owed or any(note is not _LISTEN for note in self._expected[self._at :])
        self._dead = True
        self._plain = False
        return (Frame(b"", BROKEN, CUT),) if owed else ()

    # -- all the rest --------------------------------------------------------------------------------------

    def _walk(self, data: bytes, frames: list[Frame], pos: int = 0) -> None:
        """Replies of any kind, in any number of pieces. Those that requests asked for are not counted as
        frames: no more can come than are in flight."""
        extent = self._extent
        extent.left = LINES
        try:
            while pos < len(data) and not self._dead:
                if extent.left <= 0:
                    self._rest, self.more = (data, pos), len(data) - pos
                    break
                if not self._started:
                    self._begin(data[pos])
                    if self._pushes:
                        extent.left -= self.push_cost
                end = extent.advance(data, pos)
                if end < INCOMPLETE:
                    end = UNFINISHED - end
                    self._on_part(data if end - pos == len(data) else data[pos:end], frames)
                    pos = end
                    continue
                if end < 0:
                    self._on_part(data[pos:] if pos else data, frames)
                    break
                self._on_end(data if end - pos == len(data) else data[pos:end], frames)
                pos = end
        except MalformedError as fault:
            self._dead = True
            self._kept.clear()
            self._rest, self.more = None, 0
            frames.append(Frame(b"", BROKEN, str(fault)))
        self._plain = not (self.more or self._dead or self._started or self._listening or self._number >= 0)

    def _begin(self, kind: int) -> None:
        """Whose the reply is that begins, and how its bytes are treated. Raises MalformedError."""
        expected = self._expected
        if self._number < 0:
            while self._at < len(expected) and expected[self._at] is _LISTEN:
                self._at += 1
                self._listening = True
        self._started = True
        self._pushes = kind == _PUSH_TYPE or (self._listening and kind in (_ARRAY, _ERROR))
        if self._pushes:
            self._way = _HEAD
            self._limit = self._settings.subscriber_buffer
            return
        if self._number < 0:
            if self._at >= len(expected):
                raise MalformedError(UNASKED.encode())
            note = self._note = expected[self._at]
            self._at += 1
            self._number = note.done if note.__class__ is Run else 0
        note = self._note
        if note is None or isinstance(note, Whole):
            self._way = _COLLECT
            self._limit = MAX_WHOLE
        elif isinstance(note, Note) and note.mute:
            self._way = _DROP
        else:
            self._way = _HOLD
            self._limit = REPLY_HOLD

    def _on_part(self, data: bytes, frames: list[Frame]) -> None:
        """More of a reply, but not its end."""
        way = self._way
        kept = self._kept
        if way == _DROP:
            return
        if way == _STREAM:
            frames.append(Frame(data, 0))
        elif len(kept) + len(data) <= self._limit:
            kept += data
        elif way == _HOLD or (way == _COLLECT and self._number > 0 and self._is_last()):
            # The last of several replies to one exchange is the client's own, and may be of any size; those
            # before it answer questions of ours.
            self._way = _STREAM
            frames.append(Frame(bytes(kept) + data if kept else data, 0 if self._number else FIRST))
            kept.clear()
        elif way == _HEAD:
            head = min(self._limit, REPLY_HOLD)
            kept += data[: max(0, head - len(kept))]
            del kept[head:]
            self._way = _DROP
        else:
            raise MalformedError(b"a reply of more than %d bytes to what we ask ourselves" % MAX_WHOLE)

    def _on_end(self, data: bytes, frames: list[Frame]) -> None:
        """The end of a reply, or all of it."""
        kept = self._kept
        if (self._way == _COLLECT or self._way == _HEAD) and len(kept) + len(data) > self._limit:
            self._on_part(data, frames)
            data = b""
        self._started = False
        way = self._way
        if way == _DROP:
            data = b""
        if kept:
            data = bytes(kept) + data
            kept.clear()
        if self._pushes:
            frames.append(Frame(data, PUSH | WHOLE, TOO_LARGE if way == _DROP else None))
            return
        number = self._number
        note = self._note
        is_last = self._is_last()
        self._number = -1 if is_last else number + 1
        part = 0
        if isinstance(note, Run):
            note.done = number + 1
            if not is_last:  # back to the short way with what follows
                self._number = -1
                self._expected.insert(self._at, note)
                part = 0 if way == _STREAM else INTERIM
        spoilt: str | None = None
        if isinstance(note, Whole):
            if way == _COLLECT:
                data = note.on_reply(number, data, self.connection)
            if is_last:
                spoilt = self.connection.spoilt or None
        if self._listening and data == _RESET:
            self._listening = False
        marks = LAST if is_last else part
        if spoilt:
            marks |= END_UPSTREAM
        if number == 0 and way != _STREAM:
            marks |= FIRST
        frames.append(Frame(data, marks, spoilt))

    def _is_last(self) -> bool:
        """Is this reply the last one of its exchange?"""
        note = self._note
        return not isinstance(note, Note) or self._number + 1 == note.replies


def _take_items(taken: list[bytes], words: Iterator[bytes]) -> bool:
    """The reply whose first word is `taken`, the rest of it moved there from `words`. False: it is not all
    there, or not as it nearly always is."""
    word: bytes | None = taken[0]
    left = 1
    while word:
        left -= 1
        if word[0] == 36 and word != b"$-1":
            value = next(words, None)
            if value is None:
                return False
            taken.append(value)
            size = len(value)
            if word != (LENGTHS[size] if size < SMALL else b"$%d" % size):
                return False
        elif word[0] not in _ONE_LINE and word not in _NULLS:
            more = _ITEMS.get(word)
            if more is None:
                return False
            left += more
        if not left:
            return True
        word = next(words, None)
        if word is not None:
            taken.append(word)
    return False
