"""h11 as oracle: the same verdict and the same boundaries, or a written reason.

h11 is a parser for ends of a conversation and tolerates what a proxy must not pass on. Where we refuse and
h11 does not, our own words lead to the reason in STRICTER; where only h11 refuses, its words to LAXER.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import h11
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.protocols.http.common import HEAD, KEEP
from tests.protocols.http import strategies as some
from tests.protocols.http.feeding import Seen, protocol, replies

# Our words -> why h11 may accept what we refuse.
STRICTER = {
    "only HTTP/1.1 and HTTP/1.0 are spoken": "h11 parses any digits and leaves the version to its user",
    "CONNECT is not supported": "h11 leaves methods to its user; configured servers are no tunnel",
    "the request target has no form": "h11 does not read targets; RFC 9112 section 3.2 ties form to method",
    "the request target is not http": "likewise",
    "the request line is not": "h11 lets `#` pass in a target, which parsers cut at different places",
    "the request target has a fragment": "h11 lets `#` pass, which parsers cut at different places",
    "in the request target": "likewise, or raw bytes above 127",
    "Content-Length is repeated": "h11 merges equal values; RFC 9112 section 6.3 allows that, and refusing",
    "Content-Length is not a number": "h11 merges lists of equal values, and takes 20 digits",
    "both Content-Length and Transfer-Encoding": "h11 lets the latter win; RFC 9112 6.1 calls it smuggling",
    "Transfer-Encoding in an HTTP/1.0 message": "h11 reads it; RFC 9112 section 6.1: faulty framing",
    "only the expectation 100-continue": "h11 leaves Expect to its user; RFC 9110 section 10.1.1: 417",
    "Connection is not a list of tokens": "h11 splits at commas, takes what it gets; we remove what it names",
    "Connection names": "h11 removes nothing, so nothing can be named away",
    "a bare LF or a bare CR": "h11 ends lines at a bare LF, as RFC 9112 section 2.2 lets a recipient do",
    "holds a control character": "likewise, where our empty line comes later",
    "a field line has no colon": "likewise",
    "bad chunk size or extension": "likewise, in a chunk's line",
    "bad trailers": "likewise, in trailers",
    "a field line is folded": "h11 unfolds; RFC 9112 section 5.2 lets a server refuse instead",
    "among the trailers": "h11 hands trailers on; a recipient may merge them, RFC 9110 section 6.5.1",
    "Host is missing": "h11 wants one in HTTP/1.1 alone; RFC 9110 section 2.5: a higher 1.x is read as 1.1",
    "Host is not a host and port": "h11 counts Hosts and does not read them; RFC 9112 section 3.2: 400",
    "its first line is not a status line": "h11 parses the digits of any version",
    "it is not HTTP/1.1": "likewise",
}

# h11's words -> why we may accept what it refuses.
LAXER = {
    "ConnectionClosed": "after a 1xx alone nothing of the final reply is cut; the heart knows it waits",
    "Content-Length": "of a 1xx, which has no body: removed, not read (RFC 9110 section 8.6)",
    "Transfer-Encoding": "likewise (RFC 9112 section 6.1)",
}
LAXER_WITH_REPLIES = {
    "illegal header line": "white space before a colon, which RFC 9112 section 5.1 has a proxy remove",
    "illegal status line": "white space of any length between its words: RFC 9112 section 4",
    "illegal chunk header": "white space in it, and noughts before a size: RFC 9112 section 7.1.1",
}


@dataclass
class Verdict:
    """Of the first message. `fault`: why it was refused, "" if it was not. `left`: bytes behind it."""

    fault: str = ""
    whole: bool = False
    body: bytes = b""
    left: int = 0


def by_h11(connection: h11.Connection, data: bytes, *, eof: bool = False) -> Verdict:
    verdict = Verdict()
    connection.receive_data(data)
    if eof:
        connection.receive_data(b"")
    try:
        while True:
            event = connection.next_event()
            if event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
                return verdict
            if isinstance(event, h11.Data):
                verdict.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                verdict.whole = True
                verdict.left = len(connection.trailing_data[0])
                return verdict
    except h11.RemoteProtocolError as fault:
        verdict.fault = str(fault)
    return verdict


def ours(seen: Seen, left: int = 0) -> Verdict:
    verdict = Verdict(seen.fault.decode())
    if seen.messages:
        head, _, body = seen.messages[0].data.partition(b"\r\n\r\n")
        verdict.whole = seen.messages[0].whole
        verdict.left = left
        chunked = any(line.lower() == b"transfer-encoding: chunked" for line in head.split(b"\r\n"))
        verdict.body = without_chunks(body) if chunked else body
    return verdict


def without_chunks(body: bytes) -> bytes:
    out = b""
    while body:
        line, _, body = body.partition(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        if size == 0:
            break
        out += body[:size]
        body = body[size + 2 :]
    return out


def agree(us: Verdict, them: Verdict, laxer: dict[str, str]) -> None:
    if us.fault and not them.fault:
        assert any(words in us.fault for words in STRICTER), (us, them)
    elif them.fault and not us.fault:
        assert any(words in them.fault for words in laxer), (us, them)
    elif not us.fault:
        assert us == them


@given(st.tuples(some.REQUEST_HEADS, some.BODIES, some.BODIES).map(b"".join))
def test_requests_end_where_h11_says(data: bytes) -> None:
    data = data.replace(b"HEAD ", b"GET ")  # framed the same, but its refusal has no words
    framer = protocol().requests()
    seen = Seen()
    seen.add(framer.feed(data))
    agree(ours(seen, framer.held), by_h11(h11.Connection(h11.SERVER), data), LAXER)


@given(some.REPLY_HEADS, some.BODIES, st.booleans())
def test_replies_end_where_h11_says(head: bytes, body: bytes, is_head: bool) -> None:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="HEAD" if is_head else "GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    them = by_h11(client, head + body, eof=True)
    # What is left is for us bytes that no request asked for, behind a reply that counts.
    data = (head + body)[: len(head + body) - them.left]
    us = ours(replies([data], KEEP | HEAD if is_head else KEEP, eof=True))
    agree(us, replace(them, left=0), LAXER | LAXER_WITH_REPLIES)
