"""The short cut through a head byte by byte: the way of a compiled framer.

To C a byte is a few instructions, where an expression's engine takes some fifty for it and every group is an
object; to an interpreter it is the other way round, so that the pure build's way are the expressions of
shortcut.py. Both say the same of every input, on both builds (a test holds them to it): where a plain head
ends and what it says, or NOT_HERE: it is not all there, or needs the thorough way.
"""

from __future__ import annotations

from typing import Final

from muxproxy.native import i64, is_compiled

NOT_HERE: Final = -1
CHUNKED: Final = -1  # as a length
LENGTH_DIGITS: Final = 18
HINT_DIGITS: Final = 6
PORT_DIGITS: Final = 5

# Where it ends, its method, and its target; Content-Length, or -1; Connection's line, from .. to, and whether
# it says close.
RequestExtents = tuple[i64, i64, i64, i64, i64, i64, bool]
# Where it ends; its status; its length; the lines of Connection and Keep-Alive, from .. to, whether they say
# close, and the timeout, or -1.
ReplyExtents = tuple[i64, i64, i64, i64, i64, bool, i64]

_TAB: Final = 9
_LF: Final = 10
_CR: Final = 13
_SPACE: Final = 32  # and what tells a small letter from a capital
_HASH: Final = 35
_DASH: Final = 45
_DOT: Final = 46
_SLASH: Final = 47
_ZERO: Final = 48
_TWO: Final = 50
_NINE: Final = 57
_COLON: Final = 58
_UPPER_A: Final = 65
_UPPER_Z: Final = 90
_UNDERSCORE: Final = 95
_LOWER_A: Final = 97
_LOWER_Z: Final = 122
_DEL: Final = 127
_C: Final = 99
_E: Final = 101
_H: Final = 104
_K: Final = 107
_M: Final = 109
_P: Final = 112
_T: Final = 116
_U: Final = 117


def request(data: bytes) -> RequestExtents:
    last: i64 = len(data)
    method: i64 = _token_end(data, 0)
    target: i64 = method + 1
    if method == 0 or target >= last or data[method] != _SPACE or data[target] != _SLASH:
        return NOT_HERE, 0, 0, 0, 0, 0, False
    if method == 7 and data.startswith(b"CONNECT"):
        return NOT_HERE, 0, 0, 0, 0, 0, False
    while target < last:
        byte: i64 = data[target]
        if byte <= _SPACE or byte >= _DEL or byte == _HASH:
            break
        target += 1
    pos: i64 = _after(data, target, b" HTTP/1.1\r\n")
    has_host: bool = False
    length: i64 = NOT_HERE
    line: i64 = 0
    stop: i64 = 0
    closes: bool = False
    while pos > 0:
        begin: i64 = pos
        pos = _token_end(data, begin)
        size: i64 = pos - begin
        if size == 0:
            pos = _line_end(data, pos)
            if pos < 0 or not has_host:
                break
            return pos, method, target, length, line, stop, closes
        if pos >= last or data[pos] != _COLON:
            break
        pos += 1
        first: i64 = data[begin] | _SPACE
        if first == _H and size == 4 and _is(data, begin, b"host"):
            if has_host:
                break
            has_host = True
            pos = _spaces_end(data, _host_end(data, _spaces_end(data, pos)))
        elif first == _C and size == 10 and _is(data, begin, b"connection"):
            if stop:
                break
            pos, closes = _connection(data, pos)
            line, stop = begin, pos
            continue
        elif first == _C and size == 14 and _is(data, begin, b"content-length"):
            if length >= 0:
                break
            pos = _spaces_end(data, pos)
            end: i64 = _digits_end(data, pos, LENGTH_DIGITS)
            if end == pos:
                break
            length = _number(data, pos, end)
            pos = _spaces_end(data, end)
        elif first in (_T, _E, _U, _K, _P, _M) and _is_special(data, begin, size):
            break
        else:
            pos = _value_end(data, pos)
        pos = _line_end(data, pos)
    return NOT_HERE, 0, 0, 0, 0, 0, False


def reply(data: bytes) -> ReplyExtents:
    last: i64 = len(data)
    pos: i64 = _after(data, 0, b"HTTP/1.1 ")
    if pos < 0 or _digits_end(data, pos, 3) != pos + 3 or data[pos] < _TWO:
        return NOT_HERE, 0, 0, 0, 0, False, 0
    status: i64 = _number(data, pos, pos + 3)
    pos += 3
    if pos < last and data[pos] == _SPACE:
        pos = _value_end(data, pos)
    pos = _line_end(data, pos)
    # Connection's line, with a Keep-Alive's before it, behind it, or both: what goes is one span.
    line: i64 = 0
    stop: i64 = 0  # of it; 0: it has not come
    before: i64 = 0  # where the first of them ended
    has_behind: bool = False
    closes: bool = False
    hint: i64 = NOT_HERE
    length: i64 = NOT_HERE
    is_chunked: bool = False
    while pos > 0:
        begin: i64 = pos
        pos = _token_end(data, begin)
        size: i64 = pos - begin
        if size == 0:
            pos = _line_end(data, pos)
            if pos < 0 or (before and not stop) or is_chunked is (length >= 0):
                break
            return pos, status, CHUNKED if is_chunked else length, line, stop, closes, hint
        if pos >= last or data[pos] != _COLON:
            break
        pos += 1
        first: i64 = data[begin] | _SPACE
        if first == _C and size == 14 and _is(data, begin, b"content-length"):
            if length >= 0:
                break
            pos = _spaces_end(data, pos)
            end: i64 = _digits_end(data, pos, LENGTH_DIGITS)
            if end == pos:
                break
            length = _number(data, pos, end)
            pos = _spaces_end(data, end)
        elif first == _C and size == 10 and _is(data, begin, b"connection"):
            if stop or (before and before != begin):
                break
            pos, closes = _connection(data, pos)
            if not before:
                line = begin
            stop = pos
            continue
        elif first == _K and size == 10 and _is(data, begin, b"keep-alive"):
            pos, seconds = _keep_alive(data, pos)
            if not stop:
                if before:
                    break
                line, before, hint = begin, pos, seconds
            elif has_behind or stop != begin:
                break
            else:
                stop, has_behind = pos, True
                if hint < 0:
                    hint = seconds
            continue
        elif first == _T and size == 17 and _is(data, begin, b"transfer-encoding"):
            pos = _spaces_end(data, pos)
            if is_chunked or not _is(data, pos, b"chunked"):
                break
            is_chunked = True
            pos = _spaces_end(data, pos + 7)
        elif first in (_T, _U, _P) and _is_special(data, begin, size):
            break
        else:
            pos = _value_end(data, pos)
        pos = _line_end(data, pos)
    return NOT_HERE, 0, 0, 0, 0, False, 0


def _connection(data: bytes, pos: i64) -> tuple[i64, bool]:
    """Behind the line whose value begins at `pos`, if it is one of two words; and whether it is close."""
    pos = _spaces_end(data, pos)
    closes = _is(data, pos, b"close")
    if closes:
        pos += 5
    elif _is(data, pos, b"keep-alive"):
        pos += 10
    else:
        return NOT_HERE, False
    return _line_end(data, _spaces_end(data, pos)), closes


def _keep_alive(data: bytes, pos: i64) -> tuple[i64, i64]:
    """Behind the line whose value begins at `pos`, if it is timeout=, and perhaps max=; and the timeout."""
    begin: i64 = _after(data, _spaces_end(data, pos), b"timeout=")
    if begin < 0:
        return NOT_HERE, 0
    end: i64 = _digits_end(data, begin, HINT_DIGITS)
    if end == begin:
        return NOT_HERE, 0
    pos = _after(data, end, b",")
    if pos < 0:
        pos = end
    else:
        if pos < len(data) and data[pos] == _SPACE:
            pos += 1
        digits: i64 = _after(data, pos, b"max=")
        if digits < 0:
            return NOT_HERE, 0
        pos = _digits_end(data, digits, len(data))
        if pos == digits:
            return NOT_HERE, 0
    return _line_end(data, _spaces_end(data, pos)), _number(data, begin, end)


def _is_special(data: bytes, begin: i64, size: i64) -> bool:
    """A field of which the short cut knows nothing, but that it matters."""
    if size == 2:
        return _is(data, begin, b"te")
    if size == 6:
        return _is(data, begin, b"expect")
    if size == 7:
        return _is(data, begin, b"upgrade")
    if size == 10:
        return _is(data, begin, b"keep-alive")
    if size == 12:
        return _is(data, begin, b"max-forwards")
    if size == 16:
        return _is(data, begin, b"proxy-connection")
    return size == 17 and _is(data, begin, b"transfer-encoding")


def _is(data: bytes, pos: i64, word: bytes) -> bool:
    """`word`, in lower case, stands there in any."""
    size: i64 = len(word)
    if pos + size > len(data):
        return False
    at: i64 = 0
    while at < size:
        byte: i64 = data[pos]
        wanted: i64 = word[at]
        if byte != wanted and (byte < _UPPER_A or byte | _SPACE != wanted):
            return False
        pos += 1
        at += 1
    return True


def _after(data: bytes, pos: i64, words: bytes) -> i64:
    """Behind `words`, which stand there; or NOT_HERE."""
    size: i64 = len(words)
    if pos + size > len(data):
        return NOT_HERE
    at: i64 = 0
    while at < size:
        if data[pos + at] != words[at]:
            return NOT_HERE
        at += 1
    return pos + size


def _line_end(data: bytes, pos: i64) -> i64:
    """Behind the CRLF that stands there; or NOT_HERE."""
    if pos >= 0 and pos + 1 < len(data) and data[pos] == _CR and data[pos + 1] == _LF:
        return pos + 2
    return NOT_HERE


def _token_end(data: bytes, pos: i64) -> i64:
    """RFC 9110 section 5.6.2."""
    last: i64 = len(data)
    while pos < last:
        byte: i64 = data[pos]
        if byte > _LOWER_Z:
            if byte not in (124, 126):  # | ~
                break
        elif (
            byte < _LOWER_A
            and byte != _DASH
            and not (_UPPER_A <= byte <= _UPPER_Z or _ZERO <= byte <= _NINE)
            and byte not in (33, 35, 36, 37, 38, 39, 42, 43, 46, 94, 95, 96)  # ! # $ % & ' * + . ^ _ `
        ):
            break
        pos += 1
    return pos


def _value_end(data: bytes, pos: i64) -> i64:
    """RFC 9110 section 5.5: no control but the tab."""
    last: i64 = len(data)
    while pos < last:
        byte: i64 = data[pos]
        if (byte < _SPACE and byte != _TAB) or byte == _DEL:
            break
        pos += 1
    return pos


def _spaces_end(data: bytes, pos: i64) -> i64:
    last: i64 = len(data)
    while pos < last:
        byte: i64 = data[pos]
        if byte != _SPACE and byte != _TAB:
            break
        pos += 1
    return pos


def _host_end(data: bytes, pos: i64) -> i64:
    """What nearly every Host is: a name or an IPv4 address, and perhaps a port."""
    last: i64 = len(data)
    while pos < last:
        byte: i64 = data[pos]
        if not (
            _LOWER_A <= byte <= _LOWER_Z
            or byte == _DOT
            or _ZERO <= byte <= _NINE
            or _UPPER_A <= byte <= _UPPER_Z
            or byte in (_DASH, _UNDERSCORE)
        ):
            break
        pos += 1
    if pos < last and data[pos] == _COLON:
        return _digits_end(data, pos + 1, PORT_DIGITS)
    return pos


def _digits_end(data: bytes, pos: i64, most: i64) -> i64:
    last: i64 = len(data)
    if pos + most < last:
        last = pos + most
    while pos < last:
        byte: i64 = data[pos]
        if byte < _ZERO or byte > _NINE:
            break
        pos += 1
    return pos


def _number(data: bytes, pos: i64, end: i64) -> i64:
    """LENGTH_DIGITS at most."""
    number: i64 = 0
    while pos < end:
        digit: i64 = data[pos]
        number = number * 10 + digit - _ZERO
        pos += 1
    return number


COMPILED: Final = is_compiled(request)
