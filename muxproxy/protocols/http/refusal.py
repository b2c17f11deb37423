"""Refusals: whole replies of our own, in the client's language (P8).

There is no Date: these rooms know no clock, and RFC 9110 section 6.6.1 excuses who has none. There is no
Server either: nothing a client could do depends on it, and the body says who speaks.
"""

from __future__ import annotations

from typing import Final

from muxproxy.protocols.contract import ANSWER, END_CLIENT, FIRST, LAST, Frame, Reason
from muxproxy.protocols.http.common import HEAD, KEEP, OLD, MalformedError

PHRASES: Final = {
    400: b"Bad Request",
    403: b"Forbidden",
    408: b"Request Timeout",
    414: b"URI Too Long",
    417: b"Expectation Failed",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    508: b"Loop Detected",
    505: b"HTTP Version Not Supported",
}

STATUS: Final = {
    Reason.BAD_REQUEST: 400,
    Reason.DENIED: 403,
    Reason.LOOP: 508,
    Reason.REQUEST_TIMEOUT: 408,
    Reason.SERVER_CLOSED: 502,
    Reason.SERVER_BROKE: 502,
    Reason.NO_SERVER: 502,  # no server could be reached: the fault is behind us, not in the queue
    Reason.INTERNAL: 502,
    Reason.QUEUE_FULL: 503,
    Reason.CLIENTS_FULL: 503,
    Reason.DRAINING: 503,
    Reason.UNREAD: 503,
    Reason.MEMORY: 503,
    Reason.QUEUE_TIMEOUT: 503,
    Reason.REPLY_TIMEOUT: 504,
}


def refusal(status: int, text: str, *, note: int = 0, retry_after: int = 0, closing: bool = True) -> Frame:
    """A whole reply. `text` becomes the body's one line; a HEAD's reply says its length and leaves it out."""
    closing = closing or not note & KEEP
    body = b"muxproxy: " + " ".join(text.split()).encode("utf-8", "replace") + b"\n"
    data = b"HTTP/1.1 %d %b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n" % (
        status,
        PHRASES[status],
        len(body),
    )
    if retry_after > 0 and status == 503:
        data += b"Retry-After: %d\r\n" % retry_after
    if closing:
        data += b"Connection: close\r\n"
    elif note & OLD:
        data += b"Connection: keep-alive\r\n"
    data += b"\r\n" if note & HEAD else b"\r\n" + body
    return Frame(data, FIRST | LAST | END_CLIENT if closing else FIRST | LAST)


def answer(fault: MalformedError, head: bytes = b"") -> Frame:
    """The last frame of a client that broke the rules. `head`: what came of it, to see whether it is HEAD."""
    note = HEAD if head.startswith(b"HEAD ") else 0
    frame = refusal(fault.status, str(fault), note=note)
    return Frame(frame.data, frame.marks | ANSWER, note)
