"""Where a whole small command or reply ends, byte by byte: the short way of a compiled framer.

To C a byte is one instruction and a method call some hundred; to an interpreter it is the other way round, so
that the pure build's short way is over words (framing/). All ways agree: what is not whole, or not as it
nearly always is, is left to the thorough one (extent.py). These functions say the same on both builds.

A byte is read into a register of its own, and a bound asked of one: what the compiler makes of
`data[pos] == _CR and pos < len(data)` is four times as long.
"""

from __future__ import annotations

from typing import Final

from muxproxy.native import i64, is_compiled

NOT_HERE: Final = -1  # it is not all there, or needs a closer look

_CR: Final = 13
_LF: Final = 10
_ZERO: Final = 48
_MINUS: Final = 45
_STAR: Final = 42  # array, or command
_DOLLAR: Final = 36  # bulk string
_MAP: Final = 37
_SET: Final = 126
_DIGITS: Final = 9  # of a number: more are not read here
_NEAR: Final = 64  # bytes of a line that are looked at one by one
# Items of one reply; more are work that extent.py counts (P10).
MAX_ITEMS: Final = 1024


def reply_end(data: bytes, pos: i64) -> i64:
    """Behind the reply that begins at `pos`, with all that it holds; or NOT_HERE."""
    last: i64 = len(data)
    left: i64 = 1  # items to come
    items: i64 = 0
    while left > 0:
        items += 1
        if pos + 3 > last or items > MAX_ITEMS:
            return NOT_HERE
        kind: i64 = data[pos]
        pos += 1
        if kind in (_DOLLAR, _STAR, _MAP, _SET):
            first: i64 = data[pos]
            if first == _MINUS:
                if kind in (_MAP, _SET) or not _is_null(data, pos):
                    return NOT_HERE
                pos += 4
                left -= 1
                continue
            number: i64 = 0
            begin: i64 = pos
            stop: i64 = pos + _DIGITS
            while pos < last and pos < stop:
                digit: i64 = data[pos] - _ZERO
                if digit < 0 or digit > 9:
                    break
                number = number * 10 + digit
                pos += 1
            size: i64 = pos - begin
            if size == 0 or (first == _ZERO and size > 1) or pos + 2 > last:
                return NOT_HERE
            cr: i64 = data[pos]
            lf: i64 = data[pos + 1]
            if cr != _CR or lf != _LF:
                return NOT_HERE
            pos += 2
            if kind == _DOLLAR:
                pos += number
                if pos + 2 > last:
                    return NOT_HERE
                cr = data[pos]
                lf = data[pos + 1]
                if cr != _CR or lf != _LF:
                    return NOT_HERE
                pos += 2
            elif kind == _MAP:
                left += 2 * number
            else:
                left += number
        elif kind in (43, 45, 58, 95, 44, 35, 40):  # + - : _ , # (
            pos = line_end(data, pos)
            if pos < 0:
                return NOT_HERE
        else:
            return NOT_HERE
        left -= 1
    return pos


def line_end(data: bytes, pos: i64) -> i64:
    """Behind the first CRLF from `pos` on, or NOT_HERE."""
    last: i64 = len(data) - 1
    stop: i64 = pos + _NEAR
    while pos < last:
        byte: i64 = data[pos]
        if byte == _CR:
            byte = data[pos + 1]
            if byte == _LF:
                return pos + 2
        if pos == stop:
            end: i64 = data.find(b"\r\n", pos)
            return end + 2 if end >= 0 else NOT_HERE
        pos += 1
    return NOT_HERE


def command(data: bytes, pos: i64) -> tuple[i64, i64, i64]:
    """Behind the command at `pos`, of up to nine words, and where its name begins and ends; or NOT_HERE."""
    last: i64 = len(data)
    if pos + 4 > last:
        return NOT_HERE, 0, 0
    kind: i64 = data[pos]
    left: i64 = data[pos + 1] - _ZERO
    cr: i64 = data[pos + 2]
    lf: i64 = data[pos + 3]
    if kind != _STAR or left < 1 or left > 9 or cr != _CR or lf != _LF:
        return NOT_HERE, 0, 0
    pos += 4
    name: i64 = 0
    end: i64 = 0
    while left > 0:
        if pos + 4 > last:
            return NOT_HERE, 0, 0
        kind = data[pos]
        size: i64 = data[pos + 1] - _ZERO
        if kind != _DOLLAR or size < 0 or size > 9:
            return NOT_HERE, 0, 0
        pos += 2
        stop: i64 = pos + _DIGITS - 1 if size else pos
        cr = data[pos]
        while pos < stop:
            digit: i64 = cr - _ZERO
            if digit < 0 or digit > 9:
                break
            size = size * 10 + digit
            pos += 1
            if pos >= last:
                return NOT_HERE, 0, 0
            cr = data[pos]
        if cr != _CR or pos + 1 >= last:
            return NOT_HERE, 0, 0
        lf = data[pos + 1]
        if lf != _LF:
            return NOT_HERE, 0, 0
        pos += 2
        if not end:
            name, end = pos, pos + size
        pos += size
        if pos + 2 > last:
            return NOT_HERE, 0, 0
        cr = data[pos]
        lf = data[pos + 1]
        if cr != _CR or lf != _LF:
            return NOT_HERE, 0, 0
        pos += 2
        left -= 1
    return pos, name, end


def _is_null(data: bytes, pos: i64) -> bool:
    """Behind the minus at `pos` stand 1 and a line end."""
    last: i64 = len(data)
    if pos + 4 > last:
        return False
    one: i64 = data[pos + 1]
    cr: i64 = data[pos + 2]
    lf: i64 = data[pos + 3]
    return one == _ZERO + 1 and cr == _CR and lf == _LF


COMPILED: Final = is_compiled(line_end)
