"""Which service and method a call is for: the first strings of its body, read only where a limit needs them.

DubboCodec.encodeRequestData writes: Dubbo's version, path (the service), the service's version, method, then
what does not matter here. How a string looks is the serialization's; those not known here are not guessed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from muxproxy.protocols.dubbo.common import FASTJSON, FASTJSON2, GSON, HESSIAN2

READONLY, WRITEABLE = b"R", b"W"  # Request.READONLY_EVENT, WRITEABLE_EVENT

_WANTED: Final = (1, 3)  # of the strings: path, method


class UnknownFormError(Exception):
    """It is not the string that should be here."""


class CutError(Exception):
    """The bytes end in the middle of it."""


def read_names(data: bytes, at: int, end: int, serialization: int) -> tuple[bytes, bytes] | None:
    """(service, method) of the body in `data[at:end]`; None: cannot be read. Raises CutError if more bytes
    may help."""
    read = _READERS.get(serialization)
    if read is None:
        return None
    names = []
    try:
        for number in range(4):
            text, at = read(data, at, end)
            if number in _WANTED:
                names.append(text)
    except UnknownFormError:
        return None
    return names[0], names[1]


def is_readable(serialization: int) -> bool:
    return serialization in _READERS


def read_string(data: bytes, at: int, end: int, serialization: int) -> bytes | None:
    """The string at `at`; None: there is none, or it cannot be read."""
    read = _READERS.get(serialization)
    if read is None:
        return None
    try:
        return read(data, at, end)[0]
    except (UnknownFormError, CutError):
        return None


def read_event(data: bytes, at: int, end: int, serialization: int) -> bytes:
    """What an event says, READONLY or WRITEABLE; b"": neither.

    ExchangeCodec.encodeEventData writes one string, by which all serializations that are not read here (java,
    compactedjava, nativejava, kryo, fst, protostuff, msgpack, avro) end: a letter is its own UTF-8, and its
    length stands before it. Their null ends otherwise."""
    if serialization in _READERS:
        word = read_string(data, at, end, serialization)
    else:
        word = data[end - 1 : end] if end > at else b""
    return word if word in (READONLY, WRITEABLE) else b""


def _hessian(data: bytes, at: int, end: int) -> tuple[bytes, int]:
    """Hessian 2.0 section 4.12: lengths count UTF-16 units, and long strings come in chunks."""
    text = b""
    while True:
        if at >= end:
            raise CutError
        code = data[at]
        if code <= 0x1F:
            size, at = code, at + 1
        elif 0x30 <= code <= 0x33:
            if at + 2 > end:
                raise CutError
            size, at = (code - 0x30) << 8 | data[at + 1], at + 2
        elif code in (0x52, 0x53):  # R: a chunk that is not the last; S
            if at + 3 > end:
                raise CutError
            size, at = data[at + 1] << 8 | data[at + 2], at + 3
        elif code == 0x4E:  # N: the service has no version
            return text, at + 1
        else:
            raise UnknownFormError
        start, at = at, _after_units(data, at, end, size)
        text += data[start:at]
        if code != 0x52:
            return text, at


def _after_units(data: bytes, at: int, end: int, units: int) -> int:
    """Where `units` UTF-16 units end, of UTF-8 or of Java's six bytes for a pair."""
    after = at + units
    if after <= end and data[at:after].isascii():
        return after
    while units > 0:
        if at >= end:
            raise CutError
        lead = data[at]
        at += 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
        units -= 1 if lead < 0xF0 else 2
    if at > end:
        raise CutError
    return at


def _json_line(data: bytes, at: int, end: int) -> tuple[bytes, int]:
    """FastJsonObjectOutput: each value's JSON, and println(), which is the sender's own line end."""
    after = data.find(b"\n", at, end)
    if after < 0:
        raise CutError
    line = data[at:after].rstrip(b"\r")
    if line == b"null":
        return b"", after + 1
    if len(line) < 2 or line[:1] != b'"' or line[-1:] != b'"':
        raise UnknownFormError
    if b"\\" not in line:
        return line[1:-1], after + 1
    try:
        return str(json.loads(line)).encode("utf-8", "surrogatepass"), after + 1
    except ValueError:
        raise UnknownFormError from None


def _jsonb(data: bytes, at: int, end: int) -> tuple[bytes, int]:
    """FastJson2ObjectOutput: four bytes of length and a JSONB value. Latin-1 and UTF-16 are not read: no
    service is called so."""
    if at + 5 > end:
        raise CutError
    after = at + 4 + int.from_bytes(data[at : at + 4], "big")
    code = data[at + 4]
    if code not in _JSONB_STRINGS:
        raise UnknownFormError
    if after > end:
        raise CutError
    body = data[at + 5 : max(at + 5, after)]
    if code == 0xAF:
        return b"", after
    if code <= 0x78:
        return body, after
    # A length as JSONB writes an int; the value ends where the outer length says, so what it says does not
    # matter, only how long it is.
    if not body:
        raise UnknownFormError
    size = 1 if body[0] <= 0x2F else 2 if body[0] <= 0x3F else 3 if body[0] <= 0x47 else 5
    return body[size:], after


_JSONB_STRINGS: Final = frozenset(
    (*range(0x49, 0x79), 0x79, 0x7A, 0xAF)
)  # ASCII by length, ASCII, UTF-8, null

_READERS: dict[int, Callable[[bytes, int, int], tuple[bytes, int]]] = {
    HESSIAN2: _hessian,
    FASTJSON: _json_line,
    GSON: _json_line,
    FASTJSON2: _jsonb,
}
