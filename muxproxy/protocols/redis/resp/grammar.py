"""RESP's smallest parts: numbers, lengths, inline requests, the words of a command, and how Redis says no.

As strict as Redis itself (`string2ll`, `sdssplitargs`): what it refuses is refused here with its own text,
and where it is careless enough that another server might see another command, we refuse with a text of ours.
"""

from __future__ import annotations

import re
from typing import Final

from muxproxy.errors import PeerError

CRLF: Final = b"\r\n"

# PROTO_INLINE_MAX_SIZE (server.h): of an inline request and of any line that says a length.
MAX_LINE: Final = 64 * 1024
MAX_INT64: Final = 2**63 - 1

# Framers compare or look up whole length lines instead of reading numbers; these are looked up.
SMALL: Final = 1024
LENGTHS: Final = tuple(b"$%d" % size for size in range(SMALL))
SIZES: Final = {line: size for size, line in enumerate(LENGTHS)}
# Bytes from one word's end to the next one's, by what stands between them.
SPANS: Final = {CRLF + line: size + 2 for size, line in enumerate(LENGTHS)}
COUNTS: Final = {b"*%d" % count: count for count in range(1, SMALL)}

# Protocol errors (networking.c): what stands behind `-ERR Protocol error: `.
BAD_COUNT: Final = b"invalid multibulk length"
BAD_LENGTH: Final = b"invalid bulk length"
LONG_COUNT: Final = b"too big mbulk count string"
LONG_LENGTH: Final = b"too big bulk count string"
LONG_INLINE: Final = b"too big inline request"
UNBALANCED: Final = b"unbalanced quotes in request"
TRUST_COUNT: Final = b"unauthenticated multibulk length"
TRUST_LENGTH: Final = b"unauthenticated bulk length"

BLANK: Final = b" \t\n\v\f\r"  # isspace() in the C locale
# Inline requests without a word, which nobody answers; longer ones are somebody else's to look at.
_BLANK_LINES: Final = re.compile(rb"(?:[ \t\v\f\r]{0,64}+\n)++")
# What stands for itself: outside of quotes, and inside.
_PLAIN: Final = re.compile(rb"[^ \t\n\r\"']*+")
_IN_DOUBLE: Final = re.compile(rb'((?:[^"\\]|\\.)*+)"', re.DOTALL)
_ESCAPED: Final = re.compile(rb"((?:\\x[0-9a-fA-F]{2})+)|((?:\\[^x])+)|\\x", re.DOTALL)
_IN_SINGLE: Final = re.compile(rb"((?:[^'\\]|\\'|\\)*+)'")
_SPECIAL: Final = re.compile(rb"[\"'\v\f]")
_WORD_END: Final = b" \t\n\r"  # what sdssplitargs ends an unquoted word with: \v and \f stand inside one
_ESCAPES: Final = bytes.maketrans(b"nrtba", b"\n\r\t\b\a")


class MalformedError(PeerError):
    """A peer broke RESP. `answer`: what a client gets for it, b"" where Redis closes without a word."""

    def __init__(self, text: bytes, *, answer: bytes | None = None) -> None:
        super().__init__(text.decode("latin-1"))
        self.answer = b"-ERR Protocol error: " + text + CRLF if answer is None else answer


def ours(text: bytes) -> MalformedError:
    """An error where Redis says nothing: with the prefix of everything that we say ourselves."""
    return MalformedError(text, answer=b"-ERR muxproxy: Protocol error: " + text + CRLF)


def expected_dollar(got: int) -> MalformedError:
    """Redis writes CR and LF as blanks (`addReplyErrorFormat`). NUL, on which 7.0 hangs, too."""
    return MalformedError(b"expected '$', got '%c'" % (32 if got in b"\r\n\0" else got))


def number(digits: bytes) -> int | None:
    """As `string2ll`: no sign but one minus, no leading zeros, no blanks, 64 bits. None: no number."""
    minus = digits[:1] == b"-"
    if minus:
        digits = digits[1:]
    if not digits.isdigit() or len(digits) > 19 or (digits[0] == 48 and (len(digits) > 1 or minus)):
        return None
    value = int(digits)
    if value > MAX_INT64:
        return None
    return -value if minus else value


def lengths_fit(part: list[bytes]) -> bool:
    """Of a command as words: its count, then a length and a word in turn."""
    for at in range(1, len(part), 2):  # noqa: SIM110 - a generator would cost as much again
        if part[at] != LENGTHS[len(part[at + 1])]:
            return False
    return True


def arguments(data: bytes, limit: int = MAX_INT64) -> list[bytes]:
    """The first `limit` words of a request frame's command: fewer if there are no more, or if the frame is
    the FIRST part of a command and they are still to come."""
    words: list[bytes] = []
    end = data.find(CRLF)
    if end < 0:
        return words
    count = int(data[1:end])
    if limit >= count > SMALL:
        parts = data.split(CRLF)
        words = parts[2:-1:2]
        if len(words) == count and parts[1:-1:2] == [b"$%d" % len(word) for word in words]:
            return words  # none has a line end in it
        words = []
    left = min(count, limit)
    pos = end + 2
    while left:
        end = data.find(CRLF, pos)
        if end < 0:
            break
        start = end + 2
        pos = start + int(data[pos + 1 : end]) + 2
        if pos > len(data):
            break
        words.append(data[start : pos - 2])
        left -= 1
    return words


def argument_count(data: bytes) -> int:
    """How many words a multibulk command says it has behind its name."""
    return int(data[1 : data.find(CRLF)]) - 1


def commands(data: bytes) -> list[bytes]:
    """The commands of a request frame that is a whole transaction, each as a frame of its own would be."""
    found = []
    start = 0
    while start < len(data):
        end = data.find(CRLF, start)
        pos = end + 2
        for _ in range(int(data[start + 1 : end])):
            end = data.find(CRLF, pos)
            pos = end + 4 + int(data[pos + 1 : end])
        found.append(data[start:pos])
        start = pos
    return found


def span(data: bytes, at: int, end: int) -> int:
    """Of a word whose length line does not stand in SPANS: as there. -1: it is no length line, or no whole
    one."""
    size = number(data[at + 3 : end]) if data.startswith(b"\r\n$", at) else None
    return -1 if size is None or size < 0 else size + 2


def multibulk(words: list[bytes]) -> bytes:
    """A command as client libraries write it."""
    parts = [b"*%d" % len(words)]
    for word in words:
        parts.append(b"$%d" % len(word))
        parts.append(word)
    parts.append(b"")
    return CRLF.join(parts)


def blank_lines(data: bytes, pos: int, end: int) -> int:
    """Where lines without a word that begin at `pos` end, at `end` at the latest: `pos` if there is none."""
    match = _BLANK_LINES.match(data, pos, end)
    return pos if match is None else match.end()


def _end(pattern: re.Pattern[bytes], data: bytes, pos: int) -> int:
    match = pattern.match(data, pos)
    return pos if match is None else match.end()


def is_plain(data: bytes, pos: int, end: int) -> bool:
    """Is an inline request's line split without a look at its bytes?"""
    return _SPECIAL.search(data, pos, end) is None


def inline_words(line: bytes) -> list[bytes]:
    """Of an inline request with its newline. Raises MalformedError."""
    if b"\0" in line:
        raise ours(b"a NUL in an inline request")
    return split_inline(line[: -2 if line.endswith(CRLF) else -1])


def split_inline(line: bytes) -> list[bytes]:
    """The words of an inline request without its newline, as `sdssplitargs`. Raises MalformedError."""
    if not _SPECIAL.search(line):
        return line.split()  # whose blanks are the same
    words: list[bytes] = []
    pos = 0
    size = len(line)
    while True:
        while pos < size and line[pos] in BLANK:
            pos += 1
        if pos == size:
            return words
        end = _end(_PLAIN, line, pos)
        word = bytearray(line[pos:end])
        pos = end
        if pos < size and line[pos] not in _WORD_END:
            if line[pos] == 34:  # "
                pos = _double_quoted(line, pos + 1, word)
            else:
                pos = _single_quoted(line, pos + 1, word)
            if pos < size and line[pos] not in BLANK:
                raise MalformedError(UNBALANCED)
        words.append(bytes(word))


def _double_quoted(line: bytes, pos: int, word: bytearray) -> int:
    """Up to the closing quote, and where it goes on behind it."""
    match = _IN_DOUBLE.match(line, pos)
    if match is None:
        raise MalformedError(UNBALANCED)
    text = match.group(1)
    word += text if text.find(b"\\") < 0 else _ESCAPED.sub(_unescaped, text)
    return match.end()


def _unescaped(match: re.Match[bytes]) -> bytes:
    codes, letters = match.groups()
    if codes:
        return bytes.fromhex(codes.replace(b"\\x", b"").decode())
    return bytes(letters[1::2].translate(_ESCAPES)) if letters else b"x"


def _single_quoted(line: bytes, pos: int, word: bytearray) -> int:
    match = _IN_SINGLE.match(line, pos)
    if match is None:
        raise MalformedError(UNBALANCED)
    word += match.group(1).replace(b"\\'", b"'")
    return match.end()
