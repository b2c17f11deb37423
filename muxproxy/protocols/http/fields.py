"""Fields of a head, the thorough way: every rule with its own refusal.

The short cuts (shortcut.py) are for the heads that nearly everybody sends; what they do not match comes here.
Here is the truth: a test holds that both agree wherever both answer.
"""

from __future__ import annotations

from typing import Final

from muxproxy.protocols.http.common import CHUNKED, MalformedError
from muxproxy.protocols.http.grammar import (
    DIGITS,
    FIELD,
    LAX_FIELD,
    LAX_FOLD,
    MAX_LENGTH_DIGITS,
    TOKENS,
    TRAILERS,
    TRANSFER_CODING,
)

Field = tuple[
    bytes, bytes, bytes
]  # the line as it came without CRLF, the name in lower case, the value trimmed

# Never passed on, RFC 9110 section 7.6.1. (Transfer-Encoding stays where chunks are passed on as chunks;
# Proxy-Authenticate and Proxy-Authorization are for whoever asked for them, section 11.7, and that is not
# us.)
HOP_BY_HOP: Final = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade"})
# Connection may not name these away (RFC 9110 section 7.6.1: no option for a field meant for all recipients):
# the message would be framed or routed differently behind us.
KEPT: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})
# What must not come after the body, for a recipient that merges trailers into the head: RFC 9110 section
# 6.5.1.
NOT_IN_TRAILERS: Final = HOP_BY_HOP | KEPT | {b"trailer"}


def parse_fields(block: bytes, *, lax: bool = False) -> list[Field]:
    """`block`: the field lines with CRLF between them, none at the end. `lax`: a reply's, where a fold
    becomes a space and white space before a colon goes (RFC 9112 sections 5.2 and 5.1)."""
    fields: list[Field] = []
    if not block:
        return fields
    if lax and (b"\r\n " in block or b"\r\n\t" in block):
        block = LAX_FOLD.sub(b" ", block)
    for line in block.split(b"\r\n"):
        match = FIELD.fullmatch(line)
        if match is None and lax:
            match = LAX_FIELD.fullmatch(line)
            line = b":".join(match.groups()) if match is not None else line
        if match is None:
            raise MalformedError(_fault_of(line))
        name, value = match.groups()
        fields.append((line, name.lower(), value.strip(b" \t")))
    return fields


def _fault_of(line: bytes) -> str:
    name, colon, _ = line.partition(b":")
    if line[:1] in (b" ", b"\t"):
        return "a field line is folded"  # RFC 9112 section 5.2
    if not colon:
        return "a field line has no colon"
    if name[-1:] in (b" ", b"\t"):
        return "white space between a field's name and its colon"  # RFC 9112 section 5.1
    if FIELD.match(line) is None:
        return "a field's name is not a token"
    return f"field {name.decode('ascii')} holds a control character"


def values_of(fields: list[Field], wanted: bytes) -> list[bytes]:
    return [value for _, name, value in fields if name == wanted]


def connection_options(fields: list[Field]) -> frozenset[bytes]:
    """What Connection says, in lower case. RFC 9110 section 7.6.1."""
    options: set[bytes] = set()
    for value in values_of(fields, b"connection"):
        if TOKENS.fullmatch(value) is None:
            raise MalformedError("Connection is not a list of tokens")
        options.update(option.strip(b" \t").lower() for option in value.split(b","))
    options.discard(b"")
    wrong = options & KEPT
    if wrong:
        raise MalformedError(f"Connection names {min(wrong).decode('ascii')}")
    return frozenset(options)


def merge_lengths(fields: list[Field]) -> list[Field]:
    """Of a reply: a length said several times, always the same, is said once (RFC 9112 section 6.3)."""
    said = b",".join(values_of(fields, b"content-length")).split(b",")
    value = said[0].strip(b" \t")
    if len(said) < 2 or not value or any(part.strip(b" \t") != value for part in said):
        return fields
    first = next(index for index, (_, name, _) in enumerate(fields) if name == b"content-length")
    rest = [field for field in fields if field[1] != b"content-length"]
    return [*rest[:first], (b"Content-Length: " + value, b"content-length", value), *rest[first:]]


def content_length(fields: list[Field]) -> int | None:
    """RFC 9112 section 6.3 allows merging equal repeated values: of requests, refusing is safer."""
    values = values_of(fields, b"content-length")
    if not values:
        return None
    if len(values) > 1:
        raise MalformedError("Content-Length is repeated")
    if DIGITS.fullmatch(values[0]) is None:
        raise MalformedError(f"Content-Length is not a number of 1 to {MAX_LENGTH_DIGITS} digits")
    return int(values[0])


def body_length(fields: list[Field], minor: int) -> int | None:
    """CHUNKED, a number of bytes, or None where the fields do not say. RFC 9112 sections 6.1 to 6.3."""
    length = content_length(fields)
    codings = values_of(fields, b"transfer-encoding")
    if not codings:
        return length
    if minor == 0:
        raise MalformedError("Transfer-Encoding in an HTTP/1.0 message")  # 6.1: its framing is faulty
    if length is not None:
        raise MalformedError("both Content-Length and Transfer-Encoding")  # 6.1, 6.3: smuggling or splitting
    if len(codings) == 1 and codings[0].lower() == b"chunked":
        return CHUNKED
    names = [coding.strip(b" \t").lower() for coding in b",".join(codings).split(b",")]
    if (
        names[-1] != b"chunked"
        or b"chunked" in names[:-1]
        or any(TRANSFER_CODING.fullmatch(name) is None for name in names)
    ):
        raise MalformedError("Transfer-Encoding is not chunked alone")  # 6.3: the length cannot be told
    raise MalformedError("only the transfer coding chunked is supported", 501)  # 6.1


def rewritten(start: bytes, fields: list[Field], dropped: frozenset[bytes], connection: bytes) -> bytes:
    """The head without the `dropped` fields, with the line `connection` where Connection stood, or last."""
    lines = [start]
    for line, name, _ in fields:
        if name == b"connection":
            if connection:
                lines.append(connection)
                connection = b""
        elif name not in dropped:
            lines.append(line)
    if connection:
        lines.append(connection)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def check_trailers(block: bytes) -> None:
    """`block`: the trailer section with its empty line. RFC 9112 section 7.1.2."""
    if TRAILERS.fullmatch(block) is None:
        raise MalformedError("bad trailers")
    for _, name, _ in parse_fields(block[:-4]):
        if name in NOT_IN_TRAILERS:
            raise MalformedError(f"{name.decode('ascii')} among the trailers")


_MAX_FORWARDS: Final = 10**18  # "the recipient's maximum supported value", RFC 9110 section 7.6.2


def with_host(fields: list[Field], host: bytes) -> list[Field]:
    """The fields with `host` as the value of Host, untouched where it is so already."""
    for index, (_, name, value) in enumerate(fields):
        if name == b"host":
            if value != host:
                fields[index] = (b"Host: " + host, name, host)
            return fields
    return [(b"Host: " + host, b"host", host), *fields]


def forwarded_once(fields: list[Field]) -> list[Field]:
    """Count Max-Forwards down. RFC 9110 section 7.6.2: a MUST for TRACE and OPTIONS."""
    counted: list[Field] = []
    for line, name, value in fields:
        if name == b"max-forwards" and value.isdigit():
            number = value.lstrip(b"0")
            if not number:
                raise MalformedError("Max-Forwards is 0, and a relay has nothing of its own to say", 501)
            value = b"%d" % (min(int(number) - 1, _MAX_FORWARDS) if len(number) < 20 else _MAX_FORWARDS)
            line = line[: len(name)] + b": " + value
        counted.append((line, name, value))
    return counted
