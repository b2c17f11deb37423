"""Where a command or a reply ends, however it is cut: only counters are kept, and the line that is not whole.

Nothing here holds what has been read: a framer may have sent it on long ago. Each byte is looked at once, the
bytes of a bulk not at all. Nesting costs a counter, not a recursion; only streamed types need a stack.
"""

from __future__ import annotations

from typing import Final

from muxproxy.protocols.redis.resp.grammar import (
    BAD_COUNT,
    BAD_LENGTH,
    CRLF,
    LONG_COUNT,
    LONG_LENGTH,
    MAX_INT64,
    MAX_LINE,
    SIZES,
    TRUST_COUNT,
    TRUST_LENGTH,
    MalformedError,
    expected_dollar,
    number,
    ours,
)

INCOMPLETE: Final = -1
# Less than that: `left` lines were looked at, and what is behind UNFINISHED - end is for another time.
UNFINISHED: Final = -2

# What Redis takes from a client that has not authenticated (processMultibulkBuffer).
UNTRUSTED_ARGUMENTS: Final = 10
UNTRUSTED_ARGUMENT: Final = 16384

MAX_COUNT: Final = 2**31 - 1  # INT_MAX: of a command's words

# Of a streamed type inside another. Servers send none at all so far; a client's parser is not deeper either.
MAX_STREAMS: Final = 32
# Items of a streamed aggregate that are to come; none of them is counted off, only what is inside of them.
# More than all counts that a reply may name.
_ENDLESS: Final = 2**200


class Extent:
    """What both have: bytes to skip, a line in pieces."""

    __slots__ = ("_closing", "_line", "_skip", "left")

    def __init__(self) -> None:
        self.left = MAX_INT64  # lines that the next advance() may look at; what it has not, afterwards
        self._skip = 0  # bytes of a bulk that are still to come
        self._closing = False  # behind them: its CRLF
        self._line: bytearray | None = None  # a line that has come in part

    def _pass(self, data: bytes, pos: int) -> int:
        """What is left of a bulk, and the CRLF behind it. Redis itself takes any two bytes; a server that
        does not would see other commands in the same bytes, so that replies no longer fit (P2)."""
        left = len(data) - pos
        if self._skip > left:
            self._skip -= left
            return INCOMPLETE
        pos += self._skip
        self._skip = 0
        line = self._line
        if line is None:
            two = data[pos : pos + 2]
            pos += 2
        else:
            two = b"\r" + data[pos : pos + 1]
            pos += 1
            self._line = None
        if two == CRLF:
            self._closing = False
            return pos
        if two != b"\r" and two:
            raise ours(b"a bulk does not end with CRLF")
        if two:
            self._line = bytearray(two)
        return INCOMPLETE

    def _joined(self, data: bytes, pos: int) -> tuple[bytes | None, int]:
        """A line that did not come in one piece, and where it ends in `data`. None: not all there yet."""
        line = self._line
        if line is None:
            line = self._line = bytearray()
        before = len(line)
        line += data[pos : pos + MAX_LINE + 2 - before]
        end = line.find(CRLF, max(0, before - 1))
        if end < 0:
            return None, INCOMPLETE
        self._line = None
        return bytes(line[:end]), pos + end + 2 - before


class CommandExtent(Extent):
    """Of one command after the other, each beginning with `*`. A line ends with CRLF: to Redis with CR and
    any byte, which is no more alike everywhere than what ends a bulk is."""

    __slots__ = ("_left", "_max_argument", "_max_arguments", "count", "trusted")

    def __init__(self, max_arguments: int, max_argument: int) -> None:
        super().__init__()
        self._max_arguments = min(max_arguments, MAX_COUNT)
        self._max_argument = max_argument
        self._left = -1  # words to come; -1: their number is to come
        self.count = 0  # words of the command; 0 or less: it is none
        self.trusted = False

    def advance(self, data: bytes, pos: int) -> int:
        """The end of the command in `data`, or INCOMPLETE: all of `data` belongs to it. Raises
        MalformedError."""
        while True:
            if self._closing:
                pos = self._pass(data, pos)
                if pos < 0:
                    return INCOMPLETE
                if not self._left:
                    self._left = -1
                    return pos
            if pos >= len(data):
                return INCOMPLETE
            self.left -= 1
            if self.left < 0:
                return UNFINISHED - pos
            end = data.find(CRLF, pos, pos + MAX_LINE + 2)
            if end < 0 or self._line is not None:
                line, end = self._joined(data, pos)
                if line is None:
                    return self._no_line()
                pos = end
            else:
                line = data[pos:end]
                pos = end + 2
            if self._left < 0:
                self.count = self._left = self._count(line)
                if self._left <= 0:
                    self._left = -1
                    return pos
            else:
                self._skip = self._length(line)
                self._closing = True
                self._left -= 1

    def has_name(self) -> bool:
        """The first word of the command that is coming in is all there."""
        read = self.count - self._left
        return self._left >= 0 and (read > 1 or (read == 1 and not self._closing))

    def is_in_first_lines(self) -> bool:
        """In a line before the name ends: too long already, but not yet for what Redis says of it."""
        return self._line is not None and not self.has_name()

    def _no_line(self) -> int:
        line = self._line
        if line is not None and len(line) - (line[-1] == 13) > MAX_LINE:
            raise MalformedError(LONG_COUNT if self._left < 0 else LONG_LENGTH)
        return INCOMPLETE

    def _count(self, line: bytes) -> int:
        count = number(line[1:])
        if count is None or count > self._max_arguments:
            raise MalformedError(BAD_COUNT)
        if count > UNTRUSTED_ARGUMENTS and not self.trusted:
            raise MalformedError(TRUST_COUNT)
        return count

    def _length(self, line: bytes) -> int:
        if line[:1] != b"$":
            raise expected_dollar(line[0] if line else 13)
        length = number(line[1:])
        if length is None or not 0 <= length <= self._max_argument:
            raise MalformedError(BAD_LENGTH)
        if length > UNTRUSTED_ARGUMENT and not self.trusted:
            raise MalformedError(TRUST_LENGTH)
        return length


# First bytes of replies: one line; a length; a number of items; twice that.
_LINES: Final = b"+-:_,#("
_BULKS: Final = b"$!="
_LISTS: Final = b"*~>"
_PAIRS: Final = b"%|"
_TYPES: Final = _LINES + _BULKS + _LISTS + _PAIRS + b";."


class ReplyExtent(Extent):
    """Of one reply after the other, of RESP2 and RESP3 alike."""

    __slots__ = ("_chunks", "_left", "_outer")

    def __init__(self) -> None:
        super().__init__()
        self._left = 1  # items to come, of all levels up to the innermost streamed one
        self._outer: list[int] = []  # the same of the levels outside of each streamed one
        self._chunks = False  # in a streamed string

    def advance(self, data: bytes, pos: int) -> int:
        """The end of the reply in `data`, or INCOMPLETE: all of `data` belongs to it. Raises
        MalformedError."""
        while True:
            if self._closing:
                pos = self._pass(data, pos)
                if pos < 0:
                    return INCOMPLETE
            if not self._left:
                self._left = 1
                return pos
            if pos >= len(data):
                return INCOMPLETE
            self.left -= 1
            if self.left < 0:
                return UNFINISHED - pos
            if self._line is None:
                end = data.find(CRLF, pos)
                if end < 0:
                    return self._keep(data, pos)
                line = data[pos:end]
                pos = end + 2
                size = SIZES.get(line)
                if size is not None and data[pos + size : pos + size + 2] == CRLF and not self._chunks:
                    # A small bulk that is whole: what _on_line and _pass would do.
                    pos += size + 2
                    self._left -= self._left != _ENDLESS
                    continue
            else:
                line, pos = self._whole_line(data, pos)
                if pos < 0:
                    return INCOMPLETE
            self._on_line(line)
            self.left -= 2  # it costs so much more than a bulk that is all there

    def _keep(self, data: bytes, pos: int) -> int:
        """A line that is not whole. Of a long one (an error, a simple string) its kind and its last byte are
        all that matters."""
        if data[pos] not in _TYPES:
            raise _unknown()
        line = data[pos:]
        self._line = bytearray(line if len(line) <= 64 else line[:32] + line[-1:])
        return INCOMPLETE

    def _whole_line(self, data: bytes, pos: int) -> tuple[bytes, int]:
        kept = self._line
        assert kept is not None
        if kept[-1] == 13 and data[pos] == 10:
            self._line = None
            return bytes(kept[:-1]), pos + 1
        end = data.find(CRLF, pos)
        if end < 0:
            kept += data[pos:] if len(data) - pos <= 64 else data[pos : pos + 32] + data[-1:]
            if len(kept) > 64:
                self._line = kept[:32] + kept[-1:]
            return b"", INCOMPLETE
        kept += data[pos : min(end, pos + 32)]
        self._line = None
        return bytes(kept), end + 2

    def _on_line(self, line: bytes) -> None:
        kind = line[0] if line else 13
        if self._chunks:
            self._on_chunk(kind, line)
            return
        if kind in _LINES:
            self._left -= self._left != _ENDLESS
        elif kind in _BULKS:
            if kind == 36 and line == b"$?":
                self._chunks = True
                return
            length = number(line[1:])
            if length is None or not (length >= 0 or (length == -1 and kind == 36)):
                raise _no_number(b"a bulk's length", line)
            if length >= 0:
                self._skip = length
                self._closing = True
            self._left -= self._left != _ENDLESS
        elif kind in _LISTS or kind in _PAIRS:
            self._on_items(kind, line)
        elif kind == 46 and line == b"." and self._left == _ENDLESS:
            self._left = self._outer.pop()
        else:
            raise _unknown()

    def _on_items(self, kind: int, line: bytes) -> None:
        if line[1:] == b"?" and kind in b"*~%":
            if len(self._outer) >= MAX_STREAMS:
                raise MalformedError(b"streamed types nested deeper than %d" % MAX_STREAMS)
            self._outer.append(self._left - (self._left != _ENDLESS))
            self._left = _ENDLESS
            return
        count = number(line[1:])
        if count is None or not (0 <= count <= MAX_INT64 or (count == -1 and kind == 42)):
            raise _no_number(b"a number of items", line)
        if kind in _PAIRS:
            count *= 2
        if kind != 124:  # an attribute stands before an item and is none itself
            self._left -= self._left != _ENDLESS
        self._left += max(count, 0)

    def _on_chunk(self, kind: int, line: bytes) -> None:
        length = number(line[1:])
        if kind != 59 or length is None or length < 0:
            raise MalformedError(b"a streamed string goes on with no piece of itself")
        if length:
            self._skip = length
            self._closing = True
            return
        self._chunks = False
        self._left -= self._left != _ENDLESS


def _no_number(what: bytes, line: bytes) -> MalformedError:
    """Not what it says: it may be of somebody's reply, and who reads this is everybody on the connection."""
    size = b"%d bytes" % (len(line) - 1) if len(line) <= 32 else b"more than 31 bytes"
    return MalformedError(b"%b is none (%b)" % (what, size))


def _unknown() -> MalformedError:
    return MalformedError(b"a byte that begins no reply")
