"""The short cut through a head: what nearly everybody sends, at once, and where it ends.

Two ways, the expressions here and scan.py's, one for each build; both say the same (a test holds them to it).
What they do not know is left to the thorough way (requests.py, replies.py), which is the truth: where the
short cut answers, that agrees (another test).

    request    an origin-form target, HTTP/1.1, one Host without anything odd, at most one Connection that is
               keep-alive or close, at most one Content-Length, and whatever fields mean nothing to us
    reply      HTTP/1.1 and a final status, Content-Length or chunked, at most one Connection as above, with
               Keep-Alive beside it
"""

from __future__ import annotations

import re
from typing import Final

from muxproxy.protocols.http import scan
from muxproxy.protocols.http.grammar import METHOD, VALUE, any_case, field, once, plain_field
from muxproxy.protocols.http.scan import CHUNKED, NOT_HERE, ReplyExtents, RequestExtents

_CONNECTION: Final = rb"(?:" + any_case(b"keep-alive") + rb"|(" + any_case(b"close") + rb"))"

# Fields that may change what we do. The short cut knows the first three.
_SPECIAL = b"host connection content-length transfer-encoding te expect upgrade keep-alive".split()
_SPECIAL += [b"proxy-connection", b"max-forwards"]

# Groups: 1 method, 2 target, 3 Host's value, 4 Connection's line, 5 set if it says close, 6 Content-Length.
REQUEST: Final = re.compile(
    rb"(?!CONNECT )" + METHOD + rb" (/[!\"$-~]*+) HTTP/1\.1\r\n(?:"
    + once(3, field(b"host", rb"([0-9A-Za-z_.\-]*+(?::[0-9]{0,5}+)?)"))
    + rb"|"
    + plain_field(_SPECIAL)
    + rb"|"
    + once(4, rb"(" + field(b"connection", _CONNECTION) + rb")")
    + rb"|"
    + once(6, field(b"content-length", rb"([0-9]{1,18})"))
    + rb")*\r\n"
)  # laid out as the grammar is  # fmt: skip

# It knows four of these.
_REPLY_SPECIAL = b"content-length connection keep-alive transfer-encoding proxy-connection te upgrade".split()
_KEEP_ALIVE: Final = field(b"keep-alive", rb"timeout=([0-9]{1,6})(?:, ?max=[0-9]++)?")

# Groups: 1 status, 2 Content-Length, 3 the lines of Connection and Keep-Alive, 4 and 6 its timeout, 5 set if
# they say close, 7 Transfer-Encoding.
REPLY: Final = re.compile(
    rb"HTTP/1\.1 ([2-9][0-9][0-9])(?: " + VALUE + rb")?\r\n(?:"
    + once(2, field(b"content-length", rb"([0-9]{1,18})"))
    + rb"|"
    + plain_field(_REPLY_SPECIAL)
    + rb"|"
    + once(
        3,
        rb"((?:" + _KEEP_ALIVE + rb")?" + field(b"connection", _CONNECTION) + rb"(?:" + _KEEP_ALIVE + rb")?)",
    )
    + rb"|"
    + once(7, field(b"transfer-encoding", rb"(" + any_case(b"chunked") + rb")"))
    + rb")*\r\n"
)  # laid out as the grammar is  # fmt: skip

_request_match: Final = REQUEST.match
_reply_match: Final = REPLY.match


def request(data: bytes) -> RequestExtents:
    """Of the head that `data` begins with; what lies behind it does not matter."""
    return scan.request(data) if scan.COMPILED else request_by_expression(data)


def reply(data: bytes) -> ReplyExtents:
    return scan.reply(data) if scan.COMPILED else reply_by_expression(data)


def request_by_expression(data: bytes) -> RequestExtents:
    match = _request_match(data)
    if match is None or match.start(3) < 0:
        return NOT_HERE, 0, 0, 0, 0, 0, False
    length = match.group(6)
    said = NOT_HERE if length is None else int(length)
    line, stop = match.span(4)
    if stop < 0:
        return match.end(), match.end(1), match.end(2), said, 0, 0, False
    return match.end(), match.end(1), match.end(2), said, line, stop, match.start(5) >= 0


def reply_by_expression(data: bytes) -> ReplyExtents:
    match = _reply_match(data)
    if match is None:
        return NOT_HERE, 0, 0, 0, 0, False, 0
    status, length, _, before, close, behind, chunked = match.groups()
    if (length is None) is (chunked is None):
        return NOT_HERE, 0, 0, 0, 0, False, 0
    said = CHUNKED if length is None else int(length)
    line, stop = match.span(3)
    if stop < 0:
        return match.end(), int(status), said, 0, 0, False, NOT_HERE
    hint = before or behind
    seconds = NOT_HERE if hint is None else int(hint)
    return match.end(), int(status), said, line, stop, close is not None, seconds
